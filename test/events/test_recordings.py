# SPDX-License-Identifier: Apache-2.0
"""Decoders on real recordings, against sums published with them."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.events import EventDecoder, Events, EventStream, Packet, Triggers
from spikeseg_ros.recordings.bags import BagReader

BAGS = Path(__file__).resolve().parents[3] / 'shared/data/events/ros2_bags'
EVT3 = 'event_camera_py/test_events_1'
TRIGGER = 'event_camera_codecs/test_data_evt3_trigger'
LIBCAER = 'event_camera_codecs/test_data_libcaer_rollover'
MONO = 'event_camera_codecs/test_data_mono_cd'

# events, sum of t modulo 2^64, x, y, p; from the tests of event_camera_codecs.
SUMS = {
    TRIGGER: (82_469, 1222326831810000, 42078718, 31656267, 41439),
    LIBCAER: (334_331, 15762826572202229126, 111651612, 82801007, 181908),
    MONO: (100, 4950000, 34450, 26450, 50),
}


def packets(name: str) -> list[Packet]:
    """Return the packets of a recording."""
    if not (BAGS / name).exists():
        pytest.skip(f'recording {BAGS / name} is not here')
    with BagReader(BAGS / name) as bag:
        return [packet for _, packet in bag.packets()]


def decode(stream: list[Packet], reference: bool) -> tuple[list[Events], list[Triggers]]:
    """Decode a recording packet by packet."""
    first = stream[0]
    decoder = EventDecoder(first.encoding, first.width, first.height, reference=reference)
    events, edges = [], []
    for packet in stream:
        events.append(decoder.decode(packet.payload, packet.time_base))
        edges.append(decoder.triggers)
    assert (decoder.skipped, decoder.clipped, decoder.truncated) == (0, 0, 0)
    return events, edges


def total(parts: list[Events], name: str) -> int:
    """Return the sum of a column modulo 2^64."""
    return sum(int(getattr(e, name).astype(np.uint64).sum()) for e in parts) % 2**64


@pytest.mark.parametrize('reference', [False, True], ids=['compiled', 'plain'])
@pytest.mark.parametrize('name', SUMS)
def test_golden_sums(name: str, reference: bool) -> None:
    events, _ = decode(packets(name), reference)
    got = (sum(map(len, events)), *(total(events, column) for column in 'txyp'))
    assert got == SUMS[name]


def test_trigger_edges_of_the_trigger_recording() -> None:
    _, edges = decode(packets(TRIGGER), False)
    assert sum(int(e.t.sum()) for e in edges) == 29096982000
    assert sum(int(e.value.sum()) for e in edges) == 1
    assert sum(int(e.id.sum()) for e in edges) == 0
    assert sum(map(len, edges)) == 2


@pytest.mark.parametrize('reference', [False, True], ids=['compiled', 'plain'])
def test_person_recording(reference: bool) -> None:
    events, edges = decode(packets(EVT3), reference)
    assert (sum(map(len, events)), total(events, 'p')) == (343_474, 125_183)
    values = np.concatenate([e.value for e in edges])
    assert (int((values == 1).sum()), int((values == 0).sum())) == (2079, 2078)
    # Its own test sums the times of events and edges together, in microseconds.
    times = total(events, 't') + sum(int(e.t.sum()) for e in edges)
    assert times // 1000 == 2885601049874
    joined = np.concatenate([e.t for e in events])
    assert np.all(np.diff(joined) >= 0)


@pytest.mark.parametrize('name', [EVT3, TRIGGER, LIBCAER, MONO])
def test_windows_hold_every_event_of_a_recording_once(name: str) -> None:
    stream = EventStream(duration_ns=50_000_000, max_bytes=1 << 30)
    found = []
    recording = packets(name)
    for packet in recording:
        stream.push(packet)
        found += stream.poll(0)
    found += stream.flush()
    events, _ = decode(recording, False)
    assert Events.concatenate([w.events for w in found]).t.tolist() == (
        Events.concatenate(events).t.tolist()
    )
    assert [w.index for w in found] == list(range(len(found)))
    assert all(b.t_start == a.t_end for a, b in itertools.pairwise(found))
    assert all(b.stamp > a.stamp for a, b in itertools.pairwise(found))
    counters = stream.counters
    assert (counters.resets, counters.lost_packets, counters.late_events) == (0, 0, 0)
    # A window ends at most a packet or two after the host saw its last packet.
    last = recording[-1]
    assert abs(found[-1].stamp - found[-1].duration - last.stamp) < 200_000_000


def test_joining_late_gives_the_same_events() -> None:
    recording = packets(EVT3)
    whole = EventDecoder('evt3', 640, 480)
    for packet in recording[:100]:
        whole.decode(packet.payload)
    late = EventDecoder('evt3', 640, 480)
    want, got = whole.decode(recording[100].payload), late.decode(recording[100].payload)
    missed = len(want) - len(got)
    assert 0 <= missed < 50
    for column in 'xypt':
        assert np.array_equal(getattr(want, column)[missed:], getattr(got, column))
