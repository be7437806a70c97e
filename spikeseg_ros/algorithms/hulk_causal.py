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
* All indices are unsigned: signed ones are checked for being negative at every access. A place
  above or left of the map is then a huge number, and beyond its far border like the others.
* Patches are numbered by cell and step in the order of their first use. When there is no room
  left all are forgotten, which costs time, not exactness.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ZERO = np.uint64(0)
_ONE = np.uint64(1)
_TWO = np.uint64(2)
_THREE = np.uint64(3)
_FOUR = np.uint64(4)
_SIX = np.uint64(6)
_LOW = np.uint64(63)
# Cells marked at a time: their words stay in the fastest cache over all steps.
_RUN = 4096


@njit(cache=True, nogil=True, forceinline=True)
def ones(bits: Any) -> Any:
    """Count the ones of a 64-bit word."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (bits * np.uint64(0x0101010101010101)) >> np.uint64(56)


@njit(cache=True, nogil=True, forceinline=True)
def _lowest(bits: Any) -> Any:
    """Return the lowest one of a word alone."""
    return bits & (~bits + _ONE)


@njit(cache=True, nogil=True)
def mark_steps(spikes: Any, last: Any, times: Any) -> None:
    """Write the steps of the spikes of a layer as bits.

    Args:
        spikes: Spikes (T, H * W * C), uint8; values above last are no spikes.
        last: Largest valid value, uint8.
        times: Receives bit t % B of entry (t // B, cell), where B is its number of bits,
            (words, H * W * C), uint64, or uint16 with one word.
    """
    # Without a branch and along rows, many cells are marked by one instruction.
    bits, none, one = 8 * times.itemsize, times.dtype.type(0), times.dtype.type(1)
    cells = spikes.shape[1]
    times[:] = none
    for begin in range(0, cells, _RUN):
        for t in range(spikes.shape[0]):
            values = spikes[t, begin : min(begin + _RUN, cells)]
            marks = times[t // bits, begin : min(begin + _RUN, cells)]
            bit = times.dtype.type(one << times.dtype.type(t % bits))
            for cell in range(np.uint64(values.shape[0])):
                # 0 is no spike either: it becomes 255.
                valid = np.uint8(values[cell] - np.uint8(1)) < last
                marks[cell] |= bit if valid else none


@njit(cache=True, nogil=True, forceinline=True)
def _span(word: Any, first: Any, last: Any) -> Any:
    """Return the steps first .. last in a word of steps."""
    bits = _ALL
    if word == first >> _SIX:
        bits &= _ALL << (first & _LOW)
    if word == last >> _SIX:
        bits &= _ALL >> (_LOW - (last & _LOW))
    return bits


@njit(cache=True, nogil=True, forceinline=True)
def _number(count: Any, base: Any, done: Any, used: Any, layer: Any, at: Any, room: Any) -> None:
    """Take numbers for the patches of a word of count steps."""
    if used[layer] + count > room:
        base[:] = 0
        used[layer] = 0
    base[at] = used[layer] + _ONE
    done[at] = 0
    used[layer] += count


@njit(cache=True, nogil=True, forceinline=True)
def _or_patch(targets: Any, i: Any, sources: Any, j: Any, top: Any, left: Any) -> None:
    """OR patch j into the larger patch i, top rows down and left columns to the right."""
    # Whole arrays and indices instead of views: a view costs more than the work on it.
    if targets.shape[2] == 1:
        for row in range(np.uint64(sources.shape[1])):
            targets[i, top + row, _ZERO] |= sources[j, row, _ZERO] << left
        return
    word, shift = left >> _SIX, left & _LOW
    back = np.uint64(64) - shift
    for row in range(np.uint64(sources.shape[1])):
        for k in range(np.uint64(sources.shape[2])):
            bits = sources[j, row, k]
            if bits == 0:
                continue
            targets[i, top + row, word + k] |= bits << shift
            if shift != 0 and bits >> back != 0:
                targets[i, top + row, word + k + _ONE] |= bits >> back


@njit(cache=True, nogil=True, forceinline=True)
def _or_packed(targets: Any, i: Any, bits: Any, side: Any, top: Any, left: Any) -> None:
    """OR a patch of side x side bits in one word into the larger patch i."""
    row_of_ones = (_ONE << side) - _ONE
    if targets.shape[2] == 1:
        for row in range(side):
            targets[i, top + row, _ZERO] |= (bits & row_of_ones) << left
            bits >>= side
        return
    word, shift = left >> _SIX, left & _LOW
    spills = shift + side > np.uint64(64)
    while bits != 0:
        row = bits & row_of_ones
        targets[i, top, word] |= row << shift
        if spills:
            targets[i, top, word + _ONE] |= row >> (np.uint64(64) - shift)
        bits >>= side
        top += _ONE


@njit(cache=True, nogil=True, forceinline=True)
def _pixels(
    times0: Any,
    gated: Any,
    starts1: Any,
    taps1: Any,
    site: Any,
    corner: Any,
    shapes: Any,
    kernel: Any,
    patches1: Any,
    slot: Any,
    side: Any,
) -> None:
    """Write the patch of a conv1 spike.

    Args:
        times0: Steps of the input spikes.
        gated: Whether only pixels that fired count.
        starts1: First tap of every conv1 map.
        taps1: Taps of conv1.
        site: (map, first step, last step).
        corner: (row, column) of the neuron's field, and of the neuron in its pooling window.
        shapes: (rows, columns, channels) of input, pool1, pool2.
        kernel: Kernel size of conv1.
        patches1: Patches of conv1 spikes.
        slot: The patch.
        side: Bits in a row of a patch that is one word; 0 where patches have a word per row.
    """
    feature, first, last = site
    top, left, down, right = corner
    height, width, maps = shapes[_ZERO, _ZERO], shapes[_ZERO, _ONE], shapes[_ZERO, _TWO]
    inside = top < height and left < width and top + kernel <= height and left + kernel <= width
    origin = (top * width + left) * maps
    packed = _ZERO
    if side == 0:
        for row in range(np.uint64(patches1.shape[1])):
            for word in range(np.uint64(patches1.shape[2])):
                patches1[slot, row, word] = 0
    for word in range(first >> _SIX, (last >> _SIX) + _ONE):
        steps = _span(word, first, last)
        for tap in range(starts1[feature], starts1[feature + _ONE]):
            dy, dx = taps1[tap, _ZERO], taps1[tap, _ONE]
            if not inside and (top + dy >= height or left + dx >= width):
                continue
            fires = True
            if gated:
                fires = times0[word, origin + taps1[tap, _THREE]] & steps != 0
            column = right + dx
            if side > 0:
                packed |= np.uint64(fires) << ((down + dy) * side + column)
            elif fires:
                patches1[slot, down + dy, column >> _SIX] |= _ONE << (column & _LOW)
    if side > 0:
        patches1[slot, _ZERO, _ZERO] = packed


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
    found: Any,
    places: Any,
    used: Any,
    rows: Any,
    words: Any,
) -> None:
    """Trace N class spikes.

    All arrays are arguments of their own: out of tuples, or made here, they would be
    reference-counted in the inner loops. Numbers are uint64 where nothing else is said; a tap is
    (dy, dx, input map, offset of its cell).

    Args:
        gated: Whether only pixels that fired count; otherwise all pixels under conv1 weights.
        times0: Steps of the input spikes, see mark_steps; not read where not gated. All times
            have words of the same type.
        times1: Steps of the pool1 spikes.
        times2: Steps of the pool2 spikes.
        pool1: Pooled conv1 spikes (T, H1 * W1 * C1), uint8; see SpikeTrace.
        since1: First steps of their charge, likewise.
        pool2: Pooled conv2 spikes (T, H2 * W2 * C2), uint8.
        since2: First steps of their charge, likewise.
        spikes: (step, class, row, column, since) per class spike, (N, 5).
        order: Order in which they are traced, (N,); fastest where neighbours follow each other.
        starts1: First tap of every conv1 map, and the number of taps, (C1 + 1,).
        taps1: Taps, the weights that count as connections, (M, 4).
        starts2: Likewise for conv2.
        taps2: Likewise for conv2.
        starts3: Likewise for the class layer.
        taps3: Likewise for the class layer.
        sizes: kernels of conv1..3, kernels of the pools, strides of the pools, T, (8,).
        shapes: (rows, columns, channels) of input, pool1, pool2, (3, 3).
        base1: Number of the first patch of every word of steps of pool1, plus 1; 0
            before the first use, flat, by cell, then word, uint32.
        done1: Room for the steps that have a patch, shaped as base1, typed as times1.
        patches1: Room for the patches, (M1 >= 64, size, words), uint64; (M1, 1, 1) where a whole
            patch fits into one word.
        base2: Likewise for pool2.
        done2: Likewise for pool2.
        patches2: Likewise for pool2, (M2 >= 64, size, words), uint64.
        fired: Room for the conv1 activity of the patches of pool2, (M2, C1 * ceil(T / 64)).
        active: Room for the activity of a class spike, ((C1 + C2) * ceil(T / 64),), uint64.
        found: Room for the taps of a map of conv2, and one more.
        places: Zeros for the places of a kernel of conv2, squared; are zeros afterwards.
        used: Zeros, receives the numbers given to patches of pool1, pool2, (2,).
        rows: Zeros, receives the masks, (N, S, R), uint64.
        words: Zeros, receives the hashes, (N, W), uint64.
    """
    kernel1, kernel2, kernel3 = sizes[_ZERO], sizes[_ONE], sizes[_TWO]
    pad1, pad2, pad3 = kernel1 >> _ONE, kernel2 >> _ONE, kernel3 >> _ONE
    window1, window2, stride1, stride2 = (
        sizes[_THREE],
        sizes[_FOUR],
        sizes[np.uint64(5)],
        sizes[_SIX],
    )
    steps = sizes[np.uint64(7)]
    height1, width1, maps1 = shapes[_ONE, _ZERO], shapes[_ONE, _ONE], shapes[_ONE, _TWO]
    height2, width2, maps2 = shapes[_TWO, _ZERO], shapes[_TWO, _ONE], shapes[_TWO, _TWO]
    per_cell = (steps + _LOW) >> _SIX
    stride3 = stride1 * stride2
    own1 = maps1 * per_cell
    room1, room2 = np.uint64(patches1.shape[0]), np.uint64(patches2.shape[0])
    # A small patch of conv1 is one word.
    side1 = window1 - _ONE + kernel1
    if side1 * side1 > np.uint64(64):
        side1 = _ZERO

    for i in order:
        step3, class_id, first3 = spikes[i, _ZERO], spikes[i, _ONE], spikes[i, _FOUR]
        top3, left3 = spikes[i, _TWO] - pad3, spikes[i, _THREE] - pad3
        for entry in range(own1 + maps2 * per_cell):
            active[entry] = 0
        for word2 in range(first3 >> _SIX, (step3 >> _SIX) + _ONE):
            span3 = _span(word2, first3, step3)
            for tap3 in range(starts3[class_id], starts3[class_id + _ONE]):
                dy2, dx2, map2 = taps3[tap3, _ZERO], taps3[tap3, _ONE], taps3[tap3, _TWO]
                y2, x2 = top3 + dy2, left3 + dx2
                if y2 >= height2 or x2 >= width2:
                    continue
                cell2 = (y2 * width2 + x2) * maps2 + map2
                fired2 = np.uint64(times2[word2, cell2])
                hits2 = fired2 & span3
                if hits2 == 0:
                    continue
                active[own1 + map2 * per_cell + word2] |= hits2
                at2 = cell2 * per_cell + word2
                if base2[at2] == 0:
                    _number(ones(fired2), base2, done2, used, _ONE, at2, room2)
                slot2 = base2[at2] - _TWO + ones(fired2 & (_lowest(hits2) - _ONE))
                while hits2 != 0:
                    bit2 = _lowest(hits2)
                    hits2 ^= bit2
                    slot2 += _ONE
                    if done2[at2] & bit2 == 0:
                        # Trace a conv2 spike.
                        done2[at2] |= bit2
                        for row in range(np.uint64(patches2.shape[1])):
                            for word in range(np.uint64(patches2.shape[2])):
                                patches2[slot2, row, word] = 0
                        for entry in range(own1):
                            fired[slot2, entry] = 0
                        t2 = (word2 << _SIX) + ones(bit2 - _ONE)
                        winner2 = np.uint64(pool2[t2, cell2]) - _ONE
                        first2 = np.uint64(since2[t2, cell2])
                        down2 = winner2 // window2
                        right2 = winner2 - down2 * window2
                        top2 = y2 * stride2 + down2 - pad2
                        left2 = x2 * stride2 + right2 - pad2
                        inside = (
                            top2 < height1
                            and left2 < width1
                            and top2 + kernel2 <= height1
                            and left2 + kernel2 <= width1
                        )
                        origin2 = (top2 * width1 + left2) * maps1
                        for word1 in range(first2 >> _SIX, (t2 >> _SIX) + _ONE):
                            span2 = _span(word1, first2, t2)
                            # First which taps fired, without a branch that nobody can foresee.
                            count = _ZERO
                            for tap2 in range(starts2[map2], starts2[map2 + _ONE]):
                                if not inside and (
                                    top2 + taps2[tap2, _ZERO] >= height1
                                    or left2 + taps2[tap2, _ONE] >= width1
                                ):
                                    continue
                                bits = times1[word1, origin2 + taps2[tap2, _THREE]] & span2
                                found[count] = tap2
                                count += np.uint64(bits != 0)
                            for entry in range(count):
                                tap2 = found[entry]
                                dy1, dx1 = taps2[tap2, _ZERO], taps2[tap2, _ONE]
                                map1 = taps2[tap2, _TWO]
                                y1, x1 = top2 + dy1, left2 + dx1
                                cell1 = origin2 + taps2[tap2, _THREE]
                                fired1 = np.uint64(times1[word1, cell1])
                                hits1 = fired1 & span2
                                fired[slot2, map1 * per_cell + word1] |= hits1
                                at1 = cell1 * per_cell + word1
                                if base1[at1] == 0:
                                    _number(ones(fired1), base1, done1, used, _ZERO, at1, room1)
                                before = fired1 & (_lowest(hits1) - _ONE)
                                slot1 = base1[at1] - _TWO + ones(before)
                                missing = hits1 & ~np.uint64(done1[at1])
                                if missing != 0:
                                    done1[at1] |= missing
                                while hits1 != 0:
                                    bit1 = _lowest(hits1)
                                    hits1 ^= bit1
                                    slot1 += _ONE
                                    if missing & bit1 != 0:
                                        t1 = (word1 << _SIX) + ones(bit1 - _ONE)
                                        winner1 = np.uint64(pool1[t1, cell1]) - _ONE
                                        down1 = winner1 // window1
                                        right1 = winner1 - down1 * window1
                                        corner = (
                                            y1 * stride1 + down1 - pad1,
                                            x1 * stride1 + right1 - pad1,
                                            down1,
                                            right1,
                                        )
                                        first1 = np.uint64(since1[t1, cell1])
                                        _pixels(
                                            times0,
                                            gated,
                                            starts1,
                                            taps1,
                                            (map1, first1, t1),
                                            corner,
                                            shapes,
                                            kernel1,
                                            patches1,
                                            slot1,
                                            side1,
                                        )
                                    if side1 > 0:
                                        place = dy1 * kernel2 + dx1
                                        places[place] |= patches1[slot1, _ZERO, _ZERO]
                                        continue
                                    _or_patch(
                                        patches2,
                                        slot2,
                                        patches1,
                                        slot1,
                                        (down2 + dy1) * stride1,
                                        (right2 + dx1) * stride1,
                                    )
                        # The patches of all maps and steps at a place are placed at once.
                        for dy1 in range(kernel2 * np.uint64(side1 > 0)):
                            for dx1 in range(kernel2):
                                bits = places[dy1 * kernel2 + dx1]
                                if bits != 0:
                                    places[dy1 * kernel2 + dx1] = 0
                                    top = (down2 + dy1) * stride1
                                    left = (right2 + dx1) * stride1
                                    _or_packed(patches2, slot2, bits, side1, top, left)
                    _or_patch(rows, i, patches2, slot2, dy2 * stride3, dx2 * stride3)
                    for entry in range(own1):
                        active[entry] |= fired[slot2, entry]
        for feature in range(maps1 + maps2):
            for k in range(per_cell):
                bits = active[feature * per_cell + k]
                if bits != 0:
                    _put(words, i, feature * steps + (k << _SIX), bits)
        _put(words, i, (maps1 + maps2 + class_id) * steps + step3, _ONE)


@njit(cache=True, nogil=True, forceinline=True)
def _put(words: Any, i: Any, begin: Any, bits: Any) -> None:
    """OR up to 64 bits into a run of bits, from bit begin on."""
    word, shift = begin >> _SIX, begin & _LOW
    words[i, word] |= bits << shift
    if shift != 0 and bits >> (np.uint64(64) - shift) != 0:
        words[i, word + _ONE] |= bits >> (np.uint64(64) - shift)
