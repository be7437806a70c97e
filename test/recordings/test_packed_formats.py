# SPDX-License-Identifier: Apache-2.0
"""AEDAT4 and HDF5 files come out as the events that went in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

import event_files as files
from test_formats import assert_same, read

from spikeseg_ros.events import Events
from spikeseg_ros.recordings import open_recording
from spikeseg_ros.recordings.convert import convert
from spikeseg_ros.recordings.formats.source import FormatError, ReadOptions
from spikeseg_ros.recordings.serialization import deserialize

h5py = pytest.importorskip('h5py')
hdf5plugin = pytest.importorskip('hdf5plugin')

EVENTS = files.random_events(4000)
ECF = 36559


@pytest.mark.parametrize('compress', [None, 'lz4', 'zstd'])
def test_aedat4(tmp_path, compress):
    path = tmp_path / 'a.aedat4'
    images = [(np.full((240, 320), k, np.uint8), 7000 + 10_000 * k) for k in range(3)]
    files.write_aedat4(path, EVENTS, images, [8000, 9000], compress)
    found, packets, _, notes = read(path)
    assert_same(found, EVENTS)
    assert (packets[0].width, packets[0].height, packets[0].encoding) == (320, 240, 'evt3')
    assert notes == ['2 packets of inertial measurements left out']


@pytest.mark.parametrize('compress', [None, 'lz4', 'zstd'])
def test_another_reader_sees_the_same_in_these_files(tmp_path, compress):
    # So the files of these tests are what other programs take for AEDAT4.
    aedat = pytest.importorskip('aedat')
    path = tmp_path / 'a.aedat4'
    image = np.arange(240 * 320, dtype=np.uint32).astype(np.uint8).reshape(240, 320)
    files.write_aedat4(path, EVENTS, [(image, 7000)], [8000], compress)
    packets = list(aedat.Decoder(str(path)))
    rows = np.concatenate([packet['events'] for packet in packets if 'events' in packet])
    for name, column in (
        ('t', files.micro(EVENTS)),
        ('x', EVENTS.x),
        ('y', EVENTS.y),
        ('on', EVENTS.p),
    ):
        np.testing.assert_array_equal(rows[name], column)
    (frame,) = (packet['frame'] for packet in packets if 'frame' in packet)
    np.testing.assert_array_equal(frame['pixels'], image)
    (imus,) = (packet['imus'] for packet in packets if 'imus' in packet)
    assert imus['t'].tolist() == [8000]


def test_images_of_aedat4_become_a_topic(tmp_path):
    path = tmp_path / 'a.aedat4'
    image = np.arange(240 * 320, dtype=np.uint32).astype(np.uint8).reshape(240, 320)
    # The first image is older than the first event.
    files.write_aedat4(path, EVENTS, [(image, 1000), (image[::-1].copy(), 30_000)])
    result = convert(path, tmp_path / 'bag', image_topic='/grey')
    assert result.stats.images == 2
    with open_recording(tmp_path / 'bag') as bag:
        assert set(bag.topics) == {'/event_camera/events', '/grey'}
        first = next(bag.packets())[1].stamp
        found = [deserialize(kind, raw) for _, kind, _, raw in bag.messages(['/grey'])]
    stamps = [m.header.stamp.sec * files.SECOND + m.header.stamp.nanosec for m in found]
    assert [stamp - first for stamp in stamps] == [
        1_000_000 - int(EVENTS.t[0]),
        30_000_000 - int(EVENTS.t[0]),
    ]
    np.testing.assert_array_equal(found[1].data.reshape(240, 320), image[::-1])
    assert found[0].encoding == 'mono8'


def test_event_streams_of_aedat4(tmp_path):
    path = tmp_path / 'a.aedat4'
    files.write_aedat4(path, EVENTS, extra_stream=True)
    _, _, _, notes = read(path)
    assert notes == ['event stream 0 of 0, 3 taken (change it with --group)']
    with pytest.raises(FormatError, match='--group can be: 0, 3'):
        read(path, group='7')
    (tmp_path / 'old.aedat').write_bytes(b'#!AER-DAT3.1\r\n' + bytes(100))
    with pytest.raises(FormatError, match=r"AEDAT version '3\.1'"):
        read(tmp_path / 'old.aedat')


def h5(path, tree, attributes=None, **options):
    """Write datasets by path, and attributes of the file."""
    with h5py.File(path, 'w') as file:
        for name, value in tree.items():
            some = options if np.ndim(value) else {}
            file.create_dataset(name, data=value, **some)
        file.attrs.update(attributes or {})
    return path


def columns(group, names='xypt', t=None, p=None):
    t = files.micro(EVENTS) if t is None else t
    p = EVENTS.p if p is None else p
    values = dict(zip('xypt', (EVENTS.x, EVENTS.y, p, t), strict=True))
    return {f'{group}/{name}': values[key] for name, key in zip(names, 'xypt', strict=True)}


def compound(names=('x', 'y', 'p', 't')):
    rows = np.zeros(len(EVENTS), list(zip(names, ('<u2', '<u2', '<i2', '<i8'), strict=True)))
    for name, value in zip(
        names, (EVENTS.x, EVENTS.y, EVENTS.p, files.micro(EVENTS)), strict=True
    ):
        rows[name] = value
    return rows


SIZE = {'size': (320, 240)}
MINUS = EVENTS.p.astype(np.int8) * 2 - 1
LAYOUTS = {
    'dsec': (
        {
            **columns('events', t=(files.micro(EVENTS) - 3000).astype(np.uint32)),
            'ms_to_idx': np.zeros(3, np.uint64),
            't_offset': 3000,
        },
        SIZE,
    ),
    'm3ed': (
        {**columns('prophesee/left'), 'prophesee/left/calib/resolution': np.array([320, 240])},
        {},
    ),
    'seconds': (columns('a/b', ('xs', 'ys', 'ps', 'ts'), EVENTS.t / 1e9), SIZE),
    'nanoseconds': (columns('e', ('x', 'y', 'polarity', 'timestamp'), EVENTS.t), SIZE),
    'signed': (columns('e', p=MINUS), SIZE),
    'bool': (columns('e', p=EVENTS.p.astype(bool)), SIZE),
    'prophesee': ({'CD/events': compound(), 'CD/indexes': np.zeros(2)}, SIZE),
    'named': ({'table': compound(('x', 'y', 'polarity', 'timestamp'))}, SIZE),
    'v2e': (
        {'events': np.stack((files.micro(EVENTS), EVENTS.x, EVENTS.y, EVENTS.p), 1)},
        SIZE,
    ),
    'mvsec': (
        {'davis/left/events': np.stack((EVENTS.x, EVENTS.y, EVENTS.t / 1e9, MINUS), 1)},
        SIZE,
    ),
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_hdf5_layouts(tmp_path, layout):
    tree, options = LAYOUTS[layout]
    if layout == 'nanoseconds':
        options = {**options, 'time_unit': 'ns'}
    path = h5(tmp_path / 'a.h5', tree)
    found, packets, _, _ = read(path, **options)
    assert_same(found, EVENTS)
    assert (packets[0].width, packets[0].height) == (320, 240)


@pytest.mark.parametrize('codec', ['Blosc', 'Zstd', 'LZ4', 'Bitshuffle'])
def test_hdf5_codecs(tmp_path, codec):
    path = h5(
        tmp_path / 'a.hdf5', columns('events'), chunks=(1000,), **getattr(hdf5plugin, codec)()
    )
    assert_same(read(path, **SIZE)[0], EVENTS)


def test_hdf5_geometry_comes_from_attributes_or_events(tmp_path):
    for attributes, size in (
        ({'geometry': '640x480'}, (640, 480)),
        ({'width': 400, 'height': 300}, (400, 300)),
        ({}, (320, 320)),
    ):
        path = h5(tmp_path / 'a.h5', columns('events'), attributes)
        _, packets, _, notes = read(path)
        assert (packets[0].width, packets[0].height) == size
        assert bool(attributes) != any('holds all events' in note for note in notes)


def test_hdf5_groups_are_chosen(tmp_path):
    other = files.random_events(100, 9)
    tree = {
        **columns('prophesee/left'),
        'prophesee/right/x': other.x,
        'prophesee/right/y': other.y,
    }
    tree.update({'prophesee/right/p': other.p, 'prophesee/right/t': files.micro(other)})
    path = h5(tmp_path / 'a.h5', tree)
    with pytest.raises(FormatError, match='--group: /prophesee/left, /prophesee/right'):
        read(path)
    assert_same(read(path, group='/prophesee/right', **SIZE)[0], other)
    assert_same(read(path, group='prophesee/left', **SIZE)[0], EVENTS)
    with pytest.raises(FormatError, match="no events below --group 'nowhere'"):
        read(path, group='nowhere')


def test_the_codec_of_prophesee_is_named(tmp_path):
    path = tmp_path / 'a.hdf5'
    with h5py.File(path, 'w') as file:
        rows = compound()
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((1000,))
        plist.set_filter(ECF, h5py.h5z.FLAG_OPTIONAL, ())
        space = h5py.h5s.create_simple(rows.shape)
        kind = h5py.h5t.py_create(rows.dtype)
        group = file.create_group('CD')
        h5py.h5d.create(group.id, b'events', kind, space, plist)
    with pytest.raises(FormatError, match=r'ECF codec of Prophesee.*HDF5_PLUGIN_PATH'):
        read(path)


def test_hdf5_problems_are_named(tmp_path):
    short = columns('e')
    short['e/x'] = short['e/x'][:-1]
    for tree, text in (
        ({'images': np.zeros((3, 3))}, 'the file holds: images'),
        (short, 'differ in length'),
        ({f'e/{name}': np.zeros(0, np.int64) for name in 'xypt'}, 'holds no events'),
        (columns('e', t=np.full(4000, -5)), 'event 0 has the time'),
        (columns('e', p=np.full(4000, 7)), 'polarity 7'),
    ):
        with pytest.raises(FormatError, match=text):
            read(h5(tmp_path / 'a.h5', tree), **SIZE)


def test_a_damaged_chunk_keeps_what_comes_before(tmp_path, monkeypatch):
    from spikeseg_ros.recordings.formats import hdf5

    monkeypatch.setattr(hdf5, '_STEP', 1000)
    path = h5(tmp_path / 'a.h5', columns('events'), chunks=(1000,), fletcher32=True)
    with h5py.File(path) as file:
        where = file['events/t'].id.get_chunk_info(2).byte_offset
    data = bytearray(path.read_bytes())
    data[where + 100] ^= 0xFF
    path.write_bytes(data)
    result = convert(path, tmp_path / 'bag', options=ReadOptions(**SIZE))
    assert 'damaged or was cut off' in result.problem
    assert_same(read(tmp_path / 'bag')[0], EVENTS.slice(0, 2000))


def test_missing_extras_say_what_to_install(tmp_path, monkeypatch):
    h5(tmp_path / 'a.h5', columns('events'))
    for module in ('h5py', 'hdf5plugin'):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r'spikeseg_ros\[formats\]'):
                read(tmp_path / 'a.h5')


def test_times_of_aedat4_since_1970(tmp_path):
    begin = 1_700_000_000 * files.SECOND
    shifted = Events(EVENTS.x, EVENTS.y, EVENTS.p, EVENTS.t + begin)
    files.write_aedat4(tmp_path / 'a.aedat4', shifted)
    found, packets, _, _ = read(tmp_path / 'a.aedat4')
    first = int(EVENTS.t[0])
    assert_same(found, Events(EVENTS.x, EVENTS.y, EVENTS.p, EVENTS.t - first))
    assert packets[0].stamp == begin + first
