# SPDX-License-Identifier: Apache-2.0
"""Objects of a window: grouping, ownership of events, masks."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hulk_scenes import GEOMETRIES, random_trace, random_weights

from spikeseg_ros.algorithms import (
    BoundingBox,
    GroupingError,
    HashError,
    HULKDecoder,
    InstanceBatch,
    ObjectOptions,
    group_batch,
    group_instances_to_objects,
    objects_from_batch,
)
from spikeseg_ros.algorithms.ash import pack
from spikeseg_ros.algorithms.objects import SCORE_HALF, closed

SIZE = 24


def batch_of(masks, potential, class_id=None, hashes=None, step=None, frame=(60, 80)):
    """Make a batch of full masks, each in a crop that starts at its box (minus 3 px)."""
    count = len(masks)
    boxes, origin, rows = [], [], []
    for mask in masks:
        box = BoundingBox.from_mask(mask)
        x, y = box.x_min - 3, box.y_min - 3
        padded = np.pad(mask, 40)[y + 40 : y + 40 + SIZE, x + 40 : x + 40 + SIZE]
        weights = np.uint64(1) << np.arange(SIZE, dtype=np.uint64)
        rows.append((padded * weights).sum(axis=1, dtype=np.uint64)[:, None])
        boxes.append(box.to_xyxy())
        origin.append((x, y))
    if hashes is None:
        hashes = np.ones((count, 5, 4), bool)
    return InstanceBatch(
        ids=np.arange(count, dtype=np.int32) * 2 + 1,
        class_id=np.array(class_id or [0] * count, np.int32),
        step=np.array(step or [3] * count, np.int32),
        location=np.zeros((count, 2), np.int32),
        potential=np.array(potential, np.float32),
        origin=np.array(origin, np.int32),
        rows=np.array(rows),
        boxes=np.array(boxes, np.int32),
        words=pack(hashes),
        layers=(2, 2, 1),
        steps=4,
        height=frame[0],
        width=frame[1],
    )


def rectangle(x, y, width, height, frame=(60, 80)):
    mask = np.zeros(frame, bool)
    mask[y : y + height, x : x + width] = True
    return mask


def everywhere(frame=(60, 80)):
    y, x = np.mgrid[: frame[0], : frame[1]]
    return x.ravel().astype(np.uint16), y.ravel().astype(np.uint16)


EVERY = ObjectOptions(min_events=1)


def test_crops_and_union_of_the_batch():
    masks = [rectangle(0, 0, 5, 4), rectangle(70, 50, 10, 10)]
    batch = batch_of(masks, [1, 1])
    np.testing.assert_array_equal(batch.union_mask(), masks[0] | masks[1])
    np.testing.assert_array_equal(batch.to_instances()[1].mask.numpy(), masks[1])


def test_two_instances_of_one_object_and_one_apart():
    masks = [rectangle(10, 10, 10, 8), rectangle(14, 10, 10, 8), rectangle(50, 40, 6, 6)]
    found = objects_from_batch(batch_of(masks, [1.0, 2.0, 4.0]), *everywhere(), EVERY)
    first, second = found.objects
    assert (first.object_id, second.object_id) == (0, 1)
    assert first.instance_ids == (1, 3)
    assert second.instance_ids == (5,)
    assert first.box == BoundingBox(10, 10, 23, 17)
    assert first.mask.all()
    assert first.n_events == 14 * 8
    assert first.centroid == (16.5, 13.5)
    assert first.score == pytest.approx(3 / (3 + SCORE_HALF))
    assert second.score == pytest.approx(0.5)
    assert found.of_instance.tolist() == [0, 0, 1]
    owner = found.of_event.reshape(60, 80)
    np.testing.assert_array_equal(owner == 0, masks[0] | masks[1])
    np.testing.assert_array_equal(owner == 1, masks[2])
    np.testing.assert_array_equal(owner == -1, ~(masks[0] | masks[1] | masks[2]))


def test_events_go_to_the_object_with_the_larger_summed_potential():
    # Two objects by class; both cover columns 10..14.
    masks = [rectangle(5, 5, 10, 4), rectangle(5, 5, 10, 4), rectangle(10, 5, 10, 4)]
    batch = batch_of(masks, [1.0, 1.0, 1.5], [0, 0, 1])
    found = objects_from_batch(batch, *everywhere(), EVERY)
    assert [item.n_events for item in found.objects] == [40, 20]
    assert found.objects[1].box == BoundingBox(15, 5, 19, 8)
    stronger = dataclasses.replace(batch, potential=np.array([1, 1, 2.5], np.float32))
    found = objects_from_batch(stronger, *everywhere(), EVERY)
    assert [item.n_events for item in found.objects] == [20, 40]
    # Equal votes: the object of the earlier instance.
    equal = dataclasses.replace(batch, potential=np.array([1, 1, 2], np.float32))
    found = objects_from_batch(equal, *everywhere(), EVERY)
    assert [item.n_events for item in found.objects] == [40, 20]


def test_masks_hold_only_pixels_with_events_and_fill_closes_gaps():
    batch = batch_of([rectangle(10, 10, 9, 3)], [1])
    x = np.array([10, 10, 12, 18, 70, 12], np.int64)
    y = np.array([10, 12, 11, 11, 10, 11], np.int64)
    found = objects_from_batch(batch, x, y, EVERY)
    assert found.of_event.tolist() == [0, 0, 0, 0, -1, 0]
    item = found.objects[0]
    assert item.n_events == 5
    assert item.box == BoundingBox(10, 10, 18, 12)
    assert {tuple(p) for p in np.argwhere(item.mask)} == {(0, 0), (2, 0), (1, 2), (1, 8)}
    filled = objects_from_batch(batch, x, y, dataclasses.replace(EVERY, fill=1)).objects[0]
    assert filled.box == item.box
    assert filled.n_events == 5
    assert (filled.mask & ~item.mask).any()
    assert (filled.mask | ~item.mask).all()
    assert not filled.mask[:, 5].any()


def test_closing_against_the_textbook():
    rng = np.random.default_rng(0)
    for radius in (1, 2, 3):
        mask = rng.random((9, 14)) < 0.2
        side = 2 * radius + 1
        wide = np.pad(mask, 2 * radius)
        windows = np.lib.stride_tricks.sliding_window_view
        dilated = windows(wide, (side, side)).any(axis=(2, 3))
        expected = windows(dilated, (side, side)).all(axis=(2, 3))
        np.testing.assert_array_equal(closed(mask, radius), expected)


def test_floor_and_cap_drop_the_smallest_objects():
    masks = [rectangle(2, 2, 4, 4), rectangle(20, 2, 8, 8), rectangle(40, 2, 6, 6)]
    batch = batch_of(masks, [9.0, 1.0, 1.0])
    found = objects_from_batch(batch, *everywhere(), ObjectOptions(min_events=36))
    assert [item.instance_ids for item in found.objects] == [(3,), (5,)]
    assert found.of_instance.tolist() == [-1, 0, 1]
    assert found.n_dropped == 0
    assert (found.of_event.reshape(60, 80)[masks[0]] == -1).all()
    found = objects_from_batch(batch, *everywhere(), ObjectOptions(min_events=1, max_objects=2))
    assert [item.instance_ids for item in found.objects] == [(3,), (5,)]
    assert found.n_dropped == 1


def test_without_events_the_pixels_of_the_instances_are_the_mask():
    found = objects_from_batch(batch_of([rectangle(3, 4, 5, 6)], [1.0]), options=EVERY)
    assert found.objects[0].n_events == 0
    assert found.objects[0].mask.shape == (6, 5)
    assert found.objects[0].mask.all()
    assert found.of_event.shape == (0,)


def test_a_window_without_instances_has_no_objects():
    batch = batch_of([rectangle(3, 4, 5, 6)], [1.0]).select(np.zeros(1, bool))
    for rule in ('threshold', 'average', 'argmax'):
        found = objects_from_batch(batch, *everywhere(), ObjectOptions(linkage=rule))
        assert found.objects == ()
        assert found.of_instance.shape == (0,)
        assert (found.of_event == -1).all()


def test_class_and_hashes_of_a_mixed_object():
    hashes = np.zeros((2, 5, 4), bool)
    hashes[0, 0, 1] = hashes[0, 2, 2] = hashes[1, 0, 1] = hashes[1, 3, 3] = True
    masks = [rectangle(5, 5, 9, 9)] * 2
    batch = batch_of(masks, [1.0, 1.5], [0, 1], hashes, [2, 3])
    options = ObjectOptions(min_events=1, separate_classes=False)
    (item,) = objects_from_batch(batch, *everywhere(), options).objects
    assert item.class_id == 1
    np.testing.assert_array_equal(item.words, pack(hashes.any(axis=0)))
    relative = np.zeros((5, 4), bool)
    relative[0, 1] = relative[2, 0] = relative[0, 2] = relative[3, 0] = True
    np.testing.assert_array_equal(item.relative_words, pack(relative))


def test_time_alignment_and_layers_change_what_is_compared():
    hashes = np.zeros((2, 5, 4), bool)
    hashes[0, 0, 0] = hashes[1, 0, 1] = hashes[0, 3, 1] = hashes[1, 3, 2] = True
    batch = batch_of([rectangle(5, 5, 9, 9)] * 2, [1, 1], None, hashes, [1, 2])
    assert group_batch(batch).tolist() == [0, 1]
    assert group_batch(batch, time_align='relative').tolist() == [0, 0]
    assert group_batch(batch, time_align='relative', include=('class',)).tolist() == [0, 1]
    with pytest.raises(HashError, match="'late'"):
        group_batch(batch, time_align='late')


@pytest.mark.parametrize('rule', ['threshold', 'average', 'argmax'])
def test_batch_and_instances_are_grouped_alike(rule):
    geometry = GEOMETRIES['two polarities, three classes']
    trace, weights = random_trace(geometry, 23), random_weights(geometry, 24)
    hulk = HULKDecoder(*weights, geometry.pool_kernels, geometry.pool_strides)
    batch = hulk.instances_from_trace(trace)
    labels = group_batch(batch, 0.1, rule)
    objects = group_instances_to_objects(batch.to_instances(), 0.1, rule)
    assert len(objects) == labels.max() + 1 > 3
    for number, item in enumerate(objects):
        assert [i.instance_id for i in item.instances] == batch.ids[labels == number].tolist()
    y, x = np.nonzero(trace.inputs.any(axis=(0, 3)))
    found = objects_from_batch(batch, x, y, ObjectOptions(0.1, rule, min_events=1))
    painted = np.zeros((geometry.height, geometry.width), int)
    for item in found.objects:
        box = item.box
        painted[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1] += item.mask
        assert set(item.instance_ids) <= set(
            batch.ids[labels == labels[found.of_instance == item.object_id][0]]
        )
    # Every pixel of an instance has an event and exactly one owner.
    np.testing.assert_array_equal(painted, batch.union_mask().astype(int))


def test_errors():
    batch = batch_of([rectangle(3, 4, 5, 6)], [1.0])
    with pytest.raises(GroupingError, match='or neither'):
        objects_from_batch(batch, np.zeros(3, np.uint16))
    with pytest.raises(GroupingError, match='one row per column'):
        objects_from_batch(batch, np.zeros(3, np.uint16), np.zeros(2, np.uint16))
    with pytest.raises(GroupingError, match="'complete'"):
        objects_from_batch(batch, options=ObjectOptions(linkage='complete'))
