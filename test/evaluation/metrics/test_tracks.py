# SPDX-License-Identifier: Apache-2.0
"""HOTA and CLEAR MOT: values worked out by hand, perfect and random tracks, corner cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.evaluation.metrics import Candidate, MetricError, Region
from spikeseg_ros.evaluation.metrics.tracks import TrackMetrics

pytest.importorskip('motmetrics')

ONE = np.array([[1.0]])


def test_one_object_two_tracks_by_hand() -> None:
    """Six windows, IoU 0.8, the track changes in the middle."""
    metric = TrackMetrics()
    for window in range(6):
        metric.add(window, [1], [7 if window < 3 else 8], np.array([[0.8]]))
    score = metric.result()
    # Up to alpha 0.8 (16 of 19) all 6 are found; each find shares 3 of its 6 windows: A = 3 / 6.
    assert score['deta'] == pytest.approx(16 / 19)
    assert score['assa'] == pytest.approx(16 / 19 / 2)
    assert score['hota'] == pytest.approx(16 / 19 * math.sqrt(0.5))
    assert score['mota'] == pytest.approx(1 - 1 / 6)
    assert score['motp'] == pytest.approx(0.8)
    # Of 6 true and 6 predicted boxes one identity explains 3: 2 * 3 / (6 + 6).
    assert score['idf1'] == pytest.approx(0.5)
    assert score['id_switches'] == 1


def test_misses_and_false_tracks_by_hand() -> None:
    """Object 1 is found in 2 of 4 windows; a false track stands beside it in 3 windows."""
    metric = TrackMetrics()
    metric.add(0, [1], [5], ONE)
    metric.add(1, [1], [5, 6], np.array([[1.0, 0.0]]))
    metric.add(2, [1], [6], np.array([[0.0]]))
    metric.add(3, [1], [6], np.array([[0.0]]))
    score = metric.result()
    # TP 2, FN 2, FP 3; A = 2 / (4 + 2 - 2).
    assert score['deta'] == pytest.approx(2 / 7)
    assert score['assa'] == pytest.approx(0.5)
    assert score['hota'] == pytest.approx(math.sqrt(2 * 0.5 / 7))
    assert score['mota'] == pytest.approx(1 - 5 / 4)
    assert score['idf1'] == pytest.approx(2 * 2 / (4 + 5))


def test_crossing_objects_by_hand() -> None:
    """Two objects, two tracks that swap identities after half of eight windows."""
    metric = TrackMetrics()
    for window in range(8):
        ids = [11, 12] if window < 4 else [12, 11]
        metric.add(window, [1, 2], ids, np.eye(2))
    score = metric.result()
    # Every find shares 4 windows of 8 + 8 - 4.
    assert (score['deta'], score['assa']) == (1.0, pytest.approx(1 / 3))
    assert score['hota'] == pytest.approx(math.sqrt(1 / 3))
    assert score['id_switches'] == 2
    assert score['idf1'] == pytest.approx(0.5)


def test_the_lasting_association_wins_over_the_larger_overlap() -> None:
    metric = TrackMetrics()
    for window in range(3):
        metric.add(window, [1], [5], ONE)
    # In the last window another track overlaps more.
    metric.add(3, [1], [5, 6], np.array([[0.6, 0.95]]))
    score = metric.result()
    # Track 5 is matched all the same: up to 0.6 (12 of 19) in 4 windows with one false object;
    # above in 3 of its 4, with one miss and two false objects and A = 3 / 5.
    assert score['deta'] == pytest.approx((12 * 4 / 5 + 7 * 3 / 6) / 19)
    assert score['assa'] == pytest.approx((12 * 1.0 + 7 * 3 / 5) / 19)


def test_counts_are_summed_over_sequences() -> None:
    """A long perfect sequence and a short one with nothing found."""
    metric = TrackMetrics()
    for window in range(9):
        metric.add(window, [1], [1], ONE, sequence='a')
    metric.add(0, [1], [], np.zeros((1, 0)), sequence='b')
    score = metric.result()
    assert score['deta'] == pytest.approx(0.9)
    assert score['assa'] == 1.0
    assert score['hota'] == pytest.approx(math.sqrt(0.9))
    assert score['mota'] == pytest.approx(0.9)
    assert score['idf1'] == pytest.approx(2 * 9 / 19)


def test_identities_live_within_their_sequence() -> None:
    metric = TrackMetrics()
    metric.add(0, [1], [1], ONE, sequence='a')
    metric.add(0, [1], [2], ONE, sequence='b')
    score = metric.result()
    assert score['hota'] == score['idf1'] == score['mota'] == 1.0
    assert score['id_switches'] == 0


def _scene(rng: np.random.Generator) -> list[tuple[list[int], list[int], np.ndarray]]:
    """Return windows of (true ids, tracks, overlaps) with misses, false tracks and swaps."""
    frames = []
    for _ in range(int(rng.integers(3, 8))):
        truth = [k for k in (1, 2, 3) if rng.random() < 0.8]
        predicted = [int(k) for k in rng.permutation([11, 12, 13, 14])[: rng.integers(0, 4)]]
        frames.append((truth, predicted, rng.random((len(truth), len(predicted)))))
    return frames


def test_perfect_and_random_tracks_score_what_they_must() -> None:
    rng = np.random.default_rng(0)
    perfect, random = TrackMetrics(), TrackMetrics()
    for window in range(200):
        truth = [k for k in (1, 2, 3) if rng.random() < 0.8]
        perfect.add(window, truth, [k + 10 for k in truth], np.eye(len(truth)))
        random.add(window, truth, rng.permutation(1000)[: len(truth)].tolist(), np.eye(len(truth)))
    score = perfect.result()
    for key in ('hota', 'deta', 'assa', 'mota', 'motp', 'idf1'):
        assert score[key] == pytest.approx(1.0), key
    assert score['id_switches'] == 0
    # Every window a new identity: everything is found, nothing belongs together.
    score = random.result()
    assert score['deta'] == pytest.approx(1.0)
    assert score['assa'] < 0.02
    assert score['idf1'] < 0.05
    assert score['mota'] < 0.1


def test_empty_cases() -> None:
    score = TrackMetrics().result()
    assert all(math.isnan(score[key]) for key in ('hota', 'deta', 'assa', 'mota', 'motp', 'idf1'))
    metric = TrackMetrics()
    metric.add(0, [], [], np.zeros((0, 0)))
    assert math.isnan(metric.result()['hota'])
    metric.add(1, [], [4], np.zeros((0, 1)))
    score = metric.result()
    assert (score['hota'], score['deta'], score['assa']) == (0.0, 0.0, 0.0)
    assert math.isnan(score['mota'])
    metric = TrackMetrics()
    metric.add(0, [1], [], np.zeros((1, 0)))
    score = metric.result()
    assert (score['hota'], score['mota'], score['idf1']) == (0.0, 0.0, 0.0)
    assert math.isnan(score['motp'])


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1))
def test_order_names_and_merging_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    frames = _scene(rng)
    plain, mixed, parts = TrackMetrics(), TrackMetrics(), TrackMetrics()
    for window, (truth, predicted, iou) in enumerate(frames):
        plain.add(window, truth, predicted, iou)
        part = TrackMetrics()
        part.add(window, truth, predicted, iou)
        parts.merge(part)
    for window in rng.permutation(len(frames)).tolist():
        truth, predicted, iou = frames[window]
        rows, columns = rng.permutation(len(truth)), rng.permutation(len(predicted))
        ids = [truth[k] + 100 for k in rows]
        mixed.add(window, ids, [predicted[k] for k in columns], iou[rows][:, columns])
    score = plain.result()
    assert parts.result() == pytest.approx(score, nan_ok=True)
    # Ties between identities may break otherwise in motmetrics; HOTA has none here.
    for key in ('hota', 'deta', 'assa'):
        assert mixed.result()[key] == pytest.approx(score[key], nan_ok=True)
        assert math.isnan(score[key]) or 0.0 <= score[key] <= 1.0


def test_sets_leave_out_ignored_objects_and_objects_without_a_track() -> None:
    def span(start: int, stop: int) -> np.ndarray:
        return (np.arange(100) >= start) & (np.arange(100) < stop)

    truth = [Region(span(0, 30), 1, 1), Region(span(40, 44), 1, 2)]
    predicted = [
        Candidate(span(0, 27), track_id=5),
        Candidate(span(40, 44), track_id=6),  # the small object: excused
        Candidate(span(60, 70), track_id=0),  # no track yet
        Candidate(span(80, 90), track_id=7),  # false
    ]
    metric = TrackMetrics()
    metric.add_sets(0, predicted, truth, min_events=10)
    score = metric.result()
    assert score['motp'] == pytest.approx(0.9)
    assert score['mota'] == pytest.approx(1 - 1 / 1)
    # Found up to alpha 0.9 (18 of 19), beside one false track.
    assert score['deta'] == pytest.approx(18 / 19 / 2)


def test_nonsense_is_refused() -> None:
    metric = TrackMetrics()
    with pytest.raises(MetricError, match='each may occur once'):
        metric.add(0, [1, 1], [], np.zeros((2, 0)))
    with pytest.raises(MetricError, match=r'shape \(1, 2\)'):
        metric.add(0, [1], [1, 2], ONE)
    with pytest.raises(MetricError, match=r'0 \.\. 1'):
        metric.add(0, [1], [1], np.array([[1.5]]))
    metric.add(0, [1], [1], ONE)
    with pytest.raises(MetricError, match='added before'):
        metric.add(0, [1], [1], ONE)
    with pytest.raises(MetricError, match='Both metrics'):
        metric.merge(metric)
