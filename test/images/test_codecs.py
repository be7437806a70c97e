# SPDX-License-Identifier: Apache-2.0
"""Image messages to arrays and back."""

from __future__ import annotations

import sys
from array import array
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.images import (
    ENCODINGS,
    ImageError,
    array_to_bytes,
    codecs,
    compress,
    compressed_to_rgb,
    image_to_array,
    image_to_rgb,
)


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Any:
    """Build an image message by hand."""
    rows = pixels.reshape(pixels.shape[0], -1)
    rows = rows.astype(rows.dtype.newbyteorder('>' if big else '<'))
    step = rows.shape[1] * rows.dtype.itemsize + padding
    data = b''.join(row.tobytes() + b'\xaa' * padding for row in rows)
    return SimpleNamespace(
        height=pixels.shape[0],
        width=pixels.shape[1],
        encoding=encoding,
        is_bigendian=int(big),
        step=step,
        data=array('B', data),
    )


def sample(encoding: str, height: int = 5, width: int = 7) -> np.ndarray:
    layout = ENCODINGS[encoding]
    rng = np.random.default_rng(len(encoding))
    shape = (height, width) if layout.channels == 1 else (height, width, layout.channels)
    if layout.dtype == 'float32':
        return rng.random(shape, np.float32)
    return rng.integers(0, np.iinfo(layout.dtype).max, shape, layout.dtype, endpoint=True)


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('padding', [0, 1, 3, 64])
@pytest.mark.parametrize('encoding', ENCODINGS)
def test_pixels_come_back(encoding: str, padding: int, big: bool) -> None:
    pixels = sample(encoding)
    found = image_to_array(message(pixels, encoding, padding, big))
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize(
    ('encoding', 'pixel', 'expected'),
    [
        ('mono8', 7, (7, 7, 7)),
        ('8UC1', 7, (7, 7, 7)),
        ('rgb8', (1, 2, 3), (1, 2, 3)),
        ('bgr8', (1, 2, 3), (3, 2, 1)),
        ('8UC3', (1, 2, 3), (3, 2, 1)),
        ('rgba8', (1, 2, 3, 4), (1, 2, 3)),
        ('bgra8', (1, 2, 3, 4), (3, 2, 1)),
        ('mono16', 0x1234, (0x12, 0x12, 0x12)),
        ('16UC1', 0xFFFF, (255, 255, 255)),
        ('32FC1', 0.5, (128, 128, 128)),
        ('32FC1', float('nan'), (0, 0, 0)),
        ('32FC1', float('inf'), (255, 255, 255)),
    ],
)
def test_colour(encoding: str, pixel: Any, expected: tuple[int, int, int]) -> None:
    pixels = np.full((2, 3, *np.shape(pixel)), pixel, ENCODINGS[encoding].dtype)
    rgb = image_to_rgb(message(pixels, encoding))
    assert rgb.shape == (2, 3, 3)
    assert rgb.flags.owndata or rgb.base is not None
    np.testing.assert_array_equal(rgb[1, 2], expected)


def test_view_is_not_copied_and_colour_is() -> None:
    source = message(sample('rgb8'), 'rgb8')
    assert np.shares_memory(image_to_array(source), np.frombuffer(source.data, np.uint8))
    assert not np.shares_memory(image_to_rgb(source), np.frombuffer(source.data, np.uint8))


def test_data_longer_than_needed_is_taken_and_last_padding_may_lack() -> None:
    pixels = sample('mono8')
    source = message(pixels, 'mono8', padding=4)
    del source.data[-4:]
    np.testing.assert_array_equal(image_to_array(source), pixels)
    source.data.extend(b'12345678')
    np.testing.assert_array_equal(image_to_array(source), pixels)


