# SPDX-License-Identifier: Apache-2.0
"""Compiled decoders of the encodings made of 16-bit words: evt3 and libcaer_cmp.

Every kernel of the decoders has the same signature:

    kernel(words, state, base, width, height, x, y, p, t, tt, tv, ti, counts)

It reads words (N,), updates state (8,), writes events to x, y, p, t and trigger edges to tt, tv,
ti (times [ns], values, channels) and adds to counts (4,). Lanes of a vector are written without
a branch, so the event columns must have LANES entries more than the events that fit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.events.layout import (
    BASE,
    CLIPPED,
    EVENTS,
    EVT3_LOOPS,
    HIGH,
    HIGH_SEEN,
    LAST,
    LOOP,
    LOW,
    POLARITY,
    SKIPPED,
    SYNC,
    SYNCED,
    TRIGGERS,
    US,
    Y,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

LANES = 12


@njit(cache=True, nogil=True)
def count_words(words: Any, weights: Any) -> int:
    """Return the sum of weights[word]: no more events than this come out of the words."""
    total = 0
    for i in range(words.shape[0]):
        total += weights[words[i]]
    return total


@njit(cache=True, nogil=True)
def decode_evt3(
    words: NDArray[Any],
    state: NDArray[Any],
    base: int,
    width: int,
    height: int,
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    t: NDArray[Any],
    tt: NDArray[Any],
    tv: NDArray[Any],
    ti: NDArray[Any],
    counts: NDArray[Any],
) -> None:
    """Decode EVT3; base is ignored, as the sensor's time is complete in itself."""
    row = state[Y]
    col = state[BASE]
    pol = state[POLARITY]
    low = state[LOW]
    high = state[HIGH]
    loop = state[LOOP]
    sync = state[SYNC]
    now = ((loop << 24) | (high << 12) | low) * US if sync == SYNCED else -1
    live = sync == SYNCED and row >= 0
    n = 0
    m = 0
    skipped = 0
    clipped = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code = word >> 12
        if code == 0x2:
            if live:
                cx = word & 0x7FF
                if cx < width and row < height:
                    x[n] = cx
                    y[n] = row
                    p[n] = (word >> 11) & 1
                    t[n] = now
                    n += 1
                else:
                    clipped += 1
            else:
                skipped += 1
        elif code == 0x6:
            low = word & 0xFFF
            if sync != 0:
                sync = SYNCED
                now = ((loop << 24) | (high << 12) | low) * US
                live = row >= 0
        elif code == 0x0:
            row = word & 0x7FF
            live = sync == SYNCED
        elif code == 0x8:
            value = word & 0xFFF
            if value != high:
                # Half-range rule: only a fall by 2048 or more is a wrap of the 24-bit counter.
                if high >= value + 2048:
                    loop = (loop + 1) & (EVT3_LOOPS - 1)
                high = value
                # The old low part belongs to the old high part; keeping it would leap ahead.
                low = 0
                if sync == SYNCED:
                    now = ((loop << 24) | (high << 12)) * US
            if sync == 0:
                sync = HIGH_SEEN
        elif code == 0x4 or code == 0x5:
            lanes = 12 if code == 0x4 else 8
            if live and col >= 0:
                mask = word & 0xFFF if code == 0x4 else word & 0xFF
                room = width - col
                if row >= height or room < lanes:
                    kept = 0
                    if row < height and room > 0:
                        kept = mask & ((1 << room) - 1)
                    lost = mask ^ kept
                    while lost:
                        lost &= lost - 1
                        clipped += 1
                    mask = kept
                if code == 0x4:
                    for k in range(12):
                        x[n] = col + k
                        y[n] = row
                        p[n] = pol
                        t[n] = now
                        n += (mask >> k) & 1
                else:
                    for k in range(8):
                        x[n] = col + k
                        y[n] = row
                        p[n] = pol
                        t[n] = now
                        n += (mask >> k) & 1
            else:
                skipped += 1
            if col >= 0:
                col += lanes
        elif code == 0x3:
            col = word & 0x7FF
            pol = (word >> 11) & 1
        elif code == 0xA:
            if sync == SYNCED:
                tt[m] = now
                tv[m] = word & 1
                ti[m] = (word >> 8) & 0xF
                m += 1
            else:
                skipped += 1
        elif code != 0xE and code != 0xF and code != 0x7:
            # Reserved; some cameras pad with 0x9999.
            skipped += 1
    state[Y] = row
    state[BASE] = col
    state[POLARITY] = pol
    state[LOW] = low
    state[HIGH] = high
    state[LOOP] = loop
    state[SYNC] = sync
    if sync == SYNCED:
        state[LAST] = now
    counts[EVENTS] += n
    counts[TRIGGERS] += m
    counts[SKIPPED] += skipped
    counts[CLIPPED] += clipped


@njit(cache=True, nogil=True)
def decode_libcaer_cmp(
    words: NDArray[Any],
    state: NDArray[Any],
    base: int,
    width: int,
    height: int,
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    t: NDArray[Any],
    tt: NDArray[Any],
    tv: NDArray[Any],
    ti: NDArray[Any],
    counts: NDArray[Any],
) -> None:
    """Decode libcaer_cmp: vectors run along y, and every message starts afresh at base."""
    col = -1
    row = -1
    pol = 0
    low = 0
    high = 0
    now = base
    n = 0
    skipped = 0
    clipped = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code = word >> 12
        if code == 3:
            if col >= 0:
                cy = word & 0x7FF
                if col < width and cy < height:
                    x[n] = col
                    y[n] = cy
                    p[n] = (word >> 11) & 1
                    t[n] = now
                    n += 1
                else:
                    clipped += 1
            else:
                skipped += 1
        elif code == 2:
            col = word & 0x7FF
        elif code == 5:
            if col >= 0 and row >= 0:
                mask = word & 0xFF
                room = height - row
                if col >= width or room < 8:
                    kept = 0
                    if col < width and room > 0:
                        kept = mask & ((1 << room) - 1)
                    lost = mask ^ kept
                    while lost:
                        lost &= lost - 1
                        clipped += 1
                    mask = kept
                for k in range(8):
                    x[n] = col
                    y[n] = row + k
                    p[n] = pol
                    t[n] = now
                    n += (mask >> k) & 1
            else:
                skipped += 1
            if row >= 0:
                row += 8
        elif code == 4:
            row = word & 0x7FF
            pol = (word >> 11) & 1
        elif code == 1:
            low = word & 0xFFF
            now = base + ((high << 12) | low) * US
        elif code == 0:
            high = word & 0xFFF
            now = base + ((high << 12) | low) * US
        else:
            skipped += 1
    if words.shape[0]:
        state[LAST] = now
    counts[EVENTS] += n
    counts[SKIPPED] += skipped
    counts[CLIPPED] += clipped
