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

# Traces remembered at once; beyond that the memory is emptied, which costs time, not exactness.
MEMO_LIMIT = 1 << 17
_HASH = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def _slot(keys: Any, key: Any) -> Any:
    """Return where a key is, or the free place where it belongs (open addressing)."""
    mask = keys.shape[0] - 1
    place = np.int64((np.uint64(key) * _HASH) >> np.uint64(33)) & mask
    while keys[place] != -1 and keys[place] != key:
        place = (place + 1) & mask
    return place


@njit(cache=True, nogil=True)
def _regrown(keys: Any, values: Any) -> Any:
    """Return a hash table of twice the size."""
    bigger = np.full(2 * keys.shape[0], -1, np.int64)
    moved = np.empty(2 * keys.shape[0], np.int32)
    for i in range(keys.shape[0]):
        if keys[i] != -1:
            place = _slot(bigger, keys[i])
            bigger[place] = keys[i]
            moved[place] = values[i]
    return bigger, moved


@njit(cache=True, nogil=True)
def _longer(rows: Any) -> Any:
    """Return storage with room for twice as many patches."""
    longer = np.empty((2 * rows.shape[0], rows.shape[1], rows.shape[2]), np.uint64)
    longer[: rows.shape[0]] = rows
    return longer


@njit(cache=True, nogil=True)
def _or_patch(target: Any, source: Any, top: Any, left: Any) -> None:
    """OR a patch into a larger one, top rows down and left columns to the right."""
    word, shift = left >> 6, np.uint64(left & 63)
    back = np.uint64(64) - shift
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            bits = source[i, j]
            if bits == 0:
                continue
            target[top + i, word + j] |= bits << shift
            if shift != 0 and bits >> back != 0:
                target[top + i, word + j + 1] |= bits >> back


