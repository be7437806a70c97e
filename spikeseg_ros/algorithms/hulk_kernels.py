# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels of HULK: class spikes to bit-packed pixel patches and hashes.

The plain definition is spikeseg_ros.spiking.unravel; tests hold the kernels equal to it. A patch
is a square of bits: row i is a run of 64-bit words, least significant bit leftmost. The patch of
a spike in an outer layer is the OR of the shifted patches of the spikes that caused it, so every
inner spike is traced once, whatever number of outer spikes it contributed to.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_SLOT_BITS = np.int64(20)
_SLOT_MASK = np.int64((1 << 20) - 1)
_HASH = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def _place(table: Any, key: Any) -> Any:
    """Return where a key is, or the free place where it belongs (open addressing).

    A free place holds -1, a taken one the key, and in its lowest bits where the trace is stored.
    """
    mask = table.shape[0] - 1
    place = np.int64((np.uint64(key) * _HASH) >> np.uint64(33)) & mask
    while table[place] != -1 and table[place] >> _SLOT_BITS != key:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def _or_patch(targets: Any, i: Any, sources: Any, j: Any, top: Any, left: Any) -> None:
    """OR patch j into the larger patch i, top rows down and left columns to the right."""
    # Whole arrays and indices instead of views: a view costs more than the work on it.
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


