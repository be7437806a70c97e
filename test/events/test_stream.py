# SPDX-License-Identifier: Apache-2.0
"""From packets to windows: epochs, silence, losses and hostile input."""

from __future__ import annotations

import itertools
import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import (
    EventError,
    Events,
    EventStream,
    EventWindow,
    Evt3Encoder,
    Packet,
    encode_mono,
)
from spikeseg_ros.events import stream as module
from spikeseg_ros.events.windows import MAX_EMPTY, MAX_WINDOWS

MS = 1_000_000
NOW = 1_700_000_000_000_000_000


def events(*times_ms: float) -> Events:
    """Return events at given milliseconds; x and y vary."""
    t = (np.array(times_ms) * MS).astype(np.int64) // 1000 * 1000
    n = len(t)
    x = (np.arange(n) * 7 % 600).astype(np.uint16)
    return Events(x, (x // 2).astype(np.uint16), (x % 2).astype(np.uint8), t)


def mono(*times_ms: float, **fields: Any) -> Packet:
    """Return a packet that is complete in itself, stamped as if sensor time 0 was NOW."""
    payload, base = encode_mono(events(*times_ms))
    stamp = NOW + base
    return replace(Packet(payload, 'mono', 640, 480, stamp, time_base=base), **fields)


def brief(windows: list[EventWindow]) -> list[tuple[int, int, float, float, int]]:
    """Return (epoch, index, begin and end [ms], number of events)."""
    return [(w.epoch, w.index, w.t_start / MS, w.t_end / MS, len(w.events)) for w in windows]


def test_windows_carry_what_the_packets_say() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, 5, frame_id='cam', arrival=70))
    assert stream.poll(80) == []
    stream.push(mono(11, 30, frame_id='cam', arrival=90))
    windows = stream.poll(100)
    assert brief(windows) == [(0, 0, 1, 11, 2), (0, 1, 11, 21, 1)]
    first = windows[0]
    assert (first.width, first.height, first.frame_id, first.arrival) == (640, 480, 'cam', 90)
    assert [w.stamp for w in windows] == [NOW + 11 * MS, NOW + 21 * MS]
    assert brief(stream.flush()) == [(0, 2, 21, 31, 1)]
    counters = stream.counters
    assert (counters.packets, counters.events, counters.bytes) == (2, 4, 32)
    assert stream.counters is counters


def test_bare_time_words_complete_windows() -> None:
    encoder = Evt3Encoder(640, 480)
    stream = EventStream(duration_ns=10 * MS)
    stream.push(Packet(encoder.encode(events(1)), 'evt3', 640, 480))
    stream.push(Packet(encoder.encode(Events.empty(), until=32 * MS), 'evt3', 640, 480))
    assert brief(stream.poll(0)) == [(0, 0, 1, 11, 1), (0, 1, 11, 21, 0), (0, 2, 21, 31, 0)]


def stream_words(times: list[int]) -> bytes:
    """Return EVT3 words of events at given microseconds."""
    t = np.array(times, np.int64) * 1000
    x = (np.arange(len(times)) % 600).astype(np.uint16)
    return Evt3Encoder(640, 480).encode(
        Events(x, x // np.uint16(2), (x % 2).astype(np.uint8), t), until=int(t[-1]) + 99_000
    )


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([0, 0, 1, 3, 500, 4096, 20_000]), min_size=1, max_size=60),
    st.lists(st.integers(0, 200), max_size=12),
    st.sampled_from([0, 5]),
    st.booleans(),
)
def test_windows_do_not_depend_on_packetisation(
    steps: list[int], cuts: list[int], count: int, poll_often: bool
) -> None:
    words = stream_words(np.cumsum(steps).tolist())

    def run(bounds: list[int]) -> list[Any]:
        stream = EventStream(duration_ns=2 * MS, count=count)
        found = []
        for first, stop in itertools.pairwise(bounds):
            stream.push(Packet(words[first:stop], 'evt3', 640, 480))
            if poll_often:
                found += stream.poll(0)
        found += stream.flush()
        assert stream.counters.resets == stream.counters.bad_packets == 0
        return [
            (
                w.epoch,
                w.index,
                w.t_start,
                w.t_end,
                w.stamp,
                w.events.x.tolist(),
                w.events.t.tolist(),
            )
            for w in found
        ]

    whole = run([0, len(words)])
    parts = run([0, *sorted(min(2 * c, len(words)) for c in cuts), len(words)])
    assert parts == whole
    assert sum(len(row[-1]) for row in whole) == len(steps)


