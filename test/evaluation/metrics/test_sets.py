# SPDX-License-Identifier: Apache-2.0
"""Sets of elements: overlaps and matching, against values worked out by hand and brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.metrics import (
    Candidate,
    MetricError,
    Region,
    match,
    overlaps,
    pixel_candidates,
    regions,
)
from spikeseg_ros.perception.result import SegmentedObject


def test_overlaps_by_hand() -> None:
    first = Candidate(np.array([1, 1, 1, 0, 0, 0], bool))
    empty = Candidate(np.zeros(6, bool))
    truth = [Region(np.array([0, 1, 1, 1, 0, 0], bool)), Region(np.zeros(6, bool))]
    assert overlaps([first, empty], truth).tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert overlaps([], truth).shape == (0, 2)
    assert overlaps([first], []).shape == (1, 0)


def test_sets_over_other_elements_are_refused() -> None:
    with pytest.raises(MetricError, match='over 3 elements, true ones over 4'):
        overlaps([Candidate(np.ones(3, bool))], [Region(np.ones(4, bool))])
    with pytest.raises(MetricError, match='one shape'):
        overlaps([Candidate(np.ones(3, bool)), Candidate(np.ones(4, bool))], [Region(np.ones(3))])


def test_regions_are_the_instances_in_order() -> None:
    found = regions(np.array([[0, 7], [3, 7]]), {7: 2})
    assert [(item.track_id, item.class_id) for item in found] == [(3, 1), (7, 2)]
    assert found[1].members.tolist() == [False, True, False, True]


def test_pixels_of_an_object_land_where_its_box_is() -> None:
    mask = np.array([[True, False], [True, True]])
    item = SegmentedObject(0, BoundingBox(1, 1, 2, 2), mask, 4, 'x', 0.5, (1.0, 1.0), track_id=9)
    (found,) = pixel_candidates([item], 4, 3)
    assert np.flatnonzero(found.members).tolist() == [4, 7, 8]
    assert (found.score, found.class_id, found.track_id) == (0.5, 4, 9)


def test_a_floor_forbids_pairs_and_prefers_many() -> None:
    table = np.array([[0.6, 0.5], [0.9, 0.0]])
    assert match(table, 0.5) == [(0, 1), (1, 0)]
    # Without the floor 0.4 + 0.4 would beat 0.6 + 0.
    table = np.array([[0.6, 0.4], [0.4, 0.0]])
    assert match(table, 0.5) == [(0, 0)]
    assert match(table) == [(0, 1), (1, 0)]
    assert match(np.zeros((0, 3)), 0.5) == []


@settings(max_examples=100)
@given(
    st.integers(1, 4).flatmap(
        lambda n: st.lists(
            st.lists(st.integers(0, 10), min_size=n, max_size=n), min_size=1, max_size=4
        )
    ),
    st.integers(0, 10),
)
def test_matching_equals_brute_force(rows: list[list[int]], floor: int) -> None:
    table = np.array(rows, np.float64) / 10
    limit = floor / 10
    small = table if table.shape[0] <= table.shape[1] else table.T
    best = max(
        (
            sum(value >= limit for value in values),
            sum(value for value in values if value >= limit),
        )
        for order in itertools.permutations(range(small.shape[1]), small.shape[0])
        for values in [[small[k, column] for k, column in enumerate(order)]]
    )
    found = match(table, limit)
    assert len(found) == best[0]
    assert sum(table[pair] for pair in found) == pytest.approx(best[1])
    assert len({r for r, _ in found}) == len({c for _, c in found}) == len(found)
