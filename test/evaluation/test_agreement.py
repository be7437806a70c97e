# SPDX-License-Identifier: Apache-2.0
"""The agreement counts, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.agreement import Agreement
from spikeseg_ros.events.types import Events
from spikeseg_ros.perception.result import SegmentedObject


def _events(points: list[tuple[int, int]]) -> Events:
    x, y = np.array(points, np.uint16).T
    return Events(x, y, np.ones(len(x), np.uint8), np.arange(len(x), dtype=np.int64))


def _object(box: tuple[int, int, int, int], track: int = 0, number: int = 0) -> SegmentedObject:
    bounds = BoundingBox(*box)
    mask = np.ones((bounds.height, bounds.width), bool)
    return SegmentedObject(number, bounds, mask, 1, 'object', 1.0, bounds.center, track_id=track)


def _row(y: int, start: int, stop: int) -> list[tuple[int, int]]:
    return [(x, y) for x in range(start, stop)]


def test_hand_computed_window() -> None:
    # Object 1: 10 events in columns 0..9; object 2: 6 events in columns 20..25; 4 noise events.
    events = _events(_row(5, 0, 10) + _row(5, 20, 26) + _row(50, 0, 4))
    labels = np.array([1] * 10 + [2] * 6 + [0] * 4)
    # The first box takes 8 of the 10 (IoU 0.8), the second 2 of the 6 (IoU 1/3), the third noise.
    objects = [
        _object((0, 5, 7, 5)),
        _object((20, 5, 21, 5), number=1),
        _object((0, 50, 3, 50), number=2),
    ]
    score = Agreement()
    score.add(objects, events, labels, min_events=5)
    assert score.true_objects == 2
    assert score.found == 1
    assert score.published == 3
    assert score.ious == [pytest.approx(0.8), pytest.approx(1 / 3)]
    assert score.recall == 0.5
    assert score.precision == pytest.approx(1 / 3)
    assert score.coverage == pytest.approx(10 / 16)


def test_small_objects_are_not_asked_for() -> None:
    score = Agreement()
    score.add([], _events(_row(1, 0, 4)), np.ones(4, int), min_events=5)
    assert score.true_objects == 0
    assert np.isnan(score.recall)


def test_one_published_object_matches_one_known_object_only() -> None:
    events = _events(_row(1, 0, 10) + _row(2, 0, 6))
    labels = np.array([1] * 10 + [2] * 6)
    score = Agreement()
    score.add([_object((0, 1, 9, 2))], events, labels, min_events=5)
    assert score.found == 1
    assert score.ious == [pytest.approx(10 / 16), pytest.approx(6 / 16)]


def test_changes_of_track_are_counted() -> None:
    events, labels = _events(_row(1, 0, 10)), np.ones(10, int)
    score = Agreement()
    for track in (0, 3, 3, 4, 0, 4):
        score.add([_object((0, 1, 9, 1), track)], events, labels, min_events=5)
    assert score.found == 6
    assert score.switches == 1


def test_perfect_and_random_predictors_score_what_they_must() -> None:
    rng = np.random.default_rng(0)
    perfect, random = Agreement(), Agreement()
    for _ in range(30):
        left, top = (int(value) for value in rng.integers(0, 60, 2))
        points = [(left + i % 20, top + i // 20) for i in range(200)]
        noise = [(int(x), int(y)) for x, y in rng.integers(0, 100, (100, 2))]
        events = _events(points + noise)
        box = (left, top, left + 19, top + 9)
        labels = np.array(
            [int(box[0] <= x <= box[2] and box[1] <= y <= box[3]) for x, y in points + noise]
        )
        perfect.add([_object(box)], events, labels)
        x, y = (int(value) for value in rng.integers(0, 80, 2))
        random.add([_object((x, y, x + 19, y + 9))], events, labels)
    assert perfect.recall == perfect.precision == perfect.mean_iou == perfect.coverage == 1.0
    assert random.recall < 0.2
    assert random.mean_iou < 0.2
