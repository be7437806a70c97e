# SPDX-License-Identifier: Apache-2.0
"""Arrays in front of and behind the kernels of HULK."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.algorithms import hulk_causal
from spikeseg_ros.algorithms import hulk_kernels as kernels
from spikeseg_ros.algorithms.ash import word_count
from spikeseg_ros.algorithms.errors import HULKRuntimeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.spiking.trace import SpikeTrace

    Weights = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

# Patches remembered per layer, at most; their memory is taken only as far as it is used.
MAX_TRACES = 1 << 16


@dataclass(frozen=True)
class Connections:
    """Weights of one layer that count as connections, by map.

    Attributes:
        starts: First entry of every map in taps, and the number of entries, (maps + 1,), int64.
        taps: (dy, dx, input map) inside the kernel, (M, 3), int64.
    """

    starts: NDArray[np.int64]
    taps: NDArray[np.int64]

    @staticmethod
    def above(weights: NDArray[np.float32], threshold: float) -> Connections:
        """Return the connections whose weight lies above a threshold.

        Args:
            weights: Shape (out, in, kernel, kernel).
            threshold: Largest weight that does not count.
        """
        feature, dy, dx, source = np.nonzero(weights.transpose(0, 2, 3, 1) > threshold)
        starts = np.searchsorted(feature, np.arange(weights.shape[0] + 1))
        taps = np.stack([dy, dx, source], axis=1)
        return Connections(starts.astype(np.int64), np.ascontiguousarray(taps, np.int64))

    def laid_out(self, shape: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], ...]:
        """Return starts and taps as the causal kernel reads them, both uint64.

        Args:
            shape: (rows, columns, channels) of the layer they come from.

        Returns:
            Starts, and taps with the offset of their cell from the first of the kernel,
            (M, 4).
        """
        rows, columns, sources = self.taps.T
        offsets = (rows * int(shape[1]) + columns) * int(shape[2]) + sources
        taps = np.column_stack([self.taps, offsets])
        return self.starts.astype(np.uint64), np.ascontiguousarray(taps).astype(np.uint64)


Network = tuple[Connections, Connections, Connections]


def connections_of(weights: Weights, threshold: float) -> Network:
    """Return the connections of conv1, conv2 and conv3."""
    first, second, third = (Connections.above(item, threshold) for item in weights)
    return first, second, third


def check_trace(trace: SpikeTrace) -> None:
    """Refuse a record whose arrays do not fit its geometry: the kernels do not check bounds.

    Raises:
        HULKRuntimeError: A shape is wrong, or a class spike lies outside the class map.
    """
    geometry, steps, classes = trace.geometry, trace.steps, trace.classes
    pool1 = (steps, *geometry.pool1_size, geometry.channels[1])
    pool2 = (steps, *geometry.pool2_size, geometry.channels[2])
    inputs = (steps, geometry.height, geometry.width, geometry.channels[0])
    for name, shape in (
        ('inputs', inputs),
        ('pool1', pool1),
        ('pool1_since', pool1),
        ('pool2', pool2),
        ('pool2_since', pool2),
    ):
        if getattr(trace, name).shape != shape:
            msg = f'{name} of the record must be {shape!r}, got {getattr(trace, name).shape!r}.'
            raise HULKRuntimeError(msg)
    limits = (steps, geometry.channels[3], *geometry.pool2_size)
    for name, limit in zip(('step', 'class_id', 'y', 'x'), limits, strict=True):
        values = getattr(classes, name)
        if len(values) and not (values.min() >= 0 and values.max() < limit):
            msg = f'{name} of the class spikes must lie within 0 .. {limit - 1}, got {values!r}.'
            raise HULKRuntimeError(msg)


@dataclass(frozen=True)
class Memory:
    """Memory of the causal kernel for windows of one size; its contents do not matter.

    The size of the room changes the time, never the result.

    Attributes:
        key: What the sizes depend on, see key_of.
        times: Steps of the spikes of input, pool1 and pool2 (see hulk_causal.mark_steps): uint16
            where the steps of a window fit, which takes less of the caches, otherwise uint64.
        base: Patch numbers of pool1 and pool2, flat, uint32.
        done: Which steps of them have a patch, flat, typed as times.
        patches: Room for the patches of pool1 and pool2, (M, size, words), uint64.
        fired: Room for the conv1 activity of the patches of pool2, (M, C1 * words), uint64.
    """

    key: tuple[Any, ...]
    times: tuple[NDArray[Any], ...]
    base: tuple[NDArray[np.uint32], ...]
    done: tuple[NDArray[Any], ...]
    patches: tuple[NDArray[np.uint64], ...]
    fired: NDArray[np.uint64]

    @staticmethod
    def key_of(trace: SpikeTrace) -> tuple[Any, ...]:
        """Return what the sizes depend on."""
        return trace.geometry, trace.steps, MAX_TRACES

    @staticmethod
    def for_windows_like(trace: SpikeTrace) -> Memory:
        """Return memory for windows of the size of a record."""
        geometry, per_cell = trace.geometry, (trace.steps + 63) // 64
        cells = [math.prod(v.shape[1:]) for v in (trace.inputs, trace.pool1, trace.pool2)]
        # A patch holds the fields of all cells of one pooling window.
        size1 = geometry.pool_kernels[0] - 1 + geometry.conv_kernels[0]
        span = geometry.pool_kernels[1] - 1 + geometry.conv_kernels[1] - 1
        size2 = span * geometry.pool_strides[0] + size1
        word = np.uint16 if trace.steps <= 16 else np.uint64
        # Spikes of one word of steps are numbered in a row.
        room = max(MAX_TRACES, 64)
        return Memory(
            key=Memory.key_of(trace),
            times=tuple(np.empty((per_cell, count), word) for count in cells),
            base=tuple(np.empty(count * per_cell, np.uint32) for count in cells[1:]),
            done=tuple(np.empty(count * per_cell, word) for count in cells[1:]),
            patches=(
                np.empty(
                    (room, 1, 1) if size1**2 <= 64 else (room, size1, (size1 + 63) // 64),
                    np.uint64,
                ),
                np.empty((room, size2, (size2 + 63) // 64), np.uint64),
            ),
            fired=np.empty((room, geometry.channels[1] * per_cell), np.uint64),
        )


def unravel_patches(
    trace: SpikeTrace,
    weights: Weights,
    network: Network,
    spikes: NDArray[np.int64],
    threshold: float,
    causal: bool,
    gated: bool,
    spare: list[Memory],
) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Unravel class spikes of a checked record.

    Args:
        trace: Record of the window.
        weights: Weights of conv1, conv2, conv3.
        network: Their connections at the threshold.
        spikes: (step, class, row, column, since) per class spike, shape (N, 5).
        threshold: Weights, and in mode 'weights' decoded activity, above it count.
        causal: Mode 'causal', otherwise mode 'weights'.
        gated: Causal mode: count only pixels that fired.
        spare: Memory of earlier calls that nobody uses now; at most one is kept for later.

    Returns:
        Mask rows, shape (N, S, R), and hashes, shape (N, W), both uint64 (see InstanceBatch).
    """
    geometry = trace.geometry
    size = geometry.footprint()[1]
    features = sum(geometry.channels[1:])
    rows = np.zeros((len(spikes), size, (size + 63) // 64), np.uint64)
    words = np.zeros((len(spikes), word_count(features, trace.steps)), np.uint64)
    kernel_sizes = [*geometry.conv_kernels, *geometry.pool_kernels, *geometry.pool_strides]
    sizes = np.array([*kernel_sizes, trace.steps], np.int64)
    if causal:
        _causal(trace, network, spikes, gated, sizes, spare, rows, words)
        return rows, words
    # Contiguous, so that the kernel is compiled once.
    block1, block2 = (item.transpose(0, 2, 3, 1).astype(np.float64, 'C') for item in weights[:2])
    frame = (geometry.height, geometry.width, trace.pool1, trace.pool2)
    taps3 = (network[2].starts, network[2].taps)
    kernels.by_weights(
        *frame, spikes, block1, block2, *taps3, sizes, float(threshold), rows, words[:, None]
    )
    return rows, words


def _causal(
    trace: SpikeTrace,
    network: Network,
    spikes: NDArray[np.int64],
    gated: bool,
    sizes: NDArray[np.int64],
    spare: list[Memory],
    rows: NDArray[np.uint64],
    words: NDArray[np.uint64],
) -> None:
    """Run the causal kernel; the arguments are its own and those of unravel_patches."""
    geometry = trace.geometry
    memory = _take(spare, trace)
    shapes = np.array([v.shape[1:] for v in (trace.inputs, trace.pool1, trace.pool2)], np.uint64)
    inputs, pool1, since1, pool2, since2 = (
        np.ascontiguousarray(values).reshape(trace.steps, math.prod(values.shape[1:]))
        for values in (
            trace.inputs,
            trace.pool1,
            trace.pool1_since,
            trace.pool2,
            trace.pool2_since,
        )
    )
    window1, window2 = (kernel**2 for kernel in geometry.pool_kernels)
    for layer, values, last in ((0, inputs, 255), (1, pool1, window1), (2, pool2, window2)):
        if layer > 0 or gated:
            hulk_causal.mark_steps(values, np.uint8(last), memory.times[layer])
    for base in memory.base:
        base.fill(0)
    taps = [item.laid_out(shape) for item, shape in zip(network, shapes, strict=True)]
    arguments: list[Any] = [
        gated,
        *memory.times,
        *(pool1, since1, pool2, since2),
        spikes.astype(np.uint64),
        np.lexsort((spikes[:, 3], spikes[:, 2])).astype(np.uint64),
        *(*taps[0], *taps[1], *taps[2]),
        sizes.astype(np.uint64),
        shapes,
        *(memory.base[0], memory.done[0], memory.patches[0]),
        *(memory.base[1], memory.done[1], memory.patches[1]),
        memory.fired,
        np.empty(int(shapes[1, 2] + shapes[2, 2]) * -(-trace.steps // 64), np.uint64),
        np.empty(len(network[1].taps) + 1, np.uint64),
        np.zeros(geometry.conv_kernels[1] ** 2, np.uint64),
        np.zeros(2, np.uint64),
        rows,
        words,
    ]
    hulk_causal.causal(*arguments)
    if not spare:
        spare.append(memory)


def _take(spare: list[Memory], trace: SpikeTrace) -> Memory:
    """Return memory that nobody else uses."""
    # Other threads may do the same: pop is atomic, looking first is not.
    try:
        memory = spare.pop()
    except IndexError:
        return Memory.for_windows_like(trace)
    return memory if memory.key == Memory.key_of(trace) else Memory.for_windows_like(trace)


def tight_boxes(rows: NDArray[np.uint64], origin: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the tight boxes of masks, shape (N, 4), int32; x_max < x_min where one is empty.

    Args:
        rows: Mask rows, shape (N, S, R), uint64.
        origin: (x, y) of their top left pixels, shape (N, 2), int32.
    """
    boxes = np.empty((len(rows), 4), np.int32)
    kernels.tight_boxes(rows, origin, boxes)
    return boxes
