# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels that run the chain from spike to spike, on one CPU core.

Every spike adds its block of weights to the neurons it reaches, and only neurons that hold or
receive charge are looked at: a neuron at 0 without input stays at 0, so skipping it is exact.
The definition these kernels are held equal to is `spikeseg_ros.models.chain.run_stepwise`.

Weights, thresholds and potentials are whole multiples of 1 / GRID; the kernels count in these
units, as int16 where no potential can leave its range and as int32 otherwise. Integers add in
any order and let the compiler work on many neurons at once.

The spikes of 4 channels at one position are a pattern of 4 bits, and the summed weights of all
16 patterns are laid out beforehand, so that a position is added once for all its spikes.

Maps are channels-last with a margin of kernel // 2 on each side, so that a block of weights
never needs clipping and each of its rows is one run of kernel * channels numbers in memory.
Margins collect charge that nobody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How maps at one position compete: not at all, by V / theta, or (all theta equal) by V.
NO_COMPETITION, BY_RATIO, BY_POTENTIAL = 0, 1, 2


class LayerBuffers(NamedTuple):
    """One spiking convolution: parameters, state and work space, in units of 1 / GRID.

    Groups are runs of 2 ** shift neighbouring columns of a row that are skipped together. All
    "int" arrays have the same type, int16 or int32.

    Attributes:
        blocks: Summed flipped weights of each pattern of 4 input channels, shape
            (ceil(C_in / 4), 16, kernel, kernel * C or more, filled up with 0), int.
        theta: Thresholds, repeated for a whole row, shape (columns * C,), int.
        leak: Leaks, likewise.
        floor: Smallest potential, shape (1,), int.
        v: Potentials, shape (rows, columns * C) with margins, int.
        since: First step whose charge counts, same shape, uint8.
        active: Groups that may hold charge, shape (rows, groups), uint8.
        seen: Tick at which a group was last looked at, same shape, int64.
        fired: Neurons that have fired, shape of v; shape (1, 1) unless fire_once.
        hits: Work space, which neurons of a run reached their threshold, uint8.
        hit_words: The same bytes in words of 8, uint64.
        size: (H, W, C, kernel, shift, fire_once, competition), int64; competition is one of
            NO_COMPETITION, BY_RATIO and BY_POTENTIAL.
    """

    blocks: NDArray[Any]
    theta: NDArray[Any]
    leak: NDArray[Any]
    floor: NDArray[Any]
    v: NDArray[Any]
    since: NDArray[np.uint8]
    active: NDArray[np.uint8]
    seen: NDArray[np.int64]
    fired: NDArray[np.uint8]
    hits: NDArray[np.uint8]
    hit_words: NDArray[np.uint64]
    size: NDArray[np.int64]


class PoolBuffers(NamedTuple):
    """One pool: geometry, record of the window and the spikes of the current step.

    Attributes:
        first: First window that holds a row (or column), shape (2, n), int32.
        last: Last such window, same shape; smaller than first where there is none.
        kernel: (kernel, stride), int64.
        offsets: Record, shape (T, H', W', C), uint8.
        since: Record, same shape.
        best: Potential of the winner so far, shape (H', W', C), int32.
        patterns: Spikes of the step by 4 channels, shape (H', W', ceil(C / 4)), uint8.
        queue: Cells of `patterns` that hold spikes, shape (H' * W' * ceil(C / 4),), int32.
    """

    first: NDArray[np.int32]
    last: NDArray[np.int32]
    kernel: NDArray[np.int64]
    offsets: NDArray[np.uint8]
    since: NDArray[np.uint8]
    best: NDArray[np.int32]
    patterns: NDArray[np.uint8]
    queue: NDArray[np.int32]


class ClassBuffers(NamedTuple):
    """Class spikes of the window, in order of step, row, column, class.

    Attributes:
        where: (step, class, row, column, since), shape (5, capacity), int32.
        potential: V / theta before the reset, shape (capacity,), float32.
    """

    where: NDArray[np.int32]
    potential: NDArray[np.float32]


