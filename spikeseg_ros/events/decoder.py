# SPDX-License-Identifier: Apache-2.0
"""Decoding of the payloads that event camera drivers send.

Bit formats: EVT2, EVT2.1 and EVT3 as documented by Prophesee; libcaer, libcaer_cmp and mono as
event_camera_codecs defines them. All words are little-endian.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.events import kernels_fixed, kernels_words, reference
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import (
    BASE,
    HIGH_SEEN,
    LAST,
    LOOP,
    LOST,
    MAX_SIDE,
    MAX_TIME,
    SYNC,
    US,
    Y,
    new_state,
)
from spikeseg_ros.events.types import Events, Triggers

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def _weights(singles: tuple[int, ...], vectors: dict[int, int]) -> NDArray[np.uint8]:
    """Return for every 16-bit word how many events it can stand for, shape (65536,), uint8."""
    word = np.arange(1 << 16)
    weights = np.isin(word >> 12, singles).astype(np.uint8)
    for code, lanes in vectors.items():
        bits = ((word[:, None] >> np.arange(lanes)) & 1).sum(1, dtype=np.uint8)
        weights[word >> 12 == code] = bits[word >> 12 == code]
    weights.flags.writeable = False
    return weights


_EVT3_WEIGHTS = _weights((2,), {4: 12, 5: 8})
_CMP_WEIGHTS = _weights((3,), {5: 8})


@dataclass(frozen=True)
class _Codec:
    """How one encoding is decoded.

    Attributes:
        word: Type of the words handed to the kernel.
        size: Bytes of the smallest unit.
        kernel: Compiled decoder.
        plain: The same in numpy.
        bound: Most events and trigger edges that can come out of words.
        span: Longest time after time_base [ns]; 0 where time_base is ignored.
        base: Passed to the kernel where time_base is ignored.
    """

    word: str
    size: int
    kernel: Callable[..., None]
    plain: Callable[..., reference.Decoded]
    bound: Callable[[NDArray[Any]], tuple[int, int]]
    span: int = 0
    base: int = 0


def _evt21(mask_half: int) -> _Codec:
    """Return the codec of EVT2.1 with the mask in the given half of a 64-bit word."""
    return _Codec(
        '<u4',
        8,
        kernels_fixed.decode_evt21,
        reference.evt21,
        lambda words: kernels_fixed.bound_evt21(words, mask_half),
        base=mask_half,
    )


_CODECS = {
    'evt3': _Codec(
        '<u2',
        2,
        kernels_words.decode_evt3,
        reference.evt3,
        lambda words: kernels_words.bound_words(words, _EVT3_WEIGHTS),
    ),
    'libcaer_cmp': _Codec(
        '<u2',
        2,
        kernels_words.decode_libcaer_cmp,
        reference.libcaer_cmp,
        lambda words: kernels_words.bound_words(words, _CMP_WEIGHTS),
        span=(1 << 24) * US,
    ),
    'libcaer': _Codec(
        '<u4',
        8,
        kernels_fixed.decode_libcaer,
        reference.libcaer,
        kernels_fixed.bound_pairs,
        span=(1 << 31) * US,
    ),
    'mono': _Codec(
        '<u4',
        8,
        kernels_fixed.decode_mono,
        reference.mono,
        kernels_fixed.bound_pairs,
        span=1 << 32,
    ),
    'evt2': _Codec('<u4', 4, kernels_fixed.decode_evt2, reference.evt2, kernels_fixed.bound_evt2),
    'evt21': _evt21(0),
    'evt21_legacy': _evt21(1),
}
LIVE_ENCODINGS = ('evt3', 'libcaer_cmp', 'libcaer', 'mono')
FILE_ENCODINGS = ('evt2', 'evt21', 'evt21_legacy')
ENCODINGS = LIVE_ENCODINGS + FILE_ENCODINGS


class EventDecoder:
    """Turns payloads of one sensor into events, one after the other.

    State that a format carries from word to word (row, vector base, time) is carried from payload
    to payload too, so a payload may end anywhere between two words. Events outside the geometry
    are dropped and counted. Any bytes are accepted: what makes no sense is skipped and counted.

    evt3, in detail: nothing comes out before the first TIME_HIGH that is followed by a TIME_LOW,
    nor before the row is known. Times count from the sensor's own zero; the 24-bit counter wraps
    when TIME_HIGH falls by 2048 or more (smaller falls are steps back). When TIME_HIGH changes,
    the low part counts as 0 until the next TIME_LOW, so that times do not leap ahead and back.

    evt21_legacy is EVT2.1 with the two halves of its 64-bit words swapped, as IMX636 sensors
    send it.

    Attributes:
        encoding: Name of the encoding, one of ENCODINGS.
        width: Sensor columns [px].
        height: Sensor rows [px].
        triggers: External trigger edges of the last payload.
        skipped: Words so far that were reserved, invalid, or came before time or place was known.
        clipped: Events so far that lay outside the geometry.
        truncated: Payloads so far that ended inside a word; that rest is dropped.
    """

    def __init__(self, encoding: str, width: int, height: int, *, reference: bool = False) -> None:
        """Prepare for one sensor.

        Args:
            encoding: Name of the encoding.
            width: Sensor columns, 1 .. 8192 [px].
            height: Sensor rows, 1 .. 8192 [px].
            reference: Use the plain numpy definition instead of the compiled kernel.

        Raises:
            EventError: The encoding is unknown or the geometry is not usable.
        """
        codec = _CODECS.get(encoding) if isinstance(encoding, str) else None
        if codec is None:
            msg = f'Unknown encoding {encoding!r}; known are {", ".join(ENCODINGS)}.'
            raise EventError(msg)
        self.encoding = encoding
        self.width = _side(width, 'width')
        self.height = _side(height, 'height')
        self.triggers = Triggers.empty()
        self.skipped = 0
        self.clipped = 0
        self.truncated = 0
        self._codec = codec
        self._reference = reference
        self._state = new_state()

    @property
    def last_time(self) -> int | None:
        """Latest sensor time known [ns], also from words that only tell the time; or None."""
        last = int(self._state[LAST])
        return None if last < 0 else last

    def decode(self, payload: Any, time_base: int = 0) -> Events:
        """Decode one payload.

        Args:
            payload: Bytes-like object: bytes, bytearray, memoryview, array.array, uint8 array.
            time_base: Added to the times of libcaer_cmp, libcaer and mono [ns]; otherwise
                ignored.

        Returns:
            The events in the order of the payload; trigger edges are in ``triggers``. Times are
            not sorted where the sensor's were not.

        Raises:
            EventError: The payload is not bytes-like, or times would exceed 2^62 ns. The state
                is as before the call.
        """
        words = self._words(payload)
        base = self._base(time_base)
        before = self._state.copy() if self.encoding == 'libcaer' else self._state
        run = self._plain if self._reference else self._fast
        events, triggers, skipped, clipped = run(words, base)
        if self.encoding == 'libcaer':
            # Only in this format the words, not just the base, can make times leave the range.
            self._check_wraps(base, before)
        self.triggers = triggers
        self.skipped += skipped
        self.clipped += clipped
        return events

    def reset(self) -> None:
        """Forget everything about the stream, as if nothing had been decoded; keep counting."""
        self._state = new_state()
        self.triggers = Triggers.empty()

    def resync(self) -> None:
        """Note that a payload was lost: wait for the next row and time, keep counting wraps."""
        self._state[[Y, BASE]] = -1
        if self.encoding == 'evt3' and self._state[SYNC] >= HIGH_SEEN:
            self._state[SYNC] = LOST

    def _words(self, payload: Any) -> NDArray[Any]:
        """Return the whole words of a payload as an aligned, read-only, contiguous array."""
        try:
            data = np.frombuffer(payload, np.uint8)
        except (TypeError, ValueError, BufferError) as err:
            # An empty buffer is an error to numpy, not to us.
            if _is_empty(payload):
                data = np.empty(0, np.uint8)
            else:
                msg = f'Cannot decode a payload of type {type(payload).__name__!r}: {err}.'
                raise EventError(msg) from None
        rest = data.size % self._codec.size
        if rest:
            self.truncated += 1
            data = data[: data.size - rest]
        words = data.view(self._codec.word)
        if not words.flags.aligned or not words.dtype.isnative:
            words = words.astype(words.dtype.newbyteorder('='), copy=True)
        # One array type for all kinds of buffers, so that the kernel is compiled once.
        words.flags.writeable = False
        return words

    def _base(self, time_base: int) -> int:
        """Return the base for the kernel after checking that all times fit."""
        if not self._codec.span:
            return self._codec.base
        try:
            base = operator.index(time_base)
        except TypeError:
            msg = f'Expected time_base as integer nanoseconds, got {time_base!r}.'
            raise EventError(msg) from None
        if not 0 <= base <= MAX_TIME - self._codec.span:
            msg = f'time_base {base!r} ns is not in 0 .. 2^62 ns; the packet is damaged.'
            raise EventError(msg)
        return base

    def _check_wraps(self, base: int, before: NDArray[np.int64]) -> None:
        """Refuse a libcaer payload whose time wraps so often that times leave the range."""
        wraps = int(self._state[LOOP])
        if base + (wraps + 1) * self._codec.span > MAX_TIME:
            self._state = before
            msg = f'Time wraps {wraps!r} times inside one payload; the packet is damaged.'
            raise EventError(msg)

    def _plain(self, words: NDArray[Any], base: int) -> tuple[Events, Triggers, int, int]:
        """Run the plain definition."""
        got = self._codec.plain(words, self._state, base, self.width, self.height)
        events = Events(
            got.x.astype(np.uint16), got.y.astype(np.uint16), got.p.astype(np.uint8), got.t
        )
        edges = Triggers(got.tt, got.tv.astype(np.uint8), got.ti.astype(np.uint8))
        return events, edges, got.skipped, got.clipped

    def _fast(self, words: NDArray[Any], base: int) -> tuple[Events, Triggers, int, int]:
        """Run the compiled kernel into columns that are as long as needed and no longer."""
        most, edges = self._codec.bound(words)
        size = most + kernels_words.LANES
        x, y = np.empty(size, np.uint16), np.empty(size, np.uint16)
        p, t = np.empty(size, np.uint8), np.empty(size, np.int64)
        tt = np.empty(edges, np.int64)
        tv, ti = np.empty(edges, np.uint8), np.empty(edges, np.uint8)
        counts = np.array([most, 0, 0, 0])
        self._codec.kernel(
            words, self._state, base, self.width, self.height, x, y, p, t, tt, tv, ti, counts
        )
        n, m, skipped, clipped = counts.tolist()
        if 2 * n < most:
            # Most were clipped: do not keep long columns alive behind short views.
            x, y, p, t = x[:n].copy(), y[:n].copy(), p[:n].copy(), t[:n].copy()
        triggers = Triggers(tt[:m], tv[:m], ti[:m])
        return Events(x[:n], y[:n], p[:n], t[:n]), triggers, skipped, clipped


def warm_up(encodings: tuple[str, ...] = LIVE_ENCODINGS) -> None:
    """Compile the kernels of encodings (or load them from numba's cache) ahead of the first use.

    Raises:
        EventError: An encoding is unknown.
    """
    for encoding in encodings:
        EventDecoder(encoding, 1, 1).decode(b'')


def _side(value: int, name: str) -> int:
    """Return a usable number of rows or columns.

    Raises:
        EventError: It is not an integer in 1 .. 8192.
    """
    try:
        side = operator.index(value)
    except TypeError:
        side = 0
    if not 1 <= side <= MAX_SIDE:
        msg = f'Sensor {name} {value!r} is not in 1 .. {MAX_SIDE} px; check the driver.'
        raise EventError(msg)
    return side


def _is_empty(payload: Any) -> bool:
    """Say whether something with the buffer protocol holds no bytes."""
    try:
        return memoryview(payload).nbytes == 0
    except TypeError:
        return False
