# SPDX-License-Identifier: Apache-2.0
"""Recent events by ROS time, to be drawn under results that arrive later. Free of ROS imports."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikeseg_ros.events.clock import SensorClock
from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from spikeseg_ros.events.types import Packet

MAX_EVENTS = 20_000_000


def warm_up_decoders() -> None:
    """Load or compile the kernels of the usual encodings, which takes a second or more."""
    for encoding in ('evt3', 'libcaer_cmp'):
        EventDecoder(encoding, 16, 16).decode(bytes(64))


class _Piece(NamedTuple):
    """Events of one packet and what to add to their times to get ROS time [ns]."""

    events: Events
    offset: int
    first: int
    last: int


class EventHistory:
    """Keeps the events of the last moments.

    Args:
        length: Length of the history [ns].
    """

    def __init__(self, length: int) -> None:
        self._length = length
        self._pieces: deque[_Piece] = deque()
        self._count = 0
        self._clock = SensorClock()
        self._decoder: EventDecoder | None = None
        self._stamp = 0

    def push(self, packet: Packet) -> None:
        """Add a packet; one that cannot be decoded is left out.

        Args:
            packet: The packet; another geometry, encoding or an earlier stamp clears the history.
        """
        decoder = self._decoder
        shape = (packet.encoding, packet.width, packet.height)
        known = decoder and (decoder.encoding, decoder.width, decoder.height)
        if packet.stamp < self._stamp or shape != known:
            self.clear()
            try:
                decoder = self._decoder = EventDecoder(*shape)
            except EventError:
                self._decoder = None
                return
        self._stamp = packet.stamp
        assert decoder is not None
        try:
            events = decoder.decode(packet.payload, packet.time_base)
        except EventError:
            return
        if not len(events):
            return
        self._clock.update(packet.stamp, int(events.t[0]))
        offset = self._clock.offset or 0
        first, last = int(events.t[0]) + offset, int(events.t[-1]) + offset
        self._pieces.append(_Piece(events, offset, first, last))
        self._count += len(events)
        while self._pieces and (
            self._pieces[0].last < last - self._length or self._count > MAX_EVENTS
        ):
            self._count -= len(self._pieces.popleft().events)

    def between(self, start: int, end: int) -> Events:
        """Return the events with start <= ROS time < end.

        Args:
            start: ROS time [ns].
            end: ROS time [ns].
        """
        parts = []
        for piece in self._pieces:
            if piece.last < start or piece.first >= end:
                continue
            low, high = np.searchsorted(piece.events.t, [start - piece.offset, end - piece.offset])
            parts.append(piece.events.slice(int(low), int(high)))
        return Events.concatenate(parts)

    def clear(self) -> None:
        """Forget everything."""
        self._pieces.clear()
        self._count = 0
        self._clock.reset()
        self._decoder = None
        self._stamp = 0