@njit(cache=True, nogil=True, inline='always')
def _add_block(  # type: ignore[no-untyped-def]
    weights, kernel, width, part, pattern, y, x, value, v, pitch, active, groups, channels, shift
):
    """Add the weights of an input to the neurons it reaches and mark their groups.

    Args:
        weights: LayerBuffers.blocks, flat, with rows of width numbers.
        kernel: Rows of a block, uint64.
        width: Length of its rows, uint64.
        part: Which 4 input channels.
        pattern: Which of them spiked.
        y: Row of the input.
        x: Column of the input.
        value: Factor on the weights.
        v: LayerBuffers.v, flat.
        pitch: Length of its rows, uint64.
        active: LayerBuffers.active, flat.
        groups: Length of its rows, uint64.
        channels: Maps of the layer.
        shift: Binary logarithm of the columns of a group.
    """
    # Unsigned indices: without the test for negative ones the loops become vector code.
    source = np.uint64(part * 16 + pattern) * kernel * width
    target = np.uint64(y) * pitch + np.uint64(x * channels)
    left, right = np.uint64(x >> shift), np.uint64((x + np.int64(kernel) - 1) >> shift)
    mark = np.uint64(y) * groups
    for _ in range(kernel):
        if value == 1:
            for i in range(width):
                v[target + i] += weights[source + i]
        else:
            for i in range(width):
                v[target + i] += weights[source + i] * value
        active[mark + left] = 1
        active[mark + right] = 1
        for group in range(left + np.uint64(1), right):
            active[mark + group] = 1
        source += width
        target += pitch
        mark += groups


@njit(cache=True, nogil=True)
def _add_inputs(inputs, words, t, depth, layer):  # type: ignore[no-untyped-def]
    """Add all input spikes of step t; return their number.

    Args:
        inputs: All bytes of the window, shape (T * H * W * depth,), uint8.
        words: The same bytes as far as they fill words of 8, uint64.
        t: Step.
        depth: Channels of the input.
        layer: conv1.
    """
    weights, v, active = layer.blocks.reshape(-1), layer.v.reshape(-1), layer.active.reshape(-1)
    kernel, run = np.uint64(layer.blocks.shape[2]), np.uint64(layer.blocks.shape[3])
    pitch, groups = np.uint64(layer.v.shape[1]), np.uint64(layer.active.shape[1])
    height, width, channels, shift = layer.size[0], layer.size[1], layer.size[2], layer.size[4]
    position = t * height * width * depth
    count = 0
    for y in range(height):
        begin = position
        end = begin + width * depth
        while position < end:
            if position & 7 == 0 and position + 8 <= end and words[position >> 3] == 0:
                position += 8
                continue
            if inputs[position] == 0:
                position += 1
                continue
            x = (position - begin) // depth
            first = begin + x * depth
            part = (position - first) >> 2
            first += part << 2
            pattern = 0
            # The rest of the up to 4 channels that share a pattern.
            for i in range(position, min(first + 4, begin + (x + 1) * depth)):
                value = inputs[i]
                if value == 1:
                    pattern |= 1 << (i - first)
                elif value > 1:
                    bit = 1 << (i - first)
                    _add_block(
                        weights, kernel, run, part, bit, y, x, value,
                        v, pitch, active, groups, channels, shift,
                    )  # fmt: skip
                count += value != 0
                position = i + 1
            if pattern:
                _add_block(
                    weights, kernel, run, part, pattern, y, x, 1,
                    v, pitch, active, groups, channels, shift,
                )  # fmt: skip
    return count


@njit(cache=True, nogil=True)
def _add_pooled(pool, n_queued, layer):  # type: ignore[no-untyped-def]
    """Add the spikes that passed a pool in this step to the next layer."""
    queue = pool.queue
    weights, v, active = layer.blocks.reshape(-1), layer.v.reshape(-1), layer.active.reshape(-1)
    kernel, run = np.uint64(layer.blocks.shape[2]), np.uint64(layer.blocks.shape[3])
    pitch, groups = np.uint64(layer.v.shape[1]), np.uint64(layer.active.shape[1])
    channels, shift = layer.size[2], layer.size[4]
    _, columns, parts = pool.patterns.shape
    patterns = pool.patterns.reshape(-1)
    for i in range(n_queued):
        cell = queue[i] // parts
        part = queue[i] - cell * parts
        y = cell // columns
        x = cell - y * columns
        pattern = np.int64(patterns[queue[i]])
        _add_block(
            weights, kernel, run, part, pattern, y, x, 1,
            v, pitch, active, groups, channels, shift,
        )  # fmt: skip
        patterns[queue[i]] = 0


@njit(cache=True, nogil=True, inline='always')
def _charge(v, since, hits, theta, leak, floor, after):  # type: ignore[no-untyped-def]
    """Apply leak and floor to a run of neurons that already hold their input.

    Neurons that end at 0 get the start of their next charge, step `after`; `hits` becomes 1
    where the threshold is reached.
    """
    for i in range(v.shape[0]):
        # The cast keeps the arithmetic as narrow as the potentials.
        value = v.dtype.type(v[i] - leak[i])
        value = value if value > floor else floor
        v[i] = value
        hits[i] = value >= theta[i]
        since[i] = since[i] if value != 0 else after