@pytest.mark.parametrize(
    ('changes', 'text'),
    [
        ({'encoding': 'yuv422'}, "'yuv422'"),
        ({'step': 6}, 'step is 6'),
        ({'height': 6}, '35 bytes'),
        ({'height': 0}, '7 x 0'),
        ({'width': 1 << 31}, 'each side'),
        ({'height': (1 << 32) - 1}, 'each side'),
        ({'data': array('B')}, '0 bytes'),
    ],
)
def test_bad_messages_are_named(changes: dict[str, Any], text: str) -> None:
    source = message(sample('mono8'), 'mono8')
    vars(source).update(changes)
    with pytest.raises(ImageError, match=text):
        image_to_array(source)


@settings(max_examples=150)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.sampled_from([*ENCODINGS, 'x', '']),
    st.booleans(),
    st.binary(max_size=300),
)
def test_hostile_messages_raise_only_image_errors(
    height: int, width: int, step: int, encoding: str, big: bool, data: bytes
) -> None:
    source = SimpleNamespace(
        height=height % 40, width=width % 40, step=step % 400, encoding=encoding
    )
    source.is_bigendian, source.data = big, array('B', data)
    try:
        rgb = image_to_rgb(source)
    except ImageError:
        return
    assert rgb.shape == (source.height, source.width, 3)


def test_cv_bridge_and_table_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class Bridge:
        def imgmsg_to_cv2(self, source: Any, wanted: str) -> np.ndarray:
            calls.append(wanted)
            layout = ENCODINGS[source.encoding]
            raw = np.frombuffer(source.data, layout.dtype)
            return raw.reshape(source.height, source.width, -1)

    monkeypatch.setattr(codecs, 'CvBridge', Bridge)
    for encoding in ENCODINGS:
        source = message(sample(encoding), encoding)
        np.testing.assert_array_equal(image_to_array(source), image_to_array(source, bridge=False))
    assert calls == ['passthrough'] * len(ENCODINGS)


def test_broken_cv_bridge_is_replaced_by_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bridge:
        def imgmsg_to_cv2(self, source: Any, wanted: str) -> np.ndarray:
            raise AttributeError('_ARRAY_API not found')

    monkeypatch.setattr(codecs, 'CvBridge', Bridge)
    pixels = sample('bgr8')
    np.testing.assert_array_equal(image_to_array(message(pixels, 'bgr8')), pixels)


def test_png_comes_back_exactly_and_jpeg_nearly() -> None:
    rgb = np.zeros((16, 24, 3), np.uint8)
    rgb[:, :12] = (200, 30, 60)
    data = array('B', compress(rgb, 'png'))
    png = SimpleNamespace(format='rgb8; png compressed bgr8', data=data)
    np.testing.assert_array_equal(compressed_to_rgb(png), rgb)
    jpeg = SimpleNamespace(format='jpeg', data=array('B', compress(rgb)))
    assert np.abs(compressed_to_rgb(jpeg)[:, :8].astype(int) - rgb[:, :8]).max() < 12


@pytest.mark.parametrize('data', [b'', b'no image at all', b'\x89PNG\r\n\x1a\n' + b'\0' * 40])
def test_bad_compressed_images_are_named(data: bytes) -> None:
    with pytest.raises(ImageError, match="'jpeg'"):
        compressed_to_rgb(SimpleNamespace(format='jpeg', data=array('B', data)))


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_arrays_become_data(encoding: str) -> None:
    pixels = sample(encoding)
    step, data = array_to_bytes(pixels, encoding)
    source = message(pixels, encoding)
    vars(source).update(step=step, data=data, is_bigendian=sys.byteorder == 'big')
    np.testing.assert_array_equal(image_to_array(source), pixels)


def test_arrays_that_do_not_fit_are_named() -> None:
    with pytest.raises(ImageError, match='float64'):
        array_to_bytes(np.zeros((2, 2)), 'mono8')
    with pytest.raises(ImageError, match='3 channels'):
        array_to_bytes(np.zeros((2, 2), np.uint8), 'rgb8')
    with pytest.raises(ImageError, match='gif'):
        compress(np.zeros((2, 2, 3), np.uint8), 'gif')
