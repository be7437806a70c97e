# SPDX-License-Identifier: Apache-2.0
"""Event decoding, binning and the stream, on one core (CPU time of the thread).

Peers: the plain numpy definition, and the evt3 wheel where it is installed
(``pip install evt3``). Payloads of 64 kB, as a busy driver sends them. Numbers are
medians; the best run in brackets tells what the machine gives when nothing else runs.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.events import (
    EventDecoder,
    Events,
    EventStream,
    Evt3Encoder,
    Packet,
    bin_events,
)

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH, HEIGHT, STEPS = 640, 480, 10
CHUNK = 1 << 16


def scalar_stream(count: int, per_row: int) -> Events:
    """Return events that no vector can hold, some of a row and moment in a row."""
    rng = np.random.default_rng(0)
    groups = count // per_row
    x = rng.integers(0, WIDTH // per_row // 2, (groups, per_row)) * 2
    # Falling columns cannot become vectors.
    x += (np.arange(per_row)[::-1] * (WIDTH // per_row))[None, :]
    y = np.repeat(rng.integers(0, HEIGHT, groups), per_row)
    t = np.repeat(np.arange(groups) // 4 * 1000, per_row)
    p = rng.integers(0, 2, groups * per_row)
    x = x.reshape(-1)
    return Events(x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), t)


def vector_stream(count: int) -> Events:
    """Return events of dense row segments, half of 32 columns set."""
    rng = np.random.default_rng(0)
    rows = count // 16
    lanes = rng.random((rows, 32)) < 0.5
    which, lane = np.nonzero(lanes)
    x = rng.integers(0, WIDTH - 32, rows)[which] + lane
    y, p = rng.integers(0, HEIGHT, rows)[which], rng.integers(0, 2, rows)[which]
    t = which // 4 * 1000
    return Events(x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), t)


def libcaer_cmp(events: Events) -> bytes:
    """Return events as libcaer_cmp words: column and row per event, time where it changes."""
    words = np.empty((len(events), 3), '<u2')
    words[:, 0] = 0x1000 | (events.t // 1000 & 0xFFF)
    words[:, 1] = 0x2000 | events.x
    words[:, 2] = 0x3000 | events.p.astype(np.uint16) << np.uint16(11) | events.y
    kept = np.ones(words.shape, bool)
    kept[1:, 0] = events.t[1:] != events.t[:-1]
    return words[kept].tobytes()


def seconds(functions: list[Callable[[], Any]], repeats: int) -> list[tuple[float, float]]:
    """Return (median, best) thread time [s] of each, run in turn after one round to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for function in functions:
        function()
    for _ in range(repeats):
        for function, kept in zip(functions, times, strict=True):
            begin = time.thread_time()
            function()
            kept.append(time.thread_time() - begin)
    return [(statistics.median(kept), min(kept)) for kept in times]


def decode_all(encoding: str, chunks: list[bytes], reference: bool) -> int:
    """Decode chunks with a new decoder and return the number of events."""
    decoder = EventDecoder(encoding, WIDTH, HEIGHT, reference=reference)
    return sum(len(decoder.decode(chunk)) for chunk in chunks)


def wheel_decode(chunks: list[bytes]) -> Callable[[], Any] | None:
    """Return the same work done by the evt3 wheel, or None where it is not installed."""
    try:
        import evt3
    except ImportError:
        return None

    def run() -> None:
        decoder = evt3.Decoder(WIDTH, HEIGHT)
        for chunk in chunks:
            decoder.feed(chunk)

    return run


