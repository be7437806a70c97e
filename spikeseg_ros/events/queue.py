# SPDX-License-Identifier: Apache-2.0
"""Hand-over of packets from subscription callbacks to the worker."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from spikeseg_ros.events.errors import EventError

if TYPE_CHECKING:
    from spikeseg_ros.events.types import Packet

# What a packet costs besides its payload, so that empty ones cannot pile up either.
OVERHEAD = 512


class PacketQueue:
    """First in, first out, limited by bytes; when full the oldest packets are dropped.

    Attributes:
        max_bytes: Largest sum of payload bytes (plus 512 per packet).
        packets: Packets ever pushed.
        payload_bytes: Payload bytes ever pushed.
        dropped: Packets ever dropped.
    """

    def __init__(self, max_bytes: int) -> None:
        """Make an empty queue.

        Raises:
            EventError: max_bytes is not positive.
        """
        if max_bytes <= 0:
            msg = f'max_bytes {max_bytes!r} is not positive.'
            raise EventError(msg)
        self.max_bytes = max_bytes
        self.packets = 0
        self.payload_bytes = 0
        self.dropped = 0
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Packet, int]] = deque()
        self._held = 0
        self._recent = 0

    def __len__(self) -> int:
        """Return the number of waiting packets."""
        return len(self._waiting)

    def push(self, packet: Packet) -> None:
        """Append a packet, dropping old ones for it; from any thread, never blocks for long.

        A packet that alone exceeds the limit is dropped itself.
        """
        size = _bytes(packet.payload)
        cost = size + OVERHEAD
        with self._lock:
            self.packets += 1
            self.payload_bytes += size
            self._waiting.append((packet, cost))
            self._held += cost
            while self._held > self.max_bytes:
                _, freed = self._waiting.popleft()
                self._held -= freed
                self.dropped += 1
                self._recent += 1

    def pop(self) -> tuple[Packet, int] | None:
        """Remove the oldest packet; return it and how many before it were dropped, or None."""
        with self._lock:
            if not self._waiting:
                return None
            packet, freed = self._waiting.popleft()
            self._held -= freed
            dropped, self._recent = self._recent, 0
        return packet, dropped

    def clear(self) -> None:
        """Discard all waiting packets without counting them as dropped."""
        with self._lock:
            self._waiting.clear()
            self._held = 0
            self._recent = 0


def _bytes(payload: object) -> int:
    """Return the size of a payload; 0 for what is no buffer (the decoder will refuse it)."""
    size = getattr(payload, 'nbytes', None)
    if isinstance(size, int):
        return size
    length = len(payload) if hasattr(payload, '__len__') else 0
    return length * int(getattr(payload, 'itemsize', 1))
