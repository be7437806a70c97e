# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels of the causal mode of HULK: class spikes to bit-packed patches and hashes.

The plain definition is spikeseg_ros.spiking.unravel; tests hold the kernels equal to it.

* The steps at which a cell of a layer fired are the bits of one word (of several, beyond 64
  steps), so that asking for the spikes of a span of steps is one AND.
* A patch is a square of bits: row i is a run of 64-bit words, least significant bit leftmost. The
  patch of a spike is the OR of the shifted patches of the spikes that caused it, so every inner
  spike is traced once, whatever number of outer spikes it contributed to. A patch begins at the
  field of the first cell of the spike's pooling window: its place depends on the pooled cell
  alone, not on the winner.
* Patches are numbered by cell and step in the order of their first use. When there is no room
  left all are forgotten, which costs time, not exactness.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)


@njit(cache=True, nogil=True, forceinline=True)
def ones(bits: Any) -> Any:
    """Count the ones of a 64-bit word."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True, forceinline=True)
def _lowest(bits: Any) -> Any:
    """Return the lowest one of a word alone."""
    return bits & (~bits + _ONE)


@njit(cache=True, nogil=True)
def mark_steps(spikes: Any, blocks: Any, area: Any, last: Any, times: Any, base: Any) -> None:
    """Write the steps of the spikes of a layer as bits.

    Args:
        spikes: Spikes (T, H, W, C), flat, uint8; values above last are no spikes.
        blocks: The same memory, 8 spikes each, first one lowest, without the rest,
            uint64.
        area: H * W * C.
        last: Largest valid value.
        times: Receives bit t % 64 of entry cell * ceil(T / 64) + t // 64, uint64.
        base: Receives -1 wherever times is not 0, int32.
    """
    times[:] = 0
    if area == 0:
        return
    per_cell = times.shape[0] // area
    t, start = 0, 0
    for block in range(blocks.shape[0] + 1):
        left = spikes.shape[0] - 8 * block
        if block < blocks.shape[0]:
            values = blocks[block]
        else:
            values = np.uint64(0)
            for k in range(left):
                values |= np.uint64(spikes[8 * block + k]) << np.uint64(8 * k)
        # Most blocks are silent.
        while values != 0:
            k = ones(_lowest(values) - _ONE) >> 3
            values &= ~(np.uint64(255) << np.uint64(8 * k))
            i = 8 * block + k
            if spikes[i] <= last:
                while i >= start + area:
                    start += area
                    t += 1
                at = (i - start) * per_cell + (t >> 6)
                times[at] |= _ONE << np.uint64(t & 63)
                base[at] = -1


@njit(cache=True, nogil=True, forceinline=True)
def _span(word: Any, first: Any, last: Any) -> Any:
    """Return the steps first .. last in a word of steps."""
    bits = _ALL
    if word == first >> 6:
        bits &= _ALL << np.uint64(first & 63)
    if word == last >> 6:
        bits &= _ALL >> np.uint64(63 - (last & 63))
    return bits


@njit(cache=True, nogil=True)
def _number(times: Any, base: Any, done: Any, used: Any, layer: Any, at: Any, room: Any) -> None:
    """Take numbers for the patches of a word of steps."""
    count = ones(times[at])
    if used[layer] + count > room:
        base[:] = -1
        used[layer] = 0
    base[at] = used[layer]
    done[at] = 0
    used[layer] += count


@njit(cache=True, nogil=True, forceinline=True)
def _or_patch(targets: Any, i: Any, sources: Any, j: Any, top: Any, left: Any) -> None:
    """OR patch j into the larger patch i, top rows down and left columns to the right."""
    # Whole arrays and indices instead of views: a view costs more than the work on it.
    if targets.shape[2] == 1:
        for row in range(sources.shape[1]):
            targets[i, top + row, 0] |= sources[j, row, 0] << np.uint64(left)
        return
    word, shift = left >> 6, np.uint64(left & 63)
    back = np.uint64(64) - shift
    for row in range(sources.shape[1]):
        for k in range(sources.shape[2]):
            bits = sources[j, row, k]
            if bits == 0:
                continue
            targets[i, top + row, word + k] |= bits << shift
            if shift != 0 and bits >> back != 0:
                targets[i, top + row, word + k + 1] |= bits >> back


@njit(cache=True, nogil=True, forceinline=True)
def _or_packed(targets: Any, i: Any, bits: Any, side: Any, top: Any, left: Any) -> None:
    """OR a patch of side x side bits in one word into the larger patch i."""
    row_of_ones = (_ONE << np.uint64(side)) - _ONE
    word, shift = left >> 6, np.uint64(left & 63)
    spills = (left & 63) + side > 64
    while bits != 0:
        row = bits & row_of_ones
        targets[i, top, word] |= row << shift
        if spills:
            targets[i, top, word + 1] |= row >> (np.uint64(64) - shift)
        bits >>= np.uint64(side)
        top += 1


@njit(cache=True, nogil=True, forceinline=True)
def _pixels(
    times0: Any,
    gated: Any,
    per_cell: Any,
    starts1: Any,
    taps1: Any,
    site: Any,
    corner: Any,
    shapes: Any,
    patches1: Any,
    slot: Any,
    side: Any,
) -> None:
    """Write the patch of a conv1 spike.

    Args:
        times0: Steps of the input spikes.
        gated: Whether only pixels that fired count.
        per_cell: Words of steps of an input cell.
        starts1: First tap of every conv1 map.
        taps1: (dy, dx, input channel).
        site: (map, first step, last step).
        corner: (row, column) of the neuron's field, and of the neuron in its pooling window.
        shapes: (rows, columns, channels) of input, pool1, pool2.
        patches1: Patches of conv1 spikes.
        slot: The patch.
        side: Bits in a row of a patch that is one word; 0 where patches have a word per row.
    """
    feature, first, last = site
    top, left, down, right = corner
    height, width, maps = shapes[0, 0], shapes[0, 1], shapes[0, 2]
    packed = np.uint64(0)
    if side == 0:
        for row in range(patches1.shape[1]):
            for word in range(patches1.shape[2]):
                patches1[slot, row, word] = 0
    for word in range(first >> 6, (last >> 6) + 1):
        steps = _span(word, first, last)
        for tap in range(starts1[feature], starts1[feature + 1]):
            dy, dx = taps1[tap, 0], taps1[tap, 1]
            y, x = top + dy, left + dx
            if y < 0 or y >= height or x < 0 or x >= width:
                continue
            if gated:
                cell = (y * width + x) * maps + taps1[tap, 2]
                if times0[cell * per_cell + word] & steps == 0:
                    continue
            column = right + dx
            if side > 0:
                packed |= _ONE << np.uint64((down + dy) * side + column)
            else:
                patches1[slot, down + dy, column >> 6] |= _ONE << np.uint64(column & 63)
    if side > 0:
        patches1[slot, 0, 0] = packed


@njit(cache=True, nogil=True)
def causal(
    gated: Any,
    times0: Any,
    times1: Any,
    times2: Any,
    pool1: Any,
    since1: Any,
    pool2: Any,
    since2: Any,
    spikes: Any,
    order: Any,
    starts1: Any,
    taps1: Any,
    starts2: Any,
    taps2: Any,
    starts3: Any,
    taps3: Any,
    sizes: Any,
    shapes: Any,
    base1: Any,
    done1: Any,
    patches1: Any,
    base2: Any,
    done2: Any,
    patches2: Any,
    fired: Any,
    active: Any,
    used: Any,
    rows: Any,
    words: Any,
) -> None:
    """Trace N class spikes.

    All arrays are arguments of their own: out of tuples, or made here, they would be
    reference-counted in the inner loops.

    Args:
        gated: Whether only pixels that fired count; otherwise all pixels under conv1 weights.
        times0: Steps of the input spikes, see mark_steps; not read where not gated.
        times1: Steps of the pool1 spikes.
        times2: Steps of the pool2 spikes.
        pool1: Pooled conv1 spikes (T, H1, W1, C1), flat, uint8; see SpikeTrace.
        since1: First steps of their charge, likewise.
        pool2: Pooled conv2 spikes (T, H2, W2, C2), flat, uint8.
        since2: First steps of their charge, likewise.
        spikes: (step, class, row, column, since) per class spike, (N, 5), int64.
        order: Order in which they are traced, (N,); fastest where neighbours follow each other.
        starts1: First tap of every conv1 map, and the number of taps, (C1 + 1,), int64.
        taps1: (dy, dx, input channel) of the weights that count as connections, (M, 3), int64.
        starts2: Likewise for conv2.
        taps2: Likewise for conv2.
        starts3: Likewise for the class layer.
        taps3: Likewise for the class layer.
        sizes: kernels of conv1..3, kernels of the pools, strides of the pools, T, (8,), int64.
        shapes: (rows, columns, channels) of input, pool1, pool2, (3, 3), int64.
        base1: Number of the first patch of every word of steps of pool1, as mark_steps left it.
        done1: Room for the steps that have a patch, shaped as base1, uint64.
        patches1: Room for the patches, (M1 >= 64, size, words), uint64; (M1, 1, 1) where a whole
            patch fits into one word.
        base2: Likewise for pool2.
        done2: Likewise for pool2.
        patches2: Likewise for pool2, (M2 >= 64, size, words), uint64.
        fired: Room for the conv1 activity of the patches of pool2, (M2, C1 * ceil(T / 64)).
        active: Room for the activity of a class spike, ((C1 + C2) * ceil(T / 64),), uint64.
        used: Zeros, receives the numbers given to patches of pool1, pool2, (2,), int64.
        rows: Zeros, receives the masks, (N, S, R), uint64.
        words: Zeros, receives the hashes, (N, W), uint64.
    """
    pad1, pad2, pad3 = sizes[0] // 2, sizes[1] // 2, sizes[2] // 2
    window1, window2, stride1, stride2, steps = sizes[3], sizes[4], sizes[5], sizes[6], sizes[7]
    kernel2 = sizes[1]
    height1, width1, maps1 = shapes[1, 0], shapes[1, 1], shapes[1, 2]
    height2, width2, maps2 = shapes[2, 0], shapes[2, 1], shapes[2, 2]
    area1, area2 = height1 * width1 * maps1, height2 * width2 * maps2
    per_cell = (steps + 63) >> 6
    stride3 = stride1 * stride2
    own1 = maps1 * per_cell
    # A small patch of conv1 is one word.
    side1 = window1 - 1 + sizes[0]
    if side1 * side1 > 64:
        side1 = 0

    for i in order:
        step3, class_id, first3 = spikes[i, 0], spikes[i, 1], spikes[i, 4]
        top3, left3 = spikes[i, 2] - pad3, spikes[i, 3] - pad3
        for entry in range(active.shape[0]):
            active[entry] = 0
        for word2 in range(first3 >> 6, (step3 >> 6) + 1):
            span3 = _span(word2, first3, step3)
            for tap3 in range(starts3[class_id], starts3[class_id + 1]):
                y2, x2, map2 = top3 + taps3[tap3, 0], left3 + taps3[tap3, 1], taps3[tap3, 2]
                if y2 < 0 or y2 >= height2 or x2 < 0 or x2 >= width2:
                    continue
                cell2 = (y2 * width2 + x2) * maps2 + map2
                at2 = cell2 * per_cell + word2
                hits2 = times2[at2] & span3
                if hits2 == 0:
                    continue
                active[own1 + map2 * per_cell + word2] |= hits2
                if base2[at2] < 0:
                    _number(times2, base2, done2, used, 1, at2, patches2.shape[0])
                slot2 = base2[at2] - 1 + ones(times2[at2] & (_lowest(hits2) - _ONE))
                while hits2 != 0:
                    bit2 = _lowest(hits2)
                    hits2 ^= bit2
                    slot2 += 1
                    if done2[at2] & bit2 == 0:
                        # Trace a conv2 spike.
                        done2[at2] |= bit2
                        for row in range(patches2.shape[1]):
                            for word in range(patches2.shape[2]):
                                patches2[slot2, row, word] = 0
                        for entry in range(own1):
                            fired[slot2, entry] = 0
                        t2 = 64 * word2 + ones(bit2 - _ONE)
                        winner2 = np.int64(pool2[t2 * area2 + cell2]) - 1
                        first2 = np.int64(since2[t2 * area2 + cell2])
                        down2, right2 = winner2 // window2, winner2 % window2
                        top2 = y2 * stride2 + down2 - pad2
                        left2 = x2 * stride2 + right2 - pad2
                        inside = (
                            top2 >= 0
                            and left2 >= 0
                            and top2 + kernel2 <= height1
                            and left2 + kernel2 <= width1
                        )
                        gathered = np.uint64(0)
                        for word1 in range(first2 >> 6, (t2 >> 6) + 1):
                            span2 = _span(word1, first2, t2)
                            for tap2 in range(starts2[map2], starts2[map2 + 1]):
                                dy1, dx1, map1 = taps2[tap2, 0], taps2[tap2, 1], taps2[tap2, 2]
                                y1, x1 = top2 + dy1, left2 + dx1
                                hits1 = np.uint64(0)
                                if inside or (0 <= y1 < height1 and 0 <= x1 < width1):
                                    cell1 = (y1 * width1 + x1) * maps1 + map1
                                    at1 = cell1 * per_cell + word1
                                    hits1 = times1[at1] & span2
                                if hits1 != 0:
                                    fired[slot2, map1 * per_cell + word1] |= hits1
                                    if base1[at1] < 0:
                                        _number(
                                            times1, base1, done1, used, 0, at1, patches1.shape[0]
                                        )
                                    before = times1[at1] & (_lowest(hits1) - _ONE)
                                    slot1 = base1[at1] - 1 + ones(before)
                                while hits1 != 0:
                                    bit1 = _lowest(hits1)
                                    hits1 ^= bit1
                                    slot1 += 1
                                    if done1[at1] & bit1 == 0:
                                        done1[at1] |= bit1
                                        t1 = 64 * word1 + ones(bit1 - _ONE)
                                        winner1 = np.int64(pool1[t1 * area1 + cell1]) - 1
                                        down1, right1 = winner1 // window1, winner1 % window1
                                        corner = (
                                            y1 * stride1 + down1 - pad1,
                                            x1 * stride1 + right1 - pad1,
                                            down1,
                                            right1,
                                        )
                                        first1 = np.int64(since1[t1 * area1 + cell1])
                                        _pixels(
                                            times0,
                                            gated,
                                            per_cell,
                                            starts1,
                                            taps1,
                                            (map1, first1, t1),
                                            corner,
                                            shapes,
                                            patches1,
                                            slot1,
                                            side1,
                                        )
                                    if side1 > 0:
                                        gathered |= patches1[slot1, 0, 0]
                                        continue
                                    _or_patch(
                                        patches2,
                                        slot2,
                                        patches1,
                                        slot1,
                                        (down2 + dy1) * stride1,
                                        (right2 + dx1) * stride1,
                                    )
                                # The taps of a cell follow each other: place its patches at once.
                                if gathered != 0 and (
                                    tap2 + 1 == starts2[map2 + 1]
                                    or taps2[tap2 + 1, 0] != dy1
                                    or taps2[tap2 + 1, 1] != dx1
                                ):
                                    top = (down2 + dy1) * stride1
                                    left = (right2 + dx1) * stride1
                                    _or_packed(patches2, slot2, gathered, side1, top, left)
                                    gathered = np.uint64(0)
                    _or_patch(
                        rows,
                        i,
                        patches2,
                        slot2,
                        taps3[tap3, 0] * stride3,
                        taps3[tap3, 1] * stride3,
                    )
                    for entry in range(own1):
                        active[entry] |= fired[slot2, entry]
        for feature in range(maps1 + maps2):
            for k in range(per_cell):
                bits = active[feature * per_cell + k]
                if bits != 0:
                    _put(words, i, feature * steps + 64 * k, bits)
        _put(words, i, (maps1 + maps2 + class_id) * steps + step3, _ONE)


@njit(cache=True, nogil=True, forceinline=True)
def _put(words: Any, i: Any, begin: Any, bits: Any) -> None:
    """OR up to 64 bits into a run of bits, from bit begin on."""
    word, shift = begin >> 6, np.uint64(begin & 63)
    words[i, word] |= bits << shift
    if shift != 0 and bits >> (np.uint64(64) - shift) != 0:
        words[i, word + 1] |= bits >> (np.uint64(64) - shift)
