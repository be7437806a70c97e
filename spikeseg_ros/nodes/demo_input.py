# SPDX-License-Identifier: Apache-2.0
"""What the demonstration plays: a simulated scene, a drawn street, pictures or a recording."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeseg_ros.nodes.processes import heard_as
from spikeseg_ros.perception.image_stream import read_image
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES
from spikeseg_ros.recordings.bags import BagReader, BagWriter
from spikeseg_ros.recordings.opening import PACKED_IMAGE, RAW_IMAGE, image_topics
from spikeseg_ros.recordings.serialization import (
    compressed_image_message,
    deserialize,
    image_message,
)
from spikeseg_ros.simulation import (
    IMAGE_TOPIC,
    demo_scene,
    save_coco,
    simulate_scene,
    write_recording,
)
from spikeseg_ros.simulation.street import StreetScene

if TYPE_CHECKING:
    from pathlib import Path

    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.simulation import GroundTruth

START_STAMP = 1_700_000_000_000_000_000
STREET_HZ = 10.0
PICTURES = {'.jpg': 'jpeg', '.jpeg': 'jpeg', '.png': 'png'}


class DemoError(ValueError):
    """The demonstration cannot run; the text says why and what to do."""


@dataclass(frozen=True)
class Played:
    """The recording that is played.

    Attributes:
        bag: Its path.
        kind: 'events' or 'images'.
        topic: Topic of these.
        type: Message type of the topic.
        width: Sensor columns [px].
        height: Sensor rows [px].
        start: Stamp of the first message [ns].
        duration: Length [ns].
        rate: Speed of the replay.
        count: Number of messages.
    """

    bag: Path
    kind: str
    topic: str
    type: str
    width: int
    height: int
    start: int
    duration: int
    rate: float
    count: int

    @property
    def seconds(self) -> float:
        """Time the replay takes [s]."""
        return self.duration / 1e9 / self.rate

    @property
    def heard(self) -> str:
        """Topic under which nodes find it."""
        return heard_as(self.topic, self.type)

    @property
    def renamed(self) -> bool:
        """Whether the player has to rename the topic."""
        return self.heard != self.topic

    def within(self, results: list[Result]) -> list[Result]:
        """Return the results of windows that lie in the recording, not in the silence after."""
        if self.kind == IMAGES:
            return results
        end = self.start + self.duration
        return [item for item in results if item.stamp - item.duration < end]


def opened(bag: Path, topic: str, kind: str, rate: float) -> Played:
    """Return a recording as it will be played.

    Args:
        bag: The recording.
        topic: Its topic; empty = the one with most messages.
        kind: What the network takes, 'events' or 'images'.
        rate: Speed.

    Raises:
        DemoError: It has no such topic.
        BagError: It cannot be read.
    """
    with BagReader(bag) as recording:
        found = list(recording.event_topics)
        if kind == IMAGES:
            found = list(image_topics(recording.topics))
        if not topic and found:
            topic = found[0]
        if topic not in found:
            what = 'event topic' if kind == EVENTS else 'topic of camera images'
            msg = (
                f'No {what} {topic!r} in {str(bag)!r}; it holds '
                f'{", ".join(recording.topics) or "nothing"}. Choose one with --topic, or another '
                'model.'
            )
            raise DemoError(msg)
        info = recording.topics[topic]
        if kind == EVENTS:
            _, packet = next(iter(recording.packets(topic)))
            width, height, start = packet.width, packet.height, packet.stamp
        else:
            _, _, _, raw = next(iter(recording.messages([topic])))
            message = deserialize(info.type, raw)
            frame = read_image(message, packed=info.type == PACKED_IMAGE)
            height, width = frame.image.shape[:2]
            start = frame.stamp
        length = recording.duration
        return Played(bag, kind, topic, info.type, width, height, start, length, rate, info.count)


def simulate(bag: Path, out: Path, seconds: float) -> GroundTruth:
    """Write the simulated recording of events and its ground truth."""
    scene = demo_scene(346, 260, seconds)
    progress = _Progress('simulating', seconds)
    recording = simulate_scene(scene, seconds, progress=lambda now: progress.show(now / 1e9))
    progress.end()
    write_recording(bag, recording, start_stamp=START_STAMP, overwrite=True)
    save_coco(out / 'ground_truth.json', recording.truth, recording.truth.windows(50_000_000))
    return recording.truth


def draw_street(bag: Path, seconds: float) -> StreetScene:
    """Write a recording of camera images of the drawn street."""
    scene = StreetScene()
    progress = _Progress('drawing', seconds)
    with BagWriter(bag, 'mcap', overwrite=True) as writer:
        writer.add_topic(IMAGE_TOPIC, RAW_IMAGE, 'reliable')
        for number in range(round(seconds * STREET_HZ)):
            stamp = START_STAMP + round(number * 1e9 / STREET_HZ)
            image, _ = scene.render(street_time(stamp))
            writer.write(IMAGE_TOPIC, stamp, image_message(image, stamp, 'camera'))
            progress.show(number / STREET_HZ)
    progress.end()
    return scene


def street_time(stamp: int) -> float:
    """Return the time of the street [s] at a stamp [ns]."""
    return (stamp - START_STAMP) / 1e9


def pack_pictures(bag: Path, folder: Path, rate_hz: float) -> None:
    """Write a folder of pictures as a recording of compressed images, in order of their names.

    Raises:
        DemoError: There is no JPEG or PNG file.
    """
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [path for path in files if path.suffix.lower() in PICTURES]
    if not files:
        msg = f'{str(folder)!r} holds no pictures (.jpg or .png); give their folder to --images.'
        raise DemoError(msg)
    topic = IMAGE_TOPIC + '/compressed'
    with BagWriter(bag, 'mcap', overwrite=True) as writer:
        writer.add_topic(topic, PACKED_IMAGE, 'reliable')
        for number, path in enumerate(files):
            stamp = START_STAMP + round(number * 1e9 / rate_hz)
            kind = PICTURES[path.suffix.lower()]
            message = compressed_image_message(path.read_bytes(), stamp, 'camera', kind)
            writer.write(topic, stamp, message)


class _Progress:
    """A line that says how far something is."""

    def __init__(self, verb: str, seconds: float) -> None:
        self._verb, self._seconds, self._last = verb, seconds, -1.0

    def show(self, now: float) -> None:
        """Write the time reached, every half a second of it."""
        if now >= self._last + 0.5:
            self._last = now
            sys.stdout.write(f'\r{self._verb} {now:4.1f} of {self._seconds:.1f} s ')
            sys.stdout.flush()

    def end(self) -> None:
        """End the line."""
        sys.stdout.write('\n')
