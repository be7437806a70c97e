# SPDX-License-Identifier: Apache-2.0
"""Columns of events to the packets a driver would have sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.convert import encode_mono
from spikeseg_ros.events.encoder import MAX_TURNS, Evt3Encoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import US
from spikeseg_ros.events.types import Events, Packet, Triggers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikeseg_ros.recordings.formats.source import TableSource

# Steps back in time up to this are put in order, larger ones are damage [ns].
TOLERANCE = 10_000_000
# Silence up to this is filled with packets that only tell the time [ns].
MAX_SILENCE = 10_000_000_000
MAX_EVENTS = 1 << 20
MAX_WAITING = 1 << 22
# ROS time of sensor time 0 for files whose times do not count from an epoch [ns].
START = 1_700_000_000_000_000_000
_MAX_ORIGIN = ((MAX_TURNS - 16) << 24) * US


class Packetizer:
    """Cuts ordered events into packets of equal sensor time and encodes them.

    Sensor times are those of the file in whole microseconds. Only times that EVT3 could not
    express (19 hours and more, so those that count from 1970) are counted from the first event.
    A header stamp is the ROS time of the packet's first event; a packet of silence has the time
    of its end.

    Attributes:
        offset: ROS time minus time of the file [ns]; None before the first event.
    """

    def __init__(self, source: TableSource) -> None:
        """Prepare for the events of a source."""
        self.source = source
        self.offset: int | None = None
        self._period = source.options.packet_ns // US * US
        self._encoder = (
            Evt3Encoder(source.width, source.height) if source.encoding == 'evt3' else None
        )
        self._parts: list[Events] = []
        self._count = 0
        self._edges = Triggers.empty()
        self._taken = 0
        self._newest = -1
        self._begin = 0
        self._written = -1
        self._seq = 0
        self._rounded = False
        self._sorted = 0
        self._gaps: list[tuple[int, int]] = []
        self._start = 0

    def push(self, events: Events, edges: Triggers | None = None) -> Iterator[tuple[int, Packet]]:
        """Yield (time [ns], packet) for what is complete now.

        Raises:
            EventError: Time steps back further than jitter explains; raised behind the packets
                of the events before.
        """
        if edges is not None and len(edges):
            parts = (self._edges, edges)
            self._edges = Triggers(
                np.concatenate([part.t for part in parts]),
                np.concatenate([part.value for part in parts]),
                np.concatenate([part.id for part in parts]),
            )
        if not len(events):
            return
        events, problem = self._ordered(self._in_microseconds(events))
        self._parts.append(events)
        self._count += len(events)
        safe = self._newest - TOLERANCE
        if self._count > MAX_WAITING:
            safe = self._newest
        # Not for every small chunk: a cut copies what waits.
        if self._count and (self._written < 0 or safe >= self._begin + self._period):
            yield from self._cut(safe)
        if problem:
            raise EventError(problem)

    def flush(self) -> Iterator[tuple[int, Packet]]:
        """Yield the packets of all that is left."""
        if self._count:
            yield from self._cut(self._newest, last=True)

    def notes(self) -> list[str]:
        """Return what had to be changed."""
        found = []
        if self._rounded:
            found.append('times were rounded to microseconds')
        if self._sorted:
            found.append(f'{self._sorted} events stood up to 10 ms too late; put in order')
        for begin, end in self._gaps[:3]:
            found.append(f'no packets in the silence {begin / 1e9:.3f} .. {end / 1e9:.3f} s')
        if len(self._gaps) > 3:
            found.append(f'{len(self._gaps) - 3} more silences of 10 s and more have no packets')
        return found

    def _in_microseconds(self, events: Events) -> Events:
        """Return events with sensor times in whole microseconds."""
        if self.offset is None:
            first = int(events.t.min()) // US * US
            origin = first if first > _MAX_ORIGIN else 0
            wanted = self.source.options.start_ns
            self._start = wanted if wanted is not None else origin or START
            self.offset = self._start - origin
            self.source.stats.origin = origin
        t = events.t - self.source.stats.origin
        if not self._rounded and bool(np.any(t % US)):
            self._rounded = True
        if self._rounded:
            t = (t + US // 2) // US * US
        return Events(events.x, events.y, events.p, t)

    def _ordered(self, events: Events) -> tuple[Events, str]:
        """Return the events up to a step back in time that is no jitter, and what is wrong."""
        newest = np.maximum.accumulate(np.maximum(events.t, self._newest))
        late = newest - events.t
        problem = ''
        bad = (late > TOLERANCE) | (events.t < self._written)
        if bool(bad.any()):
            at = int(np.argmax(bad))
            times = (int(events.t[at]), int(newest[at]))
            problem = (
                f'event {self._taken + at} steps back in time from {times[1] / 1e9:.6f} s to '
                f'{times[0] / 1e9:.6f} s; sort the events by time, or the file is damaged from '
                'there on.'
            )
            events, newest, late = events.slice(0, at), newest[:at], late[:at]
        self._sorted += int(np.count_nonzero(late))
        self._taken += len(events)
        if len(events):
            self._newest = int(newest[-1])
        return events, problem

    def _cut(self, safe: int, last: bool = False) -> Iterator[tuple[int, Packet]]:
        """Yield the packets that end at a safe time, and all others where this is the end."""
        waiting = Events.concatenate(self._parts)
        if bool(np.any(waiting.t[1:] < waiting.t[:-1])):
            waiting = waiting.select(np.argsort(waiting.t, kind='stable'))
        if self._written < 0:
            self._begin = int(waiting.t[0]) // self._period * self._period
        done = 0
        while done < len(waiting):
            begin, end = self._begin, self._begin + self._period
            if end > safe and not last and len(waiting) - done <= MAX_WAITING:
                break
            gap = int(waiting.t[done]) - begin
            if gap > MAX_SILENCE:
                self._gaps.append((begin, int(waiting.t[done])))
                self._begin += gap // self._period * self._period
                continue
            stop = done + int(np.searchsorted(waiting.t[done:], end))
            yield from self._packets(waiting.slice(done, stop), end)
            done = stop
            self._begin = end
        # A copy, so that the long columns are let go.
        self._parts = [waiting.select(np.arange(done, len(waiting)))]
        self._count = len(waiting) - done

    def _packets(self, events: Events, end: int) -> Iterator[tuple[int, Packet]]:
        """Yield the packet(s) of one period."""
        count = int(np.searchsorted(self._edges.t, end))
        edges = Triggers(self._edges.t[:count], self._edges.value[:count], self._edges.id[:count])
        rest = slice(count, None)
        self._edges = Triggers(self._edges.t[rest], self._edges.value[rest], self._edges.id[rest])
        for at in range(0, max(1, len(events)), MAX_EVENTS):
            part = events.slice(at, min(at + MAX_EVENTS, len(events)))
            final = at + MAX_EVENTS >= len(events)
            stamp = self._start + (int(part.t[0]) if len(part) else end)
            yield self._start + end, self._packet(part, edges if final else None, end, stamp)
        self._written = end

    def _packet(self, events: Events, edges: Triggers | None, end: int, stamp: int) -> Packet:
        """Encode one packet."""
        source = self.source
        base = 0
        if self._encoder is None:
            payload, base = encode_mono(events)
        else:
            payload = self._encoder.encode(events, edges, end if edges is not None else None)
            source.stats.triggers += 0 if edges is None else len(edges)
        source.stats.count(events)
        seq = self._seq
        self._seq += 1
        return Packet(
            payload,
            source.encoding,
            source.width,
            source.height,
            stamp,
            seq,
            base,
            source.options.frame_id,
        )
