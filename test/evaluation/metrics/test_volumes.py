# SPDX-License-Identifier: Apache-2.0
"""Volumes of space and time: by hand, perfect, raw and random detectors, points per slice."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spikeseg_ros.evaluation.metrics import MetricError
from spikeseg_ros.evaluation.metrics.volumes import (
    RAW,
    SLICE_NS,
    Interval,
    LabelledRecording,
    PointMetrics,
    Trajectory,
    VolumeCounts,
    VolumeMetrics,
    volume_counts,
)
from spikeseg_ros.events.types import Events


def _events(rows: list[tuple[int, int, int]]) -> Events:
    """Return events from (t in ms, x, y)."""
    table = np.array(sorted(rows), np.int64).reshape(-1, 3)
    return Events(
        table[:, 1].astype(np.uint16),
        table[:, 2].astype(np.uint16),
        np.ones(len(table), np.uint8),
        table[:, 0] * 1_000_000,
    )


def _path(*points: tuple[int, float, float], number: int = 1) -> Trajectory:
    t, x, y = np.array(points, np.float64).T
    return Trajectory(number, (t * 1e6).astype(np.int64), x, y)


def test_hand_computed_recording() -> None:
    """8 x 8 pixels, two slices, radius 1: a disc of 5 pixels, tiles of 2 x 2 pixels."""
    events = _events([(1, 2, 2), (2, 6, 6), (12, 6, 6), (13, 1, 1)])
    path = _path((0, 2, 2), (10, 2, 2))
    recording = LabelledRecording(events, [path], 8, 8, 0, 2 * SLICE_NS)
    # Slice 1: the disc around (2, 2) has its event. Of 16 tiles each has at least half of its
    # pixels left: the tile at (2, 2) lost 3 of 4, so 15 count; one of them has an event.
    # Slice 2: nothing is labelled at its middle; 16 tiles, two with an event.
    assert volume_counts(recording, events, 1) == VolumeCounts(tp=1, fn=0, tn=14 + 14, fp=1 + 2)
    counts = volume_counts(recording, events, 1)
    assert counts.sensitivity == 1.0
    assert counts.specificity == pytest.approx(28 / 31)
    assert counts.informedness == pytest.approx(28 / 31)


def test_a_volume_needs_more_than_the_mean_of_the_recording() -> None:
    """Every pixel fires once per slice: nothing is denser than the mean."""
    rows = [(10 * k + 1, x, y) for k in range(3) for x in range(8) for y in range(8)]
    recording = LabelledRecording(
        _events(rows), [_path((0, 4, 4), (30, 4, 4))], 8, 8, 0, 3 * SLICE_NS
    )
    counts = volume_counts(recording, recording.events, 1)
    assert (counts.tp, counts.fn, counts.fp) == (0, 3, 0)
    more = _events([*rows, (1, 4, 4)])
    assert volume_counts(recording, more, 1).tp == 1


def test_the_whole_recording_counts() -> None:
    """Noise far from the object and outside its labelled time lowers specificity."""
    path = _path((0, 4, 4), (10, 4, 4))
    quiet = LabelledRecording(_events([(1, 4, 4)]), [path], 40, 40, 0, 10 * SLICE_NS)
    noisy = _events([(1, 4, 4), *((10 * k + 5, 30, 30) for k in range(1, 10))])
    assert volume_counts(quiet, quiet.events, 3).specificity == 1.0
    assert volume_counts(quiet, noisy, 3).fp == 9


def test_between_labels_objects_move_on_straight_lines() -> None:
    path = _path((0, 0, 10), (100, 10, 20))
    assert path.at(50_000_000) == (5.0, 15.0)
    assert path.at(-1) is None
    assert path.at(100_000_001) is None
    late = Trajectory(1, path.t + 10**18, path.x, path.y)
    assert late.at(10**18 + 50_000_000) == (5.0, 15.0)


def _moving(seed: int) -> tuple[LabelledRecording, Events]:
    """Return a noisy recording of a moving point, and the events of the point alone."""
    rng = np.random.default_rng(seed)
    object_rows = [(ms, 10 + ms // 10, 30 + ms // 20) for ms in range(0, 200)]
    noise = [
        (int(rng.integers(200)), int(rng.integers(64)), int(rng.integers(64))) for _ in range(4000)
    ]
    path = _path((0, 10, 30), (199, 29.9, 39.95))
    recording = LabelledRecording(
        _events([*object_rows, *noise]), [path], 64, 64, 0, 20 * SLICE_NS
    )
    return recording, _events(object_rows)


def test_perfect_raw_and_random_detectors_in_one_table() -> None:
    metric = VolumeMetrics()
    rng = np.random.default_rng(5)
    for seed in range(4):
        recording, perfect = _moving(seed)
        keep = rng.random(len(recording.events)) < 0.5
        metric.add(
            recording,
            {
                'perfect': perfect,
                'random': recording.events.select(keep),
                'nothing': Events.empty(),
            },
        )
    table = metric.result()
    assert list(table) == [RAW, 'perfect', 'random', 'nothing']
    assert set(table[RAW]) == {1, 3, 5}
    for radius in (1, 3, 5):
        best = table['perfect'][radius]
        assert best['sensitivity'].mean == 1.0
        assert best['specificity'].mean > 0.99
        assert best['informedness'].mean > table[RAW][radius]['informedness'].mean
        assert table['nothing'][radius]['sensitivity'].mean == 0.0
        assert table['nothing'][radius]['specificity'].mean == 1.0
        assert table['nothing'][radius]['informedness'].mean == 0.0


def test_pure_noise_has_no_informedness() -> None:
    metric = VolumeMetrics(radii=(3,))
    rng = np.random.default_rng(0)
    for _ in range(30):
        noise = _events([tuple(row) for row in rng.integers((0, 0, 0), (200, 64, 64), (4000, 3))])
        path = _path((0, 20, 20), (199, 40, 45))
        metric.add(LabelledRecording(noise, [path], 64, 64, 0, 20 * SLICE_NS), {})
    score = metric.result()[RAW][3]
    assert 0.3 < score['sensitivity'].mean < 0.7
    assert abs(score['informedness'].mean) < 0.1


def test_order_of_objects_does_not_matter() -> None:
    recording, _ = _moving(1)
    second = _path((0, 50, 50), (150, 40, 40), number=2)
    paths = [*recording.trajectories, second]
    both = [
        LabelledRecording(recording.events, order, 64, 64, 0, recording.t_end)
        for order in (paths, paths[::-1])
    ]
    assert volume_counts(both[0], recording.events, 3) == volume_counts(
        both[1], recording.events, 3
    )


def test_the_interval_is_reproducible_and_holds_the_mean() -> None:
    values = [0.1, 0.5, 0.9, float('nan'), 0.4]
    first = Interval.of(values)
    assert first == Interval.of(values)
    assert first.mean == pytest.approx(0.475)
    assert 0.1 <= first.low < first.mean < first.high <= 0.9
    assert Interval.of([0.25]) == Interval(0.25, 0.25, 0.25)
    assert math.isnan(Interval.of([]).mean)


def test_points_by_hand() -> None:
    near, wide = PointMetrics(1.0), PointMetrics(3.0)
    for metric in (near, wide):
        # One pair at 1 px exactly, one at 2 px, one detection too many.
        metric.add([(0, 0), (10, 10), (50, 50)], [(1, 0), (10, 12)])
        metric.add([], [(5, 5)])
        metric.add([], [])
    assert near.result() == pytest.approx({'precision': 1 / 3, 'recall': 1 / 3, 'f1': 2 / 6})
    assert wide.result() == pytest.approx({'precision': 2 / 3, 'recall': 2 / 3, 'f1': 4 / 6})
    # Two detections of one place are one match.
    twice = PointMetrics(1.0)
    twice.add([(0, 0), (0.5, 0)], [(0, 0)])
    assert twice.result()['precision'] == 0.5
    near.merge(twice)
    assert near.matched == 2
    assert all(math.isnan(value) for value in PointMetrics().result().values())


def test_nonsense_is_refused() -> None:
    recording, _ = _moving(0)
    with pytest.raises(MetricError, match='no slice'):
        list(LabelledRecording(recording.events, [], 64, 64, 0, SLICE_NS - 1).slices())
    with pytest.raises(MetricError, match='off the 64x64 sensor'):
        volume_counts(recording, _events([(1, 64, 0)]), 1)
    with pytest.raises(MetricError, match='at least one pixel'):
        volume_counts(recording, recording.events, 0)
    with pytest.raises(MetricError, match='no labelled object'):
        VolumeMetrics().add(LabelledRecording(recording.events, [], 64, 64, 0, 10**8), {})
    metric = VolumeMetrics(radii=(1,))
    metric.add(recording, {'a': recording.events})
    with pytest.raises(MetricError, match='same methods'):
        metric.add(recording, {'b': recording.events})
    with pytest.raises(MetricError, match='do not increase'):
        _path((5, 0, 0), (5, 1, 1))
    with pytest.raises(MetricError, match='at least one'):
        Trajectory(1, np.empty(0, np.int64), np.empty(0), np.empty(0))
    with pytest.raises(MetricError, match='cannot be merged'):
        PointMetrics(1.0).merge(PointMetrics(2.0))
