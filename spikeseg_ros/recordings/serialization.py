# SPDX-License-Identifier: Apache-2.0
"""Plain data to and from serialised messages (CDR), without ROS.

EventPackets are parsed and written by hand, because they are most of every recording and only
their header needs work; everything else goes through the rosbags typestore.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rosbags.interfaces import Nodetype

from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.definitions import (
    LEGACY_TYPES,
    PACKET_TYPES,
    DefinitionError,
    require,
    ros1_typestore,
    typestore,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

NANOSECONDS = 1_000_000_000


class MessageError(ValueError):
    """A serialised message is damaged; the text says where."""


class _Cursor:
    """Reads fields of one serialised message with every length checked.

    CDR aligns fields to their size, counted from behind the four bytes of encapsulation; the
    ROS 1 format does not align at all.
    """

    def __init__(self, data: bytes | memoryview, ros1: bool) -> None:
        self.data = memoryview(data)
        self.ros1 = ros1
        self.order = '<'
        self.pos = 0
        if not ros1:
            if len(self.data) < 4 or self.data[1] not in (0, 1):
                msg = f'Not a CDR message: {len(self.data)} bytes, {bytes(self.data[:4])!r}.'
                raise MessageError(msg)
            self.order = '<' if self.data[1] == 1 else '>'
            self.data = self.data[4:]

    def number(self, kind: str) -> int:
        """Read one number of a struct format character."""
        size = struct.calcsize(kind)
        if not self.ros1:
            self.pos += -self.pos % size
        if self.pos + size > len(self.data):
            msg = f'Message ends at byte {len(self.data)}, a field needs {self.pos + size}.'
            raise MessageError(msg)
        (value,) = struct.unpack_from(self.order + kind, self.data, self.pos)
        self.pos += size
        return int(value)

    def chunk(self, size: int) -> memoryview:
        """Read raw bytes."""
        if size > len(self.data) - self.pos:
            msg = f'Message ends at byte {len(self.data)}, {size} more were announced.'
            raise MessageError(msg)
        self.pos += size
        return self.data[self.pos - size : self.pos]

    def text(self) -> str:
        """Read a string (CDR counts a closing zero, ROS 1 does not)."""
        return bytes(self.chunk(self.number('I'))).rstrip(b'\0').decode('utf-8', 'replace')

    def header(self) -> tuple[int, str]:
        """Read a std_msgs/Header as (stamp in nanoseconds, frame_id)."""
        if self.ros1:
            self.number('I')
        seconds = self.number('I' if self.ros1 else 'i')
        return seconds * NANOSECONDS + self.number('I'), self.text()


def parse_packet(raw: bytes | memoryview, msgtype: str, ros1: bool = False) -> Packet:
    """Return the event packet of one serialised message, its payload not copied.

    Args:
        raw: Serialised message.
        msgtype: EventPacket, its predecessor EventArray, or a dvs_msgs / prophesee_event_msgs
            EventArray; the latter two are turned into the 'mono' encoding.
        ros1: Whether the message is in ROS 1 format instead of CDR.

    Raises:
        MessageError: The message is damaged or its type carries no events.
    """
    cursor = _Cursor(raw, ros1)
    if msgtype in PACKET_TYPES:
        stamp, frame_id = cursor.header()
        height, width = cursor.number('I'), cursor.number('I')
        seq, time_base = cursor.number('Q'), cursor.number('Q')
        encoding = cursor.text()
        cursor.number('B')
        payload = cursor.chunk(cursor.number('I'))
        return Packet(payload, encoding, width, height, stamp, seq, time_base, frame_id)
    if msgtype in LEGACY_TYPES:
        stamp, frame_id = cursor.header()
        height, width = cursor.number('I'), cursor.number('I')
        time_base, payload = _legacy_events(cursor, cursor.number('I'))
        return Packet(payload, 'mono', width, height, stamp, 0, time_base, frame_id)
    msg = f'Message type {msgtype!r} carries no events; known: {PACKET_TYPES + LEGACY_TYPES}.'
    raise MessageError(msg)


def _legacy_events(cursor: _Cursor, count: int) -> tuple[int, memoryview]:
    """Return (time base, 'mono' payload) of a list of single events."""
    order = cursor.order
    names = ['x', 'y', 's', 'n', 'p']
    formats = [f'{order}u2', f'{order}u2', f'{order}u4', f'{order}u4', 'u1']
    if cursor.ros1:
        offsets, stride = [0, 2, 4, 8, 12], 13
    else:
        # From the second event on, x lies two bytes behind a multiple of four.
        offsets, stride = [0, 2, 6, 10, 14], 16
    kind = np.dtype({'names': names, 'formats': formats, 'offsets': offsets, 'itemsize': stride})
    if count == 0:
        return 0, memoryview(b'')
    if cursor.ros1:
        events = np.frombuffer(cursor.chunk(stride * count), kind)
    else:
        body = cursor.chunk(13 + 16 * (count - 1))
        shifted = bytearray(16 * count)
        shifted[0:4], shifted[6:15] = body[0:4], body[4:13]
        shifted[16 : 16 + len(body) - 14] = body[14:]
        events = np.frombuffer(shifted, kind)
    times = events['s'].astype(np.int64) * NANOSECONDS + events['n']
    base = int(times.min())
    offset = times - base
    if int(offset.max()) >= 1 << 32:
        msg = f'Events of one message span {int(offset.max()) / 1e9:.3f} s, more than 4.29 s.'
        raise MessageError(msg)
    words = offset.astype(np.uint64)
    words |= events['x'].astype(np.uint64) << np.uint64(32)
    words |= (events['y'].astype(np.uint64) & np.uint64(0x7FFF)) << np.uint64(48)
    words |= (events['p'].astype(np.uint64) & np.uint64(1)) << np.uint64(63)
    return base, memoryview(words.astype('<u8').tobytes())


class _Builder:
    """Writes fields of one little-endian CDR message."""

    def __init__(self) -> None:
        self.data = bytearray()

    def number(self, kind: str, value: int) -> None:
        self.data += bytes(-len(self.data) % struct.calcsize(kind))
        self.data += struct.pack('<' + kind, value)

    def text(self, value: str) -> None:
        encoded = value.encode() + b'\0'
        self.number('I', len(encoded))
        self.data += encoded

    def blob(self, value: Any) -> None:
        view = memoryview(value).cast('B')
        self.number('I', len(view))
        self.data += view

    def header(self, stamp: int, frame_id: str) -> None:
        self.number('i', stamp // NANOSECONDS)
        self.number('I', stamp % NANOSECONDS)
        self.text(frame_id)

    def message(self) -> bytes:
        return b'\x00\x01\x00\x00' + bytes(self.data)


def packet_message(packet: Packet) -> bytes:
    """Return a packet as a serialised event_camera_msgs/msg/EventPacket."""
    out = _Builder()
    out.header(packet.stamp, packet.frame_id)
    out.number('I', packet.height)
    out.number('I', packet.width)
    out.number('Q', packet.seq)
    out.number('Q', packet.time_base)
    out.text(packet.encoding)
    out.number('B', 0)
    out.blob(packet.payload)
    return out.message()


def image_message(
    image: NDArray[np.uint8] | NDArray[np.uint16],
    stamp: int,
    frame_id: str = '',
    encoding: str = '',
) -> bytes:
    """Return an image as a serialised sensor_msgs/msg/Image.

    Args:
        image: Pixels, shape (H, W) or (H, W, 3), uint8 or uint16.
        stamp: Time of the header [ns].
        frame_id: Frame of the header.
        encoding: Encoding; where empty 'mono8', 'mono16' or 'rgb8', as the shape and type say.

    Raises:
        MessageError: The shape is no image.
    """
    if image.ndim not in (2, 3) or image.dtype.kind != 'u' or image.dtype.itemsize > 2:
        msg = f'Expected an image (H, W[, 3]) of uint8 or uint16, got {image.shape!r}.'
        raise MessageError(msg)
    if not encoding:
        encoding = 'rgb8' if image.ndim == 3 else f'mono{8 * image.dtype.itemsize}'
    pixels = np.ascontiguousarray(image, image.dtype.newbyteorder('<'))
    out = _Builder()
    out.header(stamp, frame_id)
    out.number('I', pixels.shape[0])
    out.number('I', pixels.shape[1])
    out.text(encoding)
    out.number('B', 0)
    out.number('I', pixels.nbytes // max(1, pixels.shape[0]))
    out.blob(pixels.reshape(-1).view(np.uint8))
    return out.message()


def compressed_image_message(
    data: bytes, stamp: int, frame_id: str = '', kind: str = 'jpeg'
) -> bytes:
    """Return encoded image bytes ('jpeg' or 'png') as a sensor_msgs/msg/CompressedImage."""
    out = _Builder()
    out.header(stamp, frame_id)
    out.text(kind)
    out.blob(data)
    return out.message()


def serialize(msgtype: str, value: Any) -> bytes:
    """Serialise plain data to CDR.

    Args:
        msgtype: Message type, for example 'std_msgs/msg/Header'.
        value: Mapping or object with one entry per field; nested likewise. Missing fields take
            their zero value.

    Raises:
        DefinitionError: The type is unknown, a field is unknown or a value does not fit.
    """
    require(msgtype)
    message = _build(msgtype, value)
    try:
        return bytes(typestore().serialize_cdr(message, msgtype))
    except Exception as err:
        msg = f'Value does not fit {msgtype!r}: {err}'
        raise DefinitionError(msg) from None


def deserialize(msgtype: str, raw: bytes | memoryview, ros1: bool = False) -> Any:
    """Return a message as an object with one attribute per field.

    Args:
        msgtype: Message type.
        raw: Serialised message.
        ros1: Whether it is in the ROS 1 format, as standard messages of a .bag, instead of CDR.

    Raises:
        DefinitionError: The type is unknown.
        MessageError: The bytes are damaged.
    """
    require(msgtype)
    try:
        if ros1:
            return ros1_typestore().deserialize_ros1(raw, msgtype)
        return typestore().deserialize_cdr(raw, msgtype)
    except Exception as err:
        msg = f'Damaged message of type {msgtype!r} ({len(raw)} bytes): {err}'
        raise MessageError(msg) from None


_ZERO = {'string': '', 'wstring': '', 'bool': False, 'float32': 0.0, 'float64': 0.0}


def _build(msgtype: str, value: Any) -> Any:
    """Return a typestore message built from plain data."""
    store = typestore()
    _constants, fields = store.fielddefs[msgtype]
    names = [name for name, _ in fields]
    if isinstance(value, Mapping):
        if unknown := sorted(set(value) - set(names)):
            msg = f'{msgtype!r} has no fields {unknown!r}; it has {names!r}.'
            raise DefinitionError(msg)
        given = dict(value)
    else:
        given = {name: getattr(value, name) for name in names if hasattr(value, name)}
    return store.types[msgtype](
        **{name: _field(kind, given.get(name, _MISSING)) for name, kind in fields}
    )


_MISSING = object()


def _field(kind: Any, value: Any) -> Any:
    """Return the value of one field, converted to what the typestore wants."""
    tag, detail = kind
    if tag == Nodetype.NAME:
        return _build(detail, {} if value is _MISSING else value)
    if tag == Nodetype.BASE:
        name = detail[0]
        return _ZERO.get(name, 0) if value is _MISSING else value
    inner, length = detail
    if value is _MISSING:
        value = () if tag == Nodetype.SEQUENCE else (_MISSING,) * length
    if inner[0] == Nodetype.BASE:
        name = inner[1][0]
        if name in ('string', 'wstring'):
            return ['' if item is _MISSING else item for item in value]
        if isinstance(value, (bytes, bytearray, memoryview)):
            return np.frombuffer(value, np.uint8)
        if len(value) and value[0] is _MISSING:
            return np.zeros(length, name)
        return np.asarray(value, 'bool' if name == 'bool' else name)
    return [_field(inner, item) for item in value]