@njit(cache=True, nogil=True, inline='always')
def _strongest(v):  # type: ignore[no-untyped-def]
    """Return the index of the first largest potential."""
    top = v[0]
    for i in range(v.shape[0]):
        top = v[i] if v[i] > top else top
    index = 0
    while v[index] != top:
        index += 1
    return index


@njit(cache=True, nogil=True, inline='always')
def _any_charge(v):  # type: ignore[no-untyped-def]
    """Tell whether any potential differs from 0."""
    bits = v.dtype.type(0)
    for i in range(v.shape[0]):
        bits = v.dtype.type(bits | v[i])
    return bits != 0


@njit(cache=True, nogil=True, inline='always')
def _pool_spike(  # type: ignore[no-untyped-def]
    y, x, c, potential, start, first, last, offsets, since, best, patterns, queue, n, k, s,
    columns, channels, parts,
):  # fmt: skip
    """Offer a spike to every pooling window that holds it; return the new queue length."""
    bit = np.uint8(1 << (c & 3))
    for py in range(first[0, y], last[0, y] + 1):
        for px in range(first[1, x], last[1, x] + 1):
            place = py * columns + px
            cell, part = np.uint64(place * channels + c), np.uint64(place * parts + (c >> 2))
            # Spikes come in row-major order, so ">" leaves ties to the first.
            if offsets[cell] == 0 or potential > best[cell]:
                best[cell] = potential
                since[cell] = start
                offsets[cell] = (y - py * s) * k + (x - px * s) + 1
            before = patterns[part]
            if before == 0:
                queue[n] = part
                n += 1
            patterns[part] = before | bit
    return n


@njit(cache=True, nogil=True)
def _scan(layer, t, tick, pool, classes, n_classes, to_pool):  # type: ignore[no-untyped-def]
    """Advance the active neurons of a layer by one step.

    Args:
        layer: The layer, with the input of this step already added to its potentials.
        t: Step within the window.
        tick: Step counted over all windows.
        pool: Pool behind the layer; any pool where to_pool is False.
        classes: Receives the spikes where to_pool is False.
        n_classes: Class spikes found so far.
        to_pool: Whether spikes go to the pool.

    Returns:
        Number of spikes, length of the pool's queue, number of class spikes so far.
    """
    v, since, active, seen, fired = layer.v, layer.since, layer.active, layer.seen, layer.fired
    theta, leak, hits, hit_words = layer.theta, layer.leak, layer.hits, layer.hit_words
    height, width, channels = layer.size[0], layer.size[1], layer.size[2]
    margin, shift = layer.size[3] // 2, layer.size[4]
    fire_once, competition = layer.size[5] != 0, layer.size[6]
    first, last, queue = pool.first, pool.last, pool.queue
    offsets, pool_since = pool.offsets[t].reshape(-1), pool.since[t].reshape(-1)
    best, patterns = pool.best.reshape(-1), pool.patterns.reshape(-1)
    _, pool_columns, parts = pool.patterns.shape
    k, s = pool.kernel[0], pool.kernel[1]
    where, class_potential = classes.where, classes.potential
    floor = layer.floor[0]
    spikes, n_queued = 0, 0
    after = np.uint8(t + 1)
    end_group = ((margin + width - 1) >> shift) + 1
    for row in range(margin, margin + height):
        group = margin >> shift
        while group < end_group:
            if active[row, group] == 0:
                group += 1
                continue
            # Neighbouring active groups are charged in one run.
            begin_group = group
            row_v, row_since = v[row], since[row]
            while group < end_group and active[row, group] != 0:
                if seen[row, group] != tick - 1:
                    row_since[(group << shift) * channels : ((group + 1) << shift) * channels] = t
                seen[row, group] = tick
                group += 1
            low_column = max(begin_group << shift, margin)
            low = low_column * channels
            high = min(group << shift, margin + width) * channels
            length = high - low
            _charge(
                row_v[low:high],
                row_since[low:high],
                hits[:length],
                theta[:length],
                leak[:length],
                floor,
                after,
            )
            for g in range(begin_group, group):
                begin = max(g << shift, margin) * channels
                end = min((g + 1) << shift, margin + width) * channels
                if not _any_charge(row_v[begin:end]):
                    active[row, g] = 0
            i = 0
            while i < length:
                if i & 7 == 0 and i + 8 <= length and hit_words[i >> 3] == 0:
                    i += 8
                    continue
                if hits[i] == 0:
                    i += 1
                    continue
                position = i // channels
                base = low + position * channels
                y, x = row - margin, low_column + position - margin
                # The maps of this position, from the first that reached its threshold.
                low_map, high_map = i - position * channels, channels
                if fire_once:
                    for c in range(low_map, high_map):
                        if hits[position * channels + c] and fired[row, base + c]:
                            hits[position * channels + c] = 0
                            v[row, base + c] = 0
                            since[row, base + c] = after
                if competition == BY_POTENTIAL:
                    low_map = _strongest(row_v[base : base + channels])
                    high_map = low_map + 1
                    potential, start = row_v[base + low_map], row_since[base + low_map]
                    row_v[base : base + channels] = 0
                    row_since[base : base + channels] = after
                    row_v[base + low_map], row_since[base + low_map] = potential, start
                elif competition == BY_RATIO:
                    winner, strongest = -1, np.float32(0)
                    for c in range(low_map, high_map):
                        if hits[position * channels + c]:
                            ratio = np.float32(v[row, base + c]) / np.float32(theta[c])
                            if winner < 0 or ratio > strongest:
                                winner, strongest = c, ratio
                    if winner >= 0:
                        for c in range(channels):
                            if c != winner:
                                v[row, base + c] = 0
                                since[row, base + c] = after
                        low_map, high_map = winner, winner + 1
                for c in range(low_map, high_map):
                    if hits[position * channels + c] == 0:
                        continue
                    value, start = v[row, base + c], since[row, base + c]
                    v[row, base + c] = 0
                    since[row, base + c] = after
                    if fire_once:
                        fired[row, base + c] = 1
                    spikes += 1
                    if to_pool:
                        n_queued = _pool_spike(
                            y, x, c, value, start, first, last, offsets, pool_since, best,
                            patterns, queue, n_queued, k, s, pool_columns, channels, parts,
                        )  # fmt: skip
                    else:
                        where[0, n_classes] = t
                        where[1, n_classes] = c
                        where[2, n_classes] = y
                        where[3, n_classes] = x
                        where[4, n_classes] = start
                        class_potential[n_classes] = np.float32(value) / np.float32(theta[c])
                        n_classes += 1
                i = (position + 1) * channels
    return spikes, n_queued, n_classes


