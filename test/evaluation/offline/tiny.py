# SPDX-License-Identifier: Apache-2.0
"""A segmenter that is quick and remembers, and recordings to run it on."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path

import numpy as np

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.offline.unit import Outcome, Unit, run_unit
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.types import Events, Packet
from spikeseg_ros.perception.config import PerceptionConfig, to_flat
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel
from spikeseg_ros.recordings.bags import BagWriter
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.serialization import packet_message

REPRODUCIBLE = ('windows.csv', 'objects.json', 'summary.json', 'output', 'overlays', 'overlay.gif')
BAGS = Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'events' / 'ros2_bags'
REAL = BAGS / 'event_camera_py' / 'test_events_1'
START = 1_700_000_000_000_000_000


class Tiny:
    """Two objects: the events left and right of a column that drifts with all events so far."""

    family = 'tiny'
    labels = (ClassLabel(0, 'background', (0, 0, 0)), ClassLabel(1, 'half', (255, 159, 28)))
    device = 'cpu'

    def __init__(self, config: PerceptionConfig | None = None) -> None:
        self.calls = 0

    def reconfigure(self, config):
        """Nothing can be changed."""

    def warm_up(self, width, height):
        """Nothing is slow."""

    def initial_state(self):
        return [0, 0.0]

    def segment(self, frame, state):
        self.calls += 1
        seen, smooth = state
        events = frame.events
        mean = float(events.x.mean()) if len(events) else frame.width / 2
        smooth = 0.7 * smooth + 0.3 * mean / 3.0
        seen += len(events)
        objects = []
        for side in (events.x <= mean, events.x > mean):
            part = events.select(np.asarray(side))
            if not len(part):
                continue
            image = np.zeros((frame.height, frame.width), bool)
            image[part.y, part.x] = True
            box = BoundingBox.from_mask(image)
            objects.append(
                SegmentedObject(
                    len(objects),
                    box,
                    image[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1],
                    1,
                    'half',
                    1.0 - 1.0 / (2 + len(part)),
                    (float(part.x.mean()), float(part.y.mean())),
                    len(part),
                    (len(objects),),
                    track_id=1 + seen % 3 if len(objects) == 0 else 0,
                    track_age=2,
                    velocity=(smooth, -smooth / 7.0),
                )
            )
        result = Result(
            frame.stamp,
            frame.duration,
            frame.frame_id,
            frame.width,
            frame.height,
            self.family,
            tuple(objects),
            n_events=len(events),
            epoch=frame.epoch,
            index=frame.index,
            spikes={'input': len(events), 'conv3': len(objects), 'dropped': 0},
            timings={'all': 0.001},
        )
        return result, [seen, smooth]


def random_events(count: int = 4000, seconds: float = 0.5, seed: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    t = np.sort(rng.integers(1_000, round(seconds * 1e6), count)) * 1000
    return Events(
        rng.integers(0, 100, count).astype(np.uint16),
        rng.integers(0, 80, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        t.astype(np.int64),
    )


def write_bag(
    path: Path,
    events: Events,
    cuts: list[int],
    *,
    storage: str = 'mcap',
    topic: str = '/event_camera/events',
    size: tuple[int, int] = (100, 80),
) -> Path:
    """Write events as EVT3 packets that begin at the given event numbers."""
    encoder = Evt3Encoder(*size)
    borders = [0, *cuts, len(events)]
    with BagWriter(path, storage) as bag:
        bag.add_topic(topic, EVENT_PACKET, 'best_effort')
        for seq, (first, stop) in enumerate(pairwise(borders)):
            part = events.slice(first, stop)
            payload = encoder.encode(part)
            stamp = START + (int(part.t[0]) if len(part) else 0)
            packet = Packet(payload, 'evt3', *size, stamp, seq, 0, 'camera')
            bag.write(topic, stamp + 1000, packet_message(packet))
    return path


def unit(bag: Path, output: Path, **changes) -> Unit:
    values = {'config': to_flat(PerceptionConfig()), 'name': bag.name} | changes
    return Unit(str(bag), output=str(output), **values)


def run(bag: Path, output: Path, *, segmenter=None, **changes) -> Outcome:
    made = segmenter or Tiny()
    return run_unit(unit(bag, output, **changes), factory=lambda config: made)


def contents(folder: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Return the reproducible files of a run by relative path."""
    found = {}
    for name in REPRODUCIBLE:
        if name in without or not (folder / name).exists():
            continue
        place = folder / name
        files = sorted(place.rglob('*')) if place.is_dir() else [place]
        found |= {str(item.relative_to(folder)): item.read_bytes() for item in files}
    return found


def with_window(milliseconds: float) -> dict:
    config = PerceptionConfig()
    events = dataclasses.replace(config.events, window_ms=milliseconds)
    return to_flat(dataclasses.replace(config, events=events))