@njit(cache=True, nogil=True)
def _set_bit(words: Any, bit: Any) -> None:
    """Set one bit of a run of words."""
    words[bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


@njit(cache=True, nogil=True)
def _trace_conv1(
    inputs: Any,
    gated: Any,
    row: Any,
    column: Any,
    feature: Any,
    since: Any,
    step: Any,
    starts: Any,
    taps: Any,
    kernel: Any,
    rows: Any,
) -> None:
    """Write the pixels under the weights of one conv1 spike; gated: only those that fired."""
    pad = kernel // 2
    height, width = inputs.shape[1], inputs.shape[2]
    rows[:] = 0
    for tap in range(starts[feature], starts[feature + 1]):
        y, x = row + taps[tap, 0] - pad, column + taps[tap, 1] - pad
        if y < 0 or y >= height or x < 0 or x >= width:
            continue
        hit = not gated
        if gated:
            for t in range(since, step + 1):
                if inputs[t, y, x, taps[tap, 2]] != 0:
                    hit = True
                    break
        if hit:
            _set_bit(rows[taps[tap, 0]], taps[tap, 1])


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
    rows: Any,
    words: Any,
    limit: Any,
) -> None:
    """Trace N class spikes.

    Args:
        inputs: Input spikes (T, H, W, C_in), uint8; only H and W count where not gated.
        gated: Whether only pixels that fired count; otherwise all pixels under conv1 weights.
        pool1: Pooled conv1 spikes (T, H1, W1, C1), uint8; see SpikeTrace.
        since1: First steps of their charge, likewise.
        pool2: Pooled conv2 spikes (T, H2, W2, C2), uint8.
        since2: First steps of their charge, likewise.
        spikes: (step, class, row, column, since) per class spike, (N, 5), int64.
        starts1: First tap of every conv1 map, and the number of taps, (C1 + 1,), int64.
        taps1: (dy, dx, input channel) of the weights that count as connections, (M, 3), int64.
        starts2: Likewise for conv2.
        taps2: Likewise for conv2.
        starts3: Likewise for the class layer.
        taps3: Likewise for the class layer.
        sizes: kernels of conv1..3, kernels of the pools, strides of the pools, (7,), int64.
        rows: Zeros, receives the masks, (N, S, R), uint64.
        words: Zeros, receives the hashes, (N, W), uint64.
        limit: Traces remembered at once.
    """
    kernel1, kernel2, kernel3 = sizes[0], sizes[1], sizes[2]
    window1, window2, stride1, stride2 = sizes[3], sizes[4], sizes[5], sizes[6]
    steps, height1, width1, maps1 = pool1.shape
    _, height2, width2, maps2 = pool2.shape
    n_words = words.shape[1]
    size2 = (kernel2 - 1) * stride1 + window1 + 2 * (kernel1 // 2)

    keys1, values1 = np.full(4096, -1, np.int64), np.empty(4096, np.int32)
    keys2, values2 = np.full(4096, -1, np.int64), np.empty(4096, np.int32)
    patches1 = np.empty((1024, kernel1, (kernel1 + 63) // 64), np.uint64)
    patches2 = np.empty((1024, size2, (size2 + 63) // 64), np.uint64)
    hashes2 = np.empty((1024, 1, n_words), np.uint64)
    used1, used2 = 0, 0

    for i in range(spikes.shape[0]):
        step3, class_id, row3, column3, first3 = spikes[i]
        _set_bit(words[i], (maps1 + maps2 + class_id) * steps + step3)
        for t2 in range(first3, step3 + 1):
            for tap3 in range(starts3[class_id], starts3[class_id + 1]):
                y2 = row3 + taps3[tap3, 0] - kernel3 // 2
                x2 = column3 + taps3[tap3, 1] - kernel3 // 2
                if y2 < 0 or y2 >= height2 or x2 < 0 or x2 >= width2:
                    continue
                map2 = taps3[tap3, 2]
                winner2 = pool2[t2, y2, x2, map2]
                # An offset outside the window would write outside the patch.
                if winner2 == 0 or winner2 > window2 * window2:
                    continue
                row2 = y2 * stride2 + (np.int64(winner2) - 1) // window2
                column2 = x2 * stride2 + (np.int64(winner2) - 1) % window2
                key2 = ((t2 * height2 + y2) * width2 + x2) * maps2 + map2
                place2 = _slot(keys2, key2)
                if keys2[place2] != key2:
                    if used2 >= limit:
                        keys2[:] = -1
                        used2 = 0
                        place2 = _slot(keys2, key2)
                    elif 2 * used2 >= keys2.shape[0]:
                        keys2, values2 = _regrown(keys2, values2)
                        place2 = _slot(keys2, key2)
                    if used2 == patches2.shape[0]:
                        patches2 = _longer(patches2)
                        hashes2 = _longer(hashes2)
                    keys2[place2] = key2
                    values2[place2] = used2
                    patch2, hash2 = patches2[used2], hashes2[used2, 0]
                    used2 += 1
                    patch2[:] = 0
                    hash2[:] = 0
                    _set_bit(hash2, (maps1 + map2) * steps + t2)
                    for t1 in range(since2[t2, y2, x2, map2], t2 + 1):
                        for tap2 in range(starts2[map2], starts2[map2 + 1]):
                            dy1, dx1 = taps2[tap2, 0], taps2[tap2, 1]
                            y1, x1 = row2 + dy1 - kernel2 // 2, column2 + dx1 - kernel2 // 2
                            if y1 < 0 or y1 >= height1 or x1 < 0 or x1 >= width1:
                                continue
                            map1 = taps2[tap2, 2]
                            winner1 = pool1[t1, y1, x1, map1]
                            if winner1 == 0 or winner1 > window1 * window1:
                                continue
                            _set_bit(hash2, map1 * steps + t1)
                            top = (np.int64(winner1) - 1) // window1
                            left = (np.int64(winner1) - 1) % window1
                            key1 = ((t1 * height1 + y1) * width1 + x1) * maps1 + map1
                            place1 = _slot(keys1, key1)
                            if keys1[place1] != key1:
                                if used1 >= limit:
                                    keys1[:] = -1
                                    used1 = 0
                                    place1 = _slot(keys1, key1)
                                elif 2 * used1 >= keys1.shape[0]:
                                    keys1, values1 = _regrown(keys1, values1)
                                    place1 = _slot(keys1, key1)
                                if used1 == patches1.shape[0]:
                                    patches1 = _longer(patches1)
                                keys1[place1] = key1
                                values1[place1] = used1
                                _trace_conv1(
                                    inputs,
                                    gated,
                                    y1 * stride1 + top,
                                    x1 * stride1 + left,
                                    map1,
                                    np.int64(since1[t1, y1, x1, map1]),
                                    t1,
                                    starts1,
                                    taps1,
                                    kernel1,
                                    patches1[used1],
                                )
                                used1 += 1
                            _or_patch(
                                patch2,
                                patches1[values1[place1]],
                                dy1 * stride1 + top,
                                dx1 * stride1 + left,
                            )
                kept = values2[place2]
                _or_patch(
                    rows[i],
                    patches2[kept],
                    (row2 - (row3 - kernel3 // 2) * stride2) * stride1,
                    (column2 - (column3 - kernel3 // 2) * stride2) * stride1,
                )
                for word in range(n_words):
                    words[i, word] |= hashes2[kept, 0, word]


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
        _set_bit(words[i], (maps1 + maps2 + class_id) * steps + step)
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
            _set_bit(words[i], (maps1 + feature) * steps + step)
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
                    _set_bit(words[i], feature * steps + step)
                    for dy in range(kernel1):
                        for dx in range(kernel1):
                            for c in range(channels):
                                sums0[row + dy, column + dx, c] += weights1[feature, dy, dx, c]
        top0, left0 = top1 * stride1 - kernel1 // 2, left1 * stride1 - kernel1 // 2
        for j in range(max(0, -top0), min(size, height - top0)):
            for k in range(max(0, -left0), min(size, width - left0)):
                for c in range(channels):
                    if sums0[j, k, c] > 0.0:
                        _set_bit(rows[i, j], k)
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