def test_header_stamps_going_back_begin_a_new_epoch() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, 5))
    stream.push(mono(12, 13))
    # The bag starts again; what was collected of the last window is gone.
    stream.push(mono(1, 5))
    stream.push(mono(12, 13))
    assert brief(stream.poll(0)) == [(0, 0, 1, 11, 2), (1, 0, 1, 11, 2)]
    assert stream.counters.resets == 1


def test_sensor_time_going_back_begins_a_new_epoch_even_inside_a_packet() -> None:
    stream = EventStream(duration_ns=10 * MS)
    payload = encode_mono(events(0, 55, 100, 100.5, 90.6, 100.6, 20, 31))[0]
    stream.push(Packet(payload, 'mono', 640, 480, NOW))
    got = stream.poll(0)
    assert [w.epoch for w in got] == [0] * 10 + [1]
    assert brief(got)[-1] == (1, 0, 20, 30, 1)
    assert stream.counters.resets == 1
    # 90.6 ms after 100.5 ms is jitter and took the time before it.
    assert brief(stream.flush()) == [(1, 1, 30, 40, 1)]


def test_a_looping_evt3_recording_is_no_turn_of_the_clock() -> None:
    stream = EventStream(duration_ns=10 * MS)
    for _ in range(2):
        encoder = Evt3Encoder(640, 480)
        for start in (1000, 9000, 15000):
            payload = encoder.encode(events(start, start + 1))
            stream.push(Packet(payload, 'evt3', 640, 480, NOW + start * MS))
    got = stream.poll(0)
    assert stream.counters.resets == 1
    first, second = ([w for w in got if w.epoch == e] for e in (0, 1))
    assert [(w.t_start, w.index) for w in first] == [(w.t_start, w.index) for w in second]


@pytest.mark.parametrize('change', [{'width': 320}, {'height': 500}])
def test_geometry_change_begins_a_new_epoch(change: dict[str, int]) -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, 2))
    stream.push(mono(20, 21, **change))
    stream.push(mono(40, **change))
    got = stream.poll(0)
    assert brief(got) == [(1, 0, 20, 30, 2), (1, 1, 30, 40, 0)]
    assert {(w.width, w.height) for w in got} == {
        (change.get('width', 640), change.get('height', 480))
    }


def test_encoding_change_begins_a_new_epoch() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, 2))
    payload = Evt3Encoder(640, 480).encode(events(5, 16))
    stream.push(Packet(payload, 'evt3', 640, 480, NOW + 5 * MS))
    assert brief(stream.poll(0)) == [(1, 0, 5, 15, 1)]
    assert stream.counters.resets == 1


BAD = [
    {'encoding': 'evt9'},
    {'encoding': ''},
    {'width': 0},
    {'height': 2**32 - 1},
    {'time_base': 2**64 - 1},
    {'payload': None},
]


@pytest.mark.parametrize('fields', BAD)
def test_a_lone_bad_packet_is_counted_and_changes_nothing(fields: dict[str, Any]) -> None:
    def run(bad: bool) -> list[EventWindow]:
        stream = EventStream(duration_ns=10 * MS)
        stream.push(mono(1, 5, seq=1))
        if bad:
            stream.push(replace(mono(6, seq=2), **fields))
        stream.push(mono(9, 12, seq=3 if bad else 2))
        found = stream.poll(0) + stream.flush()
        assert stream.counters.bad_packets == bad
        assert bool(stream.counters.last_error) == bad
        assert (stream.counters.resets, stream.counters.lost_packets) == (0, 0)
        return found

    assert brief(run(True)) == brief(run(False))


def test_a_bad_first_packet_does_no_harm() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, encoding='trigger'))
    stream.push(mono(2, 13))
    assert brief(stream.poll(0)) == [(0, 0, 2, 12, 1)]


def test_lost_packets_are_counted_and_leave_no_stale_row() -> None:
    encoder = Evt3Encoder(640, 480)
    parts = [encoder.encode(events(k, k + 0.5)) for k in range(4)]
    stream = EventStream(duration_ns=10 * MS)
    stream.push(Packet(parts[0], 'evt3', 640, 480, seq=10))
    # The first words (time and row) of this packet were in a packet that is missing.
    stream.push(Packet(parts[2][6:], 'evt3', 640, 480, seq=13))
    stream.push(Packet(parts[3], 'evt3', 640, 480, seq=14))
    found = stream.flush()
    assert stream.counters.lost_packets == 2
    rows = found[0].events.y.tolist()
    assert rows[:2] == events(0, 0.5).y.tolist()
    assert len(rows) < 6


