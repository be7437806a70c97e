# SPDX-License-Identifier: Apache-2.0
"""All instances of one window as columns, without a Python object per instance."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.algorithms.ash import (
    LAYERS,
    TIME_ALIGNMENTS,
    ActiveSpikeHash,
    layer_words,
    relative_words,
)
from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import HashError
from spikeseg_ros.algorithms.hulk_causal import ones
from spikeseg_ros.algorithms.instances import Instance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

_PER_INSTANCE = (
    'ids',
    'class_id',
    'step',
    'location',
    'potential',
    'origin',
    'rows',
    'boxes',
    'words',
)


@dataclass(frozen=True)
class InstanceBatch:
    """N instances of one window, ordered as their class spikes.

    The mask of an instance lies in a square crop of S x S input pixels. Its rows are bit masks:
    pixel (origin_y + i, origin_x + j) is bit j % 64 of rows[n, i, j // 64].

    Attributes:
        ids: Number of the class spike within the window, shape (N,), int32.
        class_id: Class maps, from 0, shape (N,), int32.
        step: Steps of the class spikes, shape (N,), int32.
        location: (x, y) of the class spikes [cells], shape (N, 2), int32.
        potential: Potential / threshold of the class spikes, shape (N,), float32.
        origin: (x, y) of the crops' top left pixels [px], may be negative, shape (N, 2), int32.
        rows: Mask rows, shape (N, S, R), uint64.
        boxes: Tight boxes (x_min, y_min, x_max, y_max), inclusive [px], shape (N, 4), int32.
        words: Active spike hashes with absolute steps, shape (N, W), uint64.
        layers: Number of maps of conv1, conv2 and the class layer.
        steps: Steps T of the window.
        height: Rows of the input [px].
        width: Columns of the input [px].
        n_spikes: Class spikes in the window.
        n_dropped: Class spikes left out because there were more than asked for.
    """

    ids: NDArray[np.int32]
    class_id: NDArray[np.int32]
    step: NDArray[np.int32]
    location: NDArray[np.int32]
    potential: NDArray[np.float32]
    origin: NDArray[np.int32]
    rows: NDArray[np.uint64]
    boxes: NDArray[np.int32]
    words: NDArray[np.uint64]
    layers: tuple[int, int, int]
    steps: int
    height: int
    width: int
    n_spikes: int = 0
    n_dropped: int = 0

    def __len__(self) -> int:
        """Return the number of instances N."""
        return int(self.ids.shape[0])

    @property
    def n_features(self) -> int:
        """Rows F of the hashes."""
        return sum(self.layers)

    def select(self, keep: NDArray[np.bool_] | NDArray[np.intp]) -> InstanceBatch:
        """Return the instances that a boolean mask or an index array of shape (M,) picks."""
        return replace(self, **{name: getattr(self, name)[keep] for name in _PER_INSTANCE})

    def hashes(
        self, time_align: str = 'absolute', include: Iterable[str] = LAYERS
    ) -> NDArray[np.uint64]:
        """Return the hashes, shape (N, W), uint64.

        Args:
            time_align: 'absolute' has the steps of the window as columns, 'relative' the lag
                behind the class spike.
            include: Layers whose rows are kept, of ash.LAYERS.

        Raises:
            HashError: An unknown alignment or layer.
        """
        if time_align not in TIME_ALIGNMENTS:
            msg = f'Unknown time_align {time_align!r}; use one of {", ".join(TIME_ALIGNMENTS)}.'
            raise HashError(msg)
        words = self.words
        if time_align == 'relative':
            words = relative_words(words, self.step, self.n_features, self.steps)
        names = tuple(include)
        if names == LAYERS:
            return words
        return words & layer_words(self.layers, self.steps, names)

    def crops(self) -> NDArray[np.bool_]:
        """Return the masks in their square crops, shape (N, S, S), bool."""
        size = self.rows.shape[1]
        data = np.ascontiguousarray(self.rows).astype('<u8').view(np.uint8)
        return np.unpackbits(data, axis=-1, count=size, bitorder='little').astype(np.bool_)

    def union_mask(self) -> NDArray[np.bool_]:
        """Return the pixels of all instances, shape (height, width), bool."""
        mask = np.zeros((self.height, self.width), np.bool_)
        _mark(self.rows, self.boxes, np.ascontiguousarray(self.origin), mask)
        return mask

    def to_instances(self) -> list[Instance]:
        """Return one Instance per row."""
        crops = self.crops()
        made = []
        for row in range(len(self)):
            x_min, y_min, x_max, y_max = (int(value) for value in self.boxes[row])
            x, y = (int(value) for value in self.origin[row])
            made.append(
                Instance(
                    int(self.ids[row]),
                    ActiveSpikeHash.from_words(self.words[row], self.n_features, self.steps),
                    BoundingBox(x_min, y_min, x_max, y_max),
                    int(self.class_id[row]),
                    spike_location=(int(self.location[row, 0]), int(self.location[row, 1])),
                    step=int(self.step[row]),
                    score=float(self.potential[row]),
                    crop=crops[row, y_min - y : y_max - y + 1, x_min - x : x_max - x + 1],
                    frame_size=(self.height, self.width),
                )
            )
        return made


assert set(_PER_INSTANCE) <= {item.name for item in fields(InstanceBatch)}


@njit(cache=True, nogil=True)
def _mark(rows: Any, boxes: Any, origin: Any, mask: Any) -> None:
    """Set the pixels of all instances; their boxes lie within the mask."""
    for i in range(rows.shape[0]):
        x0, y0 = np.int64(origin[i, 0]), np.int64(origin[i, 1])
        for y in range(boxes[i, 1], boxes[i, 3] + 1):
            for word in range(rows.shape[2]):
                bits = rows[i, y - y0, word]
                while bits != 0:
                    rest = bits & (bits - np.uint64(1))
                    mask[y, x0 + 64 * word + np.int64(ones((bits ^ rest) - np.uint64(1)))] = True
                    bits = rest