@njit(cache=True, nogil=True)
def rest_layer(layer):  # type: ignore[no-untyped-def]
    """Bring all neurons of a layer to rest, touching only groups that may hold charge."""
    channels, shift = layer.size[2], layer.size[4]
    for row in range(layer.active.shape[0]):
        for group in range(layer.active.shape[1]):
            if layer.active[row, group] != 0:
                low, high = (group << shift) * channels, ((group + 1) << shift) * channels
                layer.v[row, low:high] = 0
                layer.active[row, group] = 0
    if layer.size[5] != 0:
        layer.fired[:] = 0


@njit(cache=True, nogil=True)
def encode_window(inputs, words, steps, depth, tick, conv1, pool1, conv2, pool2, conv3, classes):  # type: ignore[no-untyped-def]
    """Run one window through the chain.

    Args:
        inputs: Input spikes, shape (T * H * W * C,), uint8; larger values count as often.
        words: The same bytes as far as they fill words of 8, uint64.
        steps: Number of steps T.
        depth: Channels of the input.
        tick: Tick of step 0; at least 2 after that of the last step of the window before.
        conv1: First layer.
        pool1: First pool.
        conv2: Second layer.
        pool2: Second pool.
        conv3: Third layer.
        classes: Receives the class spikes.

    Returns:
        Numbers of input, conv1, conv2 and conv3 spikes.
    """
    # Flat, because this becomes a memset.
    pool1.offsets.reshape(-1)[:] = 0
    pool2.offsets.reshape(-1)[:] = 0
    n_inputs, n_conv1, n_conv2, n_conv3 = 0, 0, 0, 0
    for t in range(steps):
        n_inputs += _add_inputs(inputs, words, t, depth, conv1)
        count, queued, n_conv3 = _scan(conv1, t, tick + t, pool1, classes, n_conv3, True)
        n_conv1 += count
        _add_pooled(pool1, queued, conv2)
        count, queued, n_conv3 = _scan(conv2, t, tick + t, pool2, classes, n_conv3, True)
        n_conv2 += count
        _add_pooled(pool2, queued, conv3)
        _, _, n_conv3 = _scan(conv3, t, tick + t, pool2, classes, n_conv3, False)
    return n_inputs, n_conv1, n_conv2, n_conv3