@njit(cache=True, nogil=True)
def _set_bit(words: Any, i: Any, row: Any, bit: Any) -> None:
    """Set one bit in the words of a row of patch i."""
    words[i, row, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


@njit(cache=True, nogil=True)
def _clear(patches: Any, i: Any) -> None:
    """Empty patch i."""
    for row in range(patches.shape[1]):
        for k in range(patches.shape[2]):
            patches[i, row, k] = 0


@njit(cache=True, nogil=True)
def _inside(
    starts: Any,
    taps: Any,
    feature: Any,
    top: Any,
    left: Any,
    shapes: Any,
    layer: Any,
    cells: Any,
    chosen: Any,
) -> Any:
    """List the connections of a neuron that lie inside the map in front of it.

    Args:
        starts: First tap of every feature map.
        taps: (dy, dx, channel).
        feature: Map of the neuron.
        top: Row of tap 0.
        left: Column of tap 0.
        shapes: (rows, columns, channels) of input, pool1, pool2.
        layer: Which of them lies in front.
        cells: Receives their flat place in that map.
        chosen: Receives their taps.

    Returns:
        Their number.
    """
    height, width, maps = shapes[layer, 0], shapes[layer, 1], shapes[layer, 2]
    count = 0
    for tap in range(starts[feature], starts[feature + 1]):
        y, x = top + taps[tap, 0], left + taps[tap, 1]
        if 0 <= y < height and 0 <= x < width:
            cells[count] = (y * width + x) * maps + taps[tap, 2]
            chosen[count] = tap
            count += 1
    return count


@njit(cache=True, nogil=True)
def _any_spike(spikes: Any, cell: Any, first: Any, last: Any, area: Any) -> Any:
    """Say whether a cell fired in one of the steps first .. last."""
    t = first
    while t <= last and spikes[t * area + cell] == 0:
        t += 1
    return t <= last


@njit(cache=True, nogil=True)
def causal(
    inputs: Any,
    gated: Any,
    pool1: Any,
    since1: Any,
    pool2: Any,
    since2: Any,
    spikes: Any,
    starts1: Any,
    taps1: Any,
    starts2: Any,
    taps2: Any,
    starts3: Any,
    taps3: Any,
    sizes: Any,
    shapes: Any,
    rows: Any,
    words: Any,
    table1: Any,
    patches1: Any,
    table2: Any,
    patches2: Any,
    hashes2: Any,
) -> None:
    """Trace N class spikes.

    Traces are remembered in tables; a table that is full is emptied, which costs time, not
    exactness. The tables do not grow: a variable array would be reference-counted at every use.

    Args:
        inputs: Input spikes (T, H, W, C_in), flat, uint8; not read where not gated.
        gated: Whether only pixels that fired count; otherwise all pixels under conv1 weights.
        pool1: Pooled conv1 spikes (T, H1, W1, C1), flat, uint8; see SpikeTrace.
        since1: First steps of their charge, likewise.
        pool2: Pooled conv2 spikes (T, H2, W2, C2), flat, uint8.
        since2: First steps of their charge, likewise.
        spikes: (step, class, row, column, since) per class spike, (N, 5), int64.
        starts1: First tap of every conv1 map, and the number of taps, (C1 + 1,), int64.
        taps1: (dy, dx, input channel) of the weights that count as connections, (M, 3), int64.
        starts2: Likewise for conv2.
        taps2: Likewise for conv2.
        starts3: Likewise for the class layer.
        taps3: Likewise for the class layer.
        sizes: kernels of conv1..3, kernels of the pools, strides of the pools, T, (8,), int64.
        shapes: (rows, columns, channels) of input, pool1, pool2, (3, 3), int64.
        rows: Zeros, receives the masks, (N, S, R), uint64.
        words: Zeros, receives the hashes, (N, 1, W), uint64.
        table1: -1, places of traces of conv1 spikes, power of 2 and at least 2 * M1, int64.
        patches1: Room for them, (M1 <= 2 ** 20, kernel, words), uint64.
        table2: Likewise for conv2 spikes.
        patches2: Likewise, (M2, size, words), uint64.
        hashes2: Room for their hashes, (M2, 1, W), uint64.
    """
    pad1, pad2, pad3 = sizes[0] // 2, sizes[1] // 2, sizes[2] // 2
    window1, window2, stride1, stride2, steps = sizes[3], sizes[4], sizes[5], sizes[6], sizes[7]
    width1, maps1 = shapes[1, 1], shapes[1, 2]
    width2, maps2 = shapes[2, 1], shapes[2, 2]
    area0 = shapes[0, 0] * shapes[0, 1] * shapes[0, 2]
    area1 = shapes[1, 0] * width1 * maps1
    area2 = shapes[2, 0] * width2 * maps2
    n_words = words.shape[2]
    # Rows and columns of a winner in its window, looked up instead of divided.
    down1, right1 = np.arange(window1 * window1) // window1, np.arange(window1 * window1) % window1
    down2, right2 = np.arange(window2 * window2) // window2, np.arange(window2 * window2) % window2

    used1, used2 = 0, 0
    cells1, chosen1 = np.empty(len(taps1), np.int64), np.empty(len(taps1), np.int64)
    cells2, chosen2 = np.empty(len(taps2), np.int64), np.empty(len(taps2), np.int64)
    cells3, chosen3 = np.empty(len(taps3), np.int64), np.empty(len(taps3), np.int64)

    for i in range(spikes.shape[0]):
        step3, class_id, first3 = spikes[i, 0], spikes[i, 1], spikes[i, 4]
        row3, column3 = spikes[i, 2], spikes[i, 3]
        _set_bit(words, i, 0, (maps1 + maps2 + class_id) * steps + step3)
        top3, left3 = row3 - pad3, column3 - pad3
        count3 = _inside(starts3, taps3, class_id, top3, left3, shapes, 2, cells3, chosen3)
        for t2 in range(first3, step3 + 1):
            for tap3 in range(count3):
                key2 = t2 * area2 + cells3[tap3]
                winner2 = np.int64(pool2[key2]) - 1
                # An offset outside the window would write outside the patch.
                if winner2 < 0 or winner2 >= window2 * window2:
                    continue
                tap = chosen3[tap3]
                dy2, dx2, map2 = taps3[tap, 0], taps3[tap, 1], taps3[tap, 2]
                row2 = (top3 + dy2) * stride2 + down2[winner2]
                column2 = (left3 + dx2) * stride2 + right2[winner2]
                place2 = _place(table2, key2)
                if table2[place2] == -1:
                    if used2 == patches2.shape[0]:
                        table2[:] = -1
                        used2 = 0
                        place2 = _place(table2, key2)
                    table2[place2] = (key2 << _SLOT_BITS) | used2
                    new2 = used2
                    used2 += 1
                    _clear(patches2, new2)
                    _clear(hashes2, new2)
                    _set_bit(hashes2, new2, 0, (maps1 + map2) * steps + t2)
                    top2, left2 = row2 - pad2, column2 - pad2
                    count2 = _inside(starts2, taps2, map2, top2, left2, shapes, 1, cells2, chosen2)
                    for t1 in range(since2[key2], t2 + 1):
                        for tap2 in range(count2):
                            key1 = t1 * area1 + cells2[tap2]
                            winner1 = np.int64(pool1[key1]) - 1
                            if winner1 < 0 or winner1 >= window1 * window1:
                                continue
                            tap = chosen2[tap2]
                            dy1, dx1, map1 = taps2[tap, 0], taps2[tap, 1], taps2[tap, 2]
                            _set_bit(hashes2, new2, 0, map1 * steps + t1)
                            down, right = down1[winner1], right1[winner1]
                            place1 = _place(table1, key1)
                            if table1[place1] == -1:
                                if used1 == patches1.shape[0]:
                                    table1[:] = -1
                                    used1 = 0
                                    place1 = _place(table1, key1)
                                table1[place1] = (key1 << _SLOT_BITS) | used1
                                new1 = used1
                                used1 += 1
                                _clear(patches1, new1)
                                top1 = (top2 + dy1) * stride1 + down - pad1
                                left1 = (left2 + dx1) * stride1 + right - pad1
                                count1 = _inside(
                                    starts1, taps1, map1, top1, left1, shapes, 0, cells1, chosen1
                                )
                                first1 = np.int64(since1[key1])
                                for tap1 in range(count1):
                                    if not gated or _any_spike(
                                        inputs, cells1[tap1], first1, t1, area0
                                    ):
                                        tap = chosen1[tap1]
                                        _set_bit(patches1, new1, taps1[tap, 0], taps1[tap, 1])
                            _or_patch(
                                patches2,
                                new2,
                                patches1,
                                table1[place1] & _SLOT_MASK,
                                dy1 * stride1 + down,
                                dx1 * stride1 + right,
                            )
                kept = table2[place2] & _SLOT_MASK
                _or_patch(
                    rows,
                    i,
                    patches2,
                    kept,
                    (row2 - top3 * stride2) * stride1,
                    (column2 - left3 * stride2) * stride1,
                )
                for word in range(n_words):
                    words[i, 0, word] |= hashes2[kept, 0, word]


@njit(cache=True, nogil=True)
def by_weights(
    height: Any,
    width: Any,
    pool1: Any,
    pool2: Any,
    spikes: Any,
    weights1: Any,
    weights2: Any,
    starts3: Any,
    taps3: Any,
    sizes: Any,
    threshold: Any,
    rows: Any,
    words: Any,
) -> None:
    """Decode N class spikes through the weights alone, whatever fired.

    Args:
        height: Rows of the input [px].
        width: Columns of the input [px].
        pool1: As in causal; a silent window stands for its first cell.
        pool2: As in causal.
        spikes: As in causal; the last column is not used.
        weights1: Weights of conv1, (C1, kernel, kernel, C_in), float64.
        weights2: Weights of conv2, (C2, kernel, kernel, C1), float64.
        starts3: As in causal.
        taps3: As in causal.
        sizes: As in causal.
        threshold: Decoded activity above it counts.
        rows: As in causal.
        words: As in causal.
    """
    kernel1, kernel2, kernel3 = sizes[0], sizes[1], sizes[2]
    window1, window2, stride1, stride2 = sizes[3], sizes[4], sizes[5], sizes[6]
    steps, height1, width1, maps1 = pool1.shape
    _, height2, width2, maps2 = pool2.shape
    channels = weights1.shape[3]
    span2 = (kernel3 - 1) * stride2 + window2
    span1 = span2 + kernel2 - 1
    span0 = (span1 - 1) * stride1 + window1
    active2 = np.zeros((span2, span2, maps2), np.bool_)
    sums1 = np.zeros((span1, span1, maps1), np.float64)
    active1 = np.zeros((span0, span0, maps1), np.bool_)
    size = span0 + kernel1 - 1
    sums0 = np.zeros((size, size, channels), np.float64)

    for i in range(spikes.shape[0]):
        step, class_id, row3, column3, _ = spikes[i]
        _set_bit(words, i, 0, (maps1 + maps2 + class_id) * steps + step)
        active2[:], sums1[:], active1[:], sums0[:] = False, 0.0, False, 0.0
        top2, left2 = row3 - kernel3 // 2, column3 - kernel3 // 2
        for tap in range(starts3[class_id], starts3[class_id + 1]):
            y, x, feature = top2 + taps3[tap, 0], left2 + taps3[tap, 1], taps3[tap, 2]
            if y < 0 or y >= height2 or x < 0 or x >= width2:
                continue
            offset = min(max(np.int64(pool2[step, y, x, feature]) - 1, 0), window2 * window2 - 1)
            row = taps3[tap, 0] * stride2 + offset // window2
            column = taps3[tap, 1] * stride2 + offset % window2
            if active2[row, column, feature]:
                continue
            active2[row, column, feature] = True
            _set_bit(words, i, 0, (maps1 + feature) * steps + step)
            for dy in range(kernel2):
                for dx in range(kernel2):
                    for c in range(maps1):
                        sums1[row + dy, column + dx, c] += weights2[feature, dy, dx, c]
        top1, left1 = top2 * stride2 - kernel2 // 2, left2 * stride2 - kernel2 // 2
        for j in range(span1):
            y = top1 + j
            if y < 0 or y >= height1:
                continue
            for k in range(span1):
                x = left1 + k
                if x < 0 or x >= width1:
                    continue
                for feature in range(maps1):
                    if not sums1[j, k, feature] > threshold:
                        continue
                    offset = np.int64(pool1[step, y, x, feature]) - 1
                    offset = min(max(offset, 0), window1 * window1 - 1)
                    row = j * stride1 + offset // window1
                    column = k * stride1 + offset % window1
                    if active1[row, column, feature]:
                        continue
                    active1[row, column, feature] = True
                    _set_bit(words, i, 0, feature * steps + step)
                    for dy in range(kernel1):
                        for dx in range(kernel1):
                            for c in range(channels):
                                sums0[row + dy, column + dx, c] += weights1[feature, dy, dx, c]
        top0, left0 = top1 * stride1 - kernel1 // 2, left1 * stride1 - kernel1 // 2
        for j in range(max(0, -top0), min(size, height - top0)):
            for k in range(max(0, -left0), min(size, width - left0)):
                for c in range(channels):
                    if sums0[j, k, c] > 0.0:
                        _set_bit(rows, i, j, k)
                        break


@njit(cache=True, nogil=True)
def tight_boxes(rows: Any, origin: Any, boxes: Any) -> None:
    """Write the tight boxes of N masks; x_max < x_min where a mask is empty.

    Args:
        rows: Masks (N, S, R), uint64.
        origin: (x, y) of their top left pixels, (N, 2), int32.
        boxes: Receives (x_min, y_min, x_max, y_max), (N, 4), int32.
    """
    for i in range(rows.shape[0]):
        top, bottom, left, right = rows.shape[1], -1, 64 * rows.shape[2], -1
        for word in range(rows.shape[2]):
            columns = np.uint64(0)
            for j in range(rows.shape[1]):
                bits = rows[i, j, word]
                if bits != 0:
                    columns |= bits
                    top, bottom = min(top, j), max(bottom, j)
            for k in range(64):
                if (columns >> np.uint64(k)) & np.uint64(1):
                    left, right = min(left, 64 * word + k), max(right, 64 * word + k)
        x, y = origin[i, 0], origin[i, 1]
        boxes[i, 0], boxes[i, 1] = x + left, y + top
        boxes[i, 2], boxes[i, 3] = x + right, y + bottom
