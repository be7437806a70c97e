# SPDX-License-Identifier: Apache-2.0
"""Tracks of a run: when they were seen, how large, how fast."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.run import interval, lookup, onward

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.report.run import Run


@dataclass
class Track:
    """One track over all windows.

    Attributes:
        number: Track id.
        category: Name of its (most frequent) class.
        spans: Begin and end of every window it was seen in [s], in order.
        events: Events assigned to it.
        scores: Score by window.
        speeds: Speed by window [px/s].
        areas: Pixels (of events: pixels with events) by window.
    """

    number: int
    category: str = ''
    spans: list[tuple[float, float]] = field(default_factory=list)
    events: int = 0
    scores: list[float] = field(default_factory=list)
    speeds: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)

    @property
    def first(self) -> float:
        """Begin of the first window it was seen in [s]."""
        return self.spans[0][0]

    @property
    def last(self) -> float:
        """End of the last window it was seen in [s]."""
        return max(end for _begin, end in self.spans)

    @property
    def share(self) -> float:
        """Time it was seen / time between its first and last window."""
        whole = self.last - self.first
        return min(1.0, sum(end - begin for begin, end in self.spans) / whole) if whole else 1.0

    def merged(self, gap: float = 1e-6) -> list[tuple[float, float]]:
        """Return its spans with neighbours (closer than `gap` [s]) joined."""
        joined: list[tuple[float, float]] = []
        for begin, end in self.spans:
            if joined and begin - joined[-1][1] <= gap:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        return joined


def middle(values: list[float]) -> float:
    """Return the median, nan of nothing."""
    return float(np.median(values)) if values else math.nan


def objects_by_window(run: Run) -> dict[int, list[dict[str, Any]]]:
    """Return the annotations of objects.json by window index.

    Raises:
        ReportError: An annotation lacks what it must have.
    """
    path = run.path / 'objects.json'
    found: dict[int, list[dict[str, Any]]] = {}
    for number, item in enumerate(run.objects.get('annotations') or ()):
        place = f'annotations.{number}.image_id'
        window = lookup({'annotations': {str(number): item}}, place, int, path)
        if window is not None:
            found.setdefault(window, []).append(item)
    return found


def tracks(run: Run) -> list[Track]:
    """Return the tracks of a run, in order of their ids.

    Raises:
        ReportError: objects.json holds something that a run does not write.
    """
    path = run.path / 'objects.json'
    images = [item for item in run.objects.get('images') or () if isinstance(item, dict)]
    ends = {item.get('id'): lookup(item, 'stamp_ns', int, path) for item in images}
    lengths = {item.get('id'): lookup(item, 'duration_ns', int, path) or 0 for item in images}
    known = [ends[key] - lengths[key] for key in ends if ends[key] is not None]
    begin = min(known, default=0)
    if run.of_images:
        begin, ends, lengths = 0, *_intervals(ends)
    names = {
        item.get('id'): str(item.get('name', ''))
        for item in run.objects.get('categories') or ()
        if isinstance(item, dict)
    }
    found: dict[int, Track] = {}
    for window, items in sorted(objects_by_window(run).items()):
        for item in items:
            track_id = lookup(item, 'track_id', int, path)
            stop = ends.get(window)
            if not track_id or stop is None:
                continue
            track = found.setdefault(track_id, Track(track_id))
            end = (stop - begin) / 1e9
            track.spans.append((end - lengths[window] / 1e9, end))
            category = lookup(item, 'category_id', int, path)
            track.category = track.category or names.get(category, '')
            track.events += int(lookup(item, 'n_events', (int, float), path) or 0)
            track.scores += _values(lookup(item, 'score', (int, float), path))
            track.areas += _values(lookup(item, 'area', (int, float), path))
            velocity = lookup(item, 'velocity', list, path) or []
            if len(velocity) == 2 and all(isinstance(part, (int, float)) for part in velocity):
                track.speeds += _values(math.hypot(*velocity))
    return [found[key] for key in sorted(found)]


def _intervals(stamps: dict[Any, int | None]) -> tuple[dict[Any, int], dict[Any, int]]:
    """Return end and length [ns] of the time that each image stands for, by id.

    Args:
        stamps: Stamps of the images [ns], by id, in order.
    """
    whole = {key: stamp for key, stamp in stamps.items() if stamp is not None}
    times = np.array(list(whole.values()), np.int64)
    length = round((interval(times) or 0.0) * 1e9)
    begins = np.rint(onward(times) * 1e9).astype(np.int64).tolist() if times.size else []
    ends = {key: begin + length for key, begin in zip(whole, begins, strict=True)}
    return ends, dict.fromkeys(ends, length)


def _values(value: float | None) -> list[float]:
    """Return a list of the number, empty where it is missing or not finite."""
    return [float(value)] if value is not None and math.isfinite(value) else []
