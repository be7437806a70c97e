# SPDX-License-Identifier: Apache-2.0
"""Plain numpy definitions of all decoders; the compiled kernels must equal them exactly.

Each takes (words, state, base, width, height), updates state in place and returns a Decoded.
Values that hold until the next word of their kind are carried forward with a running maximum
over word positions, so there is no loop over words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from spikeseg_ros.events.layout import (
    BASE,
    EVT2_LOOPS,
    EVT3_LOOPS,
    HIGH,
    HIGH_SEEN,
    LAST,
    LOOP,
    LOST,
    LOW,
    POLARITY,
    SYNC,
    SYNCED,
    US,
    Y,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    _Column = NDArray[np.int64]
    _Columns = tuple[_Column, _Column, _Column, _Column]


class Decoded(NamedTuple):
    """What one payload holds.

    Attributes:
        x: Columns, shape (N,).
        y: Rows, shape (N,).
        p: Polarities, shape (N,).
        t: Times [ns], shape (N,).
        tt: Times of trigger edges [ns], shape (M,).
        tv: Values of the edges, shape (M,).
        ti: Channels of the edges, shape (M,).
        skipped: Words without use: reserved, or of events whose place or time is unknown.
        clipped: Events outside the geometry.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    p: NDArray[Any]
    t: NDArray[Any]
    tt: NDArray[Any]
    tv: NDArray[Any]
    ti: NDArray[Any]
    skipped: int
    clipped: int


def _carry(mask: NDArray[np.bool_], values: NDArray[Any], initial: int) -> NDArray[np.int64]:
    """Return at every position the value at the last position where mask holds, (N,) int64."""
    last = np.maximum.accumulate(np.where(mask, np.arange(1, mask.size + 1), 0))
    return np.concatenate([[initial], values]).astype(np.int64)[last]


