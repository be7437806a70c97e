# SPDX-License-Identifier: Apache-2.0
"""Compiled kernels of HULK: the mode 'weights', and the boxes of masks.

The plain definition is spikeseg_ros.spiking.unravel; tests hold the kernels equal to it. A mask
is a square of bits: row i is a run of 64-bit words, least significant bit leftmost.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def _set_bit(words: Any, i: Any, row: Any, bit: Any) -> None:
    """Set one bit in the words of a row of patch i."""
    words[i, row, bit >> 6] |= np.uint64(1) << np.uint64(bit & 63)


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
