# SPDX-License-Identifier: Apache-2.0
"""Masks of objects.json."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from spikeseg_ros.evaluation.report import ReportError
from spikeseg_ros.evaluation.report.masks import (
    agreement,
    decode_counts,
    draw_masks,
    mask_pixels,
)

FILE = Path('objects.json')


def test_run_lengths_are_those_of_pycocotools() -> None:
    coco = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(3)
    for share in (0.0, 0.02, 0.5, 0.98, 1.0):
        mask = rng.random((61, 83)) < share
        encoded = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
        item = {'segmentation': {'size': encoded['size'], 'counts': encoded['counts'].decode()}}
        assert np.array_equal(mask_pixels(item, FILE), np.flatnonzero(mask.T))


def test_uncompressed_run_lengths_are_read_too() -> None:
    # Columns of a 3 x 2 image: pixels 2 and 3 are set.
    item = {'segmentation': {'size': [3, 2], 'counts': [2, 2, 2]}}
    assert mask_pixels(item, FILE).tolist() == [2, 3]


@pytest.mark.parametrize(
    'segmentation',
    [
        {'size': [3, 2], 'counts': [2, 2, 1]},
        {'size': [3, 2], 'counts': [8, -2]},
        {'size': [3, 2], 'counts': 'P'},
        {'size': [3, 2], 'counts': ' '},
        {'size': [3], 'counts': [6]},
        {'size': [0, 0], 'counts': []},
        {'size': [10**6, 10**6], 'counts': [10**12]},
        {'size': ['a', 'b'], 'counts': [6]},
        {'size': [3, 2], 'counts': 7},
    ],
)
def test_broken_masks_name_the_file(segmentation: dict[str, object]) -> None:
    with pytest.raises(ReportError, match=r'objects\.json'):
        mask_pixels({'id': 5, 'segmentation': segmentation}, FILE)


def test_numbers_may_not_end_within() -> None:
    with pytest.raises(ValueError, match='cut off'):
        decode_counts('R')


def test_agreement_by_hand() -> None:
    one, other = np.arange(10), np.arange(5, 15)
    far = np.arange(100, 110)
    assert agreement([], []) == 1.0
    assert agreement([one], []) == 0.0
    assert agreement([one], [one]) == 1.0
    # 5 common of 15 pixels.
    assert agreement([one], [other]) == pytest.approx(1 / 3)
    # The second object is found once more, the first with 1/3; the third is on one side only.
    assert agreement([one, far], [far, other, np.arange(50, 60)]) == pytest.approx((1 + 1 / 3) / 3)


def test_masks_are_drawn_where_they_lie() -> None:
    counts = [4 * 20 + 5, 3, 20 - 3, 3, 20 * 30 - 4 * 20 - 5 - 3 - 17 - 3]
    item = {'id': 1, 'segmentation': {'size': [20, 30], 'counts': counts}, 'track_id': 1}
    data = draw_masks([item], 30, 20, FILE)
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    background = picture[0, 0]
    assert picture.shape == (20, 30, 3)
    assert (picture[5:8, 4:6] != background).any(2).all()
    assert (picture[:, 15:] == background).all()
    with pytest.raises(ReportError, match='cannot be drawn'):
        draw_masks([item], 0, 20, FILE)
