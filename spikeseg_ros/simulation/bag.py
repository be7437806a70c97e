# SPDX-License-Identifier: Apache-2.0
"""Simulated recordings as rosbag2, in the messages a real driver sends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.bags import BagWriter
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.serialization import image_message, packet_message
from spikeseg_ros.simulation.events import SECOND

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.simulation.recording import Recording

EVENTS_TOPIC = '/event_camera/events'
IMAGE_TOPIC = '/camera/image_raw'


def packets(
    recording: Recording, start_stamp: int, packet_ns: int = 4_000_000, frame_id: str = 'camera'
) -> Iterator[tuple[int, Packet]]:
    """Yield (arrival [ns of ROS time], EVT3 packet) as a driver would send them.

    Args:
        recording: The recording.
        start_stamp: ROS time of sensor time 0 [ns].
        packet_ns: Sensor time per packet; every packet, also an empty one, is sent.
        frame_id: Frame of the headers.
    """
    events = recording.events
    size = recording.truth.width, recording.truth.height
    encoder = Evt3Encoder(*size)
    last = max(int(events.t[-1]) if len(events) else 0, *recording.image_times, 0)
    for seq, begin in enumerate(range(0, last + 1, packet_ns)):
        first, stop = np.searchsorted(events.t, [begin, begin + packet_ns])
        # Time goes on in the packets of silence too, as with a live sensor.
        payload = encoder.encode(events.slice(first, stop), until=begin + packet_ns)
        stamp = start_stamp + begin
        packet = Packet(payload, 'evt3', size[0], size[1], stamp, seq, 0, frame_id)
        yield stamp + packet_ns, packet


def write_recording(
    path: str | Path,
    recording: Recording,
    *,
    storage: str = 'mcap',
    start_stamp: int = 1_700_000_000 * SECOND,
    packet_ns: int = 4_000_000,
    frame_id: str = 'camera',
    overwrite: bool = False,
) -> None:
    """Write a recording as a rosbag2 with EventPackets (EVT3) and camera images (rgb8).

    Raises:
        BagError: The bag cannot be written.
    """
    with BagWriter(path, storage, overwrite=overwrite) as bag:
        bag.add_topic(EVENTS_TOPIC, EVENT_PACKET, 'best_effort')
        bag.add_topic(IMAGE_TOPIC, 'sensor_msgs/msg/Image', 'reliable')
        images = list(zip(recording.image_times, recording.images, strict=True))
        for arrival, packet in packets(recording, start_stamp, packet_ns, frame_id):
            while images and start_stamp + images[0][0] <= arrival:
                time, image = images.pop(0)
                stamp = start_stamp + time
                bag.write(IMAGE_TOPIC, stamp, image_message(image, stamp, frame_id))
            bag.write(EVENTS_TOPIC, arrival, packet_message(packet))
