# SPDX-License-Identifier: Apache-2.0
"""Results as the fields of the published messages: plain data, free of ROS.

The nodes fill real messages with them, recordings are written from them without ROS; both hold
the same bytes. A message is a dictionary by field name; fields that are left out are zero.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import BoundingBox
    from spikeseg_ros.perception.result import Result, SegmentedObject
    from spikeseg_ros.perception.segmenter import ClassLabel

OBJECTS_TYPE = 'spikeseg_ros/msg/SegmentedObjectArray'
MASK_TYPE = 'spikeseg_ros/msg/SegmentationMask'
LABELS_TYPE = 'spikeseg_ros/msg/LabelMap'
NANOSECONDS = 1_000_000_000
CLASS_IDS, OBJECT_IDS = 0, 1
_INT32 = 2**31


def time_fields(nanoseconds: int) -> dict[str, int]:
    """Return nanoseconds as Time or Duration, held within what its 32 bits can say."""
    seconds, rest = divmod(int(nanoseconds), NANOSECONDS)
    return {'sec': max(-_INT32, min(_INT32 - 1, seconds)), 'nanosec': rest}


def to_nanoseconds(stamp: Any) -> int:
    """Return a builtin_interfaces Time or Duration in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def header_fields(stamp: int, frame_id: str) -> dict[str, Any]:
    """Return a std_msgs/Header."""
    return {'stamp': time_fields(stamp), 'frame_id': frame_id}


def object_array_fields(
    result: Result,
    *,
    sequence: int = 0,
    shed_windows: int = 0,
    dropped_packets: int = 0,
    lost_packets: int = 0,
    masks: bool = True,
) -> dict[str, Any]:
    """Return the objects of a result as SegmentedObjectArray.

    Args:
        result: Result of one window or image.
        sequence: Number of the published array.
        shed_windows: Windows not processed so far.
        dropped_packets: Messages dropped so far.
        lost_packets: Messages that never arrived so far.
        masks: Whether the objects carry their mask.
    """
    return {
        'header': header_fields(result.stamp, result.frame_id),
        'window_start': time_fields(result.stamp - result.duration),
        'window_duration': time_fields(result.duration),
        'height': result.height,
        'width': result.width,
        'model': result.model,
        'sequence': sequence,
        'shed_windows': shed_windows,
        'dropped_packets': dropped_packets,
        'lost_packets': lost_packets,
        'n_events': result.n_events,
        'objects': [_object_fields(item, masks) for item in result.objects],
    }


def label_map_fields(labels: Iterable[ClassLabel], model: str, stamp: int) -> dict[str, Any]:
    """Return the classes of a model as LabelMap."""
    items = list(labels)
    return {
        'header': header_fields(stamp, ''),
        'model': model,
        'ids': [item.id for item in items],
        'names': [item.name for item in items],
        'colors': bytes(channel for item in items for channel in item.color),
    }


def mask_fields(
    result: Result, *, objects: bool = True, compression: str = '', labels_topic: str = ''
) -> dict[str, Any]:
    """Return the mask of a result as SegmentationMask.

    Args:
        result: Result of one window or image.
        objects: Whether pixels hold object_id + 1 instead of the class id.
        compression: '' or 'zlib'.
        labels_topic: Topic of the LabelMap.
    """
    image: NDArray[Any] = result.object_mask() if objects else result.class_mask()
    if objects and len(result.objects) < 255:
        image = image.astype(np.uint8)
    data = np.ascontiguousarray(image, image.dtype.newbyteorder('<')).tobytes()
    return {
        'header': header_fields(result.stamp, result.frame_id),
        'height': result.height,
        'width': result.width,
        'content': OBJECT_IDS if objects else CLASS_IDS,
        'encoding': 'mono8' if image.dtype == np.uint8 else 'mono16',
        'compression': compression,
        'labels_topic': labels_topic,
        'data': zlib.compress(data, 1) if compression else data,
    }


def box_fields(box: BoundingBox) -> dict[str, int]:
    """Return a box as BoundingBox."""
    return {'x': box.x_min, 'y': box.y_min, 'width': box.width, 'height': box.height}


def crop_fields(box: BoundingBox, mask: NDArray[np.bool_] | None) -> dict[str, Any]:
    """Return a cropped mask as MaskCrop; empty where there is none."""
    if mask is None or not mask.size:
        return {}
    return {
        'x': box.x_min,
        'y': box.y_min,
        'height': mask.shape[0],
        'width': mask.shape[1],
        'data': np.packbits(mask, axis=1).tobytes(),
    }


def _object_fields(item: SegmentedObject, masks: bool) -> dict[str, Any]:
    """Return an object as SegmentedObject."""
    return {
        'object_id': item.object_id,
        'track_id': item.track_id,
        'track_age': item.track_age,
        'class_id': item.class_id,
        'class_name': item.class_name,
        'score': float(item.score),
        'box': box_fields(item.box),
        'centroid_x': float(item.centroid[0]),
        'centroid_y': float(item.centroid[1]),
        'velocity_x': float(item.velocity[0]),
        'velocity_y': float(item.velocity[1]),
        'n_events': item.n_events,
        'mask': crop_fields(item.box, item.mask if masks else None),
        'instance_ids': item.instance_ids,
    }
