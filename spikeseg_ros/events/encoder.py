# SPDX-License-Identifier: Apache-2.0
"""Writing of EVT3, for simulation and tests."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import US
from spikeseg_ros.events.types import Triggers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events

MAX_SIDE = 2048
# 19 hours: each turn of the 24-bit counter that is passed over costs two words.
MAX_TURNS = 4096
_TURN_NS = (1 << 24) * US


class Evt3Encoder:
    """Turns events into EVT3 payloads that EventDecoder('evt3') turns back into the same events.

    The time of a stream goes on from payload to payload, and every payload begins with time and
    row, so that a listener can join at any payload. Events that follow each other with the same
    time, row and polarity and rising column become vectors where that takes fewer words.

    Attributes:
        width: Sensor columns [px].
        height: Sensor rows [px].
    """

    def __init__(self, width: int, height: int) -> None:
        """Begin a stream at sensor time 0.

        Raises:
            EventError: The geometry is not in 1 .. 2048, which is what EVT3 can express.
        """
        for side in (width, height):
            if not 1 <= side <= MAX_SIDE:
                msg = f'EVT3 cannot express a sensor of {width!r} x {height!r} px (1 .. 2048).'
                raise EventError(msg)
        self.width = width
        self.height = height
        # Time written last [us]; -1 before the first.
        self._state = np.empty(1, np.int64)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, for a decoder that begins anew as well."""
        self._state[0] = -1

    def encode(
        self, events: Events, triggers: Triggers | None = None, until: int | None = None
    ) -> bytes:
        """Encode events and trigger edges that follow those of the calls before.

        Args:
            events: Events, ordered by time, in whole microseconds.
            triggers: Trigger edges, ordered by time, in whole microseconds.
            until: Time up to which nothing else happens [ns]; written as bare time words, which
                is how a sensor shows that it is alive. None = the time of the last event.

        Returns:
            The payload; empty where there is nothing to tell.

        Raises:
            EventError: Something cannot be expressed exactly: a time that is no whole
                microsecond, decreases, is negative or more than 19 hours after the one before,
                a place outside the geometry, a polarity or edge besides 0 and 1, or a trigger
                channel above 15. The encoder is as before the call.
        """
        edges = Triggers.empty() if triggers is None else triggers
        self._check(events, edges)
        now = max(0, int(self._state[0]))
        us = _microseconds(events.t, now, 'event')
        edge_us = _microseconds(edges.t, now, 'trigger')
        last = max([now, *us[-1:].tolist(), *edge_us[-1:].tolist()])
        end = -1
        if until is not None:
            end = _until(until, last)
        elif not us.size and not edge_us.size:
            return b''
        turns = (max(last, end) >> 24) - (now >> 24) + 1
        if turns > MAX_TURNS:
            msg = f'Time moves on by {turns!r} turns of 16.8 s at once; subtract the first time.'
            raise EventError(msg)
        words = np.empty(8 * (us.size + edge_us.size) + 3 * turns + 16, np.uint16)
        count = _encode_kernel(
            _column(events.x, np.uint16),
            _column(events.y, np.uint16),
            _column(events.p, np.uint8),
            us,
            edge_us,
            _column(edges.value, np.uint8),
            _column(edges.id, np.uint8),
            end,
            self._state,
            words,
        )
        return words[:count].astype('<u2', copy=False).tobytes()

    def _check(self, events: Events, edges: Triggers) -> None:
        """Raise EventError where places, polarities or channels cannot be expressed."""
        limits = (
            ('x', events.x, self.width),
            ('y', events.y, self.height),
            ('polarity', events.p, 2),
            ('trigger value', edges.value, 2),
            ('trigger id', edges.id, 16),
        )
        for name, column, limit in limits:
            if len(column) and not 0 <= int(column.min()) <= int(column.max()) < limit:
                worst = column.max() if int(column.max()) >= limit else column.min()
                msg = f'{name} {int(worst)!r} is not in 0 .. {limit - 1}.'
                raise EventError(msg)


def _column(column: NDArray[Any], kind: Any) -> NDArray[Any]:
    """Return a column as a contiguous read-only array of one type."""
    view: NDArray[Any] = np.ascontiguousarray(column, kind).view()
    view.flags.writeable = False
    return view


