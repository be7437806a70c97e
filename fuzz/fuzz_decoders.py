# SPDX-License-Identifier: Apache-2.0
"""Feeds damaged and random payloads to every decoder.

``python fuzz/fuzz_decoders.py [--payloads 1000000] [--seed 0] [--compare 20]``

Checked for every payload: nothing but EventError is raised; the columns have equal lengths and
lie inside the geometry; times lie in the allowed range; the events are no more than the payload
can hold. Every 20th payload (--compare) is also decoded by the plain numpy definition from the
same state, and must give the same. After every damaged payload a good one follows, and must come
out right without a reset.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.convert import encode_mono
from spikeseg_ros.events.decoder import ENCODINGS, EventDecoder
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import MAX_TIME
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, HEIGHT = 320, 240
MOST_PER_BYTE = 6
BASES = (0, 1, 1_700_000_000_000_000_000, MAX_TIME - 1, MAX_TIME, (1 << 63) - 1, (1 << 64) - 1)
EDGES = (0, 1, 0x7F, 0x80, 0xFF)


@dataclass(frozen=True)
class Sample:
    """A good payload and the events in it; times count from the first where relative."""

    payload: bytes
    events: Events
    relative: bool


class FuzzError(AssertionError):
    """A decoder did something it must not do."""


def _events(rng: np.random.Generator, count: int) -> Events:
    """Return random events over less than a millisecond, in whole microseconds."""
    x = rng.integers(0, WIDTH, count).astype(np.uint16)
    y = rng.integers(0, HEIGHT, count).astype(np.uint16)
    p = rng.integers(0, 2, count).astype(np.uint8)
    t = np.sort(rng.integers(0, 900, count)).astype(np.int64) * 1000
    rows = np.lexsort((x, y, t))
    unique = Events(x, y, p, t).select(rows)
    # The same pixel twice in a microsecond would be ambiguous for vectors.
    code = (unique.t * HEIGHT + unique.y) * WIDTH + unique.x
    return unique.select(np.concatenate([[True], code[1:] != code[:-1]]))


def _evt3(events: Events) -> bytes:
    return Evt3Encoder(WIDTH, HEIGHT).encode(events)


def _libcaer(events: Events) -> bytes:
    data = np.empty((len(events), 2), '<u4')
    data[:, 0] = 1 | events.p.astype('<u4') << 1 | events.y.astype('<u4') << 2
    data[:, 0] |= events.x.astype('<u4') << 17
    data[:, 1] = events.t // 1000
    return data.tobytes()


def _libcaer_cmp(events: Events) -> bytes:
    words: list[int] = []
    for x, y, p, t in zip(events.x, events.y, events.p, events.t // 1000, strict=True):
        words += [int(t) >> 12, 0x1000 | int(t) & 0xFFF, 0x2000 | int(x)]
        words += [0x3000 | int(p) << 11 | int(y)]
    return np.array(words, '<u2').tobytes()


def _evt2(events: Events) -> bytes:
    words: list[int] = []
    for x, y, p, t in zip(events.x, events.y, events.p, events.t // 1000, strict=True):
        words += [0x8 << 28 | int(t) >> 6]
        words += [int(p) << 28 | (int(t) & 0x3F) << 22 | int(x) << 11 | int(y)]
    return np.array(words, '<u4').tobytes()


def _evt21(events: Events, mask_first: bool = True) -> bytes:
    words: list[tuple[int, int]] = []
    for x, y, p, t in zip(events.x, events.y, events.p, events.t // 1000, strict=True):
        x0 = int(x) // 32 * 32
        words += [(0, 0x8 << 28 | int(t) >> 6)]
        head = int(p) << 28 | (int(t) & 0x3F) << 22 | x0 << 11 | int(y)
        words += [(1 << int(x) - x0, head)]
    pairs = np.array(words, '<u4').reshape(-1, 2)
    return (pairs if mask_first else pairs[:, ::-1]).tobytes()


WRITERS: dict[str, Callable[[Events], bytes]] = {
    'evt3': _evt3,
    'libcaer_cmp': _libcaer_cmp,
    'libcaer': _libcaer,
    'mono': lambda events: encode_mono(events)[0],
    'evt2': _evt2,
    'evt21': _evt21,
    'evt21_legacy': lambda events: _evt21(events, mask_first=False),
}


def samples(encoding: str, count: int = 64) -> list[Sample]:
    """Return good payloads of an encoding."""
    rng = np.random.default_rng(7)
    found = []
    for _ in range(count):
        events = _events(rng, int(rng.integers(1, 24)))
        # Without a time base, what came before a payload decides about its turns of the clock.
        relative = encoding.startswith('evt') or encoding == 'mono'
        found.append(Sample(WRITERS[encoding](events), events, relative))
    return found


def damaged(rng: random.Random, good: list[Sample]) -> bytes:
    """Return a payload of 0 .. 200 bytes: random, mutated, truncated, spliced or repeated."""
    kind = rng.randrange(6)
    if kind == 0:
        return rng.randbytes(rng.randrange(201))
    if kind == 1:
        words = [rng.choice(EDGES) for _ in range(rng.randrange(101))]
        return bytes(words)
    data = bytearray(rng.choice(good).payload)
    if kind == 2:
        for _ in range(rng.randrange(1, 9)):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    elif kind == 3:
        del data[rng.randrange(len(data)) :]
    elif kind == 4:
        del data[: rng.randrange(len(data))]
        data += rng.choice(good).payload
    else:
        begin = rng.randrange(len(data))
        data = data[begin : begin + 4] * rng.randrange(1, 50)
    return bytes(data[:200])


def check_bounds(decoder: EventDecoder, payload: bytes, events: Events) -> None:
    """Raise FuzzError where decoded events cannot be."""
    edges = decoder.triggers
    n = len(events)
    if not events.x.size == events.y.size == events.p.size == n <= MOST_PER_BYTE * len(payload):
        msg = f'{n} events from {len(payload)} bytes'
        raise FuzzError(msg)
    if n and (
        int(events.x.max()) >= decoder.width
        or int(events.y.max()) >= decoder.height
        or int(events.p.max()) > 1
        or not 0 <= int(events.t.min()) <= int(events.t.max()) <= MAX_TIME
    ):
        msg = 'event out of bounds'
        raise FuzzError(msg)
    if len(edges) and not 0 <= int(edges.t.min()) <= int(edges.t.max()) <= MAX_TIME:
        msg = 'trigger out of bounds'
        raise FuzzError(msg)


def same(a: Events, b: Events) -> bool:
    """Say whether two lists of events are equal."""
    return (
        np.array_equal(a.t, b.t)
        and np.array_equal(a.x, b.x)
        and np.array_equal(a.y, b.y)
        and np.array_equal(a.p, b.p)
    )


class Target:
    """One encoding under test: a compiled decoder and, now and then, the plain one beside it."""

    def __init__(self, encoding: str) -> None:
        self.good = samples(encoding)
        self.fast = EventDecoder(encoding, WIDTH, HEIGHT)
        self.plain = EventDecoder(encoding, WIDTH, HEIGHT, reference=True)
        self.refused = 0

    def damaged(self, payload: bytes, base: int, compare: bool) -> None:
        """Decode a payload that may be anything."""
        if compare:
            self.plain._state = self.fast._state.copy()
        got = self._decode(self.fast, payload, base)
        if got is not None:
            check_bounds(self.fast, payload, got)
        else:
            self.refused += 1
        if not compare:
            return
        want = self._decode(self.plain, payload, base)
        if (got is None) != (want is None) or (
            got is not None
            and want is not None
            and not (
                same(got, want)
                and np.array_equal(self.fast.triggers.t, self.plain.triggers.t)
                and np.array_equal(self.fast.triggers.id, self.plain.triggers.id)
                and np.array_equal(self.fast._state, self.plain._state)
            )
        ):
            msg = 'compiled and plain decoder differ'
            raise FuzzError(msg)

    def intact(self, sample: Sample) -> None:
        """Decode a good payload after damaged ones."""
        events = self.fast.decode(sample.payload)
        want = sample.events
        if sample.relative and len(events) == len(want):
            want = Events(want.x, want.y, want.p, want.t - want.t[0] + events.t[0])
        if not same(events, want):
            msg = 'a good payload came out wrong after a damaged one'
            raise FuzzError(msg)

    @staticmethod
    def _decode(decoder: EventDecoder, payload: bytes, base: int) -> Events | None:
        """Return the events, or None where the payload is refused."""
        try:
            return decoder.decode(payload, base)
        except EventError:
            return None


def run(payloads: int, seed: int, compare: int = 20, report: bool = False) -> dict[str, int]:
    """Feed payloads to every decoder in turn.

    Args:
        payloads: Damaged payloads in all; as many good ones come in between.
        seed: Seed of the random numbers.
        compare: Every how many payloads the plain definition is asked as well.
        report: Print progress.

    Returns:
        Number of refused payloads by encoding.

    Raises:
        FuzzError: A check failed; the text holds what repeats it.
    """
    rng = random.Random(seed)
    targets = {encoding: Target(encoding) for encoding in ENCODINGS}
    begin = time.monotonic()
    for number in range(payloads):
        encoding = ENCODINGS[number % len(ENCODINGS)]
        target = targets[encoding]
        payload, base = damaged(rng, target.good), rng.choice(BASES)
        sample = rng.choice(target.good)
        try:
            target.damaged(payload, base, number % compare == 0)
            target.intact(sample)
        except Exception as err:
            msg = (
                f'{encoding}, payload {number} of seed {seed}: {type(err).__name__}: {err}\n'
                f'damaged: {payload.hex()} (time_base {base})\ngood: {sample.payload.hex()}'
            )
            raise FuzzError(msg) from err
        if report and (number + 1) % 100_000 == 0:
            print(f'{number + 1} payloads, {time.monotonic() - begin:.0f} s', flush=True)
    return {encoding: target.refused for encoding, target in targets.items()}


def main() -> int:
    """Run from the command line; the exit status is 1 where a check failed."""
    parser = argparse.ArgumentParser(description='Fuzz the event decoders.')
    parser.add_argument('--payloads', type=int, default=1_000_000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--compare', type=int, default=20, help='ask numpy every so many payloads')
    args = parser.parse_args()
    begin = time.monotonic()
    try:
        refused = run(args.payloads, args.seed, args.compare, report=True)
    except FuzzError as err:
        print(f'FAILED {err}', file=sys.stderr)
        return 1
    seconds = time.monotonic() - begin
    print(f'{args.payloads} damaged payloads and as many good ones in {seconds:.0f} s: no failure')
    print('refused with EventError: ' + ', '.join(f'{k} {v}' for k, v in refused.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
