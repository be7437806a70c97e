# SPDX-License-Identifier: Apache-2.0
"""Instances that the network found at several scales of one window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.hulk_causal import ones
from spikeseg_ros.algorithms.instances import Instance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.batch import InstanceBatch


@dataclass(frozen=True)
class ScaledBatch:
    """The instances of one scale.

    Attributes:
        batch: The instances in cells of 2^level x 2^level pixels.
        level: 0 = at full size.
        first_id: Id of instance 0; ids are unique within a window.
        height: Rows of the sensor [px].
        width: Columns of the sensor [px].
    """

    batch: InstanceBatch
    level: int
    first_id: int
    height: int
    width: int

    def support(self) -> NDArray[np.bool_]:
        """Return the pixels under any instance, shape (height, width), bool."""
        return self._grown(self.batch.union_mask())[: self.height, : self.width]

    def owners(
        self, labels: NDArray[np.int16], count: int
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Return the object that owns most of each instance, and the strength of every object.

        Args:
            labels: Object of every pixel, -1 for none, shape (height, width), int16.
            count: Number of objects.

        Returns:
            Object of every instance, -1 for none, shape (N,), int32; and the potentials of the
            instances, shared among objects by pixels, shape (count,).
        """
        batch = self.batch
        result, strength = np.full(len(batch), -1, np.int32), np.zeros(count)
        _most_owned(
            batch.rows,
            batch.boxes,
            np.ascontiguousarray(batch.origin),
            batch.potential,
            self.level,
            labels,
            result,
            strength,
        )
        return result, strength

    def to_instances(self) -> list[Instance]:
        """Return one Instance per row, in pixels of the sensor."""
        return [self._at_full_size(item) for item in self.batch.to_instances()]

    def _at_full_size(self, item: Instance) -> Instance:
        """Return an instance in pixels of the sensor."""
        x, y = item.bbox.x_min << self.level, item.bbox.y_min << self.level
        right = min(((item.bbox.x_max + 1) << self.level) - 1, self.width - 1)
        bottom = min(((item.bbox.y_max + 1) << self.level) - 1, self.height - 1)
        crop = item.crop
        if crop is not None:
            crop = self._grown(crop)[: bottom - y + 1, : right - x + 1]
        return Instance(
            self.first_id + item.instance_id,
            item.ash,
            BoundingBox(x, y, right, bottom),
            item.class_id,
            spike_location=item.spike_location,
            step=item.step,
            score=item.score,
            crop=crop,
            frame_size=(self.height, self.width),
        )

    def _grown(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask of cells in pixels."""
        if not self.level:
            return mask
        edge = 1 << self.level
        return np.asarray(np.repeat(np.repeat(mask, edge, axis=0), edge, axis=1))


def support(scales: Sequence[ScaledBatch]) -> NDArray[np.bool_]:
    """Return the pixels under the instances of any scale, shape (height, width), bool."""
    return np.asarray(np.logical_or.reduce([item.support() for item in scales]))


@njit(cache=True, nogil=True)
def _most_owned(
    rows: Any,
    boxes: Any,
    origin: Any,
    potential: Any,
    level: Any,
    labels: Any,
    result: Any,
    strength: Any,
) -> None:
    """Write the object with most pixels of every instance, the first of equal ones."""
    height, width = labels.shape
    edge = 1 << level
    votes = np.zeros(strength.shape[0], np.int64)
    for i in range(rows.shape[0]):
        votes[:] = 0
        total = 0
        x0, y0 = np.int64(origin[i, 0]), np.int64(origin[i, 1])
        for y in range(boxes[i, 1], boxes[i, 3] + 1):
            for word in range(rows.shape[2]):
                bits = rows[i, y - y0, word]
                while bits != 0:
                    rest = bits & (bits - np.uint64(1))
                    x = x0 + 64 * word + np.int64(ones((bits ^ rest) - np.uint64(1)))
                    for row in range(y * edge, min((y + 1) * edge, height)):
                        for column in range(x * edge, min((x + 1) * edge, width)):
                            if labels[row, column] >= 0:
                                votes[labels[row, column]] += 1
                                total += 1
                    bits = rest
        best = 0
        for k in range(votes.shape[0]):
            if votes[k] > 0:
                strength[k] += potential[i] * votes[k] / total
            if votes[k] > best:
                best = votes[k]
                result[i] = k
