# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels that run the chain from spike to spike, on one CPU core.

Every spike adds its block of weights to the neurons it reaches, and only neurons that hold or
receive charge are looked at: a neuron at 0 without input stays at 0, so skipping it is exact.
The definition these kernels are held equal to is `spikeseg_ros.models.chain.run_stepwise`.

Maps are channels-last with a margin of kernel // 2 on each side, so that a block of weights
never needs clipping and each of its rows is one run of kernel * channels numbers in memory.
Margins collect charge that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


class LayerBuffers(NamedTuple):
    """One spiking convolution: parameters, state and work space.

    Groups are runs of 2 ** shift neighbouring columns of a row that are skipped together.

    Attributes:
        weights: Flipped blocks, shape (C_in, kernel, kernel * C), float32.
        theta: Thresholds, repeated for one group, shape (2 ** shift * C,), float32.
        leak: Leaks, likewise.
        floor: Smallest potential, shape (1,), float32; 0 or -inf.
        v: Potentials, shape (rows, columns * C) with margins, float32.
        since: First step whose charge counts, same shape, uint8.
        active: Groups that may hold charge, shape (rows, groups), uint8.
        seen: Tick at which a group was last looked at, same shape, int64.
        fired: Neurons that have fired, shape of v; shape (1, 1) unless fire_once.
        size: (H, W, C, kernel, shift, fire_once, competition), int64.
    """

    weights: NDArray[np.float32]
    theta: NDArray[np.float32]
    leak: NDArray[np.float32]
    floor: NDArray[np.float32]
    v: NDArray[np.float32]
    since: NDArray[np.uint8]
    active: NDArray[np.uint8]
    seen: NDArray[np.int64]
    fired: NDArray[np.uint8]
    size: NDArray[np.int64]


class PoolBuffers(NamedTuple):
    """One pool: geometry, record of the window and the spikes of the current step.

    Attributes:
        first: First window that holds a row (or column), shape (2, n), int32.
        last: Last such window, same shape; smaller than first where there is none.
        kernel: (kernel, stride), int64.
        offsets: Record, shape (T, H', W', C), uint8.
        since: Record, same shape.
        best: Potential of the winner so far, shape (H', W', C), float32.
        queue: Cells that fired in this step, shape (H' * W' * C,), int32.
    """

    first: NDArray[np.int32]
    last: NDArray[np.int32]
    kernel: NDArray[np.int64]
    offsets: NDArray[np.uint8]
    since: NDArray[np.uint8]
    best: NDArray[np.float32]
    queue: NDArray[np.int32]


class ClassBuffers(NamedTuple):
    """Class spikes of the window, in order of step, row, column, class.

    Attributes:
        where: (step, class, row, column, since), shape (5, capacity), int32.
        potential: V / theta before the reset, shape (capacity,), float32.
    """

    where: NDArray[np.int32]
    potential: NDArray[np.float32]


@njit(cache=True, nogil=True)
def _add_block(layer, channel, y, x, value):  # type: ignore[no-untyped-def]
    """Add the weights of an input spike to the neurons it reaches and mark their groups."""
    channels, kernel, shift = layer.size[2], layer.size[3], layer.size[4]
    weights, v, active = layer.weights, layer.v, layer.active
    start = x * channels
    width = kernel * channels
    left, right = x >> shift, (x + kernel - 1) >> shift
    for ky in range(kernel):
        row = v[y + ky, start : start + width]
        block = weights[channel, ky]
        if value == 1:
            for i in range(width):
                row[i] += block[i]
        else:
            for i in range(width):
                row[i] += block[i] * np.float32(value)
        for group in range(left, right + 1):
            active[y + ky, group] = 1


@njit(cache=True, nogil=True)
def _add_inputs(inputs, words, t, layer):  # type: ignore[no-untyped-def]
    """Add all input spikes of step t; return their number and the largest value.

    Args:
        inputs: All bytes of the window, shape (T * H * W * C,), uint8.
        words: The same bytes as far as they fill words of 8, uint64.
        t: Step.
        layer: conv1.
    """
    height, width = layer.size[0], layer.size[1]
    channels = layer.weights.shape[0]
    per_step = height * width * channels
    begin, end = t * per_step, (t + 1) * per_step
    count, largest = 0, 0
    position = begin
    while position < end:
        if position % 8 == 0 and position + 8 <= end and words[position >> 3] == 0:
            position += 8
            continue
        value = inputs[position]
        if value != 0:
            pixel, channel = divmod(position - begin, channels)
            y, x = divmod(pixel, width)
            _add_block(layer, channel, y, x, value)
            count += 1
            largest = max(largest, value)
        position += 1
    return count, largest


