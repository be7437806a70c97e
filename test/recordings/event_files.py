# SPDX-License-Identifier: Apache-2.0
"""Small event files of every format, written as their documents say."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import numpy as np
from rosbags import rosbag1
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.types import Events, Packet
from spikeseg_ros.recordings import BagWriter
from spikeseg_ros.recordings.definitions import EVENT_ARRAY, EVENT_PACKET
from spikeseg_ros.recordings.serialization import packet_message, serialize

WIDTH, HEIGHT = 320, 240
SECOND = 1_000_000_000


def random_events(count=3000, seed=0, begin=5_000_000, end=60_000_000, size=(WIDTH, HEIGHT)):
    """Return events in whole microseconds, ordered by time, no pixel twice in a microsecond."""
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(begin // 1000, end // 1000, count)).astype(np.int64) * 1000
    x = rng.integers(0, size[0], count).astype(np.uint16)
    y = rng.integers(0, size[1], count).astype(np.uint16)
    p = rng.integers(0, 2, count).astype(np.uint8)
    return Events(x, y, p, t)


def micro(events):
    """Return times in microseconds."""
    return events.t // 1000


def raw_header(encoding, old=False):
    """Return the header of a RAW file."""
    if old:
        text = f'% date 2023-01-01\n% evt {encoding}\n% geometry {WIDTH}x{HEIGHT}\n'
    else:
        text = f'% camera_integrator_name x\n% format {encoding};height={HEIGHT};width={WIDTH}\n'
        text += '% end\n'
    return text.encode()


def write_evt3(path, events):
    path.write_bytes(raw_header('EVT3') + Evt3Encoder(WIDTH, HEIGHT).encode(events))


def write_evt2(path, events):
    words = []
    for x, y, p, t in zip(events.x, events.y, events.p, micro(events), strict=True):
        words.append(0x8 << 28 | int(t) >> 6)
        words.append(int(p) << 28 | (int(t) & 0x3F) << 22 | int(x) << 11 | int(y))
    path.write_bytes(raw_header('2.0', old=True) + np.array(words, '<u4').tobytes())


def write_evt21(path, events):
    words = []
    for x, y, p, t in zip(events.x, events.y, events.p, micro(events), strict=True):
        base = int(x) // 32 * 32
        words += [0, 0x8 << 28 | int(t) >> 6]
        words += [1 << int(x) - base]
        words += [int(p) << 28 | (int(t) & 0x3F) << 22 | base << 11 | int(y)]
    path.write_bytes(raw_header('EVT21') + np.array(words, '<u4').tobytes())


def write_text(path, events):
    """Write as in the RPG event camera dataset."""
    rows = zip(events.t, events.x, events.y, events.p, strict=True)
    path.write_text(''.join(f'{t / 1e9:.9f} {x} {y} {p}\n' for t, x, y, p in rows))


def write_csv(path, events):
    rows = zip(events.x, events.y, events.p, micro(events), strict=True)
    body = ''.join(f'{x},{y},{p},{t}\n' for x, y, p, t in rows)
    path.write_text('% made by hand\nx,y,polarity,timestamp [us]\n' + body)


def write_nmnist(path, events):
    word = micro(events) | events.p.astype(np.int64) << 23
    columns = (events.x, events.y, word >> 16, word >> 8 & 0xFF, word & 0xFF)
    path.write_bytes(np.stack(columns, 1).astype(np.uint8).tobytes())


def _flat(kind, fields, tail):
    """Return a size-prefixed flatbuffer with one table.

    Args:
        kind: File identifier.
        fields: One (struct format, value) per field; None = absent, 'o' = offset to the tail.
        tail: What the one offset field points to.
    """
    size = 4
    offsets = []
    for item in fields:
        if item is None:
            offsets.append(0)
            continue
        step = 4 if item[0] == 'o' else struct.calcsize('<' + item[0])
        size += -size % step
        offsets.append(size)
        size += step
    size += -size % 8
    table = bytearray(size)
    vtable = struct.pack(f'<HH{len(fields)}H', 4 + 2 * len(fields), size, *offsets)
    # From the root offset: itself, the identifier, padding, the vtable, the table.
    pad = -(8 + len(vtable) + 4) % 8
    where = 8 + pad + len(vtable)
    struct.pack_into('<i', table, 0, len(vtable))
    for item, offset in zip(fields, offsets, strict=True):
        if item is not None and item[0] == 'o':
            struct.pack_into('<I', table, offset, size - offset + item[1])
        elif item is not None:
            struct.pack_into('<' + item[0], table, offset, item[1])
    body = struct.pack('<I', where) + kind + bytes(pad) + vtable + bytes(table) + tail
    return struct.pack('<I', len(body)) + body


AEDAT4_EVENT = np.dtype(
    {
        'names': ['t', 'x', 'y', 'on'],
        'formats': ['<i8', '<i2', '<i2', 'u1'],
        'offsets': [0, 8, 10, 12],
        'itemsize': 16,
    }
)


def aedat4_events(events):
    """Return a packet of events; the vector's elements are aligned to eight bytes."""
    rows = np.zeros(len(events), AEDAT4_EVENT)
    rows['t'], rows['x'], rows['y'], rows['on'] = micro(events), events.x, events.y, events.p
    tail = bytes(4) + struct.pack('<I', len(rows)) + rows.tobytes()
    return _flat(b'EVTS', [('o', 4)], tail)


