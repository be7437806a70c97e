# SPDX-License-Identifier: Apache-2.0
"""Arrays in front of and behind the kernels of HULK."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.algorithms import hulk_kernels as kernels
from spikeseg_ros.algorithms.ash import word_count
from spikeseg_ros.algorithms.errors import HULKRuntimeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.spiking.trace import ChainGeometry, SpikeTrace

    Weights = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

# Traces remembered for every class spike, and at most.
TRACES_PER_SPIKE = 256
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


def unravel_patches(
    trace: SpikeTrace,
    weights: Weights,
    network: Network,
    spikes: NDArray[np.int64],
    threshold: float,
    causal: bool,
    gated: bool,
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

    Returns:
        Mask rows, shape (N, S, R), and hashes, shape (N, W), both uint64 (see InstanceBatch).
    """
    geometry = trace.geometry
    first, second, third = network
    size = geometry.footprint()[1]
    features = sum(geometry.channels[1:])
    rows = np.zeros((len(spikes), size, (size + 63) // 64), np.uint64)
    words = np.zeros((len(spikes), 1, word_count(features, trace.steps)), np.uint64)
    kernel_sizes = [*geometry.conv_kernels, *geometry.pool_kernels, *geometry.pool_strides]
    sizes = np.array([*kernel_sizes, trace.steps], np.int64)
    if causal:
        shapes = np.array(
            [v.shape[1:] for v in (trace.inputs, trace.pool1, trace.pool2)], np.int64
        )
        flat0, flat1, since1, flat2, since2 = (
            np.ascontiguousarray(values).reshape(-1)
            for values in (
                trace.inputs,
                trace.pool1,
                trace.pool1_since,
                trace.pool2,
                trace.pool2_since,
            )
        )
        pools = (flat1, since1, flat2, since2)
        taps = (first.starts, first.taps, second.starts, second.taps, third.starts, third.taps)
        memory = _memory(geometry, len(spikes), words.shape[2])
        kernels.causal(flat0, gated, *pools, spikes, *taps, sizes, shapes, rows, words, *memory)
        return rows, words[:, 0]
    # Contiguous, so that the kernel is compiled once.
    block1, block2 = (item.transpose(0, 2, 3, 1).astype(np.float64, 'C') for item in weights[:2])
    frame = (geometry.height, geometry.width, trace.pool1, trace.pool2)
    taps3 = (third.starts, third.taps)
    kernels.by_weights(
        *frame, spikes, block1, block2, *taps3, sizes, float(threshold), rows, words
    )
    return rows, words[:, 0]


def _memory(
    geometry: ChainGeometry, n_spikes: int, n_words: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return the memory of the causal kernel: tables and room for traces, twice.

    Few spikes need little; the size changes the time, never the result.
    """
    wanted = min(max(n_spikes, 1) * TRACES_PER_SPIKE, MAX_TRACES)
    room = 1 << (wanted - 1).bit_length()
    kernel1, kernel2, _ = geometry.conv_kernels
    size2 = (kernel2 - 1) * geometry.pool_strides[0] + geometry.pool_kernels[0] + kernel1 - 1
    return (
        np.full(2 * room, -1, np.int64),
        np.empty((room, kernel1, (kernel1 + 63) // 64), np.uint64),
        np.full(2 * room, -1, np.int64),
        np.empty((room, size2, (size2 + 63) // 64), np.uint64),
        np.empty((room, 1, n_words), np.uint64),
    )


def tight_boxes(rows: NDArray[np.uint64], origin: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the tight boxes of masks, shape (N, 4), int32; x_max < x_min where one is empty.

    Args:
        rows: Mask rows, shape (N, S, R), uint64.
        origin: (x, y) of their top left pixels, shape (N, 2), int32.
    """
    boxes = np.empty((len(rows), 4), np.int32)
    kernels.tight_boxes(rows, origin, boxes)
    return boxes
