# SPDX-License-Identifier: Apache-2.0
"""What a benchmark judges: methods that see the windows of a sequence one after the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numba import njit

from spikeseg_ros.algorithms import BoundingBox, TrackerState
from spikeseg_ros.algorithms.tracking import TrackerOptions, update
from spikeseg_ros.perception.config import ObjectConfig, TrackingConfig
from spikeseg_ros.perception.spikeseg import smallest_object

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.benchmarks.baselines import Baseline
    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.segmenter import Segmenter

SCORES = ('events', 'density')


@dataclass(frozen=True)
class Found:
    """Objects of a window.

    Attributes:
        labels: Object of every event, from 0, -1 for none, shape (N,).
        scores: Score of every object, shape (K,); objects are ranked by it.
        track_ids: Track of every object, from 1, 0 where it has none, shape (K,).
    """

    labels: NDArray[np.int32]
    scores: NDArray[np.float64]
    track_ids: NDArray[np.int64]


class Method(Protocol):
    """A method with memory over the windows of a sequence."""

    def reset(self) -> None:
        """Forget everything: a new sequence begins."""

    def run(self, window: EventWindow) -> Found:
        """Return the objects of the next window."""


class SegmenterMethod:
    """A model family of the package."""

    def __init__(self, segmenter: Segmenter) -> None:
        self._segmenter = segmenter
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new sequence begins."""
        self._state: Any = self._segmenter.initial_state()

    def run(self, window: EventWindow) -> Found:
        """Return the objects of the next window."""
        result, self._state = self._segmenter.segment(window, self._state)
        mask = result.object_mask()
        events = window.events
        return Found(
            mask[events.y, events.x].astype(np.int32) - 1,
            np.array([item.score for item in result.objects], np.float64),
            np.array([item.track_id for item in result.objects], np.int64),
        )


@dataclass(frozen=True)
class Blob:
    """An object without a network, as the tracker wants it.

    Attributes:
        box: Tight box of its pixels.
        centroid: Mean (x, y) of its pixels [px].
        class_id: Always 0.
        relative_words: No hash, shape (0,).
        n_events: Number of its events.
    """

    box: BoundingBox
    centroid: tuple[float, float]
    class_id: int
    relative_words: NDArray[np.uint64]
    n_events: int


class BaselineMethod:
    """A baseline with what the network's objects have too.

    Objects below the smallest size are dropped, at most as many as the package publishes by
    default are kept, the largest ones, and the package's tracker numbers them.

    Args:
        baseline: Finds the object of every event.
        score: What objects are ranked by: 'events', or 'density' = events per pixel of the box.
        tracker: Options of the tracker; those of the package where None.
    """

    def __init__(
        self, baseline: Baseline, score: str = 'events', tracker: TrackerOptions | None = None
    ) -> None:
        defaults = TrackingConfig()
        self._baseline = baseline
        self._score = score
        self._tracker = tracker or TrackerOptions(
            min_hits=defaults.min_hits, max_missed=defaults.max_missed, gate=defaults.gate
        )
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new sequence begins."""
        self._state = TrackerState()

    def run(self, window: EventWindow) -> Found:
        """Return the objects of the next window."""
        floor = smallest_object(window.height, window.width)
        labels = largest(self._baseline.labels(window), floor)
        items = blobs(labels, window)
        tracks, self._state = update(self._state, items, window.stamp, self._tracker)
        scores = [score_of(item, self._score) for item in items]
        return Found(
            labels,
            np.array(scores, np.float64),
            np.array([track.track_id for track in tracks], np.int64),
        )


def score_of(item: Blob, score: str) -> float:
    """Return what an object is ranked by; see BaselineMethod."""
    return item.n_events / item.box.area if score == 'density' else float(item.n_events)


def largest(labels: NDArray[np.int32], floor: int) -> NDArray[np.int32]:
    """Return labels without objects below a number of events, and with the largest ones only.

    Args:
        labels: Object of every event, from 0, -1 for none, shape (N,).
        floor: Events an object needs.

    Returns:
        The same with new numbers in the old order, without gaps.
    """
    counts = np.bincount(labels[labels >= 0]) if len(labels) else np.zeros(0, np.int64)
    order = np.argsort(-counts, kind='stable')[: ObjectConfig().max_objects]
    keep = np.sort(order[counts[order] >= max(1, floor)])
    table = np.full(len(counts) + 1, -1, np.int32)
    table[keep] = np.arange(len(keep))
    # The last entry of the table serves label -1.
    return table[labels]


def blobs(labels: NDArray[np.int32], window: EventWindow) -> list[Blob]:
    """Return the objects of labels without gaps, as the tracker wants them."""
    count = int(labels.max(initial=-1)) + 1
    seen = np.zeros((count, window.height, window.width), np.bool_)
    table = np.zeros((count, 8), np.int64)
    table[:, 0:2] = np.iinfo(np.int64).max
    _measure(labels, window.events.x, window.events.y, seen, table)
    return [
        Blob(
            BoundingBox(*row[:4]),
            (row[4] / row[6], row[5] / row[6]),
            0,
            np.empty(0, np.uint64),
            row[7],
        )
        for row in table.tolist()
    ]


@njit(cache=True, nogil=True)
def _measure(labels: Any, x: Any, y: Any, seen: Any, table: Any) -> None:
    """Measure the objects of labels.

    Args:
        labels: Object of every event, -1 for none, (N,).
        x: Columns of the events, (N,).
        y: Rows of the events, (N,).
        seen: False everywhere, scratch, (K, H, W).
        table: Receives x_min, y_min, x_max, y_max, sums of columns and rows over pixels, number of
            pixels and of events; starts with the largest integer in the first two columns and 0
            in the others, (K, 8).
    """
    for n in range(labels.shape[0]):
        k = labels[n]
        if k < 0:
            continue
        column, row = np.int64(x[n]), np.int64(y[n])
        table[k, 7] += 1
        if seen[k, row, column]:
            continue
        seen[k, row, column] = True
        table[k, 0] = min(table[k, 0], column)
        table[k, 1] = min(table[k, 1], row)
        table[k, 2] = max(table[k, 2], column)
        table[k, 3] = max(table[k, 3], row)
        table[k, 4] += column
        table[k, 5] += row
        table[k, 6] += 1
