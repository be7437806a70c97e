# SPDX-License-Identifier: Apache-2.0
"""Class colours over pictures, and the legend."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.images import ImageError, render_overlay
from spikeseg_ros.images.classes import CLASS_ALPHA, blend_classes, draw_legend
from spikeseg_ros.perception.result import Result
from spikeseg_ros.perception.segmenter import ClassLabel

LABELS = (
    ClassLabel(0, 'unknown', (0, 0, 0)),
    ClassLabel(1, 'road', (200, 0, 0)),
    ClassLabel(2, 'sky', (0, 0, 200)),
)


def test_known_pixels_are_tinted_and_unknown_ones_left_alone() -> None:
    canvas = np.full((2, 4, 3), 100, np.uint8)
    mask = np.array([[0, 1, 2, 9], [0, 1, 2, 9]], np.uint8)
    blend_classes(canvas, mask, LABELS)
    keep = 100 * (1 - CLASS_ALPHA)
    assert (canvas[:, [0, 3]] == 100).all()
    assert canvas[0, 1] == pytest.approx((keep + 200 * CLASS_ALPHA, keep, keep), abs=1)
    assert canvas[0, 2] == pytest.approx((keep, keep, keep + 200 * CLASS_ALPHA), abs=1)


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(ImageError, match='fit'):
        blend_classes(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), LABELS)


def test_the_legend_names_what_can_be_seen_and_leaves_small_pictures_alone() -> None:
    canvas = np.zeros((300, 400, 3), np.uint8)
    one = draw_legend(canvas, np.ones((300, 400), np.uint8), LABELS, 0.4)
    assert one is not None
    left, top, width, height = one
    assert (left + width, top) == (400, 0)
    colors = {tuple(pixel) for pixel in canvas[:height, left:].reshape(-1, 3).tolist()}
    assert (200, 0, 0) in colors
    assert (0, 0, 200) not in colors
    both = np.ones((300, 400), np.uint8)
    both[100:] = 2
    two = draw_legend(canvas, both, LABELS, 0.4)
    assert two is not None
    assert two[3] > height
    assert draw_legend(canvas, np.zeros((300, 400), np.uint8), LABELS, 0.4) is None
    tiny = np.zeros((60, 60, 3), np.uint8)
    assert draw_legend(tiny, np.ones((60, 60), np.uint8), LABELS, 0.4) is None
    assert not tiny.any()


def test_an_overlay_shows_classes_on_the_image() -> None:
    image = np.full((200, 300, 3), 100, np.uint8)
    result = Result(0, 0, 'cam', 300, 200, 'mfs_seg')
    mask = np.ones((200, 300), np.uint8)
    drawn = render_overlay(result, None, image, LABELS, '', mask)
    assert drawn[150, 50] == pytest.approx((145, 55, 55), abs=1)
    assert (image == 100).all(), 'the image is not changed'
