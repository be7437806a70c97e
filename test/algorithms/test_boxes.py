# SPDX-License-Identifier: Apache-2.0
"""Boxes with inclusive corners."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms import BoundingBox, BoxError


@st.composite
def boxes(draw):
    x, y = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    return BoundingBox(x, y, x + draw(st.integers(0, 15)), y + draw(st.integers(0, 15)))


def pixels(box):
    mask = np.zeros((40, 40), bool)
    mask[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1] = True
    return mask


def test_golden_values():
    box = BoundingBox(2, 3, 5, 3)
    assert (box.width, box.height, box.area) == (4, 1, 4)
    assert box.center == (3.5, 3.0)
    assert box.to_xywh() == (2, 3, 4, 1)
    assert box.to_xyxy() == (2, 3, 5, 3)


def test_one_pixel_boxes_side_by_side_do_not_overlap():
    left, right = BoundingBox(0, 0, 0, 0), BoundingBox(1, 0, 1, 0)
    assert left.intersection(right) is None
    assert left.iou(right) == 0.0
    assert left.iou(left) == 1.0


# Two full 40 x 40 boxes, d class cells of 4 px apart (spikeseg_hulk_smash: (10 - d) / (10 + d)).
@pytest.mark.parametrize(
    ('cells', 'axis', 'diagonal'),
    [
        (1, 0.818, 0.681),
        (2, 0.667, 0.471),
        (3, 0.538, 0.325),
        (4, 0.429, 0.220),
        (5, 0.333, 0.143),
        (6, 0.250, 0.087),
        (7, 0.176, None),
        (8, 0.111, None),
        (9, 0.053, None),
    ],
)
def test_overlap_of_neighbouring_receptive_fields(cells, axis, diagonal):
    box, shift = BoundingBox(0, 0, 39, 39), 4 * cells
    beside = BoundingBox(shift, 0, shift + 39, 39)
    assert box.iou(beside) == pytest.approx((10 - cells) / (10 + cells))
    assert box.iou(beside) == pytest.approx(axis, abs=6e-4)
    if diagonal is not None:
        assert box.iou(BoundingBox(shift, shift, shift + 39, shift + 39)) == pytest.approx(
            diagonal, abs=6e-4
        )


@settings(max_examples=60)
@given(boxes(), boxes())
def test_areas_are_numbers_of_pixels(one, other):
    a, b = pixels(one), pixels(other)
    common = one.intersection(other)
    assert (common.area if common else 0) == (a & b).sum()
    assert one.union_area(other) == (a | b).sum()
    assert one.iou(other) == other.iou(one) == (a & b).sum() / (a | b).sum()
    assert one.hull(other) == BoundingBox.from_mask(a | b)
    assert BoundingBox.from_mask(a) == one


@pytest.mark.parametrize('kind', [np.asarray, torch.from_numpy])
def test_from_mask_and_coordinates(kind):
    mask = np.zeros((6, 9), np.float32)
    assert BoundingBox.from_mask(kind(mask)) is None
    mask[4, 7] = mask[1, 2] = 0.5
    assert BoundingBox.from_mask(kind(mask)) == BoundingBox(2, 1, 7, 4)
    assert BoundingBox.from_mask(kind(mask[None, None])) == BoundingBox(2, 1, 7, 4)
    y, x = np.nonzero(mask)
    assert BoundingBox.from_coordinates(kind(x), kind(y)) == BoundingBox(2, 1, 7, 4)
    assert BoundingBox.from_coordinates(kind(x[:0]), kind(y[:0])) is None


def test_errors_say_what_is_wrong():
    with pytest.raises(BoxError, match='x_max=1'):
        BoundingBox(2, 0, 1, 4)
    with pytest.raises(BoxError, match=r'\(2, 4, 4\)'):
        BoundingBox.from_mask(np.zeros((2, 4, 4)))
    with pytest.raises(BoxError, match='one row per column'):
        BoundingBox.from_coordinates(np.zeros(2), np.zeros(3))
