# SPDX-License-Identifier: Apache-2.0
"""Scores of a method over sequences whose truth is known, summed over windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.evaluation.metrics import InstanceMetrics, TrackMetrics
from spikeseg_ros.events.types import EventWindow
from spikeseg_ros.perception.spikeseg import smallest_object

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.benchmarks.methods import Found
    from spikeseg_ros.simulation.truth import GroundTruth

WINDOW = 50_000_000
# Scores that tables and files hold, by metric.
INSTANCE_KEYS = ('ap50', 'ap', 'pq', 'event_iou', 'count_error', 'precision50', 'recall50')
COUNT_KEYS = ('windows', 'true_objects', 'predicted', 'matched')
TRACK_KEYS = ('hota', 'deta', 'assa', 'idf1', 'id_switches')


def windows_of(
    truth: GroundTruth, step: int = 1
) -> Iterator[tuple[EventWindow, NDArray[np.uint16]]]:
    """Yield the windows of a sequence and the true object of each event, 0 = background.

    The last window is left out where less than half of it was recorded.

    Args:
        truth: The sequence.
        step: Take every step-th window.
    """
    last = int(truth.events.t[-1]) if len(truth.events) else 0
    for index, start in enumerate(range(0, max(1, last - WINDOW // 2), WINDOW)):
        if index % step == 0:
            events, labels = truth.labels(start, start + WINDOW)
            end = start + WINDOW
            window = EventWindow(events, start, end, end, truth.width, truth.height, index=index)
            yield window, labels


@dataclass(frozen=True)
class Overlaps:
    """Everything about a window that the scores need.

    Attributes:
        iou: Intersection over union of found and true objects, shape (K, T).
        sizes: Events of the found objects, shape (K,).
        true_ids: Ids of the true objects, shape (T,).
        true_sizes: Their events, shape (T,).
    """

    iou: NDArray[np.float64]
    sizes: NDArray[np.int64]
    true_ids: NDArray[np.int64]
    true_sizes: NDArray[np.int64]


def overlaps_of(labels: NDArray[np.int32], count: int, truth: NDArray[np.integer]) -> Overlaps:
    """Return the overlaps of found and true objects of a window.

    Args:
        labels: Object found for every event, from 0, -1 for none, shape (N,).
        count: Number of objects found.
        truth: True object of every event, 0 = background, shape (N,).
    """
    top = int(truth.max(initial=0)) + 1
    # One row more for events of no object.
    place = np.where(labels < 0, count, labels).astype(np.int64) * top + truth
    table = np.bincount(place, minlength=(count + 1) * top).reshape(count + 1, top)
    sizes, totals = table[:count].sum(1), table.sum(0)
    ids = np.flatnonzero(totals[1:]) + 1
    common = table[:count, ids].astype(np.float64)
    union = sizes[:, None] + totals[ids][None] - common
    iou = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return Overlaps(iou, sizes, ids, totals[ids])


@dataclass
class Judgement:
    """Scores of a method, summed over sequences.

    Attributes:
        instances: Objects of the windows.
        tracks: Objects over the windows.
    """

    instances: InstanceMetrics = field(default_factory=InstanceMetrics)
    tracks: TrackMetrics = field(default_factory=TrackMetrics)

    def add(self, found: Found, truth: NDArray[np.integer], sequence: str, index: int) -> None:
        """Add one window; `index` is its number within the sequence."""
        table = overlaps_of(found.labels, len(found.scores), truth)
        self.instances.add_overlaps(
            table.iou, found.scores.tolist(), table.sizes.tolist(), table.true_sizes.tolist()
        )
        self.tracks.add_overlaps(
            index,
            table.true_ids.tolist(),
            table.true_sizes.tolist(),
            found.track_ids.tolist(),
            np.ascontiguousarray(table.iou.T),
            self.instances.min_events,
            sequence,
        )

    def merge(self, other: Judgement) -> None:
        """Add the windows of other sequences."""
        self.instances.merge(other.instances)
        self.tracks.merge(other.tracks)

    def result(self) -> dict[str, float]:
        """Return the scores; nan where one is not defined."""
        instances, tracks = self.instances.result(), self.tracks.result()
        return {
            **{key: instances[key] for key in (*INSTANCE_KEYS, *COUNT_KEYS)},
            **{key: tracks[key] for key in TRACK_KEYS},
        }


def empty_judgement(height: int, width: int) -> Judgement:
    """Return a judgement that asks for objects as large as the package publishes."""
    return Judgement(InstanceMetrics(smallest_object(height, width)), TrackMetrics())
