# SPDX-License-Identifier: Apache-2.0
"""output/: what the node would have published, as a recording that plays beside the input."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeseg_ros.perception.wire import (
    LABELS_TYPE,
    MASK_TYPE,
    OBJECTS_TYPE,
    label_map_fields,
    mask_fields,
    object_array_fields,
)
from spikeseg_ros.recordings.bags import BagWriter
from spikeseg_ros.recordings.serialization import compressed_image_message, serialize

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikeseg_ros.evaluation.offline.windows import FinishedWindow
    from spikeseg_ros.perception.segmenter import ClassLabel

OBJECTS, MASK = '/spikeseg/objects', '/spikeseg/mask'
LABELS, OVERLAY = '/spikeseg/labels', '/spikeseg/overlay/compressed'


class OutputBag:
    """Writes the messages of finished windows; their times are those of the windows.

    Args:
        path: Folder to create.
        labels: Classes of the masks.
        model: Model family.
    """

    def __init__(self, path: Path, labels: Sequence[ClassLabel], model: str) -> None:
        self._labels = labels
        self._model = model
        self._writer = BagWriter(path, 'mcap')
        self._writer.__enter__()
        self._writer.add_topic(OBJECTS, OBJECTS_TYPE)
        self._writer.add_topic(MASK, MASK_TYPE)
        self._writer.add_topic(LABELS, LABELS_TYPE, 'latched')
        self._writer.add_topic(OVERLAY, 'sensor_msgs/msg/CompressedImage')
        self._begun = False

    def add(self, window: FinishedWindow, overlay: bytes) -> None:
        """Write the messages of a window.

        Args:
            window: The window.
            overlay: Its picture, PNG.
        """
        result = window.result
        if not self._begun:
            self._begun = True
            # Latched, and in front of everything else, as the node publishes it.
            fields = label_map_fields(self._labels, self._model, result.stamp - result.duration)
            time = max(0, window.time - result.duration)
            self._writer.write(LABELS, time, serialize(LABELS_TYPE, fields))
        time = max(0, window.time)
        objects = object_array_fields(result, sequence=window.index)
        painted = result.class_ids is None
        mask = mask_fields(result, objects=painted, compression='zlib', labels_topic=LABELS)
        picture = compressed_image_message(overlay, result.stamp, result.frame_id, 'png')
        self._writer.write(OBJECTS, time, serialize(OBJECTS_TYPE, objects))
        self._writer.write(MASK, time, serialize(MASK_TYPE, mask))
        self._writer.write(OVERLAY, time, picture)

    def close(self) -> None:
        """Finish the recording."""
        self._writer.close()
