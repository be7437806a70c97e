# SPDX-License-Identifier: Apache-2.0
"""Simulated recordings as bags."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.types import Events
from spikeseg_ros.recordings.bags import BagError, BagReader
from spikeseg_ros.recordings.serialization import deserialize
from spikeseg_ros.simulation.bag import EVENTS_TOPIC, IMAGE_TOPIC, write_recording
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import demo_scene

START = 1_700_000_000_000_000_000


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_every_event_comes_back(tmp_path, storage):
    recording = simulate_scene(
        demo_scene(160, 120, 1.0), 0.1, SensorConfig(160, 120, noise_hz=1.0), camera_hz=50.0
    )
    write_recording(tmp_path / 'bag', recording, storage=storage, start_stamp=START)
    decoder = EventDecoder('evt3', 160, 120)
    parts, stamps = [], []
    with BagReader(tmp_path / 'bag') as bag:
        assert bag.topics[EVENTS_TOPIC].qos == 'best_effort'
        for number, (time, packet) in enumerate(bag.packets()):
            part = decoder.decode(packet.payload)
            assert packet.seq == number
            assert time == packet.stamp + 4_000_000
            if len(part):
                # The stamp is the ROS time of the first moment of the packet.
                assert 0 <= START + int(part.t[0]) - packet.stamp < 4_000_000
            parts.append(part)
            stamps.append(packet.stamp)
        images = [deserialize(kind, raw) for _, kind, _, raw in bag.messages([IMAGE_TOPIC])]
        times = [time for _, _, time, _ in bag.messages()]
    found = Events.concatenate(parts)
    for name in 'xypt':
        assert np.array_equal(getattr(found, name), getattr(recording.events, name))
    assert np.diff(stamps).tolist() == [4_000_000] * (len(stamps) - 1)
    assert len(images) == len(recording.images) == 6
    assert np.array_equal(images[3].data.reshape(120, 160, 3), recording.images[3])
    assert times == sorted(times)
    with pytest.raises(BagError, match='exists already'):
        write_recording(tmp_path / 'bag', recording)
