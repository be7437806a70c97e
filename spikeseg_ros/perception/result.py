# SPDX-License-Identifier: Apache-2.0
"""What a tick of the perception returns, whichever model family computed it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import BoundingBox, Instance


@dataclass(frozen=True)
class SegmentedObject:
    """One object of a window or frame.

    Attributes:
        object_id: Number within the result, from 0.
        box: Tight box of the mask, inclusive pixel coordinates.
        mask: Pixels of the object inside the box, shape (box.height, box.width), bool.
        class_id: Class of the object as it stands in masks, from 1.
        class_name: Name of the class.
        score: Confidence, 0 .. 1.
        centroid: Mean (x, y) of the mask's pixels [px].
        n_events: Events assigned to the object; 0 for images.
        instance_ids: Instances it was grouped from.
        track_id: Stable number over windows, from 1; 0 while not confirmed.
        track_age: Windows in which the track was seen.
        velocity: Velocity (x, y) of the centroid [px/s].
    """

    object_id: int
    box: BoundingBox
    mask: NDArray[np.bool_]
    class_id: int
    class_name: str
    score: float
    centroid: tuple[float, float]
    n_events: int = 0
    instance_ids: tuple[int, ...] = ()
    track_id: int = 0
    track_age: int = 0
    velocity: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Result:
    """Objects, instances and masks of one window or frame.

    Attributes:
        stamp: ROS time the result refers to: end of the window, or stamp of the image [ns].
        duration: Length of the window [ns]; 0 for an image.
        frame_id: Frame of the input.
        width: Columns of the input [px].
        height: Rows of the input [px].
        model: Model family.
        objects: Objects, ordered by object_id.
        instances: Instances of the spiking chain (empty for families without them).
        object_of_instance: object_id by instance_id, -1 for instances of no object.
        class_ids: Semantic mask, shape (height, width), uint8; None where the family has none
            of its own: then it is painted from the objects.
        n_events: Events in the window.
        epoch: Epoch of the input stream (see EventWindow).
        index: Number of the window since the stream's last reset.
        spikes: Number of spikes by layer.
        timings: Seconds by stage, in order of execution.
        energy: 'macs', 'acs' and 'millijoule' of the network where they are counted (option
            energy), otherwise empty.
    """

    stamp: int
    duration: int
    frame_id: str
    width: int
    height: int
    model: str
    objects: tuple[SegmentedObject, ...] = ()
    instances: Sequence[Instance] = ()
    object_of_instance: Mapping[int, int] = field(default_factory=dict)
    class_ids: NDArray[np.uint8] | None = None
    n_events: int = 0
    epoch: int = 0
    index: int = 0
    spikes: Mapping[str, int] = field(default_factory=dict)
    timings: Mapping[str, float] = field(default_factory=dict, compare=False)
    energy: Mapping[str, float] = field(default_factory=dict)

    def class_mask(self) -> NDArray[np.uint8]:
        """Return the semantic mask, shape (height, width), uint8: class id, 0 = background."""
        if self.class_ids is not None:
            return self.class_ids
        image = np.zeros((self.height, self.width), np.uint8)
        for item in self.objects:
            _paint(image, item, item.class_id)
        return image

    def object_mask(self) -> NDArray[np.uint16]:
        """Return object_id + 1 per pixel, shape (height, width), uint16; 0 = background."""
        image = np.zeros((self.height, self.width), np.uint16)
        for item in self.objects:
            _paint(image, item, item.object_id + 1)
        return image


def _paint(image: NDArray[Any], item: SegmentedObject, value: int) -> None:
    """Set the pixels of an object to a value."""
    box = item.box
    crop = image[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1]
    crop[item.mask] = value
