# SPDX-License-Identifier: Apache-2.0
"""Grouping by common fate."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms.coherence import (
    RHYTHM_STEPS,
    CoherenceOptions,
    Field,
    coherent_objects,
    label_image,
)
from spikeseg_ros.algorithms.coherence_kernels import discord, information, merge_cells

SHAPE = (96, 160)
EARLY = (0.7, 0.3, 0.0, 0.0, 0.0)
LATE = (0.0, 0.0, 0.0, 0.3, 0.7)
EVEN = (0.2, 0.2, 0.2, 0.2, 0.2)


def _blob(rng, left, top, width, height, rhythm=EVEN, per_pixel=1.0):  # type: ignore[no-untyped-def]
    """Return columns, rows and steps of events in a box."""
    count = int(width * height * per_pixel)
    x = rng.integers(left, left + width, count)
    y = rng.integers(top, top + height, count)
    return x, y, rng.choice(RHYTHM_STEPS, count, p=rhythm)


def _field(*blobs, before=None, background=0.0, support=None):  # type: ignore[no-untyped-def]
    x, y, step = (np.concatenate(column) for column in zip(*blobs, strict=True))
    seen = np.ones(SHAPE, np.bool_) if support is None else support
    return Field(x, y, step, seen, np.full((6, 10), background), 16, before)


def _sizes(blobs):  # type: ignore[no-untyped-def]
    return np.repeat(np.arange(len(blobs)), [len(blob[0]) for blob in blobs])


def test_discord_by_hand() -> None:
    # G = 2 (sum of logs) = 2 * 20 log 2 for two disjoint histograms of 10 events each.
    one, other = np.array([10.0, 0.0]), np.array([0.0, 10.0])
    assert discord(one, other, 0.0) == pytest.approx(2 * np.log(2) * 20 / 10 / 1)
    assert discord(one, other, 10.0) == pytest.approx(40 * np.log(2) / 20)
    assert discord(one, one, 0.0) == pytest.approx(0.0)
    assert discord(one, 7 * one, 3.0) == pytest.approx(0.0)
    assert discord(one, np.zeros(2), 1.0) == 0.0
    assert information(np.array([3.0, 1.0])) == pytest.approx(3 * np.log(3 / 4) + np.log(1 / 4))


@given(
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
    st.lists(st.integers(0, 50), min_size=3, max_size=3),
)
def test_discord_is_symmetric_and_bounded(first: list[int], second: list[int]) -> None:
    one, other = np.array(first, np.float64), np.array(second, np.float64)
    assert discord(one, other, 5.0) == pytest.approx(discord(other, one, 5.0), abs=1e-12)
    assert -1e-9 <= discord(one, other, 5.0) <= 4 * np.log(2) + 1e-9


def test_merging_joins_the_most_alike_and_stops() -> None:
    rhythm = np.array([[90.0, 10.0], [85.0, 15.0], [10.0, 90.0], [3.0, 0.0]])
    groups = merge_cells(
        rhythm.copy(),
        np.zeros((4, 1)),
        np.array([0, 1, 2]),
        np.array([1, 2, 3]),
        0.3,
        0.0,
        10.0,
    )
    assert groups[0] == groups[1] != groups[2]
    # Three events do not stand alone; their only neighbour takes them in.
    assert groups[3] == groups[2]


def test_touching_blobs_of_different_rhythm_are_two_objects() -> None:
    rng = np.random.default_rng(0)
    blobs = [_blob(rng, 20, 20, 24, 24, EARLY), _blob(rng, 44, 20, 24, 24, LATE)]
    labels = coherent_objects(_field(*blobs), CoherenceOptions())
    truth = _sizes(blobs)
    assert set(labels) == {0, 1}
    first, second = labels[truth == 0], labels[truth == 1]
    assert (first == np.bincount(first).argmax()).mean() > 0.95
    assert (second == np.bincount(second).argmax()).mean() > 0.95
    assert np.bincount(first).argmax() != np.bincount(second).argmax()


def test_touching_blobs_of_one_rhythm_are_one_object() -> None:
    rng = np.random.default_rng(1)
    blobs = [_blob(rng, 20, 20, 24, 24, EARLY), _blob(rng, 44, 20, 24, 24, EARLY)]
    assert set(coherent_objects(_field(*blobs), CoherenceOptions())) == {0}


@pytest.mark.parametrize(('gap', 'count'), [(10, 1), (30, 2)])
def test_fragments_are_joined_across_gaps_that_are_small_for_them(gap: int, count: int) -> None:
    rng = np.random.default_rng(2)
    blobs = [_blob(rng, 10, 20, 30, 30), _blob(rng, 40 + gap, 20, 30, 30)]
    labels = coherent_objects(_field(*blobs), CoherenceOptions())
    assert labels.max() + 1 == count
    apart = coherent_objects(_field(*blobs), CoherenceOptions(reach=0.0))
    assert apart.max() + 1 == 2


def test_fragments_of_different_rhythm_are_not_joined() -> None:
    rng = np.random.default_rng(3)
    blobs = [_blob(rng, 10, 20, 30, 30, EARLY), _blob(rng, 50, 20, 30, 30, LATE)]
    assert coherent_objects(_field(*blobs), CoherenceOptions()).max() == 1


def test_what_was_told_apart_stays_apart() -> None:
    rng = np.random.default_rng(4)
    slow, fast = (0.3, 0.25, 0.2, 0.15, 0.1), (0.1, 0.15, 0.2, 0.25, 0.3)
    blobs = [_blob(rng, 20, 20, 24, 24, slow, 2), _blob(rng, 44, 20, 24, 24, fast, 2)]
    assert coherent_objects(_field(*blobs), CoherenceOptions()).max() == 0
    before = np.full(SHAPE, -1, np.int16)
    before[20:44, 20:44], before[20:44, 44:68] = 0, 1
    assert coherent_objects(_field(*blobs, before=before), CoherenceOptions()).max() == 1
    # A memory alone does not part what moves as one.
    same = [_blob(rng, 20, 20, 24, 24, EVEN, 2), _blob(rng, 44, 20, 24, 24, EVEN, 2)]
    assert coherent_objects(_field(*same, before=before), CoherenceOptions()).max() == 0


@pytest.mark.parametrize(
    ('other', 'count'), [((8.0, 0.0), 1), ((-8.0, 0.0), 2), ((np.nan,) * 2, 1)]
)
def test_fragments_that_moved_differently_are_not_joined(
    other: tuple[float, float], count: int
) -> None:
    rng = np.random.default_rng(9)
    blobs = [_blob(rng, 10, 20, 30, 30), _blob(rng, 50, 20, 30, 30)]
    before = np.full(SHAPE, -1, np.int16)
    before[20:50, 10:40], before[20:50, 50:80] = 0, 1
    field = dataclasses.replace(
        _field(*blobs, before=before), motion=np.array([(8.0, 0.0), other])
    )
    assert coherent_objects(field, CoherenceOptions()).max() + 1 == count


def test_background_and_small_things_are_left_out() -> None:
    rng = np.random.default_rng(5)
    everywhere = _blob(rng, 0, 0, SHAPE[1], SHAPE[0], EVEN, 0.3)
    noisy = _field(everywhere, background=0.3)
    assert (coherent_objects(noisy, CoherenceOptions()) == -1).all()
    quiet = _field(everywhere, background=0.0)
    assert (coherent_objects(quiet, CoherenceOptions()) == 0).any()
    speck = _field(_blob(rng, 50, 50, 5, 5))
    assert (coherent_objects(speck, CoherenceOptions()) == -1).all()


def test_only_events_under_instances_count() -> None:
    rng = np.random.default_rng(6)
    blobs = [_blob(rng, 10, 20, 30, 30), _blob(rng, 100, 20, 30, 30)]
    support = np.zeros(SHAPE, np.bool_)
    support[:, :60] = True
    labels = coherent_objects(_field(*blobs, support=support), CoherenceOptions())
    truth = _sizes(blobs)
    assert (labels[truth == 0] == 0).all()
    assert (labels[truth == 1] == -1).all()


def test_nothing_gives_nothing() -> None:
    none = np.empty(0, np.int64)
    field = Field(none, none, none, np.ones(SHAPE, np.bool_), np.zeros((6, 10)), 16)
    assert len(coherent_objects(field, CoherenceOptions())) == 0
    rng = np.random.default_rng(7)
    dark = _field(_blob(rng, 10, 10, 20, 20), support=np.zeros(SHAPE, np.bool_))
    assert (coherent_objects(dark, CoherenceOptions()) == -1).all()


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 5))
def test_labels_are_dense_and_independent_of_the_order_of_events(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    blobs = [
        _blob(
            rng,
            *rng.integers(0, [120, 60]),
            *rng.integers(5, 36, 2),
            [EARLY, LATE, EVEN][k % 3],
            2.0,
        )
        for k in range(count)
    ]
    field = _field(*blobs)
    labels = coherent_objects(field, CoherenceOptions())
    assert set(labels) - {-1} == set(range(labels.max() + 1))
    counts = np.bincount(labels[labels >= 0])
    assert (counts >= CoherenceOptions().min_events).all()
    order = rng.permutation(len(labels))
    shuffled = Field(
        field.x[order], field.y[order], field.step[order], field.support, field.background, 16
    )
    again = coherent_objects(shuffled, CoherenceOptions())
    np.testing.assert_array_equal(again, labels[order])


def test_every_pixel_belongs_to_one_object() -> None:
    rng = np.random.default_rng(8)
    blobs = [_blob(rng, 20, 20, 24, 24, EARLY), _blob(rng, 44, 20, 24, 24, LATE)]
    field = _field(*blobs)
    labels = coherent_objects(field, CoherenceOptions())
    image = label_image(labels, field.x, field.y, SHAPE)
    np.testing.assert_array_equal(image[field.y, field.x], labels)
