# SPDX-License-Identifier: Apache-2.0
"""Prophesee RAW files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.events import EventDecoder, EventError, Events, Evt3Encoder, read_raw


def decode(path: Path, chunk: int = 64) -> Events:
    packets = list(read_raw(path, chunk))
    first = packets[0]
    decoder = EventDecoder(first.encoding, first.width, first.height)
    return Events.concatenate([decoder.decode(p.payload) for p in packets])


def sample() -> Events:
    n = 300
    t = np.arange(n, dtype=np.int64) * 7000
    x = (np.arange(n) % 640).astype(np.uint16)
    return Events(x, x // np.uint16(2), (x % 2).astype(np.uint8), t)


HEADERS = [
    b'% date 2026-11-20\n% format EVT3;height=480;width=640\n% end\n',
    b'% evt 3.0\n% geometry 640x480\n',
]


@pytest.mark.parametrize('header', HEADERS)
def test_evt3(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / 'a.raw'
    path.write_bytes(header + Evt3Encoder(640, 480).encode(sample()))
    got = decode(path)
    assert np.array_equal(got.t, sample().t)
    assert np.array_equal(got.x, sample().x)
    packet = next(iter(read_raw(path)))
    assert (packet.encoding, packet.width, packet.height) == ('evt3', 640, 480)


@pytest.mark.parametrize(
    ('header', 'words', 'encoding'),
    [
        (b'% evt 2.0\n% geometry 640x480\n', [0x80000001, 1 << 28 | 5 << 11 | 6], 'evt2'),
        (
            b'% format EVT21;height=480;width=640\n% end\n',
            [0, 0x80000001, 1, 1 << 28 | 5 << 11 | 6],
            'evt21',
        ),
        (
            b'% format EVT21;endianness=legacy;height=480;width=640\n% end\n',
            [0x80000001, 0, 1 << 28 | 5 << 11 | 6, 1],
            'evt21_legacy',
        ),
    ],
)
def test_evt2(tmp_path: Path, header: bytes, words: list[int], encoding: str) -> None:
    path = tmp_path / 'a.raw'
    path.write_bytes(header + np.array(words, '<u4').tobytes())
    assert next(iter(read_raw(path))).encoding == encoding
    got = decode(path)
    assert (got.x.tolist(), got.y.tolist(), got.p.tolist(), got.t.tolist()) == (
        [5],
        [6],
        [1],
        [64000],
    )


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x00\x80\x00\x60',
        b'% format EVT9;height=1;width=1\n',
        b'% format EVT3;height=a;width=\xb2\n',
        b'% evt 3.0\n% geometry 0x480\n',
        b'%' * 10_000,
    ],
)
def test_files_without_a_usable_header_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / 'a.raw'
    path.write_bytes(content)
    with pytest.raises(EventError):
        list(read_raw(path))
    with pytest.raises(EventError, match='Cannot read'):
        list(read_raw(tmp_path / 'missing.raw'))
