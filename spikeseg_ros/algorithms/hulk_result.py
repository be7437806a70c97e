# SPDX-License-Identifier: Apache-2.0
"""One unravelled class spike, as the published API returns it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from spikeseg_ros.algorithms.ash import ActiveSpikeHash
from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import HULKRuntimeError
from spikeseg_ros.algorithms.instances import Instance

if TYPE_CHECKING:
    from spikeseg_ros.algorithms.batch import InstanceBatch


@dataclass(frozen=True)
class HULKResult:
    """One unravelled class spike, also when nothing was found.

    Attributes:
        spike_location: (x, y) in the class map [cells].
        pixel_mask: Pixels that caused the spike, shape (H, W), bool.
        timestep: Step of the spike.
        class_id: Class map of the spike, from 0.
        ash: Active spike hash.
        bbox: Tight box of the mask, None where it is empty.
        score: Potential / threshold.
    """

    spike_location: tuple[int, int]
    pixel_mask: torch.Tensor
    timestep: int
    class_id: int
    ash: ActiveSpikeHash
    bbox: BoundingBox | None
    score: float = 1.0

    def to_instance(self, instance_id: int, class_id: int | None = None) -> Instance:
        """Return the instance.

        Args:
            instance_id: Number within the window.
            class_id: Class to set instead of the spike's.

        Raises:
            HULKRuntimeError: The mask is empty.
        """
        if self.bbox is None:
            msg = f'The spike at {self.spike_location!r} has an empty mask; leave it out.'
            raise HULKRuntimeError(msg)
        return Instance(
            instance_id,
            self.ash,
            self.bbox,
            self.class_id if class_id is None else class_id,
            self.pixel_mask,
            self.spike_location,
            step=self.timestep,
            score=self.score,
        )


def results_from_batch(batch: InstanceBatch) -> list[HULKResult]:
    """Return one result per instance of a batch that may hold empty masks."""
    made = []
    for row in range(len(batch)):
        one = batch.select(np.array([row]))
        x_min, y_min, x_max, y_max = (int(value) for value in one.boxes[0])
        found = x_max >= x_min
        made.append(
            HULKResult(
                (int(one.location[0, 0]), int(one.location[0, 1])),
                torch.from_numpy(one.union_mask().copy()),
                int(one.step[0]),
                int(one.class_id[0]),
                ActiveSpikeHash.from_words(one.words[0], one.n_features, one.steps),
                BoundingBox(x_min, y_min, x_max, y_max) if found else None,
                float(one.potential[0]),
            )
        )
    return made