def _wraps(
    highs: NDArray[np.int64], previous: int, half: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (number of wraps so far, whether the value is new) at every high time word."""
    before = np.concatenate([[previous], highs[:-1]])
    return np.cumsum(before >= highs + half), before != highs


def _lanes(mask: NDArray[np.int64], count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return (position of the word, lane) of every set bit, in order."""
    word, lane = np.nonzero((mask[:, None] >> np.arange(count)) & 1)
    return word, lane


def _clip(columns: _Columns, width: int, height: int) -> tuple[_Columns, int]:
    """Keep the events inside the geometry; return them and how many were not."""
    inside = (columns[0] < width) & (columns[1] < height)
    x, y, p, t = columns
    return (x[inside], y[inside], p[inside], t[inside]), int(inside.size - inside.sum())


_NONE = np.empty(0, np.int64)


def evt3(
    words: NDArray[np.uint16], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode EVT3 (base is ignored)."""
    if not words.size:
        return Decoded(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0, 0)
    word = words.astype(np.int64)
    code, value = word >> 12, word & 0xFFF
    at = np.arange(word.size)
    is_high, is_low = code == 0x8, code == 0x6

    wraps, new = _wraps(value[is_high], int(state[HIGH]), 2048)
    loops, fresh = np.zeros_like(word), np.zeros(word.size, bool)
    loops[is_high], fresh[is_high] = wraps, new
    loop = (state[LOOP] + _carry(is_high, loops, 0)) & (EVT3_LOOPS - 1)
    high = _carry(is_high, value, int(state[HIGH]))
    low = _carry(is_low | fresh, np.where(is_low, value, 0), int(state[LOW]))
    time = ((loop << 24) | (high << 12) | low) * US

    seen = state[SYNC] != LOST
    first_high = 0 if seen else int(np.argmax(is_high)) if is_high.any() else word.size
    lows = np.flatnonzero(is_low & (at >= first_high))
    start = 0 if state[SYNC] == SYNCED else int(lows[0]) if lows.size else word.size
    valid = at >= start

    row = _carry(code == 0x0, value & 0x7FF, int(state[Y]))
    is_base = code == 0x3
    step = 12 * (code == 0x4) + 8 * (code == 0x5)
    passed = np.cumsum(step) - step
    origin = _carry(is_base, value & 0x7FF, int(state[BASE]))
    column = np.where(origin < 0, -1, origin + passed - _carry(is_base, passed, 0))
    polarity = _carry(is_base, value >> 11, int(state[POLARITY]))

    single = code == 0x2
    vector = step > 0
    usable = valid & (row >= 0) & (single | (vector & (column >= 0)))
    mask = np.where(single, 1, np.where(code == 0x4, value, value & 0xFF)) * usable
    x0 = np.where(single, value & 0x7FF, column)
    p0 = np.where(single, value >> 11, polarity)
    which, lane = _lanes(mask, 12)
    events, clipped = _clip((x0[which] + lane, row[which], p0[which], time[which]), width, height)

    trigger = code == 0xA
    edge = trigger & valid
    reserved = np.isin(code, (0x1, 0x9, 0xB, 0xC, 0xD))
    unused = reserved | ((single | vector) & ~usable) | (trigger & ~valid)

    end = -1
    state[Y], state[POLARITY], state[LOW] = row[end], polarity[end], low[end]
    state[BASE] = -1 if column[end] < 0 else column[end] + step[end]
    state[HIGH], state[LOOP] = high[end], loop[end]
    if valid[end]:
        state[SYNC], state[LAST] = SYNCED, time[end]
    elif is_high.any():
        state[SYNC] = HIGH_SEEN
    return Decoded(
        *events,
        time[edge],
        value[edge] & 1,
        (value[edge] >> 8) & 0xF,
        int(unused.sum()),
        clipped,
    )


def libcaer_cmp(
    words: NDArray[np.uint16], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode libcaer_cmp: no state but the last time crosses messages."""
    if not words.size:
        return Decoded(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0, 0)
    word = words.astype(np.int64)
    code, value = word >> 12, word & 0xFFF
    high, low = _carry(code == 0, value, 0), _carry(code == 1, value, 0)
    time = base + ((high << 12) | low) * US
    column = _carry(code == 2, value & 0x7FF, -1)
    is_base = code == 4
    step = 8 * (code == 5)
    passed = np.cumsum(step) - step
    origin = _carry(is_base, value & 0x7FF, -1)
    row = np.where(origin < 0, -1, origin + passed - _carry(is_base, passed, 0))
    polarity = _carry(is_base, value >> 11, 0)

    single, vector = code == 3, code == 5
    usable = (column >= 0) & (single | (vector & (row >= 0)))
    mask = np.where(single, 1, value & 0xFF) * usable
    y0 = np.where(single, value & 0x7FF, row)
    p0 = np.where(single, value >> 11, polarity)
    which, lane = _lanes(mask, 8)
    events, clipped = _clip(
        (column[which], y0[which] + lane, p0[which], time[which]), width, height
    )
    state[LAST] = time[-1]
    unused = (code > 5) | ((single | vector) & ~usable)
    return Decoded(*events, _NONE, _NONE, _NONE, int(unused.sum()), clipped)


def libcaer(
    words: NDArray[np.uint32], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode libcaer: a fall of the 31-bit time by half its range is a wrap."""
    pairs = words[: words.size // 2 * 2].reshape(-1, 2).astype(np.int64)
    valid = (pairs[:, 0] & 1).astype(bool)
    data, stamp = pairs[valid, 0], pairs[valid, 1] & 0x7FFFFFFF
    wraps = np.cumsum(np.concatenate([[0], stamp[:-1] - stamp[1:] >= 1 << 30]))[: stamp.size]
    time = base + (stamp + (wraps << 31)) * US
    state[LOOP] = wraps[-1] if stamp.size else 0
    if stamp.size:
        state[LAST] = time[-1]
    columns = ((data >> 17) & 0x7FFF, (data >> 2) & 0x7FFF, (data >> 1) & 1, time)
    events, clipped = _clip(columns, width, height)
    return Decoded(*events, _NONE, _NONE, _NONE, int((~valid).sum()), clipped)


def mono(
    words: NDArray[np.uint32], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode mono."""
    pairs = words[: words.size // 2 * 2].reshape(-1, 2).astype(np.int64)
    data, time = pairs[:, 1], base + pairs[:, 0]
    if time.size:
        state[LAST] = time[-1]
    columns = (data & 0xFFFF, (data >> 16) & 0x7FFF, data >> 31, time)
    events, clipped = _clip(columns, width, height)
    return Decoded(*events, _NONE, _NONE, _NONE, 0, clipped)


def evt2(
    words: NDArray[np.uint32], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode EVT2 (base is ignored)."""
    word = words.astype(np.int64)
    return _evt2(word, np.ones_like(word), 1, state, width, height)


def evt21(
    words: NDArray[np.uint32], state: NDArray[np.int64], base: int, width: int, height: int
) -> Decoded:
    """Decode EVT2.1 given as pairs of 32-bit words; base is the index of the mask half."""
    pairs = words[: words.size // 2 * 2].reshape(-1, 2).astype(np.int64)
    return _evt2(pairs[:, 1 - base], pairs[:, base], 32, state, width, height)


def _evt2(
    word: NDArray[np.int64],
    mask: NDArray[np.int64],
    lanes: int,
    state: NDArray[np.int64],
    width: int,
    height: int,
) -> Decoded:
    """Decode EVT2 words, each of which stands for the set lanes of its mask."""
    if not word.size:
        return Decoded(_NONE, _NONE, _NONE, _NONE, _NONE, _NONE, _NONE, 0, 0)
    code = word >> 28
    is_high = code == 0x8
    was_synced = state[SYNC] == SYNCED
    highs = word[is_high] & 0xFFFFFFF
    wraps, new = _wraps(highs, int(state[HIGH]), 1 << 27)
    if new.size and not was_synced:
        new[0] = True
    loops, fresh = np.zeros_like(word), np.zeros(word.size, bool)
    loops[is_high], fresh[is_high] = wraps, new
    loop = (state[LOOP] + _carry(is_high, loops, 0)) & (EVT2_LOOPS - 1)
    high = _carry(is_high, word & 0xFFFFFFF, int(state[HIGH]))
    valid = was_synced | (np.cumsum(is_high) > 0)
    fine = np.where(is_high, 0, (word >> 22) & 0x3F)
    time = ((loop << 34) | (high << 6) | fine) * US

    event, trigger = code <= 1, code == 0xA
    usable, edge = event & valid, trigger & valid
    which, lane = _lanes(mask * usable, lanes)
    columns = (
        ((word >> 11) & 0x7FF)[which] + lane,
        (word & 0x7FF)[which],
        code[which],
        time[which],
    )
    events, clipped = _clip(columns, width, height)
    reserved = (code > 1) & (code < 0xD) & ~is_high & ~trigger
    unused = reserved | ((event | trigger) & ~valid)
    state[HIGH], state[LOOP] = high[-1], loop[-1]
    if valid[-1]:
        state[SYNC] = SYNCED
    timed = np.flatnonzero(usable | edge | fresh)
    if timed.size:
        state[LAST] = time[timed[-1]]
    return Decoded(
        *events,
        time[edge],
        word[edge] & 1,
        (word[edge] >> 8) & 0x1F,
        int(unused.sum()),
        clipped,
    )