def aedat4_frame(image, time):
    """Return a packet of one grey image with the time [us]."""
    height, width = image.shape
    fields = [('q', time), None, None, ('q', time), ('q', time), ('b', 0), ('h', width)]
    fields += [('h', height), ('h', 0), ('h', 0), ('o', 0)]
    return _flat(b'FRME', fields, struct.pack('<I', image.size) + image.tobytes())


def aedat4_imu(time):
    """Return a packet of one inertial measurement."""
    one = _flat(b'none', [('q', time), ('f', 25.0)], b'')[4:]
    # A vector of one table: what is inside keeps its own offsets.
    (root,) = struct.unpack_from('<I', one)
    tail = bytes(4) + struct.pack('<II', 1, 4 + root - 8) + one[8:]
    return _flat(b'IMUS', [('o', 4)], tail)


def write_aedat4(path, events, frames=(), imus=(), compress=None, extra_stream=False, chunk=1000):
    """Write an AEDAT4 file with event stream 0, frames 1 and inertial measurements 2."""
    info = '<attr key="sizeX" type="int">{}</attr><attr key="sizeY" type="int">{}</attr>'
    info = info.format(WIDTH, HEIGHT)
    kinds = ['EVTS', 'FRME', 'IMUS'] + ['EVTS'] * extra_stream
    nodes = ''.join(
        f'<node name="{k}" path="/outInfo/{k}/"><attr key="typeIdentifier" type="string">{kind}'
        f'</attr><node name="info" path="/outInfo/{k}/info/">{info}</node></node>'
        for k, kind in enumerate(kinds)
    )
    xml = f'<dv version="2.0"><node name="outInfo" path="/outInfo/">{nodes}</node></dv>'.encode()
    number = {None: 0, 'lz4': 1, 'zstd': 3}[compress]
    text = struct.pack('<I', len(xml)) + xml + b'\0'
    header = _flat(b'IOHE', [('i', number), ('q', -1), ('o', 0)], text)
    if compress == 'lz4':
        from lz4.frame import compress as pack
    elif compress == 'zstd':
        from backports.zstd import compress as pack
    else:
        pack = bytes
    packets = [
        (k, 0, aedat4_events(events.slice(k, k + chunk))) for k in range(0, len(events), chunk)
    ]
    packets = [(int(events.t[k]) // 1000, number, data) for k, number, data in packets]
    packets += [(time, 1, aedat4_frame(image, time)) for image, time in frames]
    packets += [(time, 2, aedat4_imu(time)) for time in imus]
    packets.sort(key=lambda item: item[:2])
    with path.open('wb') as file:
        file.write(b'#!AER-DAT4.0\r\n' + header)
        for _, stream, data in packets:
            data = pack(data)
            file.write(struct.pack('<ii', stream, len(data)) + data)


def _packets(events):
    """Yield event packets of 5 ms."""
    encoder = Evt3Encoder(WIDTH, HEIGHT)
    for seq, begin in enumerate(range(0, int(events.t[-1]) + 1, 5_000_000)):
        first, stop = np.searchsorted(events.t, [begin, begin + 5_000_000])
        payload = encoder.encode(events.slice(first, stop), until=begin + 5_000_000)
        yield begin, Packet(payload, 'evt3', WIDTH, HEIGHT, begin, seq, 0, 'camera')


def write_bag(path, events):
    """Write one storage file of a rosbag2 (.mcap or .db3) with events and texts."""
    storage = 'sqlite3' if path.suffix == '.db3' else 'mcap'
    with tempfile.TemporaryDirectory() as folder:
        bag = Path(folder) / 'bag'
        with BagWriter(bag, storage) as writer:
            writer.add_topic('/events', EVENT_PACKET)
            writer.add_topic('/text', 'std_msgs/msg/String')
            for time, packet in _packets(events):
                writer.write('/events', time, packet_message(packet))
                writer.write('/text', time, serialize('std_msgs/msg/String', {'data': 'hello'}))
        (bag / f'bag{path.suffix}').rename(path)


def write_ros1(path, events):
    """Write a ROS 1 bag with events of the old name and texts."""
    store = get_typestore(Stores.ROS1_NOETIC)
    fields = 'Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\n'
    fields += 'string encoding\nbool is_bigendian\nuint8[] events\n'
    store.register(get_types_from_msg(fields, EVENT_ARRAY))
    kinds = store.types
    path.unlink(missing_ok=True)
    with rosbag1.Writer(path) as writer:
        topic = writer.add_connection('/events', EVENT_ARRAY, typestore=store)
        texts = writer.add_connection('/text', 'std_msgs/msg/String', typestore=store)
        for when, packet in _packets(events):
            time = kinds['builtin_interfaces/msg/Time'](sec=0, nanosec=when)
            header = kinds['std_msgs/msg/Header'](seq=packet.seq, stamp=time, frame_id='camera')
            message = kinds[EVENT_ARRAY](
                header=header,
                height=HEIGHT,
                width=WIDTH,
                seq=packet.seq,
                time_base=0,
                encoding='evt3',
                is_bigendian=False,
                events=np.frombuffer(packet.payload, np.uint8),
            )
            writer.write(topic, when, store.serialize_ros1(message, EVENT_ARRAY))
            text = kinds['std_msgs/msg/String'](data='hello')
            writer.write(texts, when, store.serialize_ros1(text, 'std_msgs/msg/String'))
