# SPDX-License-Identifier: Apache-2.0
"""A network for camera images that is quick and remembers, and recordings to run it on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tiny import START

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.images import compress
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import IMAGES, ClassLabel
from spikeseg_ros.recordings.bags import BagWriter
from spikeseg_ros.recordings.opening import PACKED_IMAGE, RAW_IMAGE
from spikeseg_ros.recordings.serialization import compressed_image_message, image_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

TOPIC = '/camera/image_raw'
STEP = 100_000_000
STAMPS = [START + k * STEP for k in range(10)]


class Looker:
    """Three classes by brightness; the brightest is an object whose score remembers."""

    family = 'looker'
    inputs = (IMAGES,)
    labels = (
        ClassLabel(0, 'unknown', (0, 0, 0)),
        ClassLabel(1, 'dark', (20, 30, 40)),
        ClassLabel(2, 'grey', (90, 90, 200)),
        ClassLabel(3, 'bright', (255, 159, 28)),
    )
    device = 'cpu'

    def __init__(self, fails_at: int = -1) -> None:
        self.calls = 0
        self.seen: list[NDArray[np.uint8]] = []
        self.fails_at = fails_at

    def reconfigure(self, config):
        """Nothing can be changed."""

    def warm_up(self, width, height):
        """Nothing is slow."""

    def initial_state(self):
        return [0, np.zeros(3)]

    def segment(self, frame, state):
        self.calls += 1
        self.seen.append(frame.image)
        if self.calls == self.fails_at:
            raise RuntimeError('lens cap')
        count, mean = state
        mean = 0.6 * mean + 0.4 * frame.image.reshape(-1, 3).mean(axis=0)
        gray = frame.image.mean(axis=2)
        classes = (1 + (gray > 60).astype(np.uint8) + (gray > 160)).astype(np.uint8)
        objects = ()
        if (classes == 3).any():
            box = BoundingBox.from_mask(classes == 3)
            rows, columns = np.nonzero(classes == 3)
            objects = (
                SegmentedObject(
                    0,
                    box,
                    (classes == 3)[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1],
                    3,
                    'bright',
                    float(mean[0] / 256 + count / 1000),
                    (float(columns.mean()), float(rows.mean())),
                    track_id=1,
                    track_age=count + 1,
                    velocity=(float(mean[1]), 0.0),
                ),
            )
        height, width = gray.shape
        result = Result(
            frame.stamp,
            0,
            frame.frame_id,
            width,
            height,
            self.family,
            objects,
            class_ids=classes,
            epoch=frame.epoch,
            index=frame.index,
            timings={'all': 0.001},
        )
        return result, [count + 1, mean]


def scene(number: int, width: int = 120, height: int = 100) -> NDArray[np.uint8]:
    """Return an image: dark sky, grey ground, a bright box that moves right."""
    image = np.full((height, width, 3), (30, 40, 50), np.uint8)
    image[height // 2 :] = (100, 110, 90)
    left = 5 + 6 * number % (width - 30)
    image[height // 3 : height // 3 + 30, left : left + 20] = (220, 210, 200)
    return image


def write_images(
    path: Path,
    stamps: Sequence[int] = STAMPS,
    *,
    images: Sequence[NDArray[np.uint8]] | None = None,
    topic: str = TOPIC,
    packed: bool = False,
    bad: Sequence[int] = (),
    storage: str = 'mcap',
    step: int = 3_000_000,
) -> Path:
    """Write a recording of images, received one after the other in the given order of stamps.

    Args:
        path: Folder to create.
        stamps: Stamps of the headers [ns].
        images: Their pixels; where None, `scene`.
        topic: Topic.
        packed: Whether they are compressed as PNG.
        bad: Numbers of images that cannot be decoded.
        storage: Format of the recording.
        step: Time from one to the next in the recording [ns].
    """
    with BagWriter(path, storage) as bag:
        bag.add_topic(topic, PACKED_IMAGE if packed else RAW_IMAGE, 'best_effort')
        for number, stamp in enumerate(stamps):
            image = scene(number) if images is None else images[number]
            if packed:
                data = b'no picture' if number in bad else compress(image, 'png')
                message = compressed_image_message(data, stamp, 'camera', 'png')
            else:
                kind = 'yuv9' if number in bad else 'rgb8'
                message = image_message(image, stamp, 'camera', kind)
            bag.write(topic, START + 5_000_000 + number * step, message)
    return path
