# SPDX-License-Identifier: Apache-2.0
"""What the live node made of a recording, beside what the offline run made of it."""

from __future__ import annotations

import importlib
import json
import shutil
from bisect import bisect_left
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.output_bag import OBJECTS
from spikeseg_ros.evaluation.offline.tables import read_summary, write_summary
from spikeseg_ros.perception.wire import to_nanoseconds
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.opening import BAG, kind_of
from spikeseg_ros.recordings.serialization import deserialize

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.offline.unit import Unit

_DIAGNOSTICS = '/diagnostics'


def require_ros() -> Any:
    """Return the module that plays recordings live.

    Raises:
        ImportError: ROS 2 or the built package is missing.
    """
    return importlib.import_module('spikeseg_ros.nodes.live')


def evaluate_live(unit: Unit) -> dict[str, Any]:
    """Play the recording of a finished run live and add the comparison to its timing.json.

    Raises:
        EvaluationError: The run is not finished, or the recording is no bag.
        ValueError: The live run did not work (the text says why).
    """
    folder = Path(unit.output)
    summary = read_summary(folder)
    if summary is None or kind_of(Path(unit.bag)) != BAG:
        msg = f'{unit.bag!r} cannot be played live; convert it with spikeseg convert first.'
        raise EvaluationError(msg)
    bag = summary['bag']
    with BagReader(unit.bag) as reader:
        seconds = reader.duration / 1e9
    place = folder / '.live'
    size, topic = (bag['width'], bag['height']), (bag['topic'], bag['type'])
    output = require_ros().play_live(Path(unit.bag), topic, seconds, unit.config, size, place)
    live = compare(read_arrays(folder / 'output'), read_arrays(output))
    live['latency'] = _latency(output)
    shutil.rmtree(place)
    timing = json.loads((folder / 'timing.json').read_text(encoding='utf-8'))
    write_summary(folder / 'timing.json', {**timing, 'realtime': live})
    return live


def read_arrays(bag: Path) -> list[Any]:
    """Return the object arrays of a recording, in order of their windows."""
    with BagReader(bag) as reader:
        if OBJECTS not in reader.topics:
            return []
        found = [deserialize(kind, raw) for _, kind, _, raw in reader.messages([OBJECTS])]
    return sorted(found, key=_stamp)


def compare(offline: list[Any], live: list[Any]) -> dict[str, Any]:
    """Compare the object arrays of two runs of one recording.

    Windows belong together when their stamps are less than half a window apart: offline the
    clock of the sensor has one offset, live it follows the stamps of the packets. Images keep
    their stamps.

    Args:
        offline: SegmentedObjectArrays in order of their stamps.
        live: Those that the node published.

    Returns:
        windows, and live_windows, those of the silence behind the recording included; matched
        windows; identical: share of the matched ones with the
        same events and the same objects (tracks and velocities aside, which depend on the windows
        before); event_iou: mean over matched windows with objects of the IoU of all object
        pixels, which for events are pixels with events; missing_windows of the recording,
        shed_windows, dropped_packets and lost_packets as the node counts them.
    """
    stamps = [_stamp(message) for message in live]
    same: list[bool] = []
    ious: list[float] = []
    for message in offline:
        stamp, half = _stamp(message), to_nanoseconds(message.window_duration) / 2 or 1
        place = bisect_left(stamps, stamp)
        near = [k for k in (place - 1, place) if 0 <= k < len(stamps)]
        best = min(near, key=lambda k: abs(stamps[k] - stamp), default=None)
        if best is None or abs(stamps[best] - stamp) >= half:
            continue
        other = live[best]
        same.append(message.n_events == other.n_events and _objects(message) == _objects(other))
        ours, theirs = _pixels(message), _pixels(other)
        if union := int((ours | theirs).sum()):
            ious.append(int((ours & theirs).sum()) / union)
    last = live[-1] if live else None
    return {
        'windows': len(offline),
        'live_windows': len(live),
        'matched': len(same),
        'missing_windows': len(offline) - len(same),
        'identical': float(np.mean(same)) if same else None,
        'event_iou': float(np.mean(ious)) if ious else None,
        'shed_windows': int(last.shed_windows) if last is not None else None,
        'dropped_packets': int(last.dropped_packets) if last is not None else None,
        'lost_packets': int(last.lost_packets) if last is not None else None,
    }


def _latency(bag: Path) -> dict[str, float]:
    """Return percentiles of the time from a packet's arrival to its published objects [ms]."""
    found: dict[str, float] = {}
    with BagReader(bag) as reader:
        if _DIAGNOSTICS not in reader.topics:
            return found
        for _, kind, _, raw in reader.messages([_DIAGNOSTICS]):
            for status in deserialize(kind, raw).status:
                values = {item.key: item.value for item in status.values}
                for name, text in values.items():
                    # Of the last 512 windows; no number before the first one.
                    number = text.split()[0] if text else ''
                    if name.startswith('latency p') and number[:1].isdigit():
                        found[f'{name.split()[1]}_ms'] = float(number)
    return found


def _stamp(message: Any) -> int:
    """Return the stamp of a message [ns]."""
    return to_nanoseconds(message.header.stamp)


def _objects(message: Any) -> list[Any]:
    """Return what has to be equal of the objects."""
    return [
        (
            *(item.box.x, item.box.y, item.box.width, item.box.height),
            *(item.class_id, item.n_events, float(item.score)),
            np.asarray(item.mask.data).tobytes(),
        )
        for item in message.objects
    ]


def _pixels(message: Any) -> NDArray[np.bool_]:
    """Return all pixels of objects, shape (height, width)."""
    image = np.zeros((message.height, message.width), np.bool_)
    for item in message.objects:
        crop = item.mask
        stride = -(-crop.width // 8)
        rows = np.asarray(crop.data, np.uint8).reshape(crop.height, stride)
        bits = np.unpackbits(rows, axis=1, count=crop.width).astype(np.bool_)
        image[crop.y : crop.y + crop.height, crop.x : crop.x + crop.width] |= bits
    return image
