# SPDX-License-Identifier: Apache-2.0
"""Spike volumes from events and images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import EventError, Events, bin_events, latency_code, to_tensor


def make(rows: list[tuple[int, int, int, int]]) -> Events:
    """Return events from (x, y, p, t)."""
    x, y, p, t = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), t)


def test_steps_pixels_and_channels() -> None:
    events = make([(0, 0, 0, 100), (3, 1, 1, 109), (3, 1, 1, 110), (2, 1, 0, 119)])
    volume = bin_events(events, 100, 120, 2, 2, 4)
    assert volume.shape == (2, 2, 4, 2)
    assert volume.dtype == np.uint8
    want = [(0, 0, 0, 0), (0, 1, 3, 1), (1, 1, 2, 0), (1, 1, 3, 1)]
    assert list(zip(*(i.tolist() for i in np.nonzero(volume)), strict=True)) == want
    merged = bin_events(events, 100, 120, 2, 2, 4, polarities=1)
    assert np.array_equal(merged[..., 0], volume.max(-1))


def test_steps_are_cut_exactly() -> None:
    # Three steps of 10 ns: an event at time t is in step floor(3 t / 10).
    events = make([(t, 0, 1, t) for t in range(10)])
    volume = bin_events(events, 0, 10, 3, 1, 10, polarities=1)
    assert volume[:, 0, :, 0].argmax(0).tolist() == [3 * t // 10 for t in range(10)]


def test_what_lies_outside_is_left_out() -> None:
    rows = [(4, 0, 1, 5), (0, 2, 1, 5), (65535, 65535, 1, 5), (0, 0, 1, -1), (0, 0, 1, 10)]
    assert not bin_events(make(rows), 0, 10, 2, 2, 4).any()
    assert not bin_events(Events.empty(), 0, 10, 2, 2, 4).any()


def test_counts_saturate_and_noise_is_dropped() -> None:
    events = make([(1, 0, 1, 0)] * 300 + [(2, 0, 1, 1)] * 2 + [(3, 0, 1, 1)])
    counts = bin_events(events, 0, 10, 1, 1, 4, mode='count')
    assert counts[0, 0, :, 1].tolist() == [0, 255, 2, 1]
    assert bin_events(events, 0, 10, 1, 1, 4, min_events=2)[0, 0, :, 1].tolist() == [0, 1, 1, 0]
    kept = bin_events(events, 0, 10, 1, 1, 4, min_events=3, mode='count')
    assert kept[0, 0, :, 1].tolist() == [0, 255, 0, 0]


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(0, 1), st.integers(-5, 60)),
        max_size=80,
    ),
    st.integers(1, 12),
    st.integers(1, 60),
    st.sampled_from([1, 2]),
    st.integers(1, 3),
    st.sampled_from(['binary', 'count']),
    st.booleans(),
)
def test_compiled_equals_plain(
    rows: list[tuple[int, int, int, int]],
    steps: int,
    length: int,
    polarities: int,
    least: int,
    mode: str,
    in_order: bool,
) -> None:
    events = make(sorted(rows, key=lambda row: row[3]) if in_order else rows)
    args = (events, 2, 2 + length, steps, 7, 8, polarities, least, mode)
    assert np.array_equal(bin_events(*args), bin_events(*args, reference=True))


def test_large_times_are_exact() -> None:
    start = 1_700_000_000_000_000_001
    events = make([(0, 0, 1, start + k * 5_000_000 - d) for k in range(1, 10) for d in (0, 1)])
    events = events.select(np.argsort(events.t, kind='stable'))
    counts = bin_events(events, start, start + 50_000_000, 10, 1, 1, 1, mode='count')
    assert counts.ravel().tolist() == [1, 2, 2, 2, 2, 2, 2, 2, 2, 1]


def test_views_of_a_structured_array_are_binned() -> None:
    table = np.zeros(3, [('x', 'u2'), ('y', 'u2'), ('p', 'u1'), ('t', 'i8')])
    table['x'] = [0, 1, 2]
    events = Events(table['x'], table['y'], table['p'], table['t'])
    assert bin_events(events, 0, 10, 1, 1, 3, 1)[0, 0, :, 0].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    'change',
    [
        {'steps': 0},
        {'height': 0},
        {'polarities': 3},
        {'t_end': 0},
        {'min_events': 0},
        {'min_events': 256},
        {'mode': 'mean'},
        {'width': 1 << 40},
    ],
)
def test_arguments_are_checked(change: dict[str, Any]) -> None:
    args = {'t_start': 0, 't_end': 10, 'steps': 2, 'height': 2, 'width': 2, **change}
    with pytest.raises(EventError):
        bin_events(Events.empty(), **args)


def test_tensor_is_time_batch_channel_row_column() -> None:
    torch = pytest.importorskip('torch')
    volume = bin_events(make([(3, 1, 1, 6)]), 0, 10, 2, 2, 4)
    tensor = to_tensor(volume)
    assert tensor.shape == (2, 1, 2, 2, 4)
    assert tensor.dtype == torch.float32
    assert torch.nonzero(tensor).tolist() == [[1, 0, 1, 1, 3]]


def test_latency_ranks_into_equal_bins_and_zero_is_silent() -> None:
    image = np.array([[0, 10, 20], [30, 40, 50], [60, 0, 70]], np.uint8)
    volume = latency_code(image, 3)
    assert volume.shape == (3, 3, 3, 1)
    order = volume[..., 0]
    found = [sorted(image[order[k] == 1].tolist()) for k in range(3)]
    assert found == [[50, 60, 70], [30, 40], [10, 20]]
    assert volume.sum() == 7


@settings(max_examples=40)
@given(st.lists(st.integers(-2, 5), min_size=1, max_size=40), st.integers(1, 12))
def test_latency_fires_every_positive_value_once(values: list[int], steps: int) -> None:
    image = np.array(values, np.float32)[None, :]
    volume = latency_code(image, steps)[:, 0, :, 0]
    assert volume.sum(0).tolist() == [int(v > 0) for v in values]
    sizes = volume.sum(1)
    assert sizes.max() - sizes.min() <= 1
    step = volume.argmax(0)
    for a in range(len(values)):
        for b in range(len(values)):
            if values[a] > values[b] > 0:
                assert step[a] <= step[b]


def test_latency_of_filter_channels_and_odd_values() -> None:
    image = np.array([[[0.5, 0.0], [np.nan, np.inf]]])
    volume = latency_code(image, 2)
    assert volume.shape == (2, 1, 2, 2)
    assert np.argwhere(volume).tolist() == [[0, 0, 0, 0]]
    assert latency_code(np.zeros((2, 2)), 4).sum() == 0
    with pytest.raises(EventError):
        latency_code(np.zeros(4), 4)
    with pytest.raises(EventError):
        latency_code(np.zeros((2, 2)), 0)
