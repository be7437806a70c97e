# SPDX-License-Identifier: Apache-2.0
"""Events in: decoding of driver messages, clocks, windows and binning."""

from spikeseg_ros.events.binning import bin_events, latency_code, to_tensor
from spikeseg_ros.events.clock import SensorClock
from spikeseg_ros.events.convert import (
    encode_mono,
    events_from_columns,
    events_from_message,
    to_packet,
)
from spikeseg_ros.events.decoder import ENCODINGS, LIVE_ENCODINGS, EventDecoder, warm_up
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.queue import PacketQueue
from spikeseg_ros.events.rawfile import read_raw
from spikeseg_ros.events.stream import EventStream, StreamCounters
from spikeseg_ros.events.types import Events, EventWindow, Packet, Triggers
from spikeseg_ros.events.windows import WindowSlicer

__all__ = [
    'ENCODINGS',
    'LIVE_ENCODINGS',
    'EventDecoder',
    'EventError',
    'EventStream',
    'EventWindow',
    'Events',
    'Evt3Encoder',
    'Packet',
    'PacketQueue',
    'SensorClock',
    'StreamCounters',
    'Triggers',
    'WindowSlicer',
    'bin_events',
    'encode_mono',
    'events_from_columns',
    'events_from_message',
    'latency_code',
    'read_raw',
    'to_packet',
    'to_tensor',
    'warm_up',
]
