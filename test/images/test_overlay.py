# SPDX-License-Identifier: Apache-2.0
"""Colours and pictures."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.images import (
    ImageError,
    class_color,
    colorize,
    contact_sheet,
    palette,
    render_events,
    render_overlay,
    track_color,
)
from spikeseg_ros.images.overlay import BACKGROUND, COLOR_OFF, COLOR_ON
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel


def events(*columns: tuple[int, int, int]) -> Events:
    x, y, p = (np.array(column) for column in zip(*columns, strict=True))
    times = np.arange(len(columns), dtype=np.int64)
    return Events(x.astype(np.uint16), y.astype(np.uint16), p.astype(np.uint8), times)


def thing(box: BoundingBox, **changes: object) -> SegmentedObject:
    values: dict = {'class_id': 1, 'class_name': 'disk', 'score': 0.9, 'track_id': 1}
    mask = np.ones((box.height, box.width), bool)
    return SegmentedObject(0, box, mask, centroid=box.center, **(values | changes))


def result(*objects: SegmentedObject, size: tuple[int, int] = (120, 160)) -> Result:
    return Result(0, 50_000_000, 'cam', size[1], size[0], 'spikeseg', objects)


def test_colours_differ_and_are_stable() -> None:
    assert class_color(0) == (0, 0, 0)
    assert track_color(0) == track_color(-3) == (150, 150, 150)
    assert track_color(1) == track_color(1)
    near = [np.array(track_color(number), int) for number in range(1, 13)]
    gaps = [np.abs(a - b).sum() for a, b in itertools.combinations(near, 2)]
    assert min(gaps) > 25
    assert palette().shape == (256, 3)
    np.testing.assert_array_equal(
        colorize(np.array([[0, 3]], np.uint8))[0], [class_color(0), class_color(3)]
    )


def test_events_are_drawn_in_order_and_clipped() -> None:
    picture = render_events(events((1, 2, 1), (1, 2, 0), (3, 0, 1), (200, 1, 1), (0, 99, 1)), 4, 5)
    assert picture.shape == (4, 5, 3)
    assert tuple(picture[2, 1]) == COLOR_OFF
    assert tuple(picture[0, 3]) == COLOR_ON
    assert tuple(picture[3, 4]) == BACKGROUND
    assert (picture != np.array(BACKGROUND)).any(axis=2).sum() == 2


def test_objects_are_tinted_outlined_and_tagged() -> None:
    plain = render_overlay(result())
    item = thing(BoundingBox(60, 60, 99, 89), velocity=(100.0, 0.0))
    picture = render_overlay(result(item), caption='t = 1 s')
    changed = (picture != plain).any(axis=2)
    assert changed[60:90, 60:100].mean() > 0.9
    assert changed[40:60, 55:110].any(), 'the tag stands above the box'
    assert changed[-12:, :60].any(), 'the caption stands in the corner'
    assert not changed[:30].any()
    assert not changed[:, 140:].any()


def test_objects_beyond_every_edge_do_not_fail() -> None:
    boxes = [
        BoundingBox(0, 0, 159, 119),
        BoundingBox(-20, -20, 5, 5),
        BoundingBox(150, 110, 400, 300),
        BoundingBox(500, 500, 600, 600),
        BoundingBox(7, 7, 7, 7),
    ]
    for velocity in ((0.0, 0.0), (1e9, -1e9), (float('nan'), 1.0)):
        items = [thing(box, velocity=velocity, track_id=i % 2) for i, box in enumerate(boxes)]
        picture = render_overlay(result(*items))
        assert picture.shape == (120, 160, 3)
        assert picture.dtype == np.uint8


@pytest.mark.parametrize('size', [(1, 1), (34, 34), (100, 3), (720, 1280)])
def test_any_size(size: tuple[int, int]) -> None:
    item = thing(BoundingBox(0, 0, min(2, size[1] - 1), min(2, size[0] - 1)))
    assert render_overlay(result(item, size=size), caption='x').shape == (*size, 3)


def test_window_and_image_lie_below() -> None:
    drawn = events((4, 4, 1))
    window = EventWindow(drawn, 0, 1, 1, 160, 120)
    image = np.full((120, 160, 3), 90, np.uint8)
    kept = image.copy()
    picture = render_overlay(result(), window, image)
    np.testing.assert_array_equal(image, kept)
    assert tuple(picture[4, 4]) == COLOR_ON
    assert (picture == 90).all(axis=2).sum() == 120 * 160 - 1
    np.testing.assert_array_equal(picture, render_overlay(result(), drawn, image))


def test_names_come_from_the_labels_where_objects_have_none() -> None:
    bare = thing(BoundingBox(60, 60, 99, 89), class_name='')
    named = render_overlay(result(bare), labels=[ClassLabel(1, 'disk', (0, 0, 0))])
    assert (named != render_overlay(result(bare))).any()
    np.testing.assert_array_equal(
        named, render_overlay(result(thing(BoundingBox(60, 60, 99, 89))))
    )


def test_wrong_image_is_named() -> None:
    with pytest.raises(ImageError, match='120'):
        render_overlay(result(), image=np.zeros((4, 4, 3), np.uint8))


def test_sheet() -> None:
    tiles = [np.full((4, 6, 3), value, np.uint8) for value in range(5)]
    sheet = contact_sheet(tiles, columns=2, gap=1)
    assert sheet.shape == (1 + 3 * 5, 1 + 2 * 7, 3)
    np.testing.assert_array_equal(sheet[6:10, 8:14], tiles[3])
    with pytest.raises(ImageError):
        contact_sheet([])
    with pytest.raises(ImageError):
        contact_sheet([tiles[0], tiles[0][:2]])
