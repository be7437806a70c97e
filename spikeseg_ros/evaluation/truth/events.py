# SPDX-License-Identifier: Apache-2.0
"""Ground truth that knows the instance of every event (.npz), and by window (COCO-like JSON)."""

from __future__ import annotations

import json
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.evaluation.truth.base import TruthError
from spikeseg_ros.simulation.events import SimulationError
from spikeseg_ros.simulation.truth import GroundTruth, WindowTruth, from_coco

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events

# Encodings keep whole microseconds.
_TICK = 1000
# Events of a window from which strangers tell that the truth is of another recording.
_JUDGED = 50


class EventTruth:
    """Truth of every event, as GroundTruth.save writes it; answers any window.

    Args:
        truth: The truth.
        path: Where it came from, for messages.
    """

    def __init__(self, truth: GroundTruth, path: str = '') -> None:
        self.path = path
        self.truth = truth
        self.width, self.height = truth.width, truth.height
        self.classes: Mapping[int, int] = truth.classes
        times = truth.events.t
        if not len(times) or not truth.instance.any():
            msg = f'The ground truth {path!r} holds no object: no event has an instance.'
            raise TruthError(msg)
        self.t_start, self.t_end = int(times[0]), int(times[-1]) + 1

    @staticmethod
    def load(path: str | Path) -> EventTruth:
        """Read a .npz file.

        Raises:
            TruthError: It cannot be read or holds no object.
        """
        try:
            truth = GroundTruth.load(path)
        except SimulationError as err:
            msg = f'{err}. Write it with GroundTruth.save.'
            raise TruthError(msg) from None
        return EventTruth(truth, str(path))

    def covers(self, t_start: int, t_end: int) -> bool:
        """Say whether the window shares time with the events of the truth."""
        return t_end > self.t_start and t_start < self.t_end

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return the true objects of a window."""
        return self.truth.window(t_start, t_end)

    def labels(self, events: Events, t_start: int, t_end: int) -> NDArray[np.uint16]:
        """Return the instance of each event, shape (N,).

        Events are recognised by pixel, polarity and microsecond. One that is not known (an
        encoding may have moved it by some microseconds) takes the instance of the last known
        event of its pixel in the window, 0 if there is none.

        Raises:
            TruthError: Fewer than half of the events are known (of 50 or more).
        """
        known, instance = self.truth.labels(t_start - _TICK, t_end + _TICK)
        mine, theirs = self._keys(known, t_start), self._keys(events, t_start)
        order = np.argsort(mine, kind='stable')
        mine = mine[order]
        asked = np.argsort(theirs, kind='stable')
        sought = theirs[asked]
        # The k-th of several equal events is the k-th of the truth.
        repeat = np.arange(len(sought)) - np.searchsorted(sought, sought)
        place = np.searchsorted(mine, sought) + repeat
        place[place >= len(mine)] = -1
        found = (
            (place >= 0) & (mine[place] == sought) if len(mine) else np.zeros(len(sought), bool)
        )
        if len(events) >= _JUDGED and 2 * np.count_nonzero(found) < len(events):
            msg = (
                f'Only {int(np.count_nonzero(found))} of {len(events)} events of the window at '
                f'{t_start / 1e9:.6f} s are known to the ground truth {self.path!r}: give the '
                'truth of this recording.'
            )
            raise TruthError(msg)
        last = np.zeros(self.width * self.height, np.uint16)
        last[known.y.astype(np.int64) * self.width + known.x] = instance
        result = last[events.y.astype(np.int64) * self.width + events.x]
        result[asked[found]] = instance[order[place[found]]]
        return np.asarray(result)

    def _keys(self, events: Events, origin: int) -> NDArray[np.int64]:
        """Return one number per event that stands for its microsecond, pixel and polarity."""
        pixel = events.y.astype(np.int64) * self.width + events.x
        tick = events.t // _TICK - origin // _TICK
        return np.asarray((tick * (self.width * self.height) + pixel) * 2 + events.p, np.int64)


class WindowsTruth:
    """Truth by window, as COCO-like JSON.

    A window that is asked for takes the labelled window that shares most of its time; where that
    is less than half of it, it is not labelled.

    Args:
        windows: Labelled windows.
        width: Columns [px].
        height: Rows [px].
        path: Where they came from, for messages.
    """

    def __init__(
        self, windows: list[WindowTruth], width: int, height: int, path: str = ''
    ) -> None:
        self.path = path
        self.width, self.height = width, height
        self.windows = sorted(windows, key=lambda item: item.t_start)
        if not any(window.objects for window in windows):
            msg = f'The ground truth {path!r} holds no object in any of {len(windows)} windows.'
            raise TruthError(msg)
        for window in self.windows:
            if window.t_end <= window.t_start:
                msg = (
                    f'The ground truth {path!r} has a window from {window.t_start!r} to '
                    f'{window.t_end!r} ns; t_end must be later.'
                )
                raise TruthError(msg)
        for first, second in zip(self.windows, self.windows[1:], strict=False):
            if second.t_start < first.t_end:
                msg = f'The ground truth {path!r} has two windows at {second.t_start!r} ns.'
                raise TruthError(msg)
        self.t_start, self.t_end = self.windows[0].t_start, self.windows[-1].t_end
        self.classes: Mapping[int, int] = {
            item.track_id: item.class_id for window in self.windows for item in window.objects
        }

    @staticmethod
    def load(path: str | Path) -> WindowsTruth:
        """Read a JSON file.

        Raises:
            TruthError: It cannot be read, is not in the documented form, or holds no object.
        """
        try:
            tree = json.loads(Path(path).read_text(encoding='utf-8'))
            sizes = {(int(image['width']), int(image['height'])) for image in tree['images']}
            windows = from_coco(tree)
            _check(windows)
        except KeyError as err:
            what = f'lacks the field {err}'
            if not isinstance(err.args[0], str):
                what = f'has an annotation of an unknown image {err}'
            msg = f'The ground truth {str(path)!r} {what}; docs/ground_truth.md shows the form.'
            raise TruthError(msg) from None
        except (OSError, ValueError, TypeError, AttributeError, IndexError, RecursionError) as err:
            msg = (
                f'Cannot read the ground truth {str(path)!r}: {err}. docs/ground_truth.md shows '
                'the form.'
            )
            raise TruthError(msg) from None
        if len(sizes) != 1:
            msg = f'The images of the ground truth {str(path)!r} need one size, got {sizes!r}.'
            raise TruthError(msg)
        return WindowsTruth(windows, *sizes.pop(), path=str(path))

    def covers(self, t_start: int, t_end: int) -> bool:
        """Say whether a labelled window shares at least half of the window."""
        return self._nearest(t_start, t_end) is not None

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return the true objects of a window; none where it is not labelled."""
        found = self._nearest(t_start, t_end)
        return WindowTruth(t_start, t_end, found.objects if found else ())

    def labels(self, events: Events, t_start: int, t_end: int) -> NDArray[np.uint16]:
        """Return the instance whose event pixels each event lies on, shape (N,).

        Where objects overlap, the one that is visible there (its silhouette) is taken, else the
        one with fewer pixels.
        """
        image = np.zeros((self.height, self.width), np.uint16)
        objects = sorted(
            self.window(t_start, t_end).objects,
            key=lambda item: (-item.events.area, item.track_id),
        )
        for item in objects:
            image[item.events.full(self.height, self.width)] = item.track_id
        for item in objects:
            seen = item.silhouette.full(self.height, self.width)
            image[seen & item.events.full(self.height, self.width)] = item.track_id
        return np.asarray(image[events.y, events.x])

    def _nearest(self, t_start: int, t_end: int) -> WindowTruth | None:
        """Return the labelled window that shares most time with a window."""
        place = bisect_left([window.t_end for window in self.windows], t_start + 1)
        best, shared = None, 0
        for window in self.windows[place:]:
            if window.t_start >= t_end:
                break
            common = min(t_end, window.t_end) - max(t_start, window.t_start)
            if common > shared:
                best, shared = window, common
        return best if 2 * shared >= t_end - t_start else None


def _check(windows: list[WindowTruth]) -> None:
    """Refuse values that no truth can have."""
    for window in windows:
        for time in (window.t_start, window.t_end):
            if int(time) != time:
                msg = f'times of windows are whole nanoseconds, got {time!r}'
                raise TruthError(msg)
        ids = [item.track_id for item in window.objects]
        if len(set(ids)) != len(ids):
            msg = f'the window at {window.t_start!r} ns has the track ids {ids!r}'
            raise TruthError(msg)
        for item in window.objects:
            if not (0 < int(item.track_id) < 65536 and int(item.class_id) > 0):
                msg = f'got track_id {item.track_id!r} and category_id {item.class_id!r} below 1'
                raise TruthError(msg)