def _microseconds(t: NDArray[np.int64], now: int, name: str) -> NDArray[np.int64]:
    """Return times in microseconds.

    Raises:
        EventError: They are no whole microseconds, or decrease.
    """
    us = t // US
    if not len(us):
        return _column(us, np.int64)
    if bool(np.any(us * US != t)):
        bad = int(t[np.argmax(us * US != t)])
        msg = f'{name} time {bad!r} ns is no whole microsecond, which EVT3 needs; round it.'
        raise EventError(msg)
    if int(us[0]) < now or bool(np.any(us[1:] < us[:-1])):
        low = int(us[0]) if int(us[0]) < now else int(us[1:][us[1:] < us[:-1]][0])
        msg = f'{name} time {low * US!r} ns lies before the one before it; sort, or reset().'
        raise EventError(msg)
    return _column(us, np.int64)


def _until(until: int, last: int) -> int:
    """Return the end of a payload in microseconds, rounded down."""
    end = operator.index(until) // US
    if end < last:
        msg = f'until {until!r} ns lies before the last event or trigger; give a later time.'
        raise EventError(msg)
    return end


@njit(cache=True, nogil=True)
def _put_time(us: int, state: NDArray[Any], words: NDArray[Any], n: int) -> int:
    """Write what takes the decoder from time state[0] (-1 = start) to us; return the new n."""
    high = us >> 12
    at = state[0] >> 12 if state[0] >= 0 else -1
    if at < 0:
        at = 0 if high >= 4096 else high
        words[n] = 0x8000 | (at & 0xFFF)
        n += 1
    # A decoder sees a wrap only in a fall by 2048 or more: visit the last value of a turn.
    while (high >> 12) > (at >> 12):
        if (at & 0xFFF) < 0xFFF:
            at |= 0xFFF
            words[n] = 0x8FFF
            n += 1
        at += 1
        words[n] = 0x8000
        n += 1
    if at != high:
        words[n] = 0x8000 | (high & 0xFFF)
        n += 1
    words[n] = 0x6000 | (us & 0xFFF)
    state[0] = us
    return n + 1


@njit(cache=True, nogil=True)
def _encode_kernel(
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    us: NDArray[Any],
    edge_us: NDArray[Any],
    edge_value: NDArray[Any],
    edge_id: NDArray[Any],
    end: int,
    state: NDArray[Any],
    words: NDArray[Any],
) -> int:
    """Write words and return their number; state is (time written last or -1)."""
    n = 0
    if state[0] >= 0:
        # Said again for those who join here.
        words[0] = 0x8000 | ((state[0] >> 12) & 0xFFF)
        words[1] = 0x6000 | (state[0] & 0xFFF)
        n = 2
    row = -1
    edge = 0
    size = x.shape[0]
    i = 0
    while i < size or edge < edge_us.shape[0]:
        if edge < edge_us.shape[0] and (i == size or edge_us[edge] <= us[i]):
            if edge_us[edge] != state[0]:
                n = _put_time(edge_us[edge], state, words, n)
            words[n] = 0xA000 | np.int64(edge_id[edge]) << 8 | np.int64(edge_value[edge])
            n += 1
            edge += 1
            continue
        if us[i] != state[0]:
            n = _put_time(us[i], state, words, n)
        if y[i] != row:
            row = np.int64(y[i])
            words[n] = row
            n += 1
        # Blocks of 12, 12, 8 columns as sensors send them, while each holds something.
        stop = i
        origin = np.int64(x[i])
        blocks = 0
        before = -1
        while stop < size:
            lanes = 8 if blocks % 3 == 2 else 12
            first = stop
            while (
                stop < size
                and us[stop] == us[i]
                and y[stop] == row
                and p[stop] == p[i]
                and np.int64(x[stop]) > before
                and np.int64(x[stop]) < origin + lanes
            ):
                before = np.int64(x[stop])
                stop += 1
            if stop == first:
                break
            blocks += 1
            origin += lanes
        if stop - i <= blocks + 1:
            words[n] = 0x2000 | np.int64(p[i]) << 11 | np.int64(x[i])
            n += 1
            i += 1
            continue
        words[n] = 0x3000 | np.int64(p[i]) << 11 | np.int64(x[i])
        n += 1
        origin = np.int64(x[i])
        for block in range(blocks):
            lanes = 8 if block % 3 == 2 else 12
            mask = 0
            while i < stop and np.int64(x[i]) < origin + lanes:
                mask |= 1 << (np.int64(x[i]) - origin)
                i += 1
            words[n] = (0x5000 if lanes == 8 else 0x4000) | mask
            n += 1
            origin += lanes
    if end >= 0 and end != state[0]:
        n = _put_time(end, state, words, n)
    return n