@njit(cache=True, nogil=True)
def _add_pooled(pool, n_queued, layer):  # type: ignore[no-untyped-def]
    """Add the spikes that passed a pool in this step to the next layer."""
    columns, channels = pool.best.shape[1], pool.best.shape[2]
    for i in range(n_queued):
        cell, channel = divmod(pool.queue[i], channels)
        y, x = divmod(cell, columns)
        _add_block(layer, channel, y, x, 1)


@njit(cache=True, nogil=True)
def _charge(v, since, theta, leak, floor, after):  # type: ignore[no-untyped-def]
    """Apply leak and floor to a run of neurons that already hold their input.

    Neurons that end at 0 get the start of their next charge, step `after`.

    Returns:
        Number of neurons at or above their threshold, and whether any potential is not 0.
    """
    above, charged = 0, 0
    for i in range(v.shape[0]):
        value = max(v[i] - leak[i], floor)
        v[i] = value
        above += value >= theta[i]
        charged += value != np.float32(0)
        since[i] = since[i] if value != np.float32(0) else after
    return above, charged


@njit(cache=True, nogil=True)
def _pool_spike(pool, t, y, x, c, potential, since, n_queued):  # type: ignore[no-untyped-def]
    """Offer a spike to every pooling window that holds it; return the new queue length."""
    kernel, stride = pool.kernel[0], pool.kernel[1]
    for py in range(pool.first[0, y], pool.last[0, y] + 1):
        for px in range(pool.first[1, x], pool.last[1, x] + 1):
            silent = pool.offsets[t, py, px, c] == 0
            # Spikes come in row-major order, so ">" leaves ties to the first.
            if silent or potential > pool.best[py, px, c]:
                pool.best[py, px, c] = potential
                pool.since[t, py, px, c] = since
                offset = (y - py * stride) * kernel + (x - px * stride) + 1
                pool.offsets[t, py, px, c] = offset
            if silent:
                columns, channels = pool.best.shape[1], pool.best.shape[2]
                pool.queue[n_queued] = (py * columns + px) * channels + c
                n_queued += 1
    return n_queued


@njit(cache=True, nogil=True)
def _fire_position(layer, row, base, t):  # type: ignore[no-untyped-def]
    """Decide which maps of one position fire; return the winner or -1.

    Without competition every neuron at its threshold fires and -1 is returned; the caller
    looks at the potentials. With it, the map with the largest V / theta is returned.
    """
    channels = layer.size[2]
    winner, strongest = -1, np.float32(0)
    for c in range(channels):
        value = layer.v[row, base + c]
        if value >= layer.theta[c] and not (layer.size[5] and layer.fired[row, base + c]):
            ratio = value / layer.theta[c]
            if winner < 0 or ratio > strongest:
                winner, strongest = c, ratio
    return winner


