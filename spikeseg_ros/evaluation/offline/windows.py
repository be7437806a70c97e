# SPDX-License-Identifier: Apache-2.0
"""One finished window or image as it stands in the journal, and what it was made of."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.perception.result import Result, SegmentedObject

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.offline.image_replay import RecordedImage
    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.pipeline import Tick

    Frame = EventWindow | RecordedImage

# The class layer is conv3 in the network and the class layer in every table.
LAYERS = {'conv3': 'class'}


@dataclass(frozen=True)
class FinishedWindow:
    """A window or image that was segmented, with everything the files of a run need of it.

    Attributes:
        result: Its result, without instances.
        index: Number of the window within the run, from 0.
        t_start: First nanosecond in sensor time; the stamp of an image.
        t_end: First nanosecond behind it in sensor time; the stamp of an image.
        on_events: ON events.
        n_instances: Instances found.
        seconds: Wall-clock seconds by stage, 'total' included; not reproducible.
        time: Time of its messages [ns]: end of the window, or when the image was recorded.
    """

    result: Result
    index: int
    t_start: int
    t_end: int
    on_events: int
    n_instances: int
    seconds: dict[str, float]
    time: int

    @property
    def spikes(self) -> dict[str, int]:
        """Spikes by layer, the class layer under the name 'class'."""
        found = self.result.spikes.items()
        return {LAYERS.get(name, name): n for name, n in found if name != 'dropped'}

    def matches(self, frame: Frame) -> bool:
        """Return whether a window or image read again is this one."""
        return (self.t_start, self.t_end, self.result.stamp, self.result.n_events) == (
            frame.t_start,
            frame.t_end,
            frame.stamp,
            len(frame.events),
        )


def finished(tick: Tick[Frame], index: int) -> FinishedWindow:
    """Return what is kept of a tick."""
    frame, result = tick.frame, tick.result
    return FinishedWindow(
        result,
        index,
        frame.t_start,
        frame.t_end,
        int(np.count_nonzero(frame.events.p)),
        len(result.instances),
        {**result.timings, 'total': (tick.finished - tick.started) / 1e9},
        getattr(frame, 'time', frame.stamp),
    )


def to_bytes(window: FinishedWindow) -> bytes:
    """Return a window as the body of a journal record."""
    result = window.result
    tree = {
        'index': window.index,
        't_start': window.t_start,
        't_end': window.t_end,
        'on_events': window.on_events,
        'n_instances': window.n_instances,
        'seconds': window.seconds,
        'time': window.time,
        'stamp': result.stamp,
        'duration': result.duration,
        'frame_id': result.frame_id,
        'width': result.width,
        'height': result.height,
        'model': result.model,
        'n_events': result.n_events,
        'epoch': result.epoch,
        'window': result.index,
        'spikes': {name: int(count) for name, count in result.spikes.items()},
        'objects': [_object_tree(item) for item in result.objects],
    }
    if result.class_ids is not None:
        packed = zlib.compress(np.ascontiguousarray(result.class_ids).tobytes(), 1)
        tree['class_ids'] = base64.b64encode(packed).decode()
    return json.dumps(tree, separators=(',', ':')).encode()


def from_bytes(body: bytes) -> FinishedWindow:
    """Return the window of a journal record; numbers are the same bit for bit."""
    tree = json.loads(body)
    class_ids = None
    if 'class_ids' in tree:
        pixels = np.frombuffer(zlib.decompress(base64.b64decode(tree['class_ids'])), np.uint8)
        class_ids = pixels.reshape(tree['height'], tree['width'])
    result = Result(
        stamp=tree['stamp'],
        duration=tree['duration'],
        frame_id=tree['frame_id'],
        width=tree['width'],
        height=tree['height'],
        model=tree['model'],
        objects=tuple(_object(item) for item in tree['objects']),
        class_ids=class_ids,
        n_events=tree['n_events'],
        epoch=tree['epoch'],
        index=tree['window'],
        spikes=tree['spikes'],
        timings={name: value for name, value in tree['seconds'].items() if name != 'total'},
    )
    return FinishedWindow(
        result,
        tree['index'],
        tree['t_start'],
        tree['t_end'],
        tree['on_events'],
        tree['n_instances'],
        tree['seconds'],
        tree['time'],
    )


def _object_tree(item: SegmentedObject) -> dict[str, Any]:
    """Return an object as plain data."""
    box = item.box
    return {
        'id': item.object_id,
        'box': [int(v) for v in (box.x_min, box.y_min, box.x_max, box.y_max)],
        'mask': base64.b64encode(np.packbits(item.mask).tobytes()).decode(),
        'class_id': int(item.class_id),
        'class_name': item.class_name,
        'score': float(item.score),
        'centroid': [float(v) for v in item.centroid],
        'n_events': int(item.n_events),
        'instance_ids': [int(v) for v in item.instance_ids],
        'track_id': int(item.track_id),
        'track_age': int(item.track_age),
        'velocity': [float(v) for v in item.velocity],
    }


def _object(tree: dict[str, Any]) -> SegmentedObject:
    """Return an object of plain data."""
    box = BoundingBox(*tree['box'])
    bits = np.frombuffer(base64.b64decode(tree['mask']), np.uint8)
    mask = np.unpackbits(bits, count=box.width * box.height).astype(np.bool_)
    return SegmentedObject(
        object_id=tree['id'],
        box=box,
        mask=mask.reshape(box.height, box.width),
        class_id=tree['class_id'],
        class_name=tree['class_name'],
        score=tree['score'],
        centroid=tuple(tree['centroid']),
        n_events=tree['n_events'],
        instance_ids=tuple(tree['instance_ids']),
        track_id=tree['track_id'],
        track_age=tree['track_age'],
        velocity=tuple(tree['velocity']),
    )