def decoding(quick: bool) -> None:
    """Print decoding speeds."""
    count = 200_000 if quick else 1_000_000
    streams = {
        'evt3, 2.5 B/event': ('evt3', scalar_stream(count, 6)),
        'evt3, a row for every event': ('evt3', scalar_stream(count, 1)),
        'evt3, vectors': ('evt3', vector_stream(count)),
        'libcaer_cmp': ('libcaer_cmp', scalar_stream(count, 1)),
    }
    print(
        '| stream | B/event | ours Mev/s (best) | numpy Mev/s | evt3 wheel Mev/s | ours / numpy |'
    )
    print('|---|---|---|---|---|---|')
    for name, (encoding, events) in streams.items():
        if encoding == 'evt3':
            payload = Evt3Encoder(WIDTH, HEIGHT).encode(events)
        else:
            payload = libcaer_cmp(events)
        chunks = [payload[k : k + CHUNK] for k in range(0, len(payload), CHUNK)]
        n = decode_all(encoding, chunks, False)
        work = [
            lambda e=encoding, c=chunks: decode_all(e, c, False),
            lambda e=encoding, c=chunks: decode_all(e, c, True),
        ]
        wheel = wheel_decode(chunks) if encoding == 'evt3' else None
        took = seconds(work + ([wheel] if wheel else []), 3 if quick else 9)
        rates = [n / s / 1e6 for s, _ in took]
        best = n / took[0][1] / 1e6
        third = f'{rates[2]:.0f}' if wheel else 'not installed' if encoding == 'evt3' else '-'
        print(
            f'| {name} | {len(payload) / n:.2f} | {rates[0]:.0f} ({best:.0f}) | {rates[1]:.1f} '
            f'| {third} | {rates[0] / rates[1]:.0f}x |',
            flush=True,
        )


def add_at(events: Events, volume: Any, duration: int) -> None:
    """Accumulate events the usual way."""
    step = events.t * STEPS // duration
    np.add.at(volume, (step, events.y, events.x, events.p), 1)


def binning(quick: bool) -> None:
    """Print binning speeds."""
    count = 200_000 if quick else 1_000_000
    events = scalar_stream(count, 6)
    duration = int(events.t[-1]) + 1
    took = seconds(
        [
            lambda: bin_events(events, 0, duration, STEPS, HEIGHT, WIDTH),
            lambda: bin_events(events, 0, duration, STEPS, HEIGHT, WIDTH, mode='count'),
            lambda: add_at(events, np.zeros((STEPS, HEIGHT, WIDTH, 2), np.float32), duration),
        ],
        3 if quick else 9,
    )
    rates = [len(events) / s / 1e6 for s, _ in took]
    print(
        f'\n| {len(events)} events into {STEPS} x {HEIGHT} x {WIDTH} x 2 | Mev/s | to np.add.at |'
    )
    print('|---|---|---|')
    for name, rate in zip(('binary', 'counts', 'np.add.at float32'), rates, strict=True):
        print(f'| {name} | {rate:.0f} | {rate / rates[2]:.1f}x |')


def stream(quick: bool) -> None:
    """Print what poll costs at 1 Mev/s, 250 packets a second and windows of 50 ms."""
    count = 250_000 if quick else 1_000_000
    events = scalar_stream(count, 1)
    events = Events(events.x, events.y, events.p, np.arange(len(events), dtype=np.int64) * 1000)
    encoder = Evt3Encoder(WIDTH, HEIGHT)
    packets = []
    for begin in range(0, len(events), 4000):
        payload = encoder.encode(events.slice(begin, begin + 4000))
        packets.append(Packet(payload, 'evt3', WIDTH, HEIGHT, stamp=10**9 + begin * 1000))
    reader = EventStream(duration_ns=50_000_000)
    costs = []
    found = 0
    for k, packet in enumerate(packets):
        reader.push(packet)
        if k % 13 == 12:
            begin_time = time.thread_time()
            found += len(reader.poll(0))
            costs.append(time.thread_time() - begin_time)
    found += len(reader.flush())
    print(f'\n| 1 Mev/s, {found} windows of 50 ms | ms |')
    print('|---|---|')
    print(f'| poll with 13 packets, median | {statistics.median(costs) * 1e3:.2f} |')
    print(f'| poll with 13 packets, slowest after the first | {max(costs[1:]) * 1e3:.2f} |')


def run(quick: bool = False) -> None:
    """Print all tables."""
    decoding(quick)
    binning(quick)
    stream(quick)


if __name__ == '__main__':
    run()
