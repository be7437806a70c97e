# SPDX-License-Identifier: Apache-2.0
"""Plain definition of HULK: which input events and which neurons caused a class spike.

Slow and literal on purpose. Every faster decoder (the patch-wise HULK, the saliency decoder)
is held equal to this file by tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikeseg_ros.spiking.trace import ChainGeometry, SpikeTrace

    Weights = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]

MODES = ('causal', 'weights')


class UnravelError(ValueError):
    """A class spike cannot be traced back; the text says why and what to do."""


@dataclass(frozen=True)
class Unraveled:
    """What caused a set of class spikes.

    The last three attributes, stacked, are the active spike hash of the set.

    Attributes:
        mask: Pixels, shape (H, W), bool.
        events: Input spikes of the set X, shape (T, H, W, C_in), bool; none in mode 'weights'.
        conv1: Features of the set C1 by step, shape (T, C1), bool.
        conv2: Features of the set C2 by step, shape (T, C2), bool.
        classes: Class spikes themselves by step, shape (T, n_classes), bool.
    """

    mask: NDArray[np.bool_]
    events: NDArray[np.bool_]
    conv1: NDArray[np.bool_]
    conv2: NDArray[np.bool_]
    classes: NDArray[np.bool_]


def unravel_dense(
    trace: SpikeTrace,
    weights: Weights,
    spikes: Iterable[int],
    threshold: float = 0.5,
    mode: str = 'causal',
) -> Unraveled:
    """Trace class spikes back to the pixels that caused them; the result is the union over them.

    Mode 'causal' follows, for a class spike of class k in cell (y3, x3) at step t3 whose charge
    counts since step s3, with p_l = kernel_l // 2 the padding of convolution l:

    * P2: pooled spikes (t, y, x, c) of pool2 with s3 <= t <= t3 and
      W3[k, c, y - y3 + p_3, x - x3 + p_3] > threshold.
    * C2: for each of P2 the conv2 spike that passed the pool, at (t, y', x', c) with
      y' = y * stride + dy, x' = x * stride + dx and dy * kernel + dx = pool2 - 1. Its charge
      counts since s2 = pool2_since[t, y, x, c].
    * P1: for each of C2 the pooled spikes (t', y, x, c') of pool1 with s2 <= t' <= t and
      W2[c, c', y - y' + p_2, x - x' + p_2] > threshold.
    * C1: for each of P1 the conv1 spike that passed the pool, as above, with s1 = pool1_since.
    * X: for each of C1 (t', y', x', c') the input spikes (t'', y, x, p) with s1 <= t'' <= t' and
      W1[c', p, y - y' + p_1, x - x' + p_1] > threshold.

    The mask is the set of pixels of X, and the activity is C1, C2 and the class spike, each at
    its own step.

    Mode 'weights' ignores what fired before the class spike. With one-hot class activity,
    A2 = [convT(W3) > threshold] is unpooled with the indices of step t3 (a silent window gives
    its first cell), A1 = [convT(W2) > threshold] likewise, and the mask is [convT(W1) > 0], where
    convT sums over its inputs. All activity counts at step t3.

    Args:
        trace: Record of the window.
        weights: Weights of conv1, conv2, conv3, each of shape (out, in, kernel, kernel).
        spikes: Indices into trace.classes.
        threshold: Weights above it count as connections.
        mode: 'causal' or 'weights'.

    Returns:
        Union over the spikes of pixels, input spikes and activity.

    Raises:
        UnravelError: Unknown mode, or an index outside trace.classes.

    Source: Kirkland et al. 2022 (HULK), causal form.
    """
    if mode not in MODES:
        msg = f'Unknown mode {mode!r}; use one of {", ".join(MODES)}.'
        raise UnravelError(msg)
    geometry = trace.geometry
    result = Unraveled(
        np.zeros((geometry.height, geometry.width), np.bool_),
        np.zeros(trace.inputs.shape, np.bool_),
        np.zeros((trace.steps, geometry.channels[1]), np.bool_),
        np.zeros((trace.steps, geometry.channels[2]), np.bool_),
        np.zeros((trace.steps, geometry.channels[3]), np.bool_),
    )
    for index in spikes:
        if not 0 <= index < len(trace.classes):
            msg = f'No class spike {index!r}; the window has {len(trace.classes)}, counted from 0.'
            raise UnravelError(msg)
        if mode == 'causal':
            _causal(trace, weights, index, threshold, result)
        else:
            _by_weights(trace, weights, index, threshold, result)
    return result


def _causal(
    trace: SpikeTrace, weights: Weights, index: int, threshold: float, result: Unraveled
) -> None:
    """Add the causes of one class spike to the result."""
    classes, geometry = trace.classes, trace.geometry
    k, t3 = int(classes.class_id[index]), int(classes.step[index])
    result.classes[t3, k] = True
    site = (t3, int(classes.y[index]), int(classes.x[index]), k, int(classes.since[index]))
    conv2 = {
        _unpool(trace.pool2, trace.pool2_since, cell, geometry, 1)
        for cell in _causes(trace.pool2, weights[2], site, threshold)
    }
    conv1: set[tuple[int, int, int, int, int]] = set()
    for site in conv2:
        result.conv2[site[0], site[3]] = True
        for cell in _causes(trace.pool1, weights[1], site, threshold):
            conv1.add(_unpool(trace.pool1, trace.pool1_since, cell, geometry, 0))
    for site in conv1:
        result.conv1[site[0], site[3]] = True
        for t, y, x, p in _causes(trace.inputs, weights[0], site, threshold):
            result.events[t, y, x, p] = True
            result.mask[y, x] = True


def _causes(
    spikes: NDArray[np.uint8],
    weights: NDArray[np.float32],
    site: tuple[int, int, int, int, int],
    threshold: float,
) -> list[tuple[int, int, int, int]]:
    """Return the (step, row, column, channel) of the spikes that charged a neuron.

    Args:
        spikes: Spikes in front of the convolution, shape (T, H, W, C), 0 = silence.
        weights: Weights of the convolution, shape (out, in, kernel, kernel).
        site: (step, row, column, map, since) of the neuron's spike.
        threshold: Weights above it count as connections.
    """
    step, row, column, feature, since = site
    _, height, width, _ = spikes.shape
    kernel = weights.shape[2]
    # The neuron's field, clipped to the map; ky = y - row + pad, kx = x - column + pad.
    top, left = row - kernel // 2, column - kernel // 2
    y0, y1 = max(top, 0), min(top + kernel, height)
    x0, x1 = max(left, 0), min(left + kernel, width)
    field = spikes[since : step + 1, y0:y1, x0:x1] != 0
    connected = weights[feature, :, y0 - top : y1 - top, x0 - left : x1 - left] > threshold
    found = np.argwhere(field & connected.transpose(1, 2, 0))
    return [(since + t, y0 + y, x0 + x, c) for t, y, x, c in found.tolist()]


def _unpool(
    pooled: NDArray[np.uint8],
    since: NDArray[np.uint8],
    cell: tuple[int, int, int, int],
    geometry: ChainGeometry,
    pool: int,
) -> tuple[int, int, int, int, int]:
    """Return (step, row, column, map, since) of the spike that passed the pool in a cell."""
    t, y, x, c = cell
    # A silent window (mode 'weights' only) stands for its first cell, as the argmax of zeros.
    offset = max(int(pooled[t, y, x, c]) - 1, 0)
    kernel, stride = geometry.pool_kernels[pool], geometry.pool_strides[pool]
    row, column = y * stride + offset // kernel, x * stride + offset % kernel
    return t, row, column, c, int(since[t, y, x, c])


def _by_weights(
    trace: SpikeTrace, weights: Weights, index: int, threshold: float, result: Unraveled
) -> None:
    """Add what the weights alone say about one class spike to the result."""
    classes, geometry = trace.classes, trace.geometry
    k, t3 = int(classes.class_id[index]), int(classes.step[index])
    result.classes[t3, k] = True
    one_hot = np.zeros((*geometry.pool2_size, geometry.channels[3]), np.float64)
    one_hot[classes.y[index], classes.x[index], k] = 1.0

    active = transposed_convolution(one_hot, weights[2]) > threshold
    conv2 = _unpool_map(active, trace.pool2, trace.pool2_since, t3, geometry, 1)
    active = transposed_convolution(conv2, weights[1]) > threshold
    conv1 = _unpool_map(active, trace.pool1, trace.pool1_since, t3, geometry, 0)
    pixels = transposed_convolution(conv1, weights[0]) > 0.0

    result.conv2[t3] |= conv2.any(axis=(0, 1))
    result.conv1[t3] |= conv1.any(axis=(0, 1))
    result.mask[:] |= pixels.any(axis=2)


def _unpool_map(
    active: NDArray[np.bool_],
    pooled: NDArray[np.uint8],
    since: NDArray[np.uint8],
    step: int,
    geometry: ChainGeometry,
    pool: int,
) -> NDArray[np.float64]:
    """Return the map in front of a pool, 1 at the winners of all active cells."""
    size = (geometry.height, geometry.width) if pool == 0 else geometry.pool1_size
    unpooled = np.zeros((*size, active.shape[2]), np.float64)
    for y, x, c in np.argwhere(active):
        cell = (step, int(y), int(x), int(c))
        _, row, column, feature, _ = _unpool(pooled, since, cell, geometry, pool)
        unpooled[row, column, feature] = 1.0
    return unpooled


def transposed_convolution(
    activity: NDArray[np.float64], weights: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Transposed "same" convolution of a channels-last map.

    Args:
        activity: Shape (H, W, out).
        weights: Weights of the forward convolution, shape (out, in, kernel, kernel).

    Returns:
        Sum over all neurons of their activity times their weights, shape (H, W, in).
    """
    height, width, _ = activity.shape
    kernel = weights.shape[2]
    pad = kernel // 2
    padded = np.zeros((height + 2 * pad, width + 2 * pad, weights.shape[1]), np.float64)
    blocks = weights.astype(np.float64).transpose(0, 2, 3, 1)
    for y, x, c in np.argwhere(activity):
        padded[y : y + kernel, x : x + kernel] += activity[y, x, c] * blocks[c]
    return padded[pad : pad + height, pad : pad + width]
