# SPDX-License-Identifier: Apache-2.0
"""Labelled recordings of the EBSSA data set (MATLAB files with the structs TD and Obj).

TD holds the events, Obj one entry per label; both are structs of equally long columns:

| field | TD | Obj |
|---|---|---|
| x, y | pixel, from 1 | place of the object [px], from 1 |
| ts | time [us] | time [us], on the clock of TD |
| p | polarity, positive = ON | |
| id | | number of the object |

Data: Afshar et al., "Event-based object detection and tracking for space situational awareness",
IEEE Sensors Journal 20(24), 2020. Recordings with an ATIS (304x240) and a DAVIS240 (240x180).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.io

from spikeseg_ros.evaluation.metrics.volumes import LabelledRecording, Trajectory
from spikeseg_ros.evaluation.truth.base import TruthError
from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.truth import MaskCrop, ObjectTruth, WindowTruth

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

SENSORS = ((240, 180), (304, 240))
# Radius around a label whose events count as the object's [px].
RADIUS = 3.0


class TrajectoryTruth:
    """Truth of objects that are points with a known path.

    Args:
        recording: Events and paths of the whole recording.
        path: Where it came from, for messages.

    Raises:
        TruthError: There is no labelled object.
    """

    def __init__(self, recording: LabelledRecording, path: str = '') -> None:
        if not recording.trajectories:
            msg = f'The recording {path!r} has no labelled object (struct Obj).'
            raise TruthError(msg)
        self.path = path
        self.recording = recording
        self.width, self.height = recording.width, recording.height
        self.t_start, self.t_end = recording.t_start, recording.t_end
        self.classes: Mapping[int, int] = {item.track_id: 1 for item in recording.trajectories}

    @staticmethod
    def load(path: str | Path) -> TrajectoryTruth:
        """Read a .mat file of EBSSA; the sensor is the smallest one that holds all events.

        Raises:
            TruthError: It cannot be read, lacks a field, or has no labels.
        """
        tree = _structs(Path(path))
        x, y, p, ts = (_column(tree, 'TD', name, path) for name in ('x', 'y', 'p', 'ts'))
        if len({len(x), len(y), len(p), len(ts)}) != 1 or not len(x):
            msg = f'{str(path)!r}: the fields of TD need equally many events, at least one.'
            raise TruthError(msg)
        order = np.argsort(ts, kind='stable')
        columns, rows = x[order] - 1, y[order] - 1
        sizes = [s for s in SENSORS if columns.max() < s[0] and rows.max() < s[1]]
        if not sizes or min(columns.min(), rows.min()) < 0:
            msg = (
                f'{str(path)!r}: events reach from ({x.min():g}, {y.min():g}) to ({x.max():g}, '
                f'{y.max():g}), no sensor of EBSSA has such pixels (counted from 1).'
            )
            raise TruthError(msg)
        events = Events(
            columns.astype(np.uint16),
            rows.astype(np.uint16),
            (p[order] > 0).astype(np.uint8),
            np.round(ts[order] * 1000).astype(np.int64),
        )
        width, height = sizes[0]
        start, end = int(events.t[0]), int(events.t[-1]) + 1
        paths = _trajectories(tree, path)
        return TrajectoryTruth(
            LabelledRecording(events, paths, width, height, start, end), str(path)
        )

    def covers(self, t_start: int, t_end: int) -> bool:
        """Say whether the window shares time with the recording: all of it is labelled."""
        return t_end > self.t_start and t_start < self.t_end

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return discs around the objects that are labelled at the middle of a window."""
        rows, columns = np.mgrid[0 : self.height, 0 : self.width]
        objects = []
        for item in self.recording.trajectories:
            place = item.at((t_start + t_end) // 2)
            if place is None:
                continue
            inside = (columns - place[0]) ** 2 + (rows - place[1]) ** 2 <= RADIUS**2
            crop = MaskCrop.of(inside)
            if crop.area:
                objects.append(ObjectTruth(item.track_id, 1, 'space object', crop, crop, 0))
        return WindowTruth(t_start, t_end, tuple(objects))

    def labels(self, events: Events, t_start: int, t_end: int) -> NDArray[np.uint16]:
        """Return the nearest object within the radius at the time of each event, shape (N,)."""
        result = np.zeros(len(events), np.uint16)
        nearest = np.full(len(events), RADIUS)
        for item in self.recording.trajectories:
            known = (events.t >= item.t[0]) & (events.t <= item.t[-1])
            since = (events.t[known] - item.t[0]).astype(np.float64)
            times = (item.t - item.t[0]).astype(np.float64)
            distance = np.full(len(events), np.inf)
            distance[known] = np.hypot(
                events.x[known] - np.interp(since, times, item.x),
                events.y[known] - np.interp(since, times, item.y),
            )
            closer = (distance < nearest) | ((distance == nearest) & (result == 0))
            result[closer], nearest[closer] = item.track_id, distance[closer]
        return result


def _structs(path: Path) -> dict[str, Any]:
    """Return the variables of a MATLAB file."""
    try:
        tree: dict[str, Any] = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError:
        msg = f"{str(path)!r} is a MATLAB 7.3 file; save it with MATLAB's option '-v7'."
        raise TruthError(msg) from None
    except Exception as err:
        msg = f'Cannot read the MATLAB file {str(path)!r}: {err}'
        raise TruthError(msg) from None
    return tree


def _column(tree: dict[str, Any], struct: str, name: str, path: str | Path) -> NDArray[np.float64]:
    """Return a field of a struct, shape (N,)."""
    values = getattr(tree.get(struct), name, None)
    if values is None:
        msg = f'{str(path)!r} has no field {struct}.{name}; is it a labelled recording of EBSSA?'
        raise TruthError(msg)
    try:
        column = np.atleast_1d(np.asarray(values, np.float64)).ravel()
    except (ValueError, TypeError):
        column = np.array([np.nan])
    if not np.isfinite(column).all():
        msg = f'{str(path)!r}: the field {struct}.{name} holds values that are no numbers.'
        raise TruthError(msg)
    return column


def _trajectories(tree: dict[str, Any], path: str | Path) -> list[Trajectory]:
    """Return one trajectory per id, numbered from 1 in the order of the ids."""
    if 'Obj' not in tree:
        return []
    x, y, ts, ids = (_column(tree, 'Obj', name, path) for name in ('x', 'y', 'ts', 'id'))
    if len({len(x), len(y), len(ts), len(ids)}) != 1:
        msg = f'{str(path)!r}: the fields of Obj need equally many labels.'
        raise TruthError(msg)
    found = []
    for number, name in enumerate(np.unique(ids), 1):
        mine = ids == name
        # Of labels with the same time the first one counts.
        times, first = np.unique(np.round(ts[mine] * 1000).astype(np.int64), return_index=True)
        found.append(Trajectory(number, times, x[mine][first] - 1, y[mine][first] - 1))
    return found
