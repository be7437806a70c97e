# SPDX-License-Identifier: Apache-2.0
"""Reading and writing recordings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.bags import BagError, BagReader, BagWriter
from spikeseg_ros.recordings.definitions import (
    DVS_ARRAY,
    EVENT_ARRAY,
    EVENT_PACKET,
    PROPHESEE_ARRAY,
    definition,
    message_folders,
)
from spikeseg_ros.recordings.serialization import (
    deserialize,
    image_message,
    packet_message,
    serialize,
)

BAGS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'events' / 'ros2_bags'
REAL = {
    'event_camera_py/test_events_1': (517, 'evt3', 640, 480),
    'event_camera_codecs/test_data_evt3_trigger': (105, 'evt3', 1280, 720),
    'event_camera_codecs/test_data_libcaer_rollover': (201, 'libcaer', 640, 480),
    'event_camera_codecs/test_data_mono_cd': (2, 'mono', 640, 480),
}
needs_bags = pytest.mark.skipif(not BAGS.is_dir(), reason=f'the recordings are not at {BAGS}')
OBJECTS = 'spikeseg_ros/msg/SegmentedObjectArray'


def packet(k=0, size=100):
    payload = np.random.default_rng(k).integers(0, 256, size).astype(np.uint8).tobytes()
    return Packet(payload, 'evt3', 346, 260, 10**18 + k, k, 7, 'cam')


def write(path, storage='mcap', count=20, size=100):
    with BagWriter(path, storage) as bag:
        bag.add_topic('/events', EVENT_PACKET, 'best_effort')
        bag.add_topic('/image', 'sensor_msgs/msg/Image')
        for k in range(count):
            bag.write('/events', 1000 + k, packet_message(packet(k, size)))
        bag.write('/image', 5000, image_message(np.zeros((4, 6, 3), np.uint8), 77, 'cam'))
    return path


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_round_trip(tmp_path, storage):
    path = write(tmp_path / 'bag', storage)
    with BagReader(path) as bag:
        assert not bag.notes
        assert {t.name: (t.type, t.count, t.qos) for t in bag.topics.values()} == {
            '/events': (EVENT_PACKET, 20, 'best_effort'),
            '/image': ('sensor_msgs/msg/Image', 1, 'reliable'),
        }
        assert 'uint64 time_base' in bag.topics['/events'].definition
        assert bag.duration == 4000
        for k, (time, found) in enumerate(bag.packets()):
            wanted = packet(k)
            assert time == 1000 + k
            assert bytes(found.payload) == wanted.payload
            for name in ('encoding', 'width', 'height', 'stamp', 'seq', 'time_base', 'frame_id'):
                assert getattr(found, name) == getattr(wanted, name)
        ((topic, kind, time, raw),) = bag.messages(['/image'])
        assert (topic, kind, time) == ('/image', 'sensor_msgs/msg/Image', 5000)
        image = deserialize(kind, raw)
        assert (image.encoding, image.height, image.width, image.step) == ('rgb8', 4, 6, 18)
        assert image.header.stamp.nanosec == 77


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_bags_carry_their_definitions_and_quality_of_service(tmp_path, storage):
    with BagWriter(tmp_path / 'bag', storage) as bag:
        bag.add_topic('/objects', OBJECTS)
        bag.add_topic('/labels', 'spikeseg_ros/msg/LabelMap', 'latched')
        bag.write('/objects', 1, serialize(OBJECTS, {}))
        bag.write('/labels', 2, serialize('spikeseg_ros/msg/LabelMap', {'names': ['a', 'b']}))
    # As a reader without any knowledge of our messages sees it.
    with rosbag2.Reader(tmp_path / 'bag') as reader:
        by_topic = {c.topic: c for c in reader.connections}
        labels = by_topic['/labels']
        assert labels.ext.offered_qos_profiles[0].durability.name == 'TRANSIENT_LOCAL'
        assert by_topic['/objects'].digest == definition(OBJECTS)[1]
        store = get_typestore(Stores.ROS2_JAZZY)
        store.register(get_types_from_msg(labels.msgdef.data, labels.msgtype))
        ((_, _, raw),) = reader.messages([labels])
        assert store.deserialize_cdr(raw, labels.msgtype).names == ['a', 'b']
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics['/labels'].qos == 'latched'


def test_hash_of_the_event_packet_is_that_of_ros():
    # Read from a recording made with the public event_camera_msgs.
    digest = 'RIHS01_d6fa176260b1f37e5a40845305315e150a0f18191241eb64f407442aa29844aa'
    assert definition(EVENT_PACKET)[1] == digest


@needs_bags
@pytest.mark.parametrize('name', REAL)
def test_real_recordings(name):
    count, encoding, width, height = REAL[name]
    with BagReader(BAGS / name) as bag:
        packets = [found for _, found in bag.packets()]
    assert len(packets) == count
    assert {(p.encoding, p.width, p.height) for p in packets} == {(encoding, width, height)}
    seqs = np.array([p.seq for p in packets])
    assert name.endswith('mono_cd') or (np.diff(seqs) == 1).all()


@needs_bags
def test_our_serialisation_is_that_of_ros():
    with BagReader(BAGS / 'event_camera_py/test_events_1') as bag:
        topic = bag.event_topics[0]
        raw = [bytes(raw) for _, _, _, raw in bag.messages([topic])][:50]
        again = [packet_message(found) for _, found in bag.packets()][:50]
    assert raw == again


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('change', ['missing', 'empty', 'identifier', 'version', 'garbage'])
def test_bad_metadata_is_worked_around(tmp_path, storage, change):
    path = write(tmp_path / 'bag', storage)
    meta = path / 'metadata.yaml'
    text = meta.read_text()
    if change == 'missing':
        meta.unlink()
    else:
        meta.write_text(
            {
                'empty': '',
                'identifier': text.replace(
                    f'storage_identifier: {storage}', "storage_identifier: ''"
                ),
                'version': text.replace('version: 8', 'version: 99'),
                'garbage': '{[',
            }[change]
        )
    with BagReader(path) as bag:
        assert len(list(bag.packets())) == 20
        assert bag.notes
    with BagReader(next(path.glob('*.mcap' if storage == 'mcap' else '*.db3'))) as bag:
        assert len(list(bag.packets())) == 20


@pytest.mark.parametrize(
    ('storage', 'mode'),
    [
        ('mcap', 'FILE'),
        ('mcap', 'MESSAGE'),
        ('mcap', 'STORAGE'),
        ('sqlite3', 'FILE'),
        ('sqlite3', 'MESSAGE'),
    ],
)
@pytest.mark.parametrize('metadata', [True, False])
def test_compressed_bags(tmp_path, storage, mode, metadata):
    plugin = rosbag2.StoragePlugin[storage.upper()]
    writer = rosbag2.Writer(tmp_path / 'bag', version=8, storage_plugin=plugin)
    writer.set_compression(rosbag2.CompressionMode[mode], rosbag2.CompressionFormat.ZSTD)
    text, digest = definition(EVENT_PACKET)
    with writer:
        connection = writer.add_connection('/events', EVENT_PACKET, msgdef=text, rihs01=digest)
        for k in range(5):
            writer.write(connection, k, packet_message(packet(k)))
    if not metadata:
        (tmp_path / 'bag' / 'metadata.yaml').unlink()
    with BagReader(tmp_path / 'bag') as bag:
        found = [p for _, p in bag.packets()]
    assert [bytes(p.payload) for p in found] == [packet(k).payload for k in range(5)]


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_damaged_files_give_a_bag_error_and_keep_what_was_read(tmp_path, storage):
    good = write(tmp_path / 'good', storage, count=300, size=20_000)
    source = next(p for p in good.iterdir() if p.suffix != '.yaml')
    data = source.read_bytes()
    rng = np.random.default_rng(0)
    partial = 0
    for trial in range(24):
        path = tmp_path / f'bad{trial}'
        path.mkdir()
        shutil.copy(good / 'metadata.yaml', path)
        target = path / source.name
        if trial % 2:
            target.write_bytes(data[: int(rng.integers(0, len(data)))])
        else:
            broken = bytearray(data)
            begin = int(rng.integers(0, len(data) - 5000))
            broken[begin : begin + 4000] = rng.integers(0, 256, 4000).astype(np.uint8).tobytes()
            target.write_bytes(broken)
        read, problem = [], ''
        try:
            with BagReader(path) as bag:
                read.extend(time for time, _ in bag.packets())
        except BagError as err:
            problem = str(err)
            partial += 0 < len(read) < 300
        assert not problem or path.name in problem
        assert read == list(range(1000, 1000 + len(read)))
    assert partial


def test_messages_that_are_cut_off_name_the_topic(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/events', EVENT_PACKET)
        raw = packet_message(packet())
        bag.write('/events', 1, raw)
        bag.write('/events', 2, raw[:60])
    with BagReader(tmp_path / 'bag') as bag:
        packets = bag.packets()
        next(packets)
        with pytest.raises(BagError, match="Message 1 of '/events'"):
            next(packets)


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(BagError, match='does not exist'), BagReader(tmp_path / 'none'):
        pass
    (tmp_path / 'text.txt').write_text('hello')
    with pytest.raises(BagError, match='Readable are'), BagReader(tmp_path / 'text.txt'):
        pass
    (tmp_path / 'empty').mkdir()
    with pytest.raises(BagError, match='no recording'), BagReader(tmp_path / 'empty'):
        pass
    path = write(tmp_path / 'bag')
    with BagReader(path) as bag:
        with pytest.raises(BagError, match="no topic '/other'"):
            list(bag.messages(['/other']))
        with pytest.raises(BagError, match='carries no events'):
            list(bag.packets('/image'))
    with pytest.raises(BagError, match='not open'):
        list(bag.messages())
    with pytest.raises(BagError, match='exists already'), BagWriter(path):
        pass
    with pytest.raises(BagError, match='no recording'):
        BagWriter(tmp_path / 'empty', overwrite=True).__enter__()
    with pytest.raises(BagError, match='storage'):
        BagWriter(tmp_path / 'new', 'zip')
    with BagWriter(path, overwrite=True) as bag:
        with pytest.raises(BagError, match='no definition'):
            bag.add_topic('/a', 'unknown_msgs/msg/Thing')
        with pytest.raises(BagError, match='QoS'):
            bag.add_topic('/a', EVENT_PACKET, 'fast')
        with pytest.raises(BagError, match='add_topic first'):
            bag.write('/a', 0, b'')
        bag.add_topic('/a', EVENT_PACKET)
        with pytest.raises(BagError, match='already added'):
            bag.add_topic('/a', EVENT_PACKET)


def test_a_recording_without_events_says_what_it_has(tmp_path):
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/image', 'sensor_msgs/msg/Image')
    with BagReader(tmp_path / 'bag') as bag, pytest.raises(BagError, match='/image'):
        list(bag.packets())


def test_what_was_written_before_an_exception_stays_readable(tmp_path):
    def fail():
        with BagWriter(tmp_path / 'bag') as bag:
            bag.add_topic('/events', EVENT_PACKET)
            bag.write('/events', 1, packet_message(packet()))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with BagReader(tmp_path / 'bag') as bag:
        assert len(list(bag.packets())) == 1


def test_several_storage_files_are_read_in_order(tmp_path):
    path = tmp_path / 'bag'
    path.mkdir()
    for k in (2, 10, 1):
        with BagWriter(tmp_path / f'part{k}') as bag:
            bag.add_topic('/events', EVENT_PACKET)
            bag.write('/events', k, packet_message(packet(k)))
        shutil.copy(tmp_path / f'part{k}' / f'part{k}.mcap', path / f'bag_{k}.mcap')
    with BagReader(path) as bag:
        assert [time for time, _ in bag.packets()] == [1, 2, 10]
        assert bag.topics['/events'].count == 3


EVENTS = [(3, 4, 10, 5, True), (640, 300, 10, 900, False), (1, 2, 11, 7, True)]


def events_message(store, name, header):
    kinds = store.types
    event = kinds[name.replace('EventArray', 'Event')]
    time = kinds['builtin_interfaces/msg/Time']
    items = [event(x=x, y=y, ts=time(sec=s, nanosec=n), polarity=p) for x, y, s, n, p in EVENTS]
    return kinds[name](header=header, height=480, width=640, events=items)


@pytest.mark.parametrize('name', [DVS_ARRAY, PROPHESEE_ARRAY])
@pytest.mark.parametrize('count', [0, 1, 3])
def test_lists_of_single_events(tmp_path, name, count):
    items = [
        {'x': x, 'y': y, 'ts': {'sec': s, 'nanosec': n}, 'polarity': p}
        for x, y, s, n, p in EVENTS[:count]
    ]
    with BagWriter(tmp_path / 'bag') as bag:
        bag.add_topic('/events', name)
        raw = serialize(
            name, {'header': {'frame_id': 'abc'}, 'height': 480, 'width': 640, 'events': items}
        )
        bag.write('/events', 1, raw)
    with BagReader(tmp_path / 'bag') as bag:
        ((_, found),) = bag.packets()
    check_mono(found, count)


def check_mono(found, count):
    assert (found.encoding, found.width, found.height, found.frame_id) == ('mono', 640, 480, 'abc')
    words = np.frombuffer(found.payload, '<u8')
    assert len(words) == count
    for word, (x, y, s, n, p) in zip(words.tolist(), EVENTS, strict=False):
        assert found.time_base + (word & 0xFFFFFFFF) == s * 10**9 + n
        assert (word >> 32) & 0xFFFF == x
        assert (word >> 48) & 0x7FFF == y
        assert word >> 63 == p


def ros1_store():
    store = get_typestore(Stores.ROS1_NOETIC)
    fields = 'Header header\nuint32 height\nuint32 width\n'
    body = 'uint64 seq\nuint64 time_base\nstring encoding\nbool is_bigendian\nuint8[] events\n'
    types = get_types_from_msg(fields + body, EVENT_PACKET)
    types.update(get_types_from_msg(fields + body, EVENT_ARRAY))
    event = 'uint16 x\nuint16 y\ntime ts\nbool polarity\n'
    types.update(get_types_from_msg(event, 'dvs_msgs/msg/Event'))
    types.update(get_types_from_msg(fields + 'Event[] events\n', DVS_ARRAY))
    store.register(types)
    return store


@pytest.mark.parametrize('kind', [EVENT_PACKET, EVENT_ARRAY, DVS_ARRAY])
def test_ros1_bags(tmp_path, kind):
    store = ros1_store()
    time = store.types['builtin_interfaces/msg/Time'](sec=3, nanosec=9)
    header = store.types['std_msgs/msg/Header'](seq=5, stamp=time, frame_id='abc')
    if kind == DVS_ARRAY:
        message = events_message(store, kind, header)
    else:
        message = store.types[kind](
            header=header,
            height=480,
            width=640,
            seq=4,
            time_base=11,
            encoding='mono',
            is_bigendian=False,
            events=np.arange(16, dtype=np.uint8),
        )
    with rosbag1.Writer(tmp_path / 'old.bag') as writer:
        connection = writer.add_connection('/events', kind, typestore=store)
        writer.write(connection, 77, store.serialize_ros1(message, kind))
    with BagReader(tmp_path / 'old.bag') as bag:
        assert bag.ros1
        ((when, found),) = bag.packets()
    assert when == 77
    assert found.stamp == 3 * 10**9 + 9
    if kind == DVS_ARRAY:
        check_mono(found, 3)
    else:
        assert bytes(found.payload) == bytes(range(16))
        assert (found.seq, found.time_base, found.frame_id) == (4, 11, 'abc')


def test_messages_from_plain_data():
    value = {
        'height': 3,
        'objects': [{'track_id': 4, 'instance_ids': [1, 2], 'mask': {'data': b'abc'}}],
    }
    message = deserialize(OBJECTS, serialize(OBJECTS, value))
    assert message.height == 3
    assert message.objects[0].track_id == 4
    assert message.objects[0].mask.data.tobytes() == b'abc'
    with pytest.raises(ValueError, match='no fields'):
        serialize(OBJECTS, {'hight': 3})
    with pytest.raises(ValueError, match='Damaged'):
        deserialize(OBJECTS, serialize(OBJECTS, value)[:40])


def test_own_definitions_are_found():
    assert message_folders()


@pytest.mark.parametrize('compression', ['NONE', 'STORAGE'])
def test_recordings_without_an_end_are_read_as_far_as_they_go(tmp_path, compression):
    plugin = rosbag2.StoragePlugin.MCAP
    writer = rosbag2.Writer(tmp_path / 'bag', version=8, storage_plugin=plugin)
    writer.set_compression(rosbag2.CompressionMode[compression], rosbag2.CompressionFormat.ZSTD)
    text, digest = definition(EVENT_PACKET)
    with writer:
        connection = writer.add_connection('/events', EVENT_PACKET, msgdef=text, rihs01=digest)
        for k in range(200):
            writer.write(connection, k, packet_message(packet(k, 20_000)))
    path = next((tmp_path / 'bag').glob('*.mcap'))
    data = path.read_bytes()
    (tmp_path / 'bag' / 'metadata.yaml').unlink()
    path.write_bytes(data[: len(data) * 2 // 3])
    times = []

    def read(source):
        with BagReader(source) as bag:
            assert 50 < bag.topics['/events'].count < 200
            assert bag.notes
            times.extend(time for time, _ in bag.packets())

    for source in (tmp_path / 'bag', path):
        times.clear()
        with pytest.raises(BagError, match='ends within the record'):
            read(source)
        assert 50 < len(times) < 200
        assert times == list(range(len(times)))
    # Only index and footer are missing: that is no damage.
    path.write_bytes(data[: data.rindex(b'\x0f\x04\x00\x00\x00\x00\x00\x00\x00')])
    with BagReader(path) as bag:
        assert [time for time, _ in bag.packets()] == list(range(200))
        assert bag.topics['/events'].type == EVENT_PACKET


def test_quality_of_service_survives_a_lost_index(tmp_path):
    write(tmp_path / 'bag')
    path = next((tmp_path / 'bag').glob('*.mcap'))
    path.write_bytes(path.read_bytes()[:-20])
    with BagReader(path) as bag:
        assert bag.topics['/events'].qos == 'best_effort'
        assert bag.topics['/image'].qos == 'reliable'
        assert 'uint64 time_base' in bag.topics['/events'].definition
        assert len(list(bag.packets())) == 20
