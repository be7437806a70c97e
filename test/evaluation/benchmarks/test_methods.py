# SPDX-License-Identifier: Apache-2.0
"""Methods: what baselines share with the network, and the network's own output."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_scenes import window_of

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.benchmarks.baselines import Components
from spikeseg_ros.evaluation.benchmarks.methods import (
    BaselineMethod,
    SegmenterMethod,
    blobs,
    largest,
)
from spikeseg_ros.evaluation.benchmarks.rows import NAMES, NETWORKS, ROWS, choose_rows
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.result import Result, SegmentedObject


def test_small_objects_are_dropped_and_numbers_closed():
    labels = np.array([0] * 3 + [1] * 9 + [-1] * 4 + [2] * 5, np.int32)
    assert largest(labels, 5).tolist() == [-1] * 3 + [0] * 9 + [-1] * 4 + [1] * 5
    assert largest(labels, 0).tolist() == labels.tolist()
    assert largest(np.full(3, -1, np.int32), 0).tolist() == [-1] * 3
    assert largest(np.empty(0, np.int32), 5).tolist() == []


def test_only_the_largest_objects_are_kept():
    labels = np.repeat(np.arange(70), np.where(np.arange(70) < 6, 1, 2)).astype(np.int32)
    kept = largest(labels, 1)
    assert kept.max() == 63
    assert (kept[:6] == -1).all()


def test_blobs_by_hand():
    window, truth = window_of([(10, 20, 3, 2)], noise=[(12, 21), (0, 0)])
    labels = np.where(truth == 1, 0, -1).astype(np.int32)
    labels[-2] = 0
    (item,) = blobs(labels, window)
    assert item.box.to_xyxy() == (10, 20, 12, 21)
    assert item.centroid == (11.0, 20.5)
    assert item.n_events == 13
    assert blobs(np.full(len(truth), -1, np.int32), window) == []


@pytest.mark.parametrize(('score', 'expected'), [('events', 288.0), ('density', 2.0)])
def test_baselines_are_scored_and_tracked(score, expected):
    method = BaselineMethod(Components(), score)
    ids = []
    for index in range(4):
        window, truth = window_of([(20 + 2 * index, 30, 12, 12)], index)
        found = method.run(window)
        assert found.labels.tolist() == (truth.astype(int) - 1).tolist()
        assert found.scores.tolist() == [expected]
        ids += found.track_ids.tolist()
    assert ids == [0, 0, 1, 1]
    method.reset()
    assert method.run(window).track_ids.tolist() == [0]


def test_windows_without_objects_reach_the_tracker():
    method = BaselineMethod(Components())
    window, _ = window_of([], noise=[(3, 3)])
    found = method.run(window)
    assert found.labels.tolist() == [-1]
    assert len(found.scores) == len(found.track_ids) == 0


class _Counting:
    """A family that numbers its windows and finds one fixed box."""

    def initial_state(self):
        return 0

    def segment(self, window, state):
        box = BoundingBox(20, 30, 31, 41)
        item = SegmentedObject(
            0, box, np.ones((12, 12), bool), 1, 'x', 0.25, (0.0, 0.0), track_id=state
        )
        return Result(window.stamp, 0, '', 240, 180, 'x', (item,)), state + 1


def test_a_family_keeps_its_state_until_reset():
    method = SegmenterMethod(_Counting())
    window, truth = window_of([(20, 30, 12, 12), (100, 90, 5, 5)])
    for expected in (0, 1, 2):
        found = method.run(window)
        assert found.track_ids.tolist() == [expected]
    assert found.labels.tolist() == np.where(truth == 1, 0, -1).tolist()
    assert found.scores.tolist() == [0.25]
    method.reset()
    assert method.run(window).track_ids.tolist() == [0]


def test_rows_have_unique_names_and_known_options():
    assert len(set(NAMES)) == len({row.title for row in ROWS}) == len(ROWS)
    for row in ROWS:
        settings = row.settings('')
        if row not in NETWORKS:
            continue
        settings.pop('preset', None)
        from_flat(settings)
    assert [row.name for row in choose_rows(['dbscan', 'documented'])] == ['documented', 'dbscan']
    assert 'no-memory' not in [row.name for row in choose_rows([])]
    with pytest.raises(ValueError, match='choose from igarss2023'):
        choose_rows(['nothing'])


def test_the_literal_preset_runs_and_stays_silent():
    method = choose_rows(['igarss2023'])[0].build('')
    window, _ = window_of([(20, 30, 34, 34)], per_pixel=1)
    assert len(method.run(window).scores) == 0
