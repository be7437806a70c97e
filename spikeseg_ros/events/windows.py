# SPDX-License-Identifier: Apache-2.0
"""Cutting a stream of events into windows, the same ones however the stream was packed."""

from __future__ import annotations

import operator
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import MAX_TIME
from spikeseg_ros.events.types import Events, EventWindow

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_EMPTY = 64
MAX_WINDOWS = 4096
MAX_EVENTS = 1 << 24


class WindowSlicer:
    """Collects events and gives them back in windows.

    By time (count = 0): window k covers [t_0 + k D, t_0 + (k + 1) D), t_0 being the time of the
    first event. A window is complete when an event or the watermark (advance) is past its end.
    By count: every window holds exactly ``count`` events, begins where the one before ended, and
    ends one nanosecond after its last event.

    Time inside one slicer does not run backwards: an event older than the one before it takes
    that one's time, and events of windows already given away are dropped. A gap of more than 64
    empty windows is skipped: the empty windows are not made, the index goes on as if they were.

    Attributes:
        duration: Length D of a window [ns].
        count: Events per window; 0 = by time.
        late: Events dropped because their window had been given away.
        excess: Events dropped because one window had more than 2^24.
        skipped: Empty windows not made.
        shed: Windows lost because one call would have returned more than 4096; the newest stay.
        started: Whether the first event or watermark was seen.
    """

    def __init__(self, duration_ns: int = 0, count: int = 0) -> None:
        """Prepare for one stream.

        Args:
            duration_ns: Length of a window [ns].
            count: Events per window; 0 = by time.

        Raises:
            EventError: Neither is positive, or one is negative or no integer.
        """
        self.duration = _positive(duration_ns, 'duration_ns')
        self.count = _positive(count, 'count')
        if not self.duration and not self.count:
            msg = 'Give windows a length: duration_ns or count must be positive.'
            raise EventError(msg)
        if self.count > MAX_EVENTS:
            msg = f'count {count!r} is more than {MAX_EVENTS}; use shorter windows.'
            raise EventError(msg)
        self.late = 0
        self.excess = 0
        self.skipped = 0
        self.shed = 0
        self.reset()

    def reset(self) -> None:
        """Begin a new stream; what was collected is lost, the counters stay."""
        self._parts: list[Events] = []
        self._pending = 0
        self._index = 0
        self._start: int | None = None
        self._newest = -1
        self._budget = MAX_WINDOWS

    @property
    def started(self) -> bool:
        """Whether the first event was seen."""
        return self._start is not None

    @property
    def start(self) -> int | None:
        """First nanosecond of the window being collected, or None before the first event."""
        return self._start

    @property
    def pending(self) -> int:
        """Number of events collected for the next window."""
        return self._pending

    def push(self, events: Events) -> list[EventWindow]:
        """Add events and return the windows that became complete, in order.

        The windows have no geometry, frame or epoch, and their stamp is t_end.
        """
        if not len(events):
            return []
        self._budget = MAX_WINDOWS
        events = self._in_order(events)
        if not len(events):
            return []
        if self._start is None:
            self._start = int(events.t[0])
        return self._by_count(events) if self.count else self._by_time(events)

    def advance(self, watermark: int) -> list[EventWindow]:
        """Return the windows that end at or before a time [ns]; later events come after it.

        Windows by count do not depend on time: nothing is returned for them.
        """
        if self._start is None or self.count:
            return []
        self._budget = MAX_WINDOWS
        return self._close_until(min(watermark, MAX_TIME))

    def flush(self, t_end: int | None = None) -> list[EventWindow]:
        """Return what was collected as a last, incomplete window.

        Args:
            t_end: End of a window by count [ns]; one nanosecond after the last event where None.
                Given, a window is returned even if it has no events. By time the end is fixed.
        """
        if self._start is None or (not self._pending and t_end is None):
            return []
        if not self.count:
            return [self._close(self._start + self.duration)]
        return [self._close(max(self._newest + 1, self._start + 1, t_end or 0))]

    def _in_order(self, events: Events) -> Events:
        """Return the events with times that never decrease, without those that come too late."""
        t = events.t
        if int(t[0]) < self._newest or bool(np.any(t[1:] < t[:-1])):
            t = np.maximum(np.maximum.accumulate(t), self._newest)
            events = Events(events.x, events.y, events.p, t)
        if self._start is not None and not self.count:
            # Only a watermark that was ahead of the sensor leaves events behind a closed window.
            late = int(np.searchsorted(t, self._start))
            self.late += late
            events = events.slice(late, len(events))
        if len(events):
            self._newest = int(events.t[-1])
        return events

    def _by_time(self, events: Events) -> list[EventWindow]:
        """Cut at the boundaries that lie before the last of the events."""
        events = self._skip_ahead(events)
        windows: deque[EventWindow] = deque(maxlen=MAX_WINDOWS)
        made = 0
        done = 0
        while done < len(events):
            assert self._start is not None
            end = self._start + self.duration
            stop = done + int(np.searchsorted(events.t[done:], end))
            self._collect(events, done, stop)
            done = stop
            if done < len(events):
                closed = self._close_until(int(events.t[done]))
                made += len(closed)
                windows += closed
        self.shed += made - len(windows)
        return list(windows)

    def _by_count(self, events: Events) -> list[EventWindow]:
        """Cut after every count events."""
        surplus = (self._pending + len(events)) // self.count - MAX_WINDOWS
        if surplus > 0:
            self._drop_pending(surplus)
            self.shed += surplus
            events = events.slice(surplus * self.count, len(events))
        windows: deque[EventWindow] = deque(maxlen=MAX_WINDOWS)
        made = 0
        done = 0
        while done < len(events):
            stop = min(len(events), done + self.count - self._pending)
            self._collect(events, done, stop)
            if self._pending == self.count:
                windows.append(self._close(int(events.t[stop - 1]) + 1))
                made += 1
            done = stop
        self.shed += made - len(windows)
        return list(windows)

    def _skip_ahead(self, events: Events) -> Events:
        """Leave out the events of all windows that would be shed anyway."""
        assert self._start is not None
        if int(events.t[-1]) - self._start <= MAX_WINDOWS * self.duration:
            return events
        number = (events.t - self._start) // self.duration
        first = np.flatnonzero(np.diff(number, prepend=-1))
        surplus = first.size - MAX_WINDOWS
        if surplus <= 0:
            return events
        self._drop_pending(int(number[first[surplus]]))
        self.shed += surplus
        self._start += int(number[first[surplus]]) * self.duration
        return events.slice(int(first[surplus]), len(events))

    def _drop_pending(self, windows: int) -> None:
        """Drop what is collected and count a number of windows as if they had been made."""
        self._parts = []
        self._pending = 0
        self._index += windows

    def _collect(self, events: Events, first: int, stop: int) -> None:
        """Keep events for the window being collected, up to the limit."""
        room = MAX_EVENTS - self._pending
        if stop - first > room:
            self.excess += stop - first - room
            stop = first + room
        if stop > first:
            self._parts.append(events.slice(first, stop))
            self._pending += stop - first

    def _close_until(self, time: int) -> list[EventWindow]:
        """Close every window that ends at or before a time, skipping a long row of empty ones."""
        assert self._start is not None
        windows: list[EventWindow] = []
        passed = (time - self._start) // self.duration
        if passed <= 0:
            return windows
        if self._pending:
            windows.append(self._close(self._start + self.duration))
            passed -= 1
        if passed > min(MAX_EMPTY, self._budget):
            self._start += passed * self.duration
            self._index += passed
            self.skipped += passed
            return windows
        self._budget -= passed
        windows += [self._close(self._start + self.duration) for _ in range(passed)]
        return windows

    def _close(self, t_end: int) -> EventWindow:
        """Return the collected events as a window and begin the next one at its end."""
        assert self._start is not None
        events = Events.concatenate(self._parts)
        start = self._start
        if len(events):
            # By count, the events of one moment may be spread over two windows.
            start = min(start, int(events.t[0]))
        window = EventWindow(events, start, t_end, t_end, 0, 0, index=self._index)
        self._parts = []
        self._pending = 0
        self._index += 1
        self._start = t_end
        return window


def first_step_back(t: NDArray[np.int64], newest: int, tolerance: int) -> int | None:
    """Return where times first fall more than a tolerance below their maximum so far.

    Args:
        t: Times [ns], shape (N,).
        newest: Maximum of the times before these [ns].
        tolerance: Steps back up to this are none [ns].
    """
    if not t.size:
        return None
    if int(t[0]) < newest - tolerance:
        return 0
    if not bool(np.any(t[1:] < t[:-1])):
        return None
    back = np.maximum(np.maximum.accumulate(t), newest) - t > tolerance
    return int(np.argmax(back)) if bool(back.any()) else None


def _positive(value: int, name: str) -> int:
    """Return a setting that must be an integer of at least 0."""
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if not 0 <= number <= MAX_TIME:
        msg = f'{name} {value!r} is not an integer of at least 0.'
        raise EventError(msg)
    return number
