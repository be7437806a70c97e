# SPDX-License-Identifier: Apache-2.0
"""Events from messages and tables other than EventPacket, for offline work.

Messages are taken as they come from any reader: objects with the fields of the message type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import MAX_TIME
from spikeseg_ros.events.types import Events, Packet

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

PACKET_TYPES = ('event_camera_msgs/msg/EventPacket', 'event_array_msgs/msg/EventArray')
ARRAY_TYPES = ('dvs_msgs/msg/EventArray', 'prophesee_event_msgs/msg/EventArray')
_SECOND = 1_000_000_000


def events_from_columns(x: ArrayLike, y: ArrayLike, p: ArrayLike, t: ArrayLike) -> Events:
    """Return events from columns of any number types, sorted by time.

    Args:
        x: Columns [px], shape (N,).
        y: Rows [px], shape (N,).
        p: Polarities, shape (N,); values above zero are ON, so that -1/1 and bool work too.
        t: Times [ns], shape (N,).

    Raises:
        EventError: The lengths differ, or a value does not fit.
    """
    columns = tuple(np.asarray(column) for column in (x, y, p, t))
    if any(c.ndim != 1 or c.size != columns[0].size for c in columns):
        msg = f'Columns differ in shape: {[c.shape for c in columns]!r}.'
        raise EventError(msg)
    events = Events(
        _fit(columns[0], 'x', (1 << 16) - 1).astype(np.uint16),
        _fit(columns[1], 'y', (1 << 16) - 1).astype(np.uint16),
        (columns[2] > 0).astype(np.uint8),
        _fit(columns[3], 't', MAX_TIME).astype(np.int64),
    )
    if bool(np.any(events.t[1:] < events.t[:-1])):
        return events.select(np.argsort(events.t, kind='stable'))
    return events


def events_from_message(message: Any) -> Events:
    """Return the events of a dvs_msgs or prophesee_event_msgs EventArray, sorted by time.

    Args:
        message: Object with ``events``, each with ``x``, ``y``, ``polarity`` and ``ts``; the
            time holds ``sec`` and ``nanosec`` (ROS 2) or ``secs`` and ``nsecs`` (ROS 1).

    Raises:
        EventError: A field is missing or does not fit.
    """
    try:
        rows = [(e.x, e.y, e.polarity, _time(e.ts)) for e in message.events]
    except AttributeError as err:
        msg = f'Message {type(message).__name__!r} is no array of events: {err}.'
        raise EventError(msg) from None
    if not rows:
        return Events.empty()
    return events_from_columns(*zip(*rows, strict=True))


def encode_mono(events: Events) -> tuple[bytes, int]:
    """Return events as (payload of encoding 'mono', time_base [ns]).

    Raises:
        EventError: The events span 4.29 s or more, or a row exceeds 32767.
    """
    if not len(events):
        return b'', 0
    base = int(events.t.min())
    offset = events.t - base
    if int(offset.max()) >= 1 << 32 or int(events.y.max()) >= 1 << 15:
        msg = (
            f'Events over {int(offset.max())!r} ns up to row {int(events.y.max())!r} do not fit '
            f"one 'mono' payload (2^32 ns, 2^15 rows); split them."
        )
        raise EventError(msg)
    words = np.empty((len(events), 2), '<u4')
    words[:, 0] = offset
    place = events.y.astype(np.uint32) << np.uint32(16) | events.x
    words[:, 1] = place | events.p.astype(np.uint32) << np.uint32(31)
    return words.tobytes(), base


def to_packet(message: Any, message_type: str, arrival: int = 0) -> Packet:
    """Return a message of any event type as a packet for EventStream.

    Args:
        message: Object with the fields of the type.
        message_type: One of PACKET_TYPES or ARRAY_TYPES ('pkg/EventArray' of ROS 1 works too).
        arrival: Steady-clock time of the reception [ns]; 0 where unknown.

    Raises:
        EventError: The type carries no events, or the message does not fit it.
    """
    parts = message_type.split('/') if isinstance(message_type, str) else []
    name = '/'.join([parts[0], 'msg', parts[-1]]) if len(parts) in (2, 3) else ''
    if name not in PACKET_TYPES + ARRAY_TYPES:
        known = ', '.join(PACKET_TYPES + ARRAY_TYPES)
        msg = f'Message type {message_type!r} carries no events; known are {known}.'
        raise EventError(msg)
    try:
        encoding, seq, base = 'mono', 0, 0
        if name in PACKET_TYPES:
            payload: Any = message.events
            encoding, seq, base = message.encoding, int(message.seq), int(message.time_base)
        else:
            payload, base = encode_mono(events_from_message(message))
        return Packet(
            payload,
            encoding,
            int(message.width),
            int(message.height),
            _time(message.header.stamp),
            seq,
            base,
            message.header.frame_id,
            arrival,
        )
    except AttributeError as err:
        msg = f'Message is no {message_type!r}: {err}.'
        raise EventError(msg) from None


def _time(stamp: Any) -> int:
    """Return a message's time in nanoseconds, in the fields of ROS 1 or ROS 2."""
    if hasattr(stamp, 'nanosec'):
        return int(stamp.sec) * _SECOND + int(stamp.nanosec)
    return int(stamp.secs) * _SECOND + int(stamp.nsecs)


def _fit(column: NDArray[Any], name: str, high: int) -> NDArray[Any]:
    """Return a column whose values lie in 0 .. high."""
    if column.size and not 0 <= int(column.min()) <= int(column.max()) <= high:
        msg = f'{name} spans {int(column.min())!r} .. {int(column.max())!r}, allowed 0 .. {high}.'
        raise EventError(msg)
    return column