def test_sequence_numbers_that_leap_or_are_never_set_are_no_loss() -> None:
    stream = EventStream(duration_ns=10 * MS)
    for seq in (0, 0, 0, 2**63, 5):
        stream.push(mono(1, seq=seq))
    stream.poll(0)
    assert stream.counters.lost_packets == 0


def test_packets_dropped_by_the_queue_are_not_counted_as_lost_too() -> None:
    stream = EventStream(duration_ns=10 * MS, max_bytes=3000)
    stream.push(mono(0.1, seq=0))
    stream.poll(0)
    for seq in range(1, 21):
        stream.push(mono(seq / 10, seq=seq))
    stream.poll(0)
    counters = stream.counters
    assert counters.dropped_packets == 20 - counters.events + 1
    assert counters.lost_packets == 0
    assert counters.packets == 21


def test_silence_gives_empty_windows_behind_the_steady_clock() -> None:
    stream = EventStream(duration_ns=10 * MS, silence_ns=50 * MS)
    assert stream.poll(10**15) == []
    stream.push(mono(0, 4, arrival=1000 * MS))
    assert stream.poll(1001 * MS) == []
    assert stream.poll(1049 * MS) == []
    # 4 ms of sensor time were reached at 1000 ms; 50 ms later time goes on.
    assert brief(stream.poll(1056 * MS)) == [(0, 0, 0, 10, 2)]
    got = stream.poll(1081 * MS)
    assert brief(got) == [(0, 1, 10, 20, 0), (0, 2, 20, 30, 0)]
    assert [w.stamp for w in got] == [NOW + 20 * MS, NOW + 30 * MS]
    assert {w.arrival for w in got} == {0}
    # It was true silence: sensor time was going on, and so do the windows.
    stream.push(mono(85, arrival=1082 * MS))
    assert brief(stream.poll(1083 * MS))[0][:3] == (0, 3, 30)
    assert stream.counters.resets == 0


def test_a_sensor_that_stood_still_during_silence_begins_a_new_epoch() -> None:
    stream = EventStream(duration_ns=10 * MS, silence_ns=50 * MS)
    stream.push(mono(0, 4, arrival=1000 * MS))
    assert len(stream.poll(1500 * MS)) > 5
    assert len(stream.poll(2000 * MS)) > 5
    # A paused recording goes on where it stopped.
    stream.push(mono(5, 16, arrival=2000 * MS))
    assert brief(stream.poll(2001 * MS)) == [(1, 0, 5, 15, 1)]
    assert stream.counters.resets == 1
    assert stream.counters.late_events == 0


def test_events_a_little_late_after_silence_are_dropped_and_counted() -> None:
    stream = EventStream(duration_ns=10 * MS, silence_ns=50 * MS)
    stream.push(mono(0, arrival=1000 * MS))
    stream.poll(1071 * MS)
    stream.push(mono(18, 22, arrival=1072 * MS))
    assert brief(stream.poll(1073 * MS)) == []
    assert stream.counters.late_events == 1
    assert brief(stream.flush()) == [(0, 2, 20, 30, 1)]


def test_a_poll_without_a_clock_or_with_a_leap_of_it_is_bounded() -> None:
    stream = EventStream(duration_ns=10 * MS, silence_ns=50 * MS)
    stream.push(mono(0, arrival=1000 * MS))
    assert stream.poll(0) == []
    got = stream.poll(1 << 62)
    assert len(got) == 1
    assert len(stream.poll((1 << 62) + 30 * MS)) == 3


def test_silence_by_count_gives_what_there_is_and_then_empty_windows() -> None:
    stream = EventStream(count=100, silence_ns=50 * MS)
    stream.push(mono(0, 4, arrival=1000 * MS))
    assert stream.poll(1049 * MS) == []
    (first,) = stream.poll(1050 * MS)
    assert len(first.events) == 2
    assert stream.poll(1060 * MS) == []
    (second,) = stream.poll(1101 * MS)
    assert len(second.events) == 0
    assert second.t_start == first.t_end
    assert second.duration >= 50 * MS