@njit(cache=True, nogil=True)
def _scan(layer, t, tick, pool, classes, n_classes_found, to_pool):  # type: ignore[no-untyped-def]
    """Advance the active neurons of a layer by one step.

    Args:
        layer: The layer, with the input of this step already added to its potentials.
        t: Step within the window.
        tick: Step counted over all windows.
        pool: Pool behind the layer; any pool where to_pool is False.
        classes: Receives the spikes where to_pool is False.
        n_classes_found: Class spikes found so far.
        to_pool: Whether spikes go to the pool.

    Returns:
        Number of spikes, length of the pool's queue, number of class spikes so far.
    """
    height, width, channels = layer.size[0], layer.size[1], layer.size[2]
    margin, shift = layer.size[3] // 2, layer.size[4]
    fire_once, competition = layer.size[5] != 0, layer.size[6] != 0
    floor = layer.floor[0]
    spikes, n_queued = 0, 0
    after = np.uint8(t + 1)
    first_group, last_group = margin >> shift, (margin + width - 1) >> shift
    for row in range(margin, margin + height):
        for group in range(first_group, last_group + 1):
            if layer.active[row, group] == 0:
                continue
            left = max(group << shift, margin)
            right = min((group + 1) << shift, margin + width)
            low, high = left * channels, right * channels
            v, since = layer.v[row, low:high], layer.since[row, low:high]
            if layer.seen[row, group] != tick - 1:
                since[:] = np.uint8(t)
            layer.seen[row, group] = tick
            # The start of the charge of neurons that fire now is read before it is renewed,
            # because only neurons that end at 0, which cannot fire, are renewed in _charge.
            above, charged = _charge(
                v, since, layer.theta[: high - low], layer.leak[: high - low], floor, after
            )
            if charged == 0:
                layer.active[row, group] = 0
            if above == 0:
                continue
            for column in range(left, right):
                base = column * channels
                winner = -1
                if competition:
                    winner = _fire_position(layer, row, base, t)
                for c in range(channels):
                    value = layer.v[row, base + c]
                    fires = value >= layer.theta[c]
                    if fires and fire_once and layer.fired[row, base + c]:
                        fires = False
                        layer.v[row, base + c] = np.float32(0)
                        layer.since[row, base + c] = after
                    start = layer.since[row, base + c]
                    if competition:
                        fires = c == winner
                        if winner >= 0:
                            layer.v[row, base + c] = np.float32(0)
                            layer.since[row, base + c] = after
                    if not fires:
                        continue
                    layer.v[row, base + c] = np.float32(0)
                    layer.since[row, base + c] = after
                    if fire_once:
                        layer.fired[row, base + c] = 1
                    spikes += 1
                    y, x = row - margin, column - margin
                    if to_pool:
                        n_queued = _pool_spike(pool, t, y, x, c, value, start, n_queued)
                    else:
                        classes.where[0, n_classes_found] = t
                        classes.where[1, n_classes_found] = c
                        classes.where[2, n_classes_found] = y
                        classes.where[3, n_classes_found] = x
                        classes.where[4, n_classes_found] = start
                        classes.potential[n_classes_found] = value / layer.theta[c]
                        n_classes_found += 1
    return spikes, n_queued, n_classes_found


@njit(cache=True, nogil=True)
def rest_layer(layer):  # type: ignore[no-untyped-def]
    """Bring all neurons of a layer to rest, touching only groups that may hold charge."""
    channels, shift = layer.size[2], layer.size[4]
    for row in range(layer.active.shape[0]):
        for group in range(layer.active.shape[1]):
            if layer.active[row, group] != 0:
                low, high = (group << shift) * channels, ((group + 1) << shift) * channels
                layer.v[row, low:high] = np.float32(0)
                layer.active[row, group] = 0
    if layer.size[5] != 0:
        layer.fired[:] = 0


@njit(cache=True, nogil=True)
def encode_window(inputs, words, steps, tick, conv1, pool1, conv2, pool2, conv3, classes):  # type: ignore[no-untyped-def]
    """Run one window through the chain.

    Args:
        inputs: Input spikes, shape (T * H * W * C,), uint8; larger values count as often.
        words: The same bytes as far as they fill words of 8, uint64.
        steps: Number of steps T.
        tick: Tick of step 0; at least 2 after that of the last step of the window before.
        conv1: First layer.
        pool1: First pool.
        conv2: Second layer.
        pool2: Second pool.
        conv3: Third layer.
        classes: Receives the class spikes.

    Returns:
        Numbers of input, conv1, conv2 and conv3 spikes, and the largest input value.
    """
    pool1.offsets[:] = 0
    pool2.offsets[:] = 0
    n_inputs, n_conv1, n_conv2, n_conv3, largest = 0, 0, 0, 0, 0
    for t in range(steps):
        count, high = _add_inputs(inputs, words, t, conv1)
        n_inputs += count
        largest = max(largest, high)
        count, queued, n_conv3 = _scan(conv1, t, tick + t, pool1, classes, n_conv3, True)
        n_conv1 += count
        _add_pooled(pool1, queued, conv2)
        count, queued, n_conv3 = _scan(conv2, t, tick + t, pool2, classes, n_conv3, True)
        n_conv2 += count
        _add_pooled(pool2, queued, conv3)
        _, _, n_conv3 = _scan(conv3, t, tick + t, pool2, classes, n_conv3, False)
    return n_inputs, n_conv1, n_conv2, n_conv3, largest
