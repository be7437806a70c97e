# SPDX-License-Identifier: Apache-2.0
"""Scores of perfect, empty and half-right methods, and their sums over sequences."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_scenes import WINDOW, window_of

from spikeseg_ros.evaluation.benchmarks.judging import (
    Judgement,
    empty_judgement,
    overlaps_of,
    windows_of,
)
from spikeseg_ros.evaluation.benchmarks.methods import Found
from spikeseg_ros.evaluation.metrics import Candidate, InstanceMetrics, TrackMetrics, regions
from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.truth import GroundTruth

pytest.importorskip('pycocotools')
pytest.importorskip('motmetrics')

BOXES = [(20, 30, 12, 12), (100, 90, 14, 10)]


def _found(labels: np.ndarray, count: int) -> Found:
    numbers = np.arange(count)
    return Found(labels.astype(np.int32), np.ones(count), numbers + 1)


def _judged(make, windows: int = 3) -> Judgement:
    judgement = empty_judgement(180, 240)
    for index in range(windows):
        window, truth = window_of(BOXES, index, noise=[(0, 0)] * 20)
        judgement.add(make(truth.astype(int)), truth, 'a', window.index)
    return judgement


def test_a_perfect_method_scores_one():
    scores = _judged(lambda truth: _found(truth - 1, 2)).result()
    for key in ('ap50', 'ap', 'pq', 'event_iou', 'hota', 'idf1', 'precision50', 'recall50'):
        assert scores[key] == pytest.approx(1.0), key
    assert scores['count_error'] == scores['id_switches'] == 0
    assert scores['true_objects'] == scores['matched'] == 6


def test_a_silent_method_scores_zero():
    scores = _judged(lambda truth: _found(np.full(len(truth), -1), 0)).result()
    for key in ('ap50', 'ap', 'pq', 'event_iou', 'hota', 'idf1', 'recall50', 'predicted'):
        assert scores[key] == 0, key
    assert scores['count_error'] == -2


def test_one_object_for_both_is_half_right():
    scores = _judged(lambda truth: _found(np.where(truth > 0, 0, -1), 1)).result()
    # 288 of 568 events: above one half for the first box, below for the second.
    assert scores['recall50'] == 0.5
    assert scores['event_iou'] == pytest.approx((288 / 568 + 280 / 568) / 2)
    assert scores['count_error'] == -1


def test_overlaps_are_those_of_sets_of_events():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 4000) * (rng.random(4000) < 0.7)
    labels = np.where(rng.random(4000) < 0.6, truth - 1, rng.integers(-1, 6, 4000))
    found = Found(labels.astype(np.int32), rng.random(6), np.array([0, 1, 2, 0, 3, 4]))
    # Two of the four true objects are asked for.
    floor = int(np.sort(np.bincount(truth)[1:])[2])
    judgement = Judgement(InstanceMetrics(floor), TrackMetrics())
    judgement.add(found, truth.astype(np.uint16), 'a', 0)
    sets = [
        Candidate(labels == k, float(found.scores[k]), track_id=int(found.track_ids[k]))
        for k in range(6)
    ]
    instances, tracks = InstanceMetrics(floor), TrackMetrics()
    instances.add_sets(sets, regions(truth))
    tracks.add_sets(0, sets, regions(truth), floor, 'a')
    expected = {**instances.result(), **tracks.result()}
    result = judgement.result()
    assert result['true_objects'] == 2
    assert {key: expected[key] for key in result} == pytest.approx(result, nan_ok=True)


def test_objects_found_nowhere_overlap_nothing():
    table = overlaps_of(np.array([-1, 0, 0]), 2, np.array([3, 0, 3]))
    assert table.true_ids.tolist() == [3]
    assert table.sizes.tolist() == [2, 0]
    assert table.iou.tolist() == [[pytest.approx(1 / 3)], [0.0]]


def test_sequences_add_up():
    _, truth = window_of(BOXES)
    whole, first, second = (empty_judgement(180, 240) for _ in range(3))
    for name, part in (('a', first), ('b', second)):
        found = _found(truth.astype(int) - (1 if name == 'a' else 2), 2 if name == 'a' else 1)
        part.add(found, truth, name, 0)
        whole.add(found, truth, name, 0)
    first.merge(second)
    assert first.result() == pytest.approx(whole.result(), nan_ok=True)


def test_larger_sensors_ask_for_larger_objects():
    assert empty_judgement(180, 240).instances.min_events == 50
    assert empty_judgement(480, 640).instances.min_events == 133


def test_windows_end_with_the_recording():
    times = np.array([0, WINDOW - 1, WINDOW, 2 * WINDOW + WINDOW // 2 + 1], np.int64)
    x = np.zeros(4, np.uint16)
    truth = GroundTruth(
        240,
        180,
        Events(x, x, x.astype(np.uint8), times),
        np.array([0, 1, 2, 3], np.uint16),
        {},
        {},
    )
    found = [(w.index, w.t_start, labels.tolist()) for w, labels in windows_of(truth)]
    assert found == [(0, 0, [0, 1]), (1, WINDOW, [2]), (2, 2 * WINDOW, [3])]
    assert [window.index for window, _ in windows_of(truth, 2)] == [0, 2]
