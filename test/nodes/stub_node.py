# SPDX-License-Identifier: Apache-2.0
"""perception_node with a tiny segmenter in place of the network: started by the tests."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikeseg_ros.nodes.perception_node import main
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel, ImageFrame

if TYPE_CHECKING:
    from spikeseg_ros.perception.config import PerceptionConfig

POISON = 13


class Box(NamedTuple):
    """Stands in for BoundingBox, which would bring torch along and make every test slower."""

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    @property
    def width(self) -> int:
        return self.x_max - self.x_min + 1

    @property
    def height(self) -> int:
        return self.y_max - self.y_min + 1


@dataclass
class BlobSegmenter:
    """Takes all events (or all bright pixels) of a window as one object.

    A window of exactly 13 events raises. STUB_DELAY makes every window slow [s]. Its notes are one
    more after the start, after warming up and after the first window.
    """

    config: PerceptionConfig
    family = 'blob'
    device = 'cpu'
    labels = (ClassLabel(0, 'background', (0, 0, 0)), ClassLabel(1, 'blob', (255, 160, 30)))

    def __post_init__(self) -> None:
        if self.config.weights:
            msg = f'Weights {self.config.weights!r} do not exist; leave weights empty.'
            raise ValueError(msg)
        self.notes = ('noted: made',)

    def reconfigure(self, config: PerceptionConfig) -> None:
        self.config = config

    def initial_state(self) -> int:
        return 0

    def warm_up(self, width: int, height: int) -> None:
        sys.stdout.write('warming up\n')
        self.notes += ('noted: warm',)
        time.sleep(float(os.environ.get('STUB_WARM_UP', '0')))

    def segment(self, frame: Any, state: int) -> tuple[Result, int]:
        time.sleep(float(os.environ.get('STUB_DELAY', '0')))
        if 'noted: seen' not in self.notes:
            self.notes += ('noted: seen',)
        if isinstance(frame, ImageFrame):
            y, x = np.nonzero(frame.image[:, :, 0] > 127)
            (height, width), count, duration = frame.image.shape[:2], 0, 0
        else:
            x, y = frame.events.x.astype(int), frame.events.y.astype(int)
            height, width, duration = frame.height, frame.width, frame.duration
            count = len(frame.events)
        if count == POISON:
            raise RuntimeError('13 events')
        objects: tuple[SegmentedObject, ...] = ()
        instances: tuple[Any, ...] = ()
        if len(x) >= max(1, self.config.objects.min_events):
            box = Box(int(x.min()), int(y.min()), int(x.max()), int(y.max()))
            mask = np.zeros((box.height, box.width), bool)
            mask[y - box.y_min, x - box.x_min] = True
            center = (float(x.mean()), float(y.mean()))
            found = SegmentedObject(
                0, box, mask, 1, 'blob', 1.0, center, count, (0,), 1, state + 1
            )
            objects = (found,)
            ash = SimpleNamespace(words=np.array([5], np.uint64), n_features=4, n_timesteps=10)
            spike = SimpleNamespace(
                instance_id=0, ash=ash, bbox=box, class_id=0, spike_location=(1, 2), step=3,
                score=1.0, crop=mask,
            )  # fmt: skip
            instances = (spike,)
        result = Result(
            frame.stamp, duration, frame.frame_id, width, height, self.family, objects, instances,
            {0: 0}, None, count, frame.epoch, frame.index, {'conv1': count}, {'blob': 0.001},
        )  # fmt: skip
        return result, state + 1


if __name__ == '__main__':
    sys.exit(main(factory=BlobSegmenter))
