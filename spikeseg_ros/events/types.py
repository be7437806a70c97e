# SPDX-License-Identifier: Apache-2.0
"""Data that flows through the event path: packets, events, triggers and windows."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Events:
    """Events of one sensor as columns of equal length N, ordered by time.

    Attributes:
        x: Pixel columns, shape (N,), uint16.
        y: Pixel rows, shape (N,), uint16.
        p: Polarities, shape (N,), uint8; 1 = brighter (ON), 0 = darker (OFF).
        t: Sensor times in nanoseconds, shape (N,), int64.
    """

    x: NDArray[np.uint16]
    y: NDArray[np.uint16]
    p: NDArray[np.uint8]
    t: NDArray[np.int64]

    def __len__(self) -> int:
        """Return the number of events N."""
        return int(self.t.shape[0])

    @staticmethod
    def empty() -> Events:
        """Return no events."""
        return Events(
            np.empty(0, np.uint16),
            np.empty(0, np.uint16),
            np.empty(0, np.uint8),
            np.empty(0, np.int64),
        )

    @staticmethod
    def concatenate(parts: Iterable[Events]) -> Events:
        """Join parts that follow each other in time."""
        kept = [part for part in parts if len(part)]
        if not kept:
            return Events.empty()
        if len(kept) == 1:
            return kept[0]
        return Events(
            np.concatenate([part.x for part in kept]),
            np.concatenate([part.y for part in kept]),
            np.concatenate([part.p for part in kept]),
            np.concatenate([part.t for part in kept]),
        )

    def slice(self, start: int, stop: int) -> Events:
        """Return the events start .. stop - 1 as views, without copying."""
        return Events(
            self.x[start:stop], self.y[start:stop], self.p[start:stop], self.t[start:stop]
        )

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> Events:
        """Return the events that a boolean mask or an index array of shape (M,) picks."""
        return Events(self.x[keep], self.y[keep], self.p[keep], self.t[keep])


@dataclass(frozen=True)
class Triggers:
    """External trigger edges as columns of equal length N.

    Attributes:
        t: Sensor times in nanoseconds, shape (N,), int64.
        value: Edges, shape (N,), uint8; 1 = rising, 0 = falling.
        id: Trigger channels, shape (N,), uint8.
    """

    t: NDArray[np.int64]
    value: NDArray[np.uint8]
    id: NDArray[np.uint8]

    def __len__(self) -> int:
        """Return the number of edges N."""
        return int(self.t.shape[0])

    @staticmethod
    def empty() -> Triggers:
        """Return no edges."""
        return Triggers(np.empty(0, np.int64), np.empty(0, np.uint8), np.empty(0, np.uint8))


@dataclass(frozen=True)
class Packet:
    """One message of an event camera driver, still encoded.

    Attributes:
        payload: Encoded bytes (anything with the buffer protocol).
        encoding: Name of the encoding, for example 'evt3'.
        width: Sensor columns [px].
        height: Sensor rows [px].
        stamp: Time of the header in nanoseconds of ROS time.
        seq: Publisher's sequence number.
        time_base: Offset of the decoded times [ns]; ignored by evt3.
        frame_id: Frame of the header.
        arrival: Steady-clock time at which the message was received [ns]; 0 where unknown.
    """

    payload: bytes | bytearray | memoryview | NDArray[np.uint8]
    encoding: str
    width: int
    height: int
    stamp: int = 0
    seq: int = 0
    time_base: int = 0
    frame_id: str = ''
    arrival: int = 0


@dataclass(frozen=True)
class EventWindow:
    """Events of one window [t_start, t_end) of sensor time.

    Attributes:
        events: The events, with t_start <= t < t_end.
        t_start: First nanosecond of the window in sensor time.
        t_end: First nanosecond after the window in sensor time.
        stamp: ROS time of t_end [ns].
        width: Sensor columns [px].
        height: Sensor rows [px].
        frame_id: Frame of the packets.
        index: Number of the window since the stream's last reset, from 0. Gaps are windows shed.
        epoch: Counts resets of the stream; state must not be carried from one epoch to another.
        arrival: Steady-clock time [ns] at which the window's last packet was received; 0 unknown.
    """

    events: Events
    t_start: int
    t_end: int
    stamp: int
    width: int
    height: int
    frame_id: str = ''
    index: int = 0
    epoch: int = 0
    arrival: int = field(default=0, compare=False)

    @property
    def duration(self) -> int:
        """Length of the window [ns]."""
        return self.t_end - self.t_start