def test_by_count() -> None:
    stream = EventStream(count=3)
    for k in range(4):
        stream.push(mono(k, k + 0.5))
    got = stream.poll(0)
    assert [w.events.t.tolist() for w in got] == [
        [0, MS // 2, MS],
        [MS * 3 // 2, 2 * MS, MS * 5 // 2],
    ]
    assert len(stream.flush()[0].events) == 2


def test_a_hostile_leap_of_time_makes_few_windows() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1))
    stream.push(mono(1, time_base=1 << 61))
    stream.push(mono(20, stamp=NOW + (1 << 61)))
    got = stream.poll(0)
    assert len(got) <= MAX_EMPTY + 2
    assert stream.counters.resets == 1


def test_hostile_steps_back_are_given_up_on() -> None:
    stream = EventStream(duration_ns=10 * MS)
    times = np.tile([0, 100 * MS], 5000)
    words = np.zeros((times.size, 2), '<u4')
    words[:, 0] = times
    stream.push(Packet(words.tobytes(), 'mono', 640, 480))
    stream.poll(0)
    assert stream.counters.bad_packets == 1
    assert stream.counters.resets <= module.MAX_STEPS_BACK
    stream.push(mono(500, 512))
    assert brief(stream.poll(0))[-1][2:] == (500, 510, 1)


def test_one_poll_is_bounded_and_leaves_the_rest_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = EventStream(duration_ns=MS, max_bytes=1 << 30)
    pushed = MAX_WINDOWS // 50 + 3
    for k in range(pushed):
        stream.push(mono(*range(50 * k, 50 * k + 50), arrival=5))
    first = stream.poll(10**18)
    assert MAX_WINDOWS <= len(first) < MAX_WINDOWS + 51
    monkeypatch.setattr(module, 'MAX_EVENTS', 10)
    second = stream.poll(0)
    assert len(second) == 50
    last = stream.flush()
    assert [w.index for w in first + second + last] == list(range(50 * pushed))
    assert stream.counters.shed_windows == 0


def test_reset_discards_the_queue_and_begins_anew() -> None:
    stream = EventStream(duration_ns=10 * MS)
    stream.push(mono(1, 2))
    stream.poll(0)
    stream.push(mono(30))
    stream.reset()
    assert stream.poll(10**12) == []
    stream.push(mono(5, 16))
    assert brief(stream.poll(0)) == [(1, 0, 5, 15, 1)]
    assert stream.counters.resets == 1


def test_triggers_and_clipped_events_are_counted() -> None:
    stream = EventStream(duration_ns=10 * MS)
    words = np.array([0x8000, 0x6000, 0x0001, 0xA001, 0x2009, 0x200A, 0xA100], '<u2')
    stream.push(Packet(words.tobytes(), 'evt3', 10, 10))
    stream.poll(0)
    assert (stream.counters.triggers, stream.counters.clipped, stream.counters.events) == (2, 1, 1)


def test_pushing_from_another_thread_while_polling() -> None:
    stream = EventStream(duration_ns=10 * MS, max_bytes=1 << 30)
    packets = [mono(k, k + 0.5, seq=k) for k in range(1000)]
    worker = threading.Thread(target=lambda: [stream.push(p) for p in packets])
    worker.start()
    found = []
    while worker.is_alive():
        found += stream.poll(0)
    worker.join()
    found += stream.flush()
    assert sum(len(w.events) for w in found) == 2000
    assert stream.counters.lost_packets == 0


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(['evt3', 'mono', 'libcaer', 'libcaer_cmp', 'evt2', 'x']),
            st.binary(max_size=60),
            st.sampled_from([0, 1, NOW, -5, 2**62, 2**64 - 1]),
            st.sampled_from([0, 1, 640, 2**32 - 1]),
            st.sampled_from([0, 10**9, 2**62]),
        ),
        max_size=12,
    )
)
def test_whatever_arrives_poll_survives(packets: list[tuple[str, bytes, int, int, int]]) -> None:
    stream = EventStream(duration_ns=MS, silence_ns=5 * MS)
    for encoding, payload, number, side, arrival in packets:
        stream.push(Packet(payload, encoding, side, 480, number, number, number, 'f', arrival))
        for window in stream.poll(arrival + 1):
            assert window.t_start < window.t_end
            t = window.events.t
            assert len(t) == 0 or window.t_start <= t.min() <= t.max() < window.t_end
    stream.flush()
    before = stream.counters.events
    stream.push(mono(1, 5, stamp=0))
    stream.flush()
    assert stream.counters.events == before + 2


@pytest.mark.parametrize('args', [{'silence_ns': 0}, {'duration_ns': 0}, {'max_bytes': -1}])
def test_settings_are_checked(args: dict[str, int]) -> None:
    with pytest.raises(EventError):
        EventStream(**args)
