# SPDX-License-Identifier: Apache-2.0
"""Events from older message types and from tables."""

from __future__ import annotations

from types import SimpleNamespace as Object
from typing import Any

import numpy as np
import pytest

from spikeseg_ros.events import (
    EventDecoder,
    EventError,
    encode_mono,
    events_from_columns,
    events_from_message,
    to_packet,
)


def event(x: int, y: int, sec: int, nanosec: int, polarity: bool, ros1: bool = False) -> Any:
    ts = Object(secs=sec, nsecs=nanosec) if ros1 else Object(sec=sec, nanosec=nanosec)
    return Object(x=x, y=y, ts=ts, polarity=polarity)


def message(*events: Any) -> Any:
    header = Object(stamp=Object(sec=7, nanosec=5), frame_id='dvs')
    return Object(header=header, height=480, width=640, events=list(events))


def test_columns_of_any_type_are_sorted_by_time() -> None:
    events = events_from_columns([1, 2, 3], [4, 5, 6], [-1, 1, True], np.array([30.0, 10.0, 10.0]))
    assert events.x.tolist() == [2, 3, 1]
    assert events.p.tolist() == [1, 1, 0]
    assert events.t.tolist() == [10, 10, 30]
    assert (events.x.dtype, events.p.dtype, events.t.dtype) == ('u2', 'u1', 'i8')
    assert len(events_from_columns([], [], [], [])) == 0


@pytest.mark.parametrize(
    'columns',
    [
        ([1], [1, 2], [1], [1]),
        ([[1]], [[1]], [[1]], [[1]]),
        ([-1], [1], [1], [1]),
        ([1], [70_000], [1], [1]),
        ([1], [1], [1], [-1]),
        ([1], [1], [1], [1 << 63]),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns: Any) -> None:
    with pytest.raises(EventError):
        events_from_columns(*columns)


@pytest.mark.parametrize('ros1', [False, True])
def test_message_of_single_events(ros1: bool) -> None:
    events = events_from_message(
        message(event(3, 4, 1, 500, True, ros1), event(1, 2, 1, 20, False, ros1))
    )
    assert events.t.tolist() == [1_000_000_020, 1_000_000_500]
    assert events.x.tolist() == [1, 3]
    assert events.p.tolist() == [0, 1]
    assert len(events_from_message(message())) == 0
    with pytest.raises(EventError, match='polarity'):
        events_from_message(message(Object(x=1, y=2)))


@pytest.mark.parametrize(
    'name',
    ['dvs_msgs/msg/EventArray', 'prophesee_event_msgs/msg/EventArray', 'dvs_msgs/EventArray'],
)
def test_arrays_become_packets(name: str) -> None:
    original = message(event(3, 479, 1, 0, True), event(639, 4, 1, 4_000_000, False))
    packet = to_packet(original, name, arrival=9)
    assert (packet.width, packet.height, packet.frame_id) == (640, 480, 'dvs')
    assert (packet.stamp, packet.arrival, packet.encoding) == (7_000_000_005, 9, 'mono')
    events = EventDecoder('mono', 640, 480).decode(packet.payload, packet.time_base)
    assert events.t.tolist() == [1_000_000_000, 1_004_000_000]
    assert (events.x.tolist(), events.y.tolist(), events.p.tolist()) == (
        [3, 639],
        [479, 4],
        [1, 0],
    )


@pytest.mark.parametrize(
    'name', ['event_camera_msgs/msg/EventPacket', 'event_array_msgs/msg/EventArray']
)
def test_packets_pass_through(name: str) -> None:
    packed = message()
    packed.events = b'\x01\x02'
    packed.encoding, packed.seq, packed.time_base = 'evt3', 4, 11
    packet = to_packet(packed, name)
    assert packet.payload is packed.events
    assert (packet.encoding, packet.seq, packet.time_base) == ('evt3', 4, 11)


def test_other_types_and_damaged_messages_are_refused() -> None:
    with pytest.raises(EventError, match='sensor_msgs/msg/Image'):
        to_packet(message(), 'sensor_msgs/msg/Image')
    with pytest.raises(EventError, match='dvs_msgs'):
        to_packet(message(), '')
    with pytest.raises(EventError, match='encoding'):
        to_packet(message(), 'event_camera_msgs/msg/EventPacket')


def test_mono_cannot_hold_long_spans_or_high_rows() -> None:
    with pytest.raises(EventError, match='split'):
        encode_mono(events_from_columns([1, 1], [1, 1], [1, 1], [0, 1 << 32]))
    with pytest.raises(EventError, match='split'):
        encode_mono(events_from_columns([1], [1 << 15], [1], [0]))
    assert encode_mono(events_from_columns([], [], [], [])) == (b'', 0)
