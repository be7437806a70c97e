# SPDX-License-Identifier: Apache-2.0
"""Letterboxes and their inverse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.images import ImageError, letterbox, resize, restore_mask

sides = st.integers(1, 60)


@pytest.mark.parametrize(
    ('source', 'target', 'size', 'place'),
    [
        ((480, 640), (240, 320), (240, 320), (0, 0)),
        ((480, 640), (320, 320), (240, 320), (40, 0)),
        ((640, 480), (320, 320), (320, 240), (0, 40)),
        ((100, 200), (0, 100), (50, 100), (0, 0)),
        ((100, 200), (50, 0), (50, 100), (0, 0)),
        ((100, 200), (0, 0), (100, 200), (0, 0)),
    ],
)
def test_golden(source: tuple, target: tuple, size: tuple, place: tuple) -> None:
    box = letterbox(source, target)
    assert box.size == size
    assert (box.top, box.left) == place


@settings(max_examples=150)
@given(st.tuples(sides, sides), st.tuples(sides, sides), st.integers(0, 2**32 - 1))
def test_any_size(source: tuple[int, int], target: tuple[int, int], seed: int) -> None:
    box = letterbox(source, target)
    image = np.random.default_rng(seed).integers(1, 255, (*source, 3), np.uint8)
    padded = resize.apply(image, box)
    assert padded.shape == (*target, 3)
    inner = np.zeros(target, bool)
    inner[box.top : box.top + box.size[0], box.left : box.left + box.size[1]] = True
    assert not padded[~inner].any()
    mask = restore_mask(inner, box)
    assert mask.shape == source
    assert mask.all(), 'no pixel of the original may take its value from the padding'


@pytest.mark.parametrize('factor', [1, 2, 3, 7])
def test_mask_repeated_by_a_whole_factor_comes_back_exactly(factor: int) -> None:
    mask = np.random.default_rng(0).integers(0, 5, (11, 17), np.uint8)
    box = letterbox((11, 17), (11 * factor + 4, 17 * factor))
    padded = np.zeros(box.target, np.uint8)
    large = mask.repeat(factor, 0).repeat(factor, 1)
    padded[box.top : box.top + box.size[0], box.left : box.left + box.size[1]] = large
    np.testing.assert_array_equal(restore_mask(padded, box), mask)


def test_mask_of_a_shrunk_image_points_at_the_right_pixels() -> None:
    box = letterbox((8, 8), (4, 4))
    np.testing.assert_array_equal(
        restore_mask(np.arange(16).reshape(4, 4), box),
        np.arange(16).reshape(4, 4).repeat(2, 0).repeat(2, 1),
    )


def test_wrong_sizes_are_named() -> None:
    box = letterbox((8, 8), (4, 4))
    with pytest.raises(ImageError, match=r'\(3, 8\)'):
        resize.apply(np.zeros((3, 8), np.uint8), box)
    with pytest.raises(ImageError, match=r'\(8, 8\)'):
        restore_mask(np.zeros((8, 8), np.uint8), box)
    with pytest.raises(ImageError, match='-1'):
        letterbox((8, 8), (-1, 4))
    with pytest.raises(ImageError, match='0'):
        letterbox((0, 8), (4, 4))
