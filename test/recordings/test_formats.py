# SPDX-License-Identifier: Apache-2.0
"""Event files of every format come out as the events that went in."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

import event_files as files

from spikeseg_ros.events import EventDecoder, Events, Triggers
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.rawfile import read_raw
from spikeseg_ros.recordings import BagReader, open_recording
from spikeseg_ros.recordings.formats.packets import START, Packetizer
from spikeseg_ros.recordings.formats.source import FormatError, ReadOptions, TableSource
from spikeseg_ros.recordings.formats.units import detect_unit, to_nanoseconds
from spikeseg_ros.simulation.truth import GroundTruth

BAGS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'events' / 'ros2_bags'
REAL = BAGS / 'event_camera_py' / 'test_events_1'
EPOCH = 1_700_000_000 * files.SECOND


def decode(packets):
    """Return the events of packets, and check what all packets have in common."""
    packets = list(packets)
    first = packets[0]
    decoder = EventDecoder(first.encoding, first.width, first.height)
    parts = []
    for k, packet in enumerate(packets):
        assert (packet.encoding, packet.width, packet.height, packet.seq) == (
            first.encoding,
            first.width,
            first.height,
            k,
        )
        parts.append(decoder.decode(packet.payload, packet.time_base))
    assert not decoder.skipped
    assert not decoder.clipped
    return Events.concatenate(parts)


def read(path, **options):
    """Return (events, packets, times, notes) of a file."""
    with open_recording(path, options=ReadOptions(**options)) as recording:
        found = list(recording.packets())
        notes = recording.notes
    packets = [packet for _, packet in found]
    return decode(packets), packets, [time for time, _ in found], notes


def assert_same(found, wanted):
    for name in 'xypt':
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), name)


def write_truth(path, events):
    instance = np.zeros(len(events), np.uint16)
    GroundTruth(files.WIDTH, files.HEIGHT, events, instance, {}, {}).save(path)


WRITERS = {
    'a.raw': files.write_evt3,
    'b.raw': files.write_evt2,
    'c.RAW': files.write_evt21,
    'd.txt': files.write_text,
    'e.csv': files.write_csv,
    'f.npz': write_truth,
    'g.bs2': files.write_nmnist,
    'h.bin': files.write_nmnist,
}
SMALL = ('.bs2', '.bin')


@pytest.mark.parametrize('name', WRITERS)
@pytest.mark.parametrize('seed', [0, 1])
def test_round_trip(tmp_path, name, seed):
    small = name.endswith(SMALL)
    size = (34, 34) if small else (files.WIDTH, files.HEIGHT)
    events = files.random_events(2500, seed, size=size)
    WRITERS[name](tmp_path / name, events)
    options = {'size': size} if name.endswith(('.txt', '.csv')) else {}
    found, packets, times, _ = read(tmp_path / name, **options)
    assert_same(found, events)
    assert packets[0].encoding == 'evt3'
    assert (packets[0].width, packets[0].height) == size
    assert {packet.frame_id for packet in packets} == {'event_camera'}
    # 55 ms of events in packets of 4 ms.
    assert 13 <= len(packets) <= 16
    assert times == sorted(times)
    for time, packet in zip(times, packets, strict=True):
        assert START <= packet.stamp <= time <= packet.stamp + 4_000_000


def test_stamps_are_the_times_of_the_first_events(tmp_path):
    events = files.random_events(500)
    for name in ('a.raw', 'b.raw', 'd.txt'):
        WRITERS[name](tmp_path / name, events)
        _, packets, _, _ = read(tmp_path / name, start_ns=EPOCH + 5)
        decoder = EventDecoder('evt3', packets[0].width, packets[0].height)
        for packet in packets:
            part = decoder.decode(packet.payload)
            assert packet.stamp == EPOCH + 5 + (int(part.t[0]) if len(part) else decoder.last_time)


@pytest.mark.parametrize('packet_ms', [1, 4, 33])
def test_evt3_words_are_kept_as_they_are(tmp_path, packet_ms):
    events = files.random_events(4000, end=400_000_000)
    files.write_evt3(tmp_path / 'a.raw', events)
    _, packets, _, notes = read(tmp_path / 'a.raw', packet_ns=packet_ms * 1_000_000)
    words = b''.join(packet.payload for packet in read_raw(tmp_path / 'a.raw'))
    assert b''.join(packet.payload for packet in packets) == words
    assert abs(len(packets) - 395 // packet_ms) <= 2
    assert not notes


def test_long_gaps_and_turns_of_the_counter_in_evt3(tmp_path):
    parts = [
        files.random_events(50, k, at, at + 9_000_000) for k, at in enumerate((0, 40 * 10**9))
    ]
    events = Events.concatenate(parts)
    files.write_evt3(tmp_path / 'a.raw', events)
    files.write_text(tmp_path / 'a.txt', events)
    for name in ('a.raw', 'a.txt'):
        found, packets, _, notes = read(tmp_path / name, size=(files.WIDTH, files.HEIGHT))
        assert_same(found, events)
        assert len(packets) < 40
        assert ('no packets in the silence' in ' '.join(notes)) == name.endswith('txt')


@pytest.mark.skipif(not REAL.is_dir(), reason=f'the recordings are not at {BAGS}')
def test_a_real_recording_as_raw(tmp_path):
    with BagReader(REAL) as bag:
        packets = [packet for _, packet in bag.packets()]
    decoder = EventDecoder('evt3', 640, 480)
    events, edges = [], []
    for packet in packets:
        events.append(decoder.decode(packet.payload))
        edges.append(decoder.triggers)
    wanted = Events.concatenate(events)
    header = b'% format EVT3;height=480;width=640\n% end\n'
    encoder = Evt3Encoder(640, 480)
    # Real sensors stamp a few events late; the encoder wants order.
    order = wanted.select(np.argsort(wanted.t, kind='stable'))
    (tmp_path / 'own.raw').write_bytes(header + encoder.encode(order))
    words = b''.join(bytes(packet.payload) for packet in packets)
    (tmp_path / 'same.raw').write_bytes(header + words)
    found, _, _, _ = read(tmp_path / 'own.raw')
    assert_same(found, order)
    found, again, _, _ = read(tmp_path / 'same.raw')
    assert_same(found, wanted)
    assert b''.join(packet.payload for packet in again) == words
    assert len(wanted) == 343_474


def test_trigger_edges_of_evt2_are_kept(tmp_path):
    words = [0x8 << 28 | 100]
    edges = [(6400 + k, k % 2, k % 3) for k in range(40)]
    for t, value, channel in edges:
        words += [0x8 << 28 | t >> 6, 0xA << 28 | (t & 0x3F) << 22 | channel << 8 | value]
        words += [1 << 28 | (t & 0x3F) << 22 | 5 << 11 | 6]
    words += [0xA << 28 | (t & 0x3F) << 22 | 20 << 8 | 1]
    path = tmp_path / 'a.raw'
    path.write_bytes(files.raw_header('EVT2') + np.array(words, '<u4').tobytes())
    with open_recording(path) as recording:
        packets = [packet for _, packet in recording.packets()]
        assert any('channels above 15' in note for note in recording.notes)
    decoder = EventDecoder('evt3', files.WIDTH, files.HEIGHT)
    found = []
    for packet in packets:
        decoder.decode(packet.payload)
        part: Triggers = decoder.triggers
        found += zip(part.t // 1000, part.value, part.id, strict=True)
    assert found == edges


def test_text_with_comments_geometry_and_separators(tmp_path):
    path = tmp_path / 'a.txt'
    for sep in (' ', '\t', ',', ';', ', '):
        rows = ['# a comment', '640 480', sep.join(['0.001', '3', '4', '1']), '']
        rows += [sep.join(['0.0020005', '5', '6', '-1']), '']
        path.write_text('\n'.join(rows))
        events, packets, _, notes = read(path)
        assert (packets[0].width, packets[0].height) == (640, 480)
        assert events.t.tolist() == [1_000_000, 2_000_000]
        assert (events.x.tolist(), events.y.tolist()) == ([3, 5], [4, 6])
        assert events.p.tolist() == [1, 0]
        assert notes == ['times taken as s (change it with --time-unit)']


def test_text_tells_its_geometry_by_its_events(tmp_path):
    path = tmp_path / 'a.txt'
    for place, size in (('239 179', (240, 180)), ('240 10', (304, 240)), ('1400 9', (1401, 10))):
        path.write_text(f'0.5 {place} 1\n')
        _, packets, _, notes = read(path)
        assert (packets[0].width, packets[0].height) == size
        assert f'{size[0]}x{size[1]} holds all events' in notes[0]


def test_sensors_that_evt3_cannot_express_become_mono(tmp_path):
    (tmp_path / 'a.txt').write_text('0.001 2500 1 1\n0.0055 2501 4 0\n')
    events, packets, _, _ = read(tmp_path / 'a.txt', size=(3000, 2000))
    assert {packet.encoding for packet in packets} == {'mono'}
    assert events.t.tolist() == [1_000_000, 5_500_000]
    assert events.x.tolist() == [2500, 2501]


def test_times_since_1970_count_from_the_first_event(tmp_path):
    events = files.random_events(300)
    shifted = Events(events.x, events.y, events.p, events.t + EPOCH)
    files.write_text(tmp_path / 'a.txt', shifted)
    found, packets, _, _ = read(tmp_path / 'a.txt', size=(files.WIDTH, files.HEIGHT))
    first = int(events.t[0])
    assert_same(found, Events(events.x, events.y, events.p, events.t - first))
    # The stamps still tell the date.
    assert packets[0].stamp == EPOCH + first
    _, packets, _, _ = read(
        tmp_path / 'a.txt', size=(files.WIDTH, files.HEIGHT), start_ns=7 * files.SECOND
    )
    assert packets[0].stamp == 7 * files.SECOND


def test_units():
    assert detect_unit(0.0, 1.5, 9, False) == 's'
    assert detect_unit(1.7e9, 1.7e9 + 5, 9, False) == 's'
    assert detect_unit(1.7e12, 1.7e12, 9, True) == 'ms'
    assert detect_unit(1.7e15, 1.7e15, 9, True) == 'us'
    assert detect_unit(1.7e18, 1.7e18, 9, True) == 'ns'
    assert detect_unit(0, 10_000_000, 100_000, True) == 'us'
    assert detect_unit(0, 10_000_000_000, 100_000, True) == 'ns'
    got = to_nanoseconds(np.array([0.0000015, -1.0, np.nan, 1e30]), 's')
    assert got.tolist() == [2000, -1, -1, -1]
    got = to_nanoseconds(np.array([3, -1, 1 << 61]), 'us')
    assert got.tolist() == [3000, -1, -1]


class Columns(TableSource):
    """Events from memory, in chunks of any size."""

    def __init__(self, events, cuts, options, size=(64, 64)):
        super().__init__(Path('memory'), options)
        self.events, self.cuts = events, cuts
        self.width, self.height = size

    def chunks(self):
        for begin, end in zip([0, *self.cuts], [*self.cuts, len(self.events)], strict=True):
            part = self.events.slice(begin, end)
            yield from self.columns(begin, part.x, part.y, part.p, part.t)


@settings(max_examples=20)
@given(data=st.data())
def test_any_events_in_any_chunks(data):
    count = data.draw(st.integers(1, 60))
    gaps = st.sampled_from([0, 1, 2, 900, 4000, 4001, 100_000, 3_000_000, 20_000_000])
    t = np.cumsum([data.draw(gaps) for _ in range(count)]).astype(np.int64) * 1000
    draw = [data.draw(st.integers(0, 2**13 - 1)) for _ in range(count)]
    code = np.array(draw)
    events = Events(
        (code & 63).astype(np.uint16),
        (code >> 6 & 63).astype(np.uint16),
        (code >> 12).astype(np.uint8),
        t,
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, count), max_size=4)))
    options = ReadOptions(packet_ns=data.draw(st.sampled_from([2_000_000, 4_000_000, 10**9])))
    results = []
    for some in (cuts, []):
        source = Columns(events, some, options)
        results.append([(time, packet) for time, packet in source.items()])
        assert_same(decode(packet for _, packet in results[-1]), events)
        assert (source.stats.events, source.stats.last) == (count, int(t[-1]))
    # The packets do not depend on how the file was read.
    assert results[0] == results[1]


def test_small_steps_back_are_put_in_order():
    t = np.array([1, 30, 28, 31, 29, 60], np.int64) * 1_000_000
    events = Events(
        np.arange(6).astype(np.uint16), np.zeros(6, np.uint16), np.ones(6, np.uint8), t
    )
    for cuts in ([], [2], [1, 2, 3, 4, 5]):
        source = Columns(events, cuts, ReadOptions())
        found = decode(packet for _, packet in source.items())
        assert_same(found, events.select(np.argsort(t, kind='stable')))
        assert any('2 events stood up to 10 ms too late' in note for note in source.notes)


@pytest.mark.parametrize('cuts', [[], [2], [3], [1, 2, 3, 4]])
def test_a_large_step_back_ends_the_recording(cuts):
    t = np.array([1, 30, 50, 20, 60], np.int64) * 1_000_000
    events = Events(
        np.arange(5).astype(np.uint16), np.zeros(5, np.uint16), np.ones(5, np.uint8), t
    )
    source = Columns(events, cuts, ReadOptions())
    found = []

    def collect():
        for _, packet in source.items():
            found.append(packet)

    with pytest.raises(FormatError, match=r'event 3 steps back in time from 0.050000 s'):
        collect()
    assert_same(decode(found), events.slice(0, 3))


def test_crowded_moments_are_split():
    count = (1 << 20) + 5
    events = Events(
        np.zeros(count, np.uint16),
        np.zeros(count, np.uint16),
        np.ones(count, np.uint8),
        np.full(count, 3_000_000),
    )
    source = Columns(events, [], ReadOptions())
    packets = [packet for _, packet in source.items()]
    assert len(packets) == 2
    assert len(decode(packets)) == count


def test_a_packetizer_holds_back_little():
    # Ten seconds in a hundred chunks: all but the last chunks are out before the end.
    events = files.random_events(20_000, end=10 * files.SECOND)
    packetizer = Packetizer(Columns(events, [], ReadOptions(), (files.WIDTH, files.HEIGHT)))
    given, taken = 0, 0
    for k in range(0, len(events), 200):
        given += 200
        for _ in packetizer.push(events.slice(k, k + 200)):
            pass
        taken = packetizer.source.stats.events
        assert given - taken < 600
    list(packetizer.flush())
    assert packetizer.source.stats.events == len(events)
