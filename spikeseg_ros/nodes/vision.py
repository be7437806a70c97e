# SPDX-License-Identifier: Apache-2.0
"""The same objects in vision_msgs, for tools that know only those; needs vision_msgs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    LabelInfo,
    ObjectHypothesisWithPose,
    VisionClass,
)

from spikeseg_ros.nodes.messages import to_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.perception.segmenter import ClassLabel


def to_detections(result: Result) -> Detection2DArray:
    """Return the objects of a result as Detection2DArray.

    The centre of a box is given with pixel (0, 0) reaching from 0 to 1; the id of a detection
    is its track id, or empty while the track is not confirmed.
    """
    message = Detection2DArray()
    _fill_header(message.header, result.stamp, result.frame_id)
    for item in result.objects:
        detection = Detection2D()
        _fill_header(detection.header, result.stamp, result.frame_id)
        detection.id = str(item.track_id) if item.track_id else ''
        box = item.box
        center: Any = detection.bbox.center
        # Before Humble the centre was a geometry_msgs/Pose2D.
        point = getattr(center, 'position', center)
        point.x, point.y = box.x_min + box.width / 2, box.y_min + box.height / 2
        detection.bbox.size_x, detection.bbox.size_y = float(box.width), float(box.height)
        guess = ObjectHypothesisWithPose()
        guess.hypothesis.class_id = str(item.class_id)
        guess.hypothesis.score = float(item.score)
        detection.results.append(guess)
        message.detections.append(detection)
    return message


def to_label_info(labels: Iterable[ClassLabel], stamp: int) -> LabelInfo:
    """Return the classes of a model as LabelInfo."""
    message = LabelInfo()
    _fill_header(message.header, stamp, '')
    message.class_map = [VisionClass(class_id=item.id, class_name=item.name) for item in labels]
    return message


def _fill_header(header: Any, stamp: int, frame_id: str) -> None:
    """Set stamp and frame of a header."""
    header.stamp = to_time(stamp)
    header.frame_id = frame_id
