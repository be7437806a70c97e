# SPDX-License-Identifier: Apache-2.0
"""Decoders against payloads written by hand, and against their plain definition."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import ENCODINGS, EventDecoder, EventError, kernels_words
from spikeseg_ros.events.layout import MAX_TIME

BOTH = pytest.mark.parametrize('reference', [False, True], ids=['compiled', 'plain'])


def words(*values: int, size: int = 2) -> bytes:
    """Return little-endian words."""
    return np.array(values, f'<u{size}').tobytes()


def decode(decoder: EventDecoder, payload: Any, base: int = 0) -> list[tuple[int, ...]]:
    """Return events as (x, y, p, t)."""
    e = decoder.decode(payload, base)
    assert (e.x.dtype, e.y.dtype, e.p.dtype, e.t.dtype) == ('u2', 'u2', 'u1', 'i8')
    return list(zip(e.x.tolist(), e.y.tolist(), e.p.tolist(), e.t.tolist(), strict=True))


def high(value: int) -> int:
    return 0x8000 | value


def low(value: int) -> int:
    return 0x6000 | value


def row(value: int) -> int:
    return value


def on(x: int) -> int:
    return 0x2800 | x


def off(x: int) -> int:
    return 0x2000 | x


@BOTH
def test_evt3_single_events(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    payload = words(high(1), low(2), row(7), on(5), off(639), low(3), row(479), on(0))
    assert decode(decoder, payload) == [
        (5, 7, 1, 4098000),
        (639, 7, 0, 4098000),
        (0, 479, 1, 4099000),
    ]
    assert decoder.last_time == 4099000
    assert (decoder.skipped, decoder.clipped, decoder.truncated) == (0, 0, 0)


@BOTH
def test_evt3_row_bit_11_is_the_origin_and_ignored(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    assert decode(decoder, words(high(0), low(0), 0x0800 | 7, on(1))) == [(1, 7, 1, 0)]


@BOTH
def test_evt3_vectors_move_their_base(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    payload = words(high(0), low(9), row(3), 0x3800 | 100, 0x4801, 0x4002, 0x5F81, 0x4001)
    # VECT_8 uses bits 7..0 only; after 12 + 12 + 8 columns the base is 132.
    xs = [100, 111, 113, 124, 131, 132]
    assert decode(decoder, payload) == [(x, 3, 1, 9000) for x in xs]


@BOTH
def test_evt3_state_crosses_payloads_at_every_word(reference: bool) -> None:
    stream = [high(1), low(2), row(3), 0x3000 | 10, 0x4FFF, 0x4FFF, 0x50FF, on(9), 0xA301]
    whole = EventDecoder('evt3', 640, 480, reference=reference)
    want = decode(whole, words(*stream))
    assert len(want) == 33
    for cut in range(len(stream) + 1):
        decoder = EventDecoder('evt3', 640, 480, reference=reference)
        got = decode(decoder, words(*stream[:cut])) + decode(decoder, words(*stream[cut:]))
        assert got == want, cut


@BOTH
def test_evt3_waits_for_time_and_row(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    early = words(row(1), on(1), low(5), on(2), 0x3000, 0x4FFF, 0xA001, high(3), on(3), 0xA001)
    assert decode(decoder, early) == []
    assert len(decoder.triggers) == 0
    assert decoder.last_time is None
    assert decoder.skipped == 6
    # The row was told before the time: it holds.
    assert decode(decoder, words(low(4), on(4))) == [(4, 1, 1, (3 << 12 | 4) * 1000)]
    rowless = EventDecoder('evt3', 640, 480, reference=reference)
    assert decode(rowless, words(high(0), low(0), on(1), 0x4FFF, row(2), on(3))) == [(3, 2, 1, 0)]
    assert rowless.skipped == 2


@BOTH
def test_evt3_time_wraps_at_half_range_only(reference: bool) -> None:
    def times(*highs: int) -> list[int]:
        decoder = EventDecoder('evt3', 640, 480, reference=reference)
        stream = [row(0)]
        for value in highs:
            stream += [high(value), low(1), on(1)]
        return [t for *_, t in decode(decoder, words(*stream))]

    turn = (1 << 24) * 1000
    unit = 4096 * 1000
    assert times(4095, 0) == [4095 * unit + 1000, turn + 1000]
    assert times(3000, 10) == [3000 * unit + 1000, turn + 10 * unit + 1000]
    assert times(2048, 0) == [2048 * unit + 1000, turn + 1000]
    # A step back by less is one, not a turn.
    assert times(2047, 0) == [2047 * unit + 1000, 1000]
    assert times(100, 99) == [100 * unit + 1000, 99 * unit + 1000]
    assert times(4095, 0, 4095, 0) == [
        4095 * unit + 1000,
        turn + 1000,
        turn + 4095 * unit + 1000,
        2 * turn + 1000,
    ]


@BOTH
def test_evt3_new_high_part_starts_with_low_part_zero(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    decode(decoder, words(high(5), low(4000), row(1), on(1)))
    # Repeating the high part changes nothing.
    assert decode(decoder, words(high(5), on(2))) == [(2, 1, 1, (5 << 12 | 4000) * 1000)]
    assert decode(decoder, words(high(6), on(3))) == [(3, 1, 1, (6 << 12) * 1000)]
    assert decoder.last_time == (6 << 12) * 1000


@BOTH
def test_evt3_skips_what_is_reserved_or_other(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    noise = [0x1FFF, 0x9999, 0xB123, 0xC000, 0xDFFF]
    other = [0xE014, 0xF123, 0xF456, 0x7001]
    stream = [high(0), low(1), row(2)]
    for word in noise + other:
        stream += [word, on(4)]
    assert decode(decoder, words(*stream)) == [(4, 2, 1, 1000)] * 9
    assert decoder.skipped == 5


@BOTH
def test_evt3_clips_to_the_geometry(reference: bool) -> None:
    decoder = EventDecoder('evt3', 100, 50, reference=reference)
    start = [high(0), low(0)]
    assert decode(decoder, words(*start, row(49), on(99), on(100))) == [(99, 49, 1, 0)]
    assert decoder.clipped == 1
    got = decode(decoder, words(0x3000 | 95, 0x4FFF, 0x4FFF, 0x50FF))
    assert [x for x, *_ in got] == [95, 96, 97, 98, 99]
    assert decoder.clipped == 1 + 7 + 12 + 8
    assert decode(decoder, words(row(50), on(1), 0x3000, 0x4FFF)) == []
    assert decoder.clipped == 28 + 13


@BOTH
def test_evt3_triggers_have_both_edges_and_channels(reference: bool) -> None:
    decoder = EventDecoder('evt3', 640, 480, reference=reference)
    decode(decoder, words(high(1), low(0), 0xA001, low(7), 0xA600, 0xAFFF))
    edges = decoder.triggers
    assert edges.t.tolist() == [4096000, 4103000, 4103000]
    assert edges.value.tolist() == [1, 0, 1]
    assert edges.id.tolist() == [0, 6, 15]
    decode(decoder, words(low(8)))
    assert len(decoder.triggers) == 0


def test_reset_and_resync() -> None:
    decoder = EventDecoder('evt3', 640, 480)
    decode(decoder, words(high(4095), low(2), row(3), on(4)))
    decoder.resync()
    # Neither row nor low time are taken from before the gap, but the turn of the clock is seen.
    got = decode(decoder, words(on(4), low(1), on(4), high(0), low(1), on(4), row(8), on(5)))
    assert got == [(5, 8, 1, ((1 << 24) + 1) * 1000)]
    decoder.reset()
    assert decoder.last_time is None
    assert decode(decoder, words(low(2), on(4))) == []


@BOTH
def test_libcaer_cmp(reference: bool) -> None:
    decoder = EventDecoder('libcaer_cmp', 640, 480, reference=reference)
    stream = words(0x2005, 0x3803, 0x1002, 0x0001, 0x3004, 0x4800 | 100, 0x5081, 0x5001, 0x6FFF)
    t0, t1 = 10**9, 10**9 + (4096 + 2) * 1000
    want = [(5, 3, 1, t0), (5, 4, 0, t1), (5, 100, 1, t1), (5, 107, 1, t1), (5, 108, 1, t1)]
    assert decode(decoder, stream, 10**9) == want
    assert (decoder.last_time, decoder.skipped) == (t1, 1)
    # Nothing crosses messages: time starts at the base, and the column has to be told.
    assert decode(decoder, words(0x3003, 0x4000, 0x50FF, 0x2001, 0x3002), 77) == [(1, 2, 0, 77)]
    assert decoder.skipped == 3


@BOTH
def test_libcaer_cmp_clips(reference: bool) -> None:
    decoder = EventDecoder('libcaer_cmp', 10, 20, reference=reference)
    stream = [0x2009, 0x4000 | 15, 0x50FF, 0x50FF, 0x3013, 0x3014, 0x200A, 0x3000]
    got = decode(decoder, words(*stream))
    assert [y for _, y, *_ in got] == [15, 16, 17, 18, 19, 19]
    assert decoder.clipped == 3 + 8 + 1 + 1


def libcaer(x: int, y: int, p: int, us: int, valid: int = 1) -> list[int]:
    return [valid | p << 1 | y << 2 | x << 17, us]


@BOTH
def test_libcaer(reference: bool) -> None:
    decoder = EventDecoder('libcaer', 640, 480, reference=reference)
    stream = libcaer(639, 479, 1, 5) + libcaer(1, 2, 0, 6) + libcaer(1, 2, 0, 7, valid=0)
    got = decode(decoder, words(*stream, *libcaer(640, 2, 0, 8), size=4), 10**18)
    assert got == [(639, 479, 1, 10**18 + 5000), (1, 2, 0, 10**18 + 6000)]
    assert (decoder.skipped, decoder.clipped, decoder.last_time) == (1, 1, 10**18 + 8000)


@BOTH
def test_libcaer_time_wraps_inside_a_message(reference: bool) -> None:
    decoder = EventDecoder('libcaer', 640, 480, reference=reference)
    last = (1 << 31) - 1
    stream = libcaer(1, 1, 1, last) + libcaer(1, 1, 1, last - 50) + libcaer(1, 1, 1, 3)
    times = [t for *_, t in decode(decoder, words(*stream, size=4))]
    assert times == [last * 1000, (last - 50) * 1000, ((1 << 31) + 3) * 1000]
    # The next message has its own base.
    assert decode(decoder, words(*libcaer(1, 1, 1, 4), size=4)) == [(1, 1, 1, 4000)]


def test_libcaer_refuses_a_time_that_wraps_too_often() -> None:
    decoder = EventDecoder('libcaer', 640, 480)
    decode(decoder, words(*libcaer(1, 1, 1, 4), size=4))
    one = np.array([libcaer(1, 1, 1, (1 << 31) - 1), libcaer(1, 1, 1, 0)], '<u4')
    few = np.tile(one, (50, 1)).tobytes()
    assert len(decoder.decode(few)) == 100
    with pytest.raises(EventError, match='wraps'):
        decoder.decode(few, MAX_TIME - (1 << 31) * 1000)
    assert decoder.last_time == decoder.decode(few).t[-1]


@BOTH
def test_mono(reference: bool) -> None:
    decoder = EventDecoder('mono', 640, 480, reference=reference)
    stream = [7 | 639 << 32 | 479 << 48 | 1 << 63, 0xFFFFFFFF | 1 << 32 | 2 << 48, 640 << 32]
    got = decode(decoder, words(*stream, size=8), 100)
    assert got == [(639, 479, 1, 107), (1, 2, 0, 100 + 0xFFFFFFFF)]
    assert decoder.clipped == 1


@BOTH
def test_evt2(reference: bool) -> None:
    def cd(p: int, ts: int, x: int, y: int) -> int:
        return p << 28 | ts << 22 | x << 11 | y

    decoder = EventDecoder('evt2', 640, 480, reference=reference)
    edge = 0xA << 28 | 3 << 22 | 5 << 8 | 1
    stream = [cd(1, 1, 1, 1), 0x80000002, cd(1, 1, 639, 479), edge, cd(0, 63, 0, 0), 0xE0000000]
    got = decode(decoder, words(*stream, 0x50000000, cd(1, 0, 640, 0), size=4))
    assert got == [(639, 479, 1, 129000), (0, 0, 0, 191000)]
    edges = decoder.triggers
    assert (edges.t.tolist(), edges.value.tolist(), edges.id.tolist()) == ([131000], [1], [5])
    assert (decoder.skipped, decoder.clipped) == (2, 1)
    wrap = words(0x8FFFFFFF, 0x80000000, cd(1, 0, 1, 1), size=4)
    assert decode(decoder, wrap) == [(1, 1, 1, (1 << 34) * 1000)]


@BOTH
@pytest.mark.parametrize(('encoding', 'swap'), [('evt21', 0), ('evt21_legacy', 32)])
def test_evt21(encoding: str, swap: int, reference: bool) -> None:
    decoder = EventDecoder(encoding, 640, 480, reference=reference)
    stream = [
        0x8 << 60 | 1 << 32,
        1 << 60 | 2 << 54 | 608 << 43 | 9 << 32 | 0x80000001,
        0xA << 60 | 3 << 54 | 4 << 40 | 1 << 32,
        1 << 60 | 2 << 54 | 624 << 43 | 9 << 32 | 0x00010001,
    ]
    if swap:
        stream = [(w >> 32 | w << 32) & (1 << 64) - 1 for w in stream]
    got = decode(decoder, words(*stream, size=8))
    assert got == [(608, 9, 1, 66000), (639, 9, 1, 66000), (624, 9, 1, 66000)]
    assert (decoder.triggers.t.tolist(), decoder.triggers.id.tolist()) == ([67000], [4])
    assert decoder.clipped == 1


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_partial_words_are_dropped_and_counted(encoding: str) -> None:
    rng = np.random.default_rng(1)
    good = rng.integers(0, 256, 64, np.uint8).tobytes()
    a, b = EventDecoder(encoding, 2048, 2048), EventDecoder(encoding, 2048, 2048)
    assert decode(a, good) == decode(b, good + b'\x81')
    assert (a.truncated, b.truncated) == (0, 1)
    assert decode(a, b'') == []


def test_all_kinds_of_buffers_are_decoded_by_one_compiled_kernel() -> None:
    payload = words(high(0), low(0), row(1), on(2))
    writable = np.frombuffer(payload, np.uint8).copy()
    frozen = np.frombuffer(payload, np.uint8)
    shifted = memoryview(b'\0' + payload)[1:]
    kinds = [payload, bytearray(payload), memoryview(payload), array('B', payload)]
    for kind in [*kinds, writable, frozen, shifted, frozen.view('<u2')]:
        assert decode(EventDecoder('evt3', 8, 8), kind) == [(2, 1, 1, 0)]
    assert len(kernels_words.decode_evt3.signatures) == 1
    assert len(kernels_words.bound_words.signatures) == 1
    assert writable.flags.writeable


@pytest.mark.parametrize('payload', [None, 5, 'text', [1, 2], object()])
def test_what_is_no_buffer_is_refused(payload: Any) -> None:
    with pytest.raises(EventError, match=type(payload).__name__):
        EventDecoder('evt3', 8, 8).decode(payload)


def test_unknown_encodings_name_the_known_ones() -> None:
    with pytest.raises(EventError, match=r"'evt9'.*evt3.*libcaer_cmp"):
        EventDecoder('evt9', 8, 8)
    with pytest.raises(EventError):
        EventDecoder(None, 8, 8)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ('width', 'height'), [(0, 1), (1, 0), (-1, 5), (8193, 5), (5, 2**32), ('a', 1)]
)
def test_unusable_geometry_is_refused(width: Any, height: Any) -> None:
    with pytest.raises(EventError, match=r'1 \.\. 8192'):
        EventDecoder('evt3', width, height)


@pytest.mark.parametrize('encoding', ['libcaer', 'libcaer_cmp', 'mono'])
@pytest.mark.parametrize('base', [-1, MAX_TIME, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, 0.5, None])
def test_a_time_base_that_cannot_be_is_refused(encoding: str, base: Any) -> None:
    decoder = EventDecoder(encoding, 8, 8)
    with pytest.raises(EventError, match='time_base'):
        decoder.decode(bytes(16), base)
    assert decoder.last_time is None


@pytest.mark.parametrize('encoding', ['evt3', 'evt2', 'evt21'])
def test_complete_clocks_ignore_the_time_base(encoding: str) -> None:
    assert len(EventDecoder(encoding, 8, 8).decode(bytes(16), 1 << 64)) == 0


EVT3_WORD = st.one_of(
    st.integers(0, 0xFFFF),
    st.builds(lambda code, value: code << 12 | value, st.sampled_from([0, 2, 3, 4, 5, 6, 8, 10]),
              st.integers(0, 0xFFF)),
)  # fmt: skip


@settings(max_examples=60)
@given(
    st.sampled_from(ENCODINGS),
    st.lists(st.lists(EVT3_WORD, max_size=60), min_size=1, max_size=4),
    st.integers(1, 2100),
    st.integers(1, 2100),
)
def test_compiled_equals_plain_on_random_words(
    encoding: str, stream: list[list[int]], width: int, height: int
) -> None:
    compare(encoding, [words(*part) for part in stream], width, height)


def compare(encoding: str, payloads: list[bytes], width: int, height: int) -> None:
    """Decode with the kernel and with numpy and require the same, counters and state included."""
    fast = EventDecoder(encoding, width, height)
    plain = EventDecoder(encoding, width, height, reference=True)
    for payload in payloads:
        assert decode(fast, payload, 5) == decode(plain, payload, 5)
        for name in ('t', 'value', 'id'):
            assert np.array_equal(getattr(fast.triggers, name), getattr(plain.triggers, name))
        assert (fast.skipped, fast.clipped) == (plain.skipped, plain.clipped)
        assert fast.last_time == plain.last_time
        assert np.array_equal(fast._state, plain._state)


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_compiled_equals_plain_on_long_payloads(encoding: str) -> None:
    rng = np.random.default_rng(3)
    payloads = [rng.integers(0, 256, size, np.uint8).tobytes() for size in (40_000, 3, 8, 9999)]
    compare(encoding, payloads, 900, 700)
    compare(encoding, payloads, 8192, 8192)


def test_times_stay_in_range_whatever_the_clock_does() -> None:
    decoder = EventDecoder('evt3', 8, 8)
    # Two words are one turn: 2^28 turns are the limit, after which time starts anew.
    decoder._state[5] = (1 << 28) - 1
    got = decode(decoder, words(row(0), high(4095), low(0xFFF), on(1), high(0), low(0), on(1)))
    assert got[0][3] == ((1 << 52) - 1) * 1000 <= MAX_TIME
    assert got[1][3] == 0
