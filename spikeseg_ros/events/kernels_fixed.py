# SPDX-License-Identifier: Apache-2.0
"""Compiled decoders of the encodings with one word per event: libcaer, mono, evt2 and evt21.

The signature is that of kernels_words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.events.layout import (
    CLIPPED,
    EVENTS,
    EVT2_LOOPS,
    HIGH,
    LAST,
    LOOP,
    SKIPPED,
    SYNC,
    SYNCED,
    TRIGGERS,
    US,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def bound_pairs(words: NDArray[Any]) -> tuple[int, int]:
    """Return (number of pairs, 0): no more events and edges come out of libcaer and mono."""
    return words.shape[0] // 2, 0


@njit(cache=True, nogil=True)
def bound_evt2(words: NDArray[Any]) -> tuple[int, int]:
    """Return how many events and edges come out of EVT2 at most."""
    edges = 0
    for i in range(words.shape[0]):
        edges += (words[i] >> 28) == 0xA
    return words.shape[0] - edges, edges


@njit(cache=True, nogil=True)
def bound_evt21(words: NDArray[Any], half: int) -> tuple[int, int]:
    """Return how many events and edges come out of EVT2.1 whose mask is the given half."""
    events = 0
    edges = 0
    for i in range(words.shape[0] // 2):
        edges += (words[2 * i + 1 - half] >> 28) == 0xA
        bits = np.int64(words[2 * i + half])
        while bits:
            bits &= bits - 1
            events += 1
    return events, edges


@njit(cache=True, nogil=True)
def decode_libcaer(
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
    """Decode libcaer: pairs of uint32 (data, 31-bit time [us] that may wrap inside a message).

    The number of wraps is left in state[LOOP]; the caller checks that the times fit.
    """
    before = -1
    wraps = 0
    now = state[LAST]
    n = 0
    skipped = 0
    clipped = 0
    for i in range(words.shape[0] // 2):
        data = np.int64(words[2 * i])
        if data & 1 == 0:
            skipped += 1
            continue
        stamp = np.int64(words[2 * i + 1]) & 0x7FFFFFFF
        if before >= stamp + (1 << 30):
            wraps += 1
        before = stamp
        now = base + (stamp + (wraps << 31)) * US
        cx = (data >> 17) & 0x7FFF
        cy = (data >> 2) & 0x7FFF
        if cx < width and cy < height:
            x[n] = cx
            y[n] = cy
            p[n] = (data >> 1) & 1
            t[n] = now
            n += 1
        else:
            clipped += 1
    state[LAST] = now
    state[LOOP] = wraps
    counts[EVENTS] = n
    counts[SKIPPED] += skipped
    counts[CLIPPED] += clipped


@njit(cache=True, nogil=True)
def decode_mono(
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
    """Decode mono: uint32 pairs (time offset [ns], x | y << 16 | polarity << 31)."""
    now = state[LAST]
    n = 0
    clipped = 0
    for i in range(words.shape[0] // 2):
        now = base + np.int64(words[2 * i])
        data = np.int64(words[2 * i + 1])
        cx = data & 0xFFFF
        cy = (data >> 16) & 0x7FFF
        if cx < width and cy < height:
            x[n] = cx
            y[n] = cy
            p[n] = data >> 31
            t[n] = now
            n += 1
        else:
            clipped += 1
    state[LAST] = now
    counts[EVENTS] = n
    counts[CLIPPED] += clipped


@njit(cache=True, nogil=True)
def decode_evt2(
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
    """Decode EVT2: 32-bit words; base is ignored."""
    high = state[HIGH]
    loop = state[LOOP]
    synced = state[SYNC] == SYNCED
    now = state[LAST]
    n = 0
    m = 0
    skipped = 0
    clipped = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code = word >> 28
        if code <= 1:
            if synced:
                now = ((loop << 34) | (high << 6) | ((word >> 22) & 0x3F)) * US
                cx = (word >> 11) & 0x7FF
                cy = word & 0x7FF
                if cx < width and cy < height:
                    x[n] = cx
                    y[n] = cy
                    p[n] = code
                    t[n] = now
                    n += 1
                else:
                    clipped += 1
            else:
                skipped += 1
        elif code == 0x8:
            value = word & 0xFFFFFFF
            if high >= value + (1 << 27):
                loop = (loop + 1) & (EVT2_LOOPS - 1)
            if value != high or not synced:
                now = ((loop << 34) | (value << 6)) * US
            high = value
            synced = True
        elif code == 0xA:
            if synced:
                now = ((loop << 34) | (high << 6) | ((word >> 22) & 0x3F)) * US
                tt[m] = now
                tv[m] = word & 1
                ti[m] = (word >> 8) & 0x1F
                m += 1
            else:
                skipped += 1
        elif code < 0xD:
            skipped += 1
    state[HIGH] = high
    state[LOOP] = loop
    if synced:
        state[SYNC] = SYNCED
        state[LAST] = now
    counts[EVENTS] = n
    counts[TRIGGERS] += m
    counts[SKIPPED] += skipped
    counts[CLIPPED] += clipped


@njit(cache=True, nogil=True)
def decode_evt21(
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
    """Decode EVT2.1 given as uint32 pairs; base is the index of the half with the mask."""
    high = state[HIGH]
    loop = state[LOOP]
    synced = state[SYNC] == SYNCED
    now = state[LAST]
    n = 0
    m = 0
    skipped = 0
    clipped = 0
    for i in range(words.shape[0] // 2):
        mask = np.int64(words[2 * i + base])
        word = np.int64(words[2 * i + 1 - base])
        code = word >> 28
        if code <= 1:
            if synced:
                now = ((loop << 34) | (high << 6) | ((word >> 22) & 0x3F)) * US
                cx = (word >> 11) & 0x7FF
                cy = word & 0x7FF
                for k in range(32):
                    if (mask >> k) & 1:
                        if cx + k < width and cy < height:
                            x[n] = cx + k
                            y[n] = cy
                            p[n] = code
                            t[n] = now
                            n += 1
                        else:
                            clipped += 1
            else:
                skipped += 1
        elif code == 0x8:
            value = word & 0xFFFFFFF
            if high >= value + (1 << 27):
                loop = (loop + 1) & (EVT2_LOOPS - 1)
            if value != high or not synced:
                now = ((loop << 34) | (value << 6)) * US
            high = value
            synced = True
        elif code == 0xA:
            if synced:
                now = ((loop << 34) | (high << 6) | ((word >> 22) & 0x3F)) * US
                tt[m] = now
                tv[m] = word & 1
                ti[m] = (word >> 8) & 0x1F
                m += 1
            else:
                skipped += 1
        elif code < 0xD:
            skipped += 1
    state[HIGH] = high
    state[LOOP] = loop
    if synced:
        state[SYNC] = SYNCED
        state[LAST] = now
    counts[EVENTS] = n
    counts[TRIGGERS] += m
    counts[SKIPPED] += skipped
    counts[CLIPPED] += clipped
