# SPDX-License-Identifier: Apache-2.0
"""Background activity and spikes at several scales."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from spikeseg_ros.events import Events, bin_events
from spikeseg_ros.events.background import (
    BLOCK,
    NOISE_SHARE,
    background_density,
    bin_scaled,
    block_density,
    least_events,
)

WINDOW = 50_000_000


def _noise(rng: np.random.Generator, count: int, height: int, width: int) -> Events:
    return Events(
        rng.integers(0, width, count).astype(np.uint16),
        rng.integers(0, height, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        np.sort(rng.integers(0, WINDOW, count)),
    )


def test_density_counts_every_event_once_and_knows_cut_blocks() -> None:
    height, width = 50, 70
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    events = Events(
        x.ravel().astype(np.uint16),
        y.ravel().astype(np.uint16),
        np.zeros(x.size, np.uint8),
        np.zeros(x.size, np.int64),
    )
    density = block_density(events, height, width)
    assert density.shape == (4, 5)
    np.testing.assert_allclose(density, 1.0)


def test_background_is_not_raised_by_an_object_but_by_noise() -> None:
    density = np.full((20, 20), 0.1)
    density[:10] = 0.01
    density[4:7, 4:7] = 5.0
    found = background_density(density)
    assert found[5, 5] == 0.01
    assert found[16, 10] == 0.1


@pytest.mark.parametrize('share', [0.01, 0.005])
def test_least_events_is_the_smallest_number_noise_hardly_reaches(share: float) -> None:
    expected = np.array([0.0, 1e-4, 0.004, 0.02, 0.3, 1.0, 7.5, 40.0])
    found = least_events(expected, share).astype(int)
    for mean, number in zip(expected, found, strict=True):
        assert stats.poisson.sf(number - 1, mean) <= share * (1 + 1e-9)
        assert number == 1 or stats.poisson.sf(number - 2, mean) > share
    assert found[0] == 1


@pytest.mark.parametrize('level', [1, 2])
@pytest.mark.parametrize('polarities', [1, 2])
def test_spikes_are_voxels_with_enough_events(level: int, polarities: int) -> None:
    height, width, steps = 45, 83, 7
    events = _noise(np.random.default_rng(level), 20_000, height, width)
    background = np.zeros((3, 6))
    background[1] = 6.0
    background[2] = 1.0
    found = bin_scaled(events, 0, WINDOW, steps, height, width, level, background, polarities)
    cells = Events(events.x >> level, events.y >> level, events.p, events.t)
    shape = -(-height >> level), -(-width >> level)
    counts = bin_events(cells, 0, WINDOW, steps, *shape, polarities, mode='count')
    least = least_events(background * 4**level / (steps * polarities), NOISE_SHARE)
    edge = BLOCK >> level
    wanted = np.repeat(np.repeat(least, edge, 0), edge, 1)[: shape[0], : shape[1]]
    np.testing.assert_array_equal(found, counts >= np.maximum(wanted, 1)[None, :, :, None])
    assert 0 < found.sum() < (counts > 0).sum()


@pytest.mark.parametrize('background', [0.0, 5.0])
def test_at_full_size_every_event_is_a_spike(background: float) -> None:
    events = _noise(np.random.default_rng(3), 3000, 40, 60)
    found = bin_scaled(events, 0, WINDOW, 10, 40, 60, 0, np.full((3, 4), background))
    np.testing.assert_array_equal(found, bin_events(events, 0, WINDOW, 10, 40, 60))


def test_pure_noise_gives_few_spikes_at_every_scale() -> None:
    height, width = 256, 320
    events = _noise(np.random.default_rng(4), 30_000, height, width)
    background = background_density(block_density(events, height, width))
    for level in (1, 2):
        spikes = bin_scaled(events, 0, WINDOW, 10, height, width, level, background)
        assert spikes.mean() < 0.006


def test_nothing_is_taken_from_outside_the_window_or_the_sensor() -> None:
    events = Events(
        np.array([5, 5, 500], np.uint16),
        np.array([5, 5, 5], np.uint16),
        np.array([1, 1, 1], np.uint8),
        np.array([-5, WINDOW, 10]),
    )
    background = np.full((3, 4), 2.0)
    assert not bin_scaled(events, 0, WINDOW, 10, 40, 60, 1, background).any()
