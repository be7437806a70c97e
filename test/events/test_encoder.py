# SPDX-License-Identifier: Apache-2.0
"""What the EVT3 encoder writes comes back exactly, in few words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import EventDecoder, EventError, Events, Evt3Encoder, Triggers

TURN = (1 << 24) * 1000


def make(*rows: tuple[int, int, int, int]) -> Events:
    """Return events from (x, y, p, t)."""
    x, y, p, t = np.array(rows, np.int64).reshape(-1, 4).T
    return Events(x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), t)


def edges(*rows: tuple[int, int, int]) -> Triggers:
    """Return edges from (t, value, id)."""
    t, value, channel = np.array(rows, np.int64).reshape(-1, 3).T
    return Triggers(t, value.astype(np.uint8), channel.astype(np.uint8))


def equal(a: Any, b: Any) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in a.__dataclass_fields__)


STEP = st.sampled_from([0, 0, 0, 1, 30, 4096, 1 << 23, (1 << 23) + 4096, 1 << 24, 40 << 24])
EVENT = st.tuples(STEP, st.integers(0, 3), st.integers(0, 2047), st.integers(0, 1), st.booleans())


@settings(max_examples=80)
@given(st.lists(st.lists(EVENT, max_size=30), max_size=5))
def test_round_trip_is_exact(stream: list[list[tuple[int, int, int, int, bool]]]) -> None:
    encoder, decoder = Evt3Encoder(2048, 4), EventDecoder('evt3', 2048, 4)
    us = 0
    for part in stream:
        rows, ticks = [], []
        for step, y, x, p, is_edge in part:
            us += step
            if is_edge:
                ticks.append((us * 1000, p, x % 16))
            else:
                rows.append((x, y, p, us * 1000))
        events, triggers = make(*rows), edges(*ticks)
        payload = encoder.encode(events, triggers)
        assert equal(decoder.decode(payload), events)
        assert equal(decoder.triggers, triggers)
    assert (decoder.skipped, decoder.clipped) == (0, 0)


def vector_events(seed: int, count: int) -> Events:
    """Return events in rows with many neighbours, as moving edges make them."""
    rng = np.random.default_rng(seed)
    parts, us = [], 0
    for _ in range(count):
        us += int(rng.integers(0, 40))
        xs = np.flatnonzero(rng.random(640) < rng.choice([0.02, 0.3, 0.9]))
        y, p = int(rng.integers(480)), int(rng.integers(2))
        parts += [(int(x), y, p, us * 1000) for x in xs]
    return make(*parts)


def test_vectors_come_back_and_are_short() -> None:
    events = vector_events(0, 60)
    payload = Evt3Encoder(640, 480).encode(events)
    assert equal(EventDecoder('evt3', 640, 480).decode(payload), events)
    codes = set((np.frombuffer(payload, '<u2') >> 12).tolist())
    assert {0x2, 0x3, 0x4, 0x5} <= codes
    assert len(payload) < 1.0 * len(events)


def test_a_full_row_takes_a_vector_of_every_12_12_8_columns() -> None:
    payload = Evt3Encoder(640, 480).encode(make(*[(x, 1, 1, 0) for x in range(32)]))
    words = np.frombuffer(payload, '<u2').tolist()
    assert words == [0x8000, 0x6000, 1, 0x3800, 0x4FFF, 0x4FFF, 0x50FF]


@pytest.mark.parametrize('xs', [(5,), (5, 6), (5, 5, 5), (9, 8, 7, 6), (0, 100, 200)])
def test_what_a_vector_cannot_shorten_stays_single_and_in_order(xs: tuple[int, ...]) -> None:
    events = make(*[(x, 1, 1, 0) for x in xs])
    payload = Evt3Encoder(640, 480).encode(events)
    assert equal(EventDecoder('evt3', 640, 480).decode(payload), events)
    assert len(payload) == 2 * (3 + len(xs))


def test_every_payload_can_be_joined() -> None:
    encoder = Evt3Encoder(640, 480)
    encoder.encode(make((1, 2, 1, 5000)))
    second = make((3, 2, 1, 5000), (4, 2, 0, 9000))
    assert equal(EventDecoder('evt3', 640, 480).decode(encoder.encode(second)), second)


def test_late_start_and_long_pauses_keep_the_turns_of_the_clock() -> None:
    times = [100 * TURN, 100 * TURN, 103 * TURN + 5000, 103 * TURN + TURN // 2 + 5000, 200 * TURN]
    encoder, decoder = Evt3Encoder(8, 8), EventDecoder('evt3', 8, 8)
    for t in times:
        events = make((1, 1, 1, t))
        assert equal(decoder.decode(encoder.encode(events)), events)


def test_nothing_to_tell_is_an_empty_payload_and_until_tells_the_time() -> None:
    encoder, decoder = Evt3Encoder(8, 8), EventDecoder('evt3', 8, 8)
    assert encoder.encode(Events.empty()) == b''
    assert len(decoder.decode(encoder.encode(Events.empty(), until=4_000_999))) == 0
    assert decoder.last_time == 4_000_000
    events = make((1, 1, 1, 5_000_000))
    assert equal(decoder.decode(encoder.encode(events, until=3 * TURN)), events)
    assert decoder.last_time == 3 * TURN


@pytest.mark.parametrize(
    ('events', 'triggers', 'reason'),
    [
        (make((1, 1, 1, 1500)), None, 'microsecond'),
        (make((1, 1, 1, 2000), (1, 1, 1, 1000)), None, 'before'),
        (make((1, 1, 1, -1000)), None, 'before'),
        (make((8, 1, 1, 0)), None, 'x 8'),
        (make((1, 9, 1, 0)), None, 'y 9'),
        (make((1, 1, 2, 0)), None, 'polarity 2'),
        (make((1, 1, 1, 5000 * TURN)), None, 'subtract'),
        (make(), edges((0, 2, 0)), 'trigger value 2'),
        (make(), edges((0, 1, 16)), 'trigger id 16'),
        (make(), edges((1, 1, 0)), 'trigger time 1'),
    ],
)
def test_what_cannot_be_expressed_is_refused(
    events: Events, triggers: Triggers | None, reason: str
) -> None:
    encoder = Evt3Encoder(8, 8)
    with pytest.raises(EventError, match=reason):
        encoder.encode(events, triggers)
    good = make((7, 7, 1, 0))
    assert equal(EventDecoder('evt3', 8, 8).decode(encoder.encode(good)), good)


def test_time_may_not_go_back_between_calls_but_after_reset() -> None:
    encoder = Evt3Encoder(8, 8)
    encoder.encode(make((1, 1, 1, 2000)))
    with pytest.raises(EventError, match='reset'):
        encoder.encode(make((1, 1, 1, 1000)))
    with pytest.raises(EventError, match='until'):
        encoder.encode(Events.empty(), until=1000)
    encoder.reset()
    assert encoder.encode(make((1, 1, 1, 1000)))


@pytest.mark.parametrize('size', [(0, 1), (2049, 1), (1, 2049)])
def test_geometry_beyond_11_bits_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(EventError, match='2048'):
        Evt3Encoder(*size)
