# SPDX-License-Identifier: Apache-2.0
"""``spikeseg convert``: bags out of everything, and what happens when something is wrong."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

sys.path.insert(0, str(Path(__file__).parent))

import event_files as files
from test_bags import EVENTS as LISTED
from test_bags import check_mono, events_message, packet, ros1_store
from test_formats import WRITERS, assert_same, read

from spikeseg_ros.cli import main
from spikeseg_ros.recordings import BagError, BagReader, BagWriter, open_recording
from spikeseg_ros.recordings.convert import convert
from spikeseg_ros.recordings.definitions import DVS_ARRAY, EVENT_ARRAY, EVENT_PACKET
from spikeseg_ros.recordings.serialization import deserialize, packet_message

BAGS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'events' / 'ros2_bags'


def run(*words):
    return main(['convert', *map(str, words), '--quiet'])


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_command(tmp_path, capsys, storage):
    events = files.random_events()
    files.write_text(tmp_path / 'a.txt', events)
    out = tmp_path / 'bag'
    words = (tmp_path / 'a.txt', '--output', out, '--storage', storage, '--size', '320x240')
    assert run(*words, '--topic', '/dvs', '--frame-id', 'dvs', '--start-time', '12.5') == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert re.fullmatch(rf'{out}: 3000 events, 0\.05\d s, 320x240, evt3, 1\d messages', line)
    with BagReader(out) as bag:
        assert bag.notes == []
        assert bag.event_topics == ('/dvs',)
        assert bag.topics['/dvs'].qos == 'best_effort'
        first = next(bag.packets())[1]
    assert (first.stamp, first.frame_id) == (12_500_000_000 + int(events.t[0]), 'dvs')
    assert_same(read(out)[0], events)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.txt', 'bag']
    assert run(*words) == 1
    assert 'exists already' in capsys.readouterr().err
    assert run(*words, '--overwrite') == 0


def test_several_inputs_get_a_bag_each(tmp_path, capsys):
    (tmp_path / 'x').mkdir()
    files.write_evt3(tmp_path / 'a.raw', files.random_events(100, 1))
    files.write_evt2(tmp_path / 'x' / 'a.raw', files.random_events(100, 2))
    (tmp_path / 'c.raw').write_bytes(b'')
    out = tmp_path / 'bags'
    assert run(tmp_path / 'a.raw', tmp_path / 'c.raw', tmp_path / 'x/a.raw', '--output', out) == 1
    assert sorted(path.name for path in out.iterdir()) == ['a', 'a-2']
    assert_same(read(out / 'a-2')[0], files.random_events(100, 2))
    assert 'is empty (0 bytes)' in capsys.readouterr().err


def test_the_same_input_gives_the_same_bytes(tmp_path):
    files.write_evt2(tmp_path / 'a.raw', files.random_events())
    for name in ('one', 'two'):
        convert(tmp_path / 'a.raw', tmp_path / name / 'bag')
    found = [(tmp_path / name / 'bag' / 'bag.mcap').read_bytes() for name in ('one', 'two')]
    assert found[0] == found[1]


WRONG = {
    'none.raw': (None, 'does not exist'),
    'a.xyz': (b'abc', 'suffix of .* tells no known format.*--from'),
    'b.raw': (b'', r'is empty \(0 bytes\)'),
    'c.raw': (b'% format EVT4;width=3;height=3\n% end\n\0\0', 'no known format and geometry'),
    'd.raw': (b'% format EVT3;width=3;height=99999\n% end\n\0\0', '99999'),
    'e.raw': (files.raw_header('EVT3'), 'a header and no events'),
    'f.raw': (files.raw_header('EVT3') + bytes(100), 'holds no events'),
    'g.txt': (b'hello world\n', "line 1 .'hello world'. is neither an event nor a header"),
    'h.txt': (b'1 2 3\n', 'line 1 has 3 columns'),
    'i.txt': (b'# only a comment\n', 'holds no events'),
    'j.txt': (b'640 480\n0.5 700 3 1\n', r'event 0 at \(700, 3\) is on no pixel of the 640x480'),
    'k.txt': (b'0.5 1.5 3 1\n', r'event 0 at \(1.5, 3\)'),
    'l.txt': (b'0.5 1 3 9\n', 'event 0 has the polarity 9'),
    'm.bs2': (b'\x22\x01\x00\x00\x00', r'event 0 at \(34, 1\)'),
    'n.bs2': (b'\x01\x01\x00', 'no whole number of five-byte events'),
    'o.npz': (b'PK\x03\x04broken', 'is no ground truth file'),
    'p.aedat4': (b'#!AER-DAT4.0\r\nbroken', 'damaged or was cut off'),
    'q.h5': (b'no hdf5', 'damaged or was cut off'),
    'r.mcap': (b'no mcap', 'Cannot read'),
    's.bag': (b'#ROSBAG V2.0\nbroken', 'Cannot read'),
    't.txt': (b'0.5 1 1 1\n' + b'7' * (1 << 23), 'line 2 does not end'),
}


@pytest.mark.parametrize('name', WRONG)
def test_wrong_inputs_give_one_line_and_no_bag(tmp_path, capsys, name):
    content, text = WRONG[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    if name == 't.txt':
        # The line before is kept.
        assert run(tmp_path / name, '--output', tmp_path / 'bag') == 1
        assert_same(read(tmp_path / 'bag')[0].slice(1, 1), files.random_events(0))
    else:
        assert run(tmp_path / name, '--output', tmp_path / 'bag') == 1
        assert not (tmp_path / 'bag').exists()
    assert not (tmp_path / 'bag.part').exists()
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(text, line)
    assert name in line


def test_options_are_checked(tmp_path, capsys):
    files.write_evt3(tmp_path / 'a.raw', files.random_events(10))
    for words, text in (
        (['--packet-ms', '0'], 'Packets of 0 ms'),
        (['--start-time', '-1'], '--start-time -1.0 cannot be'),
        (['--start-time', '4e9'], 'start time'),
        (['--size', '3'], "--size '3' is no geometry"),
        (['--size', '99999x1'], 'geometry 99999x1'),
        (['--size', '64x64'], 'the file says 320x240, --size says 64x64'),
        (['--from', 'hdf5'], 'HDF5'),
    ):
        assert main(['convert', str(tmp_path / 'a.raw'), '--output', str(tmp_path / 'b'), *words])
        assert text in capsys.readouterr().err
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'file').write_text('mine')
    assert run(tmp_path / 'a.raw', '--output', tmp_path / 'other', '--overwrite') == 1
    assert (tmp_path / 'other' / 'file').read_text() == 'mine'
    convert(tmp_path / 'a.raw', tmp_path / 'bag')
    assert run(tmp_path / 'bag', '--output', tmp_path / 'bag', '--overwrite') == 1
    assert 'is or holds the input' in capsys.readouterr().err
    assert (
        run(tmp_path / 'a.raw', '--from', 'raw', '--output', tmp_path / 'bag', '--overwrite') == 0
    )


@pytest.mark.parametrize('name', ['a.raw', 'b.raw', 'd.txt', 'e.csv', 'g.bs2'])
def test_everything_before_a_damage_is_converted(tmp_path, capsys, name):
    size = (34, 34) if name == 'g.bs2' else (320, 240)
    events = files.random_events(2000, size=size)
    WRITERS[name](tmp_path / name, events)
    data = (tmp_path / name).read_bytes()
    # One byte short in the last third is inside a word of any format, or inside a line.
    cut = len(data) * 2 // 3 // 40 * 40 + 1
    if name.endswith(('txt', 'csv')):
        data = data[:cut] + b' x y\n' + data[cut:]
    else:
        data = data[:cut]
        while (len(data) - len(files.raw_header('EVT3'))) % 2 == 0 and name == 'a.raw':
            data = data[:-1]
        while (len(data) - len(files.raw_header('2.0', old=True))) % 4 == 0 and name == 'b.raw':
            data = data[:-1]
        while len(data) % 5 == 0 and name == 'g.bs2':
            data = data[:-1]
    (tmp_path / name).write_bytes(data)
    options = ['--size', '320x240'] if name.endswith(('txt', 'csv')) else []
    assert run(tmp_path / name, '--output', tmp_path / 'bag', *options) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert name in line
    assert 'is complete up to there' in line
    found = read(tmp_path / 'bag')[0]
    assert 1000 < len(found) < 1500
    assert_same(found, events.slice(0, len(found)))


def test_an_interruption_leaves_a_readable_bag(tmp_path, capsys, monkeypatch):
    events = files.random_events(5000, end=500_000_000)
    files.write_evt3(tmp_path / 'a.raw', events)
    convert(tmp_path / 'a.raw', tmp_path / 'bag')
    write = BagWriter.write
    count = 0

    def interrupted(self, topic, time, raw):
        nonlocal count
        count += 1
        if count > 50:
            raise KeyboardInterrupt
        write(self, topic, time, raw)

    with monkeypatch.context() as patch:
        patch.setattr(BagWriter, 'write', interrupted)
        assert run(tmp_path / 'a.raw', '--output', tmp_path / 'bag', '--overwrite') == 130
    part = tmp_path / 'bag.part' / 'bag'
    assert str(part) in capsys.readouterr().err
    found = read(part)[0]
    assert_same(found, events.slice(0, len(found)))
    assert len(found) > 1000
    # What was there before is still there, and the next run clears up.
    assert_same(read(tmp_path / 'bag')[0], events)
    assert run(tmp_path / 'a.raw', '--output', tmp_path / 'bag', '--overwrite') == 0
    assert not part.parent.exists()


def test_a_full_disk_is_named(tmp_path, capsys, monkeypatch):
    files.write_evt3(tmp_path / 'a.raw', files.random_events())

    def full(self, *args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(rosbag2.Writer, 'write', full)
    assert run(tmp_path / 'a.raw', '--output', tmp_path / 'bag') == 1
    assert 'No space left on device' in capsys.readouterr().err


@pytest.mark.parametrize('kind', [EVENT_PACKET, EVENT_ARRAY, DVS_ARRAY])
def test_ros1_bags_become_ros2(tmp_path, kind):
    store = ros1_store()
    store.register(get_types_from_msg('string a\ntime when\nHeader header\n', 'my_msgs/msg/Own'))
    time = store.types['builtin_interfaces/msg/Time'](sec=3, nanosec=9)
    header = store.types['std_msgs/msg/Header'](seq=5, stamp=time, frame_id='abc')
    own = store.types['my_msgs/msg/Own'](a='text', when=time, header=header)
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
    image = store.types['sensor_msgs/msg/Image'](
        header, 1, 2, 'mono8', 0, 2, np.array([8, 9], np.uint8)
    )
    with rosbag1.Writer(tmp_path / 'old.bag') as writer:
        for topic, name, value in (
            ('/events', kind, message),
            ('/image', 'sensor_msgs/msg/Image', image),
            ('/own', 'my_msgs/msg/Own', own),
        ):
            connection = writer.add_connection(topic, name, typestore=store)
            writer.write(connection, 77, store.serialize_ros1(value, name))
    result = convert(tmp_path / 'old.bag', tmp_path / 'new')
    assert result.notes == []
    assert result.messages == 3
    with BagReader(tmp_path / 'new') as bag:
        assert bag.topics['/events'].type == EVENT_PACKET
        ((when, found),) = bag.packets()
        ((_, _, _, raw),) = bag.messages(['/image'])
        ((_, _, _, own_raw),) = bag.messages(['/own'])
        text = bag.topics['/own'].definition
    assert (when, found.stamp, found.frame_id) == (77, 3 * 10**9 + 9, 'abc')
    if kind == DVS_ARRAY:
        check_mono(found, 3)
        assert result.stats.events == len([e for e in LISTED if e[0] < 640])
    else:
        assert bytes(found.payload) == bytes(range(16))
    assert deserialize('sensor_msgs/msg/Image', raw).data.tolist() == [8, 9]
    # As a reader that knows only what the bag says.
    new = get_typestore(Stores.ROS2_JAZZY)
    new.register(get_types_from_msg(text, 'my_msgs/msg/Own'))
    again = new.deserialize_cdr(own_raw, 'my_msgs/msg/Own')
    assert (again.a, again.when.sec, again.header.frame_id) == ('text', 3, 'abc')


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_old_names_and_empty_identifiers_of_rosbag2(tmp_path, storage):
    with BagWriter(tmp_path / 'old', storage) as bag:
        bag.add_topic('/events', EVENT_ARRAY, 'best_effort')
        bag.add_topic('/labels', 'std_msgs/msg/String', 'latched')
        for k in range(5):
            bag.write('/events', k, packet_message(packet(k)))
    meta = tmp_path / 'old' / 'metadata.yaml'
    text = meta.read_text()
    meta.write_text(text.replace(f'storage_identifier: {storage}', "storage_identifier: ''"))
    assert meta.read_text() != text
    result = convert(tmp_path / 'old', tmp_path / 'new')
    assert 'metadata.yaml is not usable' in result.notes[0]
    with BagReader(tmp_path / 'new') as bag:
        assert bag.notes == []
        assert bag.topics['/events'].type == EVENT_PACKET
        assert {t.name: t.qos for t in bag.topics.values()} == {
            '/events': 'best_effort',
            '/labels': 'latched',
        }
        found = [bytes(found.payload) for _, found in bag.packets()]
    assert found == [packet(k).payload for k in range(5)]


def test_types_that_nobody_knows_here_are_copied_with_their_definition(tmp_path):
    writer = rosbag2.Writer(tmp_path / 'old', version=8, storage_plugin=rosbag2.StoragePlugin.MCAP)
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg('int32 a\n', 'their_msgs/msg/Own'))
    with writer:
        connection = writer.add_connection('/own', 'their_msgs/msg/Own', typestore=store)
        raw = store.serialize_cdr(store.types['their_msgs/msg/Own'](a=5), 'their_msgs/msg/Own')
        writer.write(connection, 3, raw)
    convert(tmp_path / 'old', tmp_path / 'new')
    with BagReader(tmp_path / 'new') as bag:
        assert 'int32 a' in bag.topics['/own'].definition
        ((_, kind, time, found),) = bag.messages()
    assert (kind, time, bytes(found)) == ('their_msgs/msg/Own', 3, bytes(raw))


@pytest.mark.skipif(not BAGS.is_dir(), reason=f'the recordings are not at {BAGS}')
@pytest.mark.parametrize(
    'name', ['event_camera_py/test_events_1', 'event_camera_codecs/test_data_mono_cd']
)
def test_real_bags_are_copied_message_by_message(tmp_path, name):
    result = convert(BAGS / name, tmp_path / 'new')
    with BagReader(BAGS / name) as old, BagReader(tmp_path / 'new') as new:
        wanted = [(topic, time, bytes(raw)) for topic, _, time, raw in old.messages()]
        found = [(topic, time, bytes(raw)) for topic, _, time, raw in new.messages()]
    assert found == wanted
    assert (
        result.stats.events
        == {'test_events_1': 343_474, 'test_data_mono_cd': 100}[Path(name).name]
    )


def test_a_damaged_bag_is_copied_up_to_the_damage(tmp_path, capsys):
    with BagWriter(tmp_path / 'old') as bag:
        bag.add_topic('/events', EVENT_PACKET)
        for k in range(6):
            raw = packet_message(packet(k))
            bag.write('/events', k, raw if k < 4 else raw[:60])
    assert run(tmp_path / 'old', '--output', tmp_path / 'new') == 1
    assert "'/events'" in capsys.readouterr().err
    with BagReader(tmp_path / 'new') as bag:
        assert len(list(bag.packets())) == 4


@pytest.mark.parametrize('name', ['a.mcap', 'a.db3', 'a.bag', 'a.raw', 'b.raw', 'd.txt', 'f.npz'])
def test_a_file_opened_directly_gives_the_packets_of_its_bag(tmp_path, name):
    events = files.random_events()
    bags = {'a.mcap': files.write_bag, 'a.db3': files.write_bag, 'a.bag': files.write_ros1}
    {**bags, **WRITERS}[name](tmp_path / name, events)
    result = convert(tmp_path / name, tmp_path / 'bag')
    assert result.stats.events == len(events)
    with open_recording(tmp_path / name) as direct, open_recording(tmp_path / 'bag') as bag:
        assert (direct.name, direct.topic) == (name[0], bag.topic)
        assert bag.topics[bag.topic].type == EVENT_PACKET
        wanted = [(t, bytes(p.payload), p.stamp, p.seq) for t, p in direct.packets()]
        found = [(t, bytes(p.payload), p.stamp, p.seq) for t, p in bag.packets()]
    assert found == wanted
    assert_same(read(tmp_path / 'bag')[0], events)
    with (
        open_recording(tmp_path / name, '/other') as direct,
        pytest.raises(BagError, match='/other') if name in bags else nullcontext(),
    ):
        assert direct.topic == '/other'
        list(direct.packets())
    with open_recording(tmp_path / name) as direct, pytest.raises(BagError, match='no topic'):
        list(direct.packets('/none'))
