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
    LOST,
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
# Codes 0x0 (row), 0x2 (event) and 0x6 (low time) as bits.
_COMMON = 1 << 0x0 | 1 << 0x2 | 1 << 0x6


@njit(cache=True, nogil=True)
def bound_words(words: NDArray[Any], weights: NDArray[Any]) -> tuple[int, int]:
    """Return (sum of weights[word], words of code 0xA): no more events and edges come out."""
    events = 0
    edges = 0
    for i in range(words.shape[0]):
        events += weights[words[i]]
        edges += (words[i] >> 12) == 0xA
    return events, edges


@njit(cache=True, nogil=True)
def _trim(mask: int, room: int) -> int:
    """Return the lanes of a vector that lie before the border, room pixels away."""
    return mask & ((1 << room) - 1) if room > 0 else 0


@njit(cache=True, nogil=True)
def _bits(mask: int) -> int:
    """Return the number of set bits."""
    total = 0
    while mask:
        mask &= mask - 1
        total += 1
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
    """Decode EVT3; base is ignored, as the sensor's time is complete in itself.

    On entry counts[EVENTS] holds the events that bound_words found.
    """
    row = state[Y]
    col = state[BASE]
    pol = state[POLARITY]
    low = state[LOW]
    high = state[HIGH]
    sync = state[SYNC]
    loop = state[LOOP]
    since = (loop << 24) | (max(high, 0) << 12)
    live = sync == SYNCED and row >= 0
    most = counts[EVENTS]
    n = 0
    m = 0
    skipped = 0
    lost = 0
    i = 0
    while i < words.shape[0]:
        word = np.int64(words[np.uint64(i)])
        code = word >> 12
        if live and ((_COMMON >> code) & 1 or word == (0x8000 | high)):
            # Rows, single events, low times and repeated high times come in no order that a
            # branch predictor could learn: write an event always, and count it if it is one.
            # A loop of its own, so that its few variables stay in registers.
            again = 0x8000 | high
            while True:
                row ^= (row ^ (word & 0x7FF)) & -np.int64(code == 0x0)
                low ^= (low ^ (word & 0xFFF)) & -np.int64(code == 0x6)
                cx = word & 0x7FF
                # Unsigned, because numba would test a signed index for being negative.
                k = np.uint64(n)
                x[k] = cx
                y[k] = row
                p[k] = (word >> 11) & 1
                t[k] = (since | low) * US
                n += (code == 0x2) & (cx < width) & (row < height)
                i += 1
                if i == words.shape[0]:
                    break
                word = np.int64(words[np.uint64(i)])
                code = word >> 12
                if not ((_COMMON >> code) & 1 or word == again):
                    break
            continue
        if code == 0x4 or code == 0x5:
            lanes = 12 if code == 0x4 else 8
            if live and col >= 0:
                mask = word & 0xFFF if code == 0x4 else word & 0xFF
                if row >= height or width - col < lanes:
                    mask = _trim(mask, width - col) if row < height else 0
                now = (since | low) * US
                for lane in range(12):
                    y[np.uint64(n + lane)] = row
                for lane in range(12):
                    p[np.uint64(n + lane)] = pol
                for lane in range(12):
                    t[np.uint64(n + lane)] = now
                for lane in range(12):
                    x[np.uint64(n)] = col + lane
                    n += (mask >> lane) & 1
            else:
                lost += _bits(word & ((1 << lanes) - 1))
                skipped += 1
            if col >= 0:
                col += lanes
        elif code == 0x3:
            col = word & 0x7FF
            pol = (word >> 11) & 1
        elif code == 0x8:
            value = word & 0xFFF
            if value != high:
                # Half-range rule: only a fall by 2048 or more is a wrap of the 24-bit counter.
                if high >= value + 2048:
                    loop = (loop + 1) & (EVT3_LOOPS - 1)
                high = value
                # The old low part belongs to the old high part; keeping it would leap ahead.
                low = 0
                since = (loop << 24) | (high << 12)
            if sync == LOST:
                sync = HIGH_SEEN
        elif code == 0x6:
            low = word & 0xFFF
            if sync != LOST:
                sync = SYNCED
                live = row >= 0
        elif code == 0x0:
            row = word & 0x7FF
            live = sync == SYNCED
        elif code == 0xA and sync == SYNCED:
            tt[m] = (since | low) * US
            tv[m] = word & 1
            ti[m] = (word >> 8) & 0xF
            m += 1
        elif code != 0xE and code != 0xF and code != 0x7:
            # Too early, or reserved: some cameras pad with 0x9999.
            lost += code == 0x2
            skipped += 1
        i += 1
    state[Y] = row
    state[BASE] = col
    state[POLARITY] = pol
    state[LOW] = low
    state[HIGH] = high
    state[LOOP] = loop
    state[SYNC] = sync
    if sync == SYNCED:
        state[LAST] = (since | low) * US
    counts[EVENTS] = n
    counts[TRIGGERS] += m
    counts[SKIPPED] += skipped
    # What could have come out, did not, and was not too early.
    counts[CLIPPED] += most - n - lost


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
    """Decode libcaer_cmp: vectors run along y, and every message starts afresh at base.

    On entry counts[EVENTS] holds the events that bound_words found.
    """
    col = -1
    row = -1
    pol = 0
    low = 0
    high = 0
    now = base
    most = counts[EVENTS]
    n = 0
    skipped = 0
    lost = 0
    i = 0
    while i < words.shape[0]:
        word = np.int64(words[np.uint64(i)])
        code = word >> 12
        if code <= 3 and col >= 0:
            # As in decode_evt3: no branch among the words that come in any order.
            while True:
                col ^= (col ^ (word & 0x7FF)) & -np.int64(code == 2)
                low ^= (low ^ (word & 0xFFF)) & -np.int64(code == 1)
                high ^= (high ^ (word & 0xFFF)) & -np.int64(code == 0)
                cy = word & 0x7FF
                k = np.uint64(n)
                x[k] = col
                y[k] = cy
                p[k] = (word >> 11) & 1
                t[k] = base + ((high << 12) | low) * US
                n += (code == 3) & (col < width) & (cy < height)
                i += 1
                if i == words.shape[0]:
                    break
                word = np.int64(words[np.uint64(i)])
                code = word >> 12
                if code > 3:
                    break
            now = base + ((high << 12) | low) * US
            continue
        if code == 2:
            col = word & 0x7FF
        elif code == 5:
            if col >= 0 and row >= 0:
                mask = word & 0xFF
                if col >= width or height - row < 8:
                    mask = _trim(mask, height - row) if col < width else 0
                for lane in range(8):
                    x[np.uint64(n + lane)] = col
                for lane in range(8):
                    p[np.uint64(n + lane)] = pol
                for lane in range(8):
                    t[np.uint64(n + lane)] = now
                for lane in range(8):
                    y[np.uint64(n)] = row + lane
                    n += (mask >> lane) & 1
            else:
                lost += _bits(word & 0xFF)
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
            lost += code == 3
            skipped += 1
        i += 1
    if words.shape[0]:
        state[LAST] = now
    counts[EVENTS] = n
    counts[SKIPPED] += skipped
    counts[CLIPPED] += most - n - lost
