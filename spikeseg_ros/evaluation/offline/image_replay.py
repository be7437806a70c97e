# SPDX-License-Identifier: Apache-2.0
"""The camera images of a recording, every one of them, decoded as the node does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.replay import Replay
from spikeseg_ros.events.types import Events
from spikeseg_ros.perception.image_stream import ImageStream, read_image
from spikeseg_ros.perception.segmenter import IMAGES, ImageFrame
from spikeseg_ros.recordings.bags import BagError
from spikeseg_ros.recordings.opening import (
    PACKED_IMAGE,
    RAW_IMAGE,
    EventRecording,
    image_topics,
    open_recording,
)
from spikeseg_ros.recordings.serialization import deserialize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.recordings.opening import BagRecording


@dataclass(frozen=True)
class RecordedImage(ImageFrame):
    """An image that answers what a window is asked: it has no length and no events.

    Attributes:
        time: When it was recorded [ns]; later than the image before.
        encoding: Encoding of its message.
    """

    time: int = 0
    encoding: str = ''

    @property
    def t_start(self) -> int:
        """Its stamp [ns]."""
        return self.stamp

    @property
    def t_end(self) -> int:
        """Its stamp [ns]."""
        return self.stamp

    @property
    def width(self) -> int:
        """Columns [px]."""
        return int(self.image.shape[1])

    @property
    def height(self) -> int:
        """Rows [px]."""
        return int(self.image.shape[0])

    @property
    def events(self) -> Events:
        """No events."""
        return Events.empty()


@dataclass
class ImageReplay(Replay):
    """Reads camera images in recorded order; those that cannot be decoded are counted."""

    kind: ClassVar[str] = IMAGES
    word: ClassVar[str] = 'image'

    def __iter__(self) -> Iterator[RecordedImage]:
        """Yield the images in order.

        Raises:
            BagError: The recording cannot be opened.
            EvaluationError: It has no such topic of images.
        """
        facts = self._begin()
        with open_images(self.path) as reader:
            facts.topic = image_topic(reader, self.topic)
            facts.type = reader.topics[facts.topic].type
            stream, time = ImageStream(_Decoder(reader.ros1)), -1
            try:
                for _, kind, recorded, raw in reader.messages([facts.topic]):
                    facts.messages += 1
                    self._hash.update(raw)
                    time = max(time + 1, recorded)
                    # One at a time, so that none replaces another.
                    stream.push((kind, time, raw), 0, len(raw))
                    yield from self._noted(stream.poll(0))
                    if self.progress is not None:
                        self.progress(1)
            except BagError as err:
                facts.damaged = self._anonymous(err)
        self._note_bad(stream.counters.bad_packets, stream.counters.last_error)

    def _noted(self, frames: list[ImageFrame]) -> Iterator[RecordedImage]:
        """Yield images and note what they tell of the recording."""
        facts = self.facts
        for frame in frames:
            assert isinstance(frame, RecordedImage)
            if not facts.width:
                facts.width, facts.height = frame.width, frame.height
                facts.encoding, facts.t_first = frame.encoding, frame.stamp
            facts.t_last = frame.stamp
            yield frame


class _Decoder:
    """Turns (message type, time, serialised message) into an image.

    Args:
        ros1: Whether the messages are in the ROS 1 format.
    """

    def __init__(self, ros1: bool) -> None:
        self._ros1 = ros1

    def __call__(self, item: tuple[str, int, bytes], arrival: int) -> RecordedImage:
        """Return the image.

        Raises:
            ValueError: The message is damaged or no image.
        """
        del arrival
        kind, time, raw = item
        message, packed = deserialize(kind, raw, self._ros1), kind == PACKED_IMAGE
        frame = read_image(message, packed=packed)
        encoding = str(message.format if packed else message.encoding)
        return RecordedImage(
            frame.image, frame.stamp, frame.frame_id, time=time, encoding=encoding
        )


def open_images(path: Path) -> BagRecording:
    """Return a recording that may hold images, to be used in a with statement.

    Raises:
        BagError: The format is unknown.
        EvaluationError: It is an event file.
    """
    reader = open_recording(path)
    if isinstance(reader, EventRecording):
        msg = (
            f'{str(path)!r} is an event file, and these weights take camera images; give a bag '
            'with an image topic (spikeseg convert makes one of a file that holds images), or '
            'choose weights for events.'
        )
        raise EvaluationError(msg)
    return reader


def image_topic(reader: BagRecording, topic: str) -> str:
    """Return the topic whose images are taken.

    Raises:
        EvaluationError: There is no such topic, or it carries no images.
    """
    found = image_topics(reader.topics)
    if topic in found or (found and not topic):
        return topic or found[0]
    have = ', '.join(f'{item.name} ({item.type})' for item in reader.topics.values()) or 'nothing'
    what = f'image topic {topic!r}' if topic else 'image topic'
    msg = (
        f'{str(reader.path)!r} has no {what}; it holds: {have}. These weights take camera images '
        f'({RAW_IMAGE} or {PACKED_IMAGE}): choose another topic with --topic, or weights for '
        'events.'
    )
    raise EvaluationError(msg)
