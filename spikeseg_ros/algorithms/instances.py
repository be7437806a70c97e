# SPDX-License-Identifier: Apache-2.0
"""Instances (one unravelled class spike each) and the objects they are grouped into."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import GroupingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.ash import ActiveSpikeHash


def compute_smash_score(
    ash1: ActiveSpikeHash, bbox1: BoundingBox, ash2: ActiveSpikeHash, bbox2: BoundingBox
) -> float:
    """Return Jaccard(ash1, ash2) * IoU(bbox1, bbox2), 0 .. 1.

    Raises:
        HashError: The hashes have different shapes.

    Source: Kirkland et al. 2022 (HULK-SMASH), SMASH score.
    """
    return ash1.similarity(ash2) * bbox1.iou(bbox2)


class Instance:
    """One class spike and the pixels that caused it.

    Attributes:
        instance_id: Number within the window.
        ash: Active spike hash.
        bbox: Tight box of the mask.
        class_id: Class map of the spike, from 0.
        spike_location: (x, y) of the spike in the class map [cells], or None.
        step: Step of the spike, or None.
        score: Potential of the spike divided by the threshold, >= 1 for a spike.
        frame_size: (height, width) of the input [px], or None.
    """

    __slots__ = (
        '_crop',
        '_mask',
        'ash',
        'bbox',
        'class_id',
        'frame_size',
        'instance_id',
        'score',
        'spike_location',
        'step',
    )

    def __init__(
        self,
        instance_id: int,
        ash: ActiveSpikeHash,
        bbox: BoundingBox,
        class_id: int = 0,
        mask: torch.Tensor | NDArray[Any] | None = None,
        spike_location: tuple[int, int] | None = None,
        *,
        step: int | None = None,
        score: float = 1.0,
        crop: NDArray[np.bool_] | None = None,
        frame_size: tuple[int, int] | None = None,
    ) -> None:
        """Make an instance with a full mask, a crop of it, or neither.

        Args:
            instance_id: Number within the window.
            ash: Active spike hash.
            bbox: Box of the mask.
            class_id: Class map of the spike.
            mask: Full mask, shape (H, W).
            spike_location: (x, y) in the class map.
            step: Step of the spike.
            score: Potential / threshold.
            crop: The mask inside bbox, shape (bbox.height, bbox.width), bool.
            frame_size: (H, W), needed to make the full mask from the crop.
        """
        self.instance_id = instance_id
        self.ash = ash
        self.bbox = bbox
        self.class_id = class_id
        self.spike_location = spike_location
        self.step = step
        self.score = score
        self.frame_size = frame_size
        self._crop = crop
        self._mask = (
            mask if mask is None or isinstance(mask, torch.Tensor) else torch.as_tensor(mask)
        )
        if self._mask is not None and frame_size is None:
            self.frame_size = (int(self._mask.shape[-2]), int(self._mask.shape[-1]))

    @property
    def mask(self) -> torch.Tensor | None:
        """Full mask, shape (H, W): the tensor it was made with, or bool; None where unknown."""
        if self._mask is None and self._crop is not None and self.frame_size is not None:
            full = torch.zeros(self.frame_size, dtype=torch.bool)
            box = self.bbox
            full[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1] = torch.from_numpy(
                np.ascontiguousarray(self._crop)
            )
            self._mask = full
        return self._mask

    @property
    def crop(self) -> NDArray[np.bool_] | None:
        """Mask inside bbox, shape (bbox.height, bbox.width), bool; None where unknown."""
        if self._crop is None and self._mask is not None:
            box = self.bbox
            part = self._mask[..., box.y_min : box.y_max + 1, box.x_min : box.x_max + 1]
            self._crop = np.asarray(part.detach().cpu()).reshape(box.height, box.width) != 0
        return self._crop

    @property
    def origin(self) -> tuple[int, int]:
        """(x, y) of the crop's top left pixel in the input [px]."""
        return self.bbox.x_min, self.bbox.y_min

    def smash_score(self, other: Instance) -> float:
        """Return the SMASH score with another instance, 0 .. 1."""
        return compute_smash_score(self.ash, self.bbox, other.ash, other.bbox)

    def __repr__(self) -> str:
        """Return id, class, box and place of the spike."""
        return (
            f'Instance(instance_id={self.instance_id}, class_id={self.class_id}, '
            f'bbox={self.bbox.to_xyxy()}, spike_location={self.spike_location}, step={self.step})'
        )


class Object:
    """Instances that belong together.

    Attributes:
        object_id: Number within the window.
        instances: Its instances.
        combined_ash: Union of their hashes; None without instances.
        combined_bbox: Smallest box around their boxes; None without instances.
    """

    __slots__ = ('combined_ash', 'combined_bbox', 'instances', 'object_id')

    def __init__(
        self,
        object_id: int,
        instances: Iterable[Instance] | None = None,
        combined_ash: ActiveSpikeHash | None = None,
        combined_bbox: BoundingBox | None = None,
    ) -> None:
        """Make an object of some instances.

        Args:
            object_id: Number within the window.
            instances: Instances; more can be added.
            combined_ash: Hash where there are no instances.
            combined_bbox: Box where there are no instances.
        """
        self.object_id = object_id
        self.instances: list[Instance] = []
        self.combined_ash = combined_ash
        self.combined_bbox = combined_bbox
        for position, instance in enumerate(instances or ()):
            if position == 0:
                self.combined_ash = self.combined_bbox = None
            self.add_instance(instance)

    def add_instance(self, instance: Instance) -> None:
        """Add an instance and widen hash and box.

        Raises:
            HashError: Its hash has another shape.
        """
        ash, box = self.combined_ash, self.combined_bbox
        self.combined_ash = instance.ash if ash is None else ash.union(instance.ash)
        self.combined_bbox = instance.bbox if box is None else box.hull(instance.bbox)
        self.instances.append(instance)

    @property
    def n_instances(self) -> int:
        """Number of instances."""
        return len(self.instances)

    @property
    def class_id(self) -> int:
        """Class with the largest summed score of the instances; ties go to the smaller id."""
        votes: dict[int, float] = {}
        for item in self.instances:
            votes[item.class_id] = votes.get(item.class_id, 0.0) + item.score
        return min(votes, key=lambda name: (-votes[name], name), default=0)

    @property
    def crop(self) -> NDArray[np.bool_]:
        """Union of the masks inside combined_bbox, shape (height, width), bool.

        Raises:
            GroupingError: There is no instance, or one has no mask.
        """
        box = self.combined_bbox
        if box is None:
            msg = f'Object {self.object_id!r} has no instances; add one before asking for a mask.'
            raise GroupingError(msg)
        union = np.zeros((box.height, box.width), np.bool_)
        for item in self.instances:
            crop = item.crop
            if crop is None:
                msg = f"{item!r} has no mask; give it one before asking for the object's mask."
                raise GroupingError(msg)
            y, x = item.bbox.y_min - box.y_min, item.bbox.x_min - box.x_min
            union[y : y + crop.shape[0], x : x + crop.shape[1]] |= crop
        return union

    def __repr__(self) -> str:
        """Return id, number of instances and box."""
        box = self.combined_bbox.to_xyxy() if self.combined_bbox else None
        return f'Object(object_id={self.object_id}, n_instances={self.n_instances}, bbox={box})'
