# SPDX-License-Identifier: Apache-2.0
"""What one window left behind in the encoder: the record that HULK unravels.

The record is channels-last and one byte per neuron and step, so that it is small, cheap to
write from an event-driven kernel, and cheap to look up when a spike is traced back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ChainGeometry:
    """Sizes of the chain conv1 - pool1 - conv2 - pool2 - conv3.

    Convolutions have odd kernels, stride 1 and padding kernel // 2 ("same"); pools have no
    padding and drop an incomplete last window (floor).

    Attributes:
        height: Input rows [px].
        width: Input columns [px].
        channels: Channels of input, conv1, conv2, conv3.
        conv_kernels: Kernel sizes of conv1, conv2, conv3.
        pool_kernels: Kernel sizes of pool1, pool2.
        pool_strides: Strides of pool1, pool2.
    """

    height: int
    width: int
    channels: tuple[int, int, int, int]
    conv_kernels: tuple[int, int, int] = (5, 5, 7)
    pool_kernels: tuple[int, int] = (2, 2)
    pool_strides: tuple[int, int] = (2, 2)

    def pooled(self, size: tuple[int, int], pool: int) -> tuple[int, int]:
        """Return (rows, columns) after pool 0 or 1 of a map of (rows, columns)."""
        kernel, stride = self.pool_kernels[pool], self.pool_strides[pool]
        return (
            max(0, (size[0] - kernel) // stride + 1),
            max(0, (size[1] - kernel) // stride + 1),
        )

    @property
    def pool1_size(self) -> tuple[int, int]:
        """Rows and columns of pool1, and so of conv2."""
        return self.pooled((self.height, self.width), 0)

    @property
    def pool2_size(self) -> tuple[int, int]:
        """Rows and columns of pool2, and so of conv3."""
        return self.pooled(self.pool1_size, 1)

    @property
    def class_stride(self) -> int:
        """Distance of neighbouring class cells in input pixels."""
        return self.pool_strides[0] * self.pool_strides[1]

    def footprint(self) -> tuple[int, int]:
        """Return (origin, size) of the input square that one class spike can reach.

        A class spike in cell (y, x) reaches the rows class_stride * y + origin ..
        class_stride * y + origin + size - 1 (clipped to the image), and likewise in x.
        For 5/2/5/2/7 the size is 40 and the origin -18.
        """
        low, high = 0, 0
        for kernel, pool in zip(reversed(self.conv_kernels), (1, 0, None), strict=True):
            low, high = low - kernel // 2, high + kernel // 2
            if pool is not None:
                stride = self.pool_strides[pool]
                low, high = low * stride, high * stride + self.pool_kernels[pool] - 1
        return low, high - low + 1


@dataclass(frozen=True)
class ClassSpikes:
    """Spikes of the class layer, ordered by step, then class, row, column.

    All arrays have shape (N,).

    Attributes:
        step: Time steps, int32.
        class_id: Class maps, int32.
        y: Rows in the class map, int32.
        x: Columns in the class map, int32.
        potential: Membrane potential before the reset / threshold, float32 (>= 1).
        since: First step whose charge the spike used (after the neuron's last reset or
            decay to 0), int32.
    """

    step: NDArray[np.int32]
    class_id: NDArray[np.int32]
    y: NDArray[np.int32]
    x: NDArray[np.int32]
    potential: NDArray[np.float32]
    since: NDArray[np.int32]

    def __len__(self) -> int:
        """Return the number of spikes N."""
        return int(self.step.shape[0])


@dataclass(frozen=True)
class SpikeTrace:
    """Record of one window of T steps for one input (no batch axis).

    A pooled value of 0 means silence; k > 0 means that a spike at offset k - 1 of the pooling
    window (row-major: dy * kernel + dx) passed the pool. ``*_since`` holds, where the pooled
    value is not 0, the first step whose charge that spike used: its causes lie in the steps
    since .. step. Values of ``*_since`` where the pool is silent are meaningless.

    Attributes:
        geometry: Sizes of the chain.
        steps: Number of steps T.
        inputs: Input spikes, shape (T, H, W, C_in), uint8 0 / 1.
        pool1: Pooled conv1 spikes, shape (T, H1, W1, C1), uint8.
        pool1_since: Shape of pool1, uint8.
        pool2: Pooled conv2 spikes, shape (T, H2, W2, C2), uint8.
        pool2_since: Shape of pool2, uint8.
        classes: Spikes of the class layer.
        counts: Number of spikes by layer name: 'input', 'conv1', 'conv2', 'conv3'.
    """

    geometry: ChainGeometry
    steps: int
    inputs: NDArray[np.uint8]
    pool1: NDArray[np.uint8]
    pool1_since: NDArray[np.uint8]
    pool2: NDArray[np.uint8]
    pool2_since: NDArray[np.uint8]
    classes: ClassSpikes
    counts: dict[str, int]
