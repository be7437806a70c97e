# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW files as packets: EVT3 word by word as it is, EVT2 and EVT2.1 as EVT3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import US
from spikeseg_ros.events.rawfile import read_raw
from spikeseg_ros.events.types import Events, Packet, Triggers
from spikeseg_ros.recordings.formats.packets import START
from spikeseg_ros.recordings.formats.source import FormatError, TableSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.recordings.formats.source import Item, ReadOptions

_CHUNK = 1 << 18
# A packet is cut here at the latest, for bursts and for words that never tell the time.
_MAX_PAYLOAD = 1 << 22
_WORD = {'evt3': 2, 'evt2': 4, 'evt21': 8, 'evt21_legacy': 8}
_MAX_TRIGGER = 15


class RawSource(TableSource):
    """A Prophesee RAW file.

    The words of EVT3 are kept as they are and only cut, between two words, where the time passes
    a multiple of the packet length; so the packets joined are the file without its header, and
    trigger edges are in them too. EVT2 and EVT2.1 are no encodings of ROS messages: their events
    and trigger edges are encoded anew as EVT3.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        try:
            self.total = path.stat().st_size
            first = next(read_raw(path, 8), None)
        except EventError as err:
            text = str(err)
            if str(path) not in text:
                text = f'{str(path)!r} has a header that cannot be: {text}'
            raise FormatError(text) from None
        if first is None:
            raise self.fail('the file holds a header and no events.')
        self.take_size((first.width, first.height), lambda: (0, 0))
        self._kind = first.encoding

    def _payloads(self) -> Iterator[bytes]:
        """Yield the words of the file.

        Raises:
            FormatError: The file cannot be read, or ends inside a word.
        """
        payload: Any = b''
        try:
            for packet in read_raw(self.path, _CHUNK):
                payload = packet.payload
                self.done = min(self.total, self.done + len(payload))
                yield payload
        except EventError as err:
            raise FormatError(str(err)) from None
        if rest := len(payload) % _WORD[self._kind]:
            raise self.fail(
                f'the file ends inside a word ({rest} bytes are left over); it was cut off. '
                'Everything before is complete.'
            )

    def items(self) -> Iterator[Item]:
        """Yield (time [ns], packet)."""
        return self._cut_words() if self._kind == 'evt3' else super().items()

    def chunks(self) -> Iterator[tuple[Events, Triggers]]:
        """Yield decoded EVT2 or EVT2.1."""
        decoder = EventDecoder(self._kind, self.width, self.height)
        left_out = 0
        for payload in self._payloads():
            events = decoder.decode(payload)
            edges = decoder.triggers
            usable = edges.id <= _MAX_TRIGGER
            left_out += int(np.count_nonzero(~usable))
            order = np.flatnonzero(usable)[np.argsort(edges.t[usable], kind='stable')]
            yield events, Triggers(edges.t[order], edges.value[order], edges.id[order])
        self._judge(decoder)
        if left_out:
            self.notes.append(f'{left_out} trigger edges of channels above 15 left out')

    def _judge(self, decoder: EventDecoder) -> None:
        """Note what the decoder could not use."""
        self.stats.clipped = decoder.clipped
        if decoder.clipped:
            self.notes.append(
                f'{decoder.clipped} events outside the {self.width}x{self.height} sensor are '
                'ignored'
            )
        if decoder.skipped:
            self.notes.append(f'{decoder.skipped} words could not be used (early or reserved)')

    def _cut_words(self) -> Iterator[Item]:
        """Yield the EVT3 words of the file in packets."""
        decoder = EventDecoder('evt3', self.width, self.height)
        start = START if self.options.start_ns is None else self.options.start_ns
        state = np.full(4, -1, np.int64)
        state[2] = 0
        held: list[bytes] = []
        size = seq = stamp = 0

        def packet() -> Item:
            nonlocal size, seq, stamp
            payload = b''.join(held)
            held.clear()
            size = 0
            events = decoder.decode(payload)
            self.stats.count(events)
            self.stats.triggers += len(decoder.triggers)
            last = decoder.last_time or 0
            stamp = max(stamp, start + (int(events.t[0]) if len(events) else last))
            seq += 1
            return max(stamp, start + last), Packet(
                payload,
                'evt3',
                self.width,
                self.height,
                stamp,
                seq - 1,
                0,
                self.options.frame_id,
            )

        problem: FormatError | None = None
        payloads = self._payloads()
        while True:
            try:
                payload = next(payloads, None)
            except FormatError as err:
                problem = err
                break
            if payload is None:
                break
            words = np.frombuffer(payload, '<u2', len(payload) // 2)
            cuts = np.empty(len(words), np.int64)
            count = _cut_evt3(words, state, self.options.packet_ns // US, cuts)
            before = 0
            for cut in (2 * cuts[:count]).tolist():
                held.append(payload[before:cut])
                if any(held):
                    yield packet()
                before = cut
            held.append(payload[before : 2 * len(words)])
            size += len(held[-1])
            if size >= _MAX_PAYLOAD:
                yield packet()
        if any(held):
            yield packet()
        self._judge(decoder)
        if problem is not None:
            raise problem


@njit(cache=True, nogil=True)
def _cut_evt3(words: NDArray[Any], state: NDArray[Any], period: int, cuts: NDArray[Any]) -> int:
    """Find where the time passes a multiple of the period; return the number of cuts.

    Args:
        words: EVT3 words, shape (N,).
        state: High and low part of the time, turns, and the time of the next cut [us]; high and
            next are -1 before the first word.
        period: Time between cuts [us].
        cuts: Receives the index of the first word of each new packet, shape (N,).
    """
    high, low, loop, after = state[0], state[1], state[2], state[3]
    n = 0
    for i in range(words.shape[0]):
        word = np.int64(words[i])
        code = word >> 12
        if code == 0x8:
            value = word & 0xFFF
            if value == high:
                continue
            if high >= value + 2048:
                loop += 1
            high = value
            low = 0
        elif code == 0x6 and high >= 0:
            low = word & 0xFFF
        else:
            continue
        now = (loop << 24) | (high << 12) | low
        # Also where time stepped back for good.
        if now >= after or now + 2 * period < after:
            if after >= 0:
                cuts[n] = i
                n += 1
            after = (now // period + 1) * period
    state[0], state[1], state[2], state[3] = high, low, loop, after
    return n
