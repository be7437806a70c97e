# SPDX-License-Identifier: Apache-2.0
"""How good the objects of a run are where the truth is the paths of points (EBSSA).

The events inside published objects stand beside the raw events in volumes of space and time, and
the objects are compared as points; see docs/metrics.md.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.metrics.sets import events_inside
from spikeseg_ros.evaluation.metrics.volumes import (
    RAW,
    SLICE_NS,
    Interval,
    LabelledRecording,
    PointMetrics,
    VolumeMetrics,
)
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikeseg_ros.evaluation.offline.windows import FinishedWindow

OBJECTS = 'objects'
POINT_RADII = (1, 3)


class PathScores:
    """Collects what a run found, window by window, and judges it as a whole.

    Args:
        recording: Labelled paths, and the time that counts.
    """

    def __init__(self, recording: LabelledRecording) -> None:
        self._recording = recording
        self._raw: list[Events] = []
        self._inside: list[Events] = []
        # Places of the objects by begin of the slice.
        self._points: dict[int, list[tuple[float, float]]] = defaultdict(list)

    def add(self, window: FinishedWindow, events: Events) -> None:
        """Take one window into account.

        In a slice an object is the centroid of its events there. A slice takes the objects of
        the window that its middle lies in, so windows of any length can be judged.
        """
        members = [events_inside(item, events) for item in window.result.objects]
        self._raw.append(events)
        if not members:
            return
        self._inside.append(events.select(np.any(members, axis=0)))
        origin = self._recording.t_start
        middles = origin + SLICE_NS // 2
        first = -((middles - window.t_start) // SLICE_NS)
        stop = -((middles - window.t_end) // SLICE_NS)
        for inside in members:
            part = events.select(inside)
            number = (part.t - origin) // SLICE_NS
            for k in np.unique(number[(number >= first) & (number < stop)]).tolist():
                here = part.select(number == k)
                place = float(here.x.mean()), float(here.y.mean())
                self._points[origin + k * SLICE_NS].append(place)

    def result(self) -> dict[str, Any]:
        """Return the scores of the volumes and of the points, by radius [px] as text.

        Raises:
            MetricError: The recording is too short.
        """
        recording = replace(self._recording, events=_in_order(self._raw))
        volumes = VolumeMetrics()
        volumes.add(recording, {OBJECTS: _in_order(self._inside)})
        points = [PointMetrics(float(radius)) for radius in POINT_RADII]
        slices = 0
        for begin, end in recording.slices():
            slices += 1
            for metric in points:
                metric.add(self._points.get(begin, []), recording.places(begin, end))
        return {
            'slice_ms': SLICE_NS / 1e6,
            'slices': slices,
            **{
                _key(method): {
                    str(radius): {score: value.mean for score, value in scores.items()}
                    for radius, scores in table.items()
                }
                for method, table in volumes.result().items()
            },
            'points': {
                str(radius): p.result() for radius, p in zip(POINT_RADII, points, strict=True)
            },
        }


def over_recordings(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return mean and 95 % bootstrap interval of the scores over recordings.

    Args:
        found: What PathScores.result has returned for each, or null in place of numbers.
    """
    methods = (_key(RAW), OBJECTS, 'points')
    return {
        'recordings': len(found),
        **{method: _averaged([item[method] for item in found]) for method in methods},
    }


def _averaged(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the intervals of the scores of one method; null is a score that is not defined."""
    return {
        radius: {
            score: asdict(Interval.of([_number(table[radius][score]) for table in tables]))
            for score in scores
        }
        for radius, scores in tables[0].items()
    }


def _number(value: float | None) -> float:
    """Return a number of a summary."""
    return float('nan') if value is None else value


def _key(method: str) -> str:
    """Return the name of a method in summary.json."""
    return method.replace(' ', '_')


def _in_order(parts: Sequence[Events]) -> Events:
    """Return events in order of time."""
    events = Events.concatenate(parts)
    return events.select(np.argsort(events.t, kind='stable'))
