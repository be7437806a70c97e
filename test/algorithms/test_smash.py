# SPDX-License-Identifier: Apache-2.0
"""SMASH scores and grouping."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms import (
    ActiveSpikeHash,
    BoundingBox,
    GroupingError,
    HashError,
    Instance,
    Object,
    compute_smash_score,
    group_instances_to_objects,
    match_objects_across_sequences,
    smash_matrix,
)
from spikeseg_ros.algorithms.linkage import group_labels
from spikeseg_ros.algorithms.smash import jaccard_matrix, smash_matrix_pairs


def instance(number, box, matrix=None, class_id=0, **more):
    matrix = np.eye(4, 6) if matrix is None else matrix
    return Instance(number, ActiveSpikeHash(matrix), BoundingBox(*box), class_id, **more)


def random_instances(seed, count=25, classes=2):
    rng = np.random.default_rng(seed)
    made = []
    for number in rng.permutation(3 * count)[:count]:
        x, y = rng.integers(0, 60, 2)
        width, height = rng.integers(0, 30, 2)
        matrix = rng.random((9, 8)) < rng.choice([0.0, 0.3, 0.6])
        box = (x, y, x + width, y + height)
        made.append(instance(int(number), box, matrix, int(rng.integers(classes))))
    return made


def arrays(instances):
    words = np.stack([item.ash.words for item in instances])
    return words, np.array([item.bbox.to_xyxy() for item in instances], np.int32)


def partition(objects):
    return sorted(sorted(item.instance_id for item in group.instances) for group in objects)


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_score_is_symmetric_bounded_and_one_with_itself(seed):
    instances = random_instances(seed, 12)
    for one in instances:
        assert one.smash_score(one) == (1.0 if one.ash.n_active else 0.0)
        for other in instances:
            score = one.smash_score(other)
            assert 0.0 <= score <= 1.0
            assert score == other.smash_score(one)
            assert score == one.ash.similarity(other.ash) * one.bbox.iou(other.bbox)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(0, 60))
def test_matrix_equals_pair_loop(seed, count):
    instances = random_instances(seed, count) if count else []
    words = np.zeros((0, 2), np.uint64)
    boxes = np.zeros((0, 4), np.int32)
    if count:
        words, boxes = arrays(instances)
    np.testing.assert_array_equal(smash_matrix(words, boxes), smash_matrix_pairs(instances))


def test_jaccard_matrix_equals_pairs():
    instances = random_instances(5, 20)
    words, _ = arrays(instances)
    expected = [[a.ash.similarity(b.ash) for b in instances[:7]] for a in instances]
    np.testing.assert_allclose(jaccard_matrix(words, words[:7]), expected, rtol=1e-12)


def test_golden_score():
    a = ActiveSpikeHash(np.array([[1, 1, 0], [0, 1, 0]]))
    b = ActiveSpikeHash(np.array([[0, 1, 0], [0, 1, 1]]))
    boxes = BoundingBox(0, 0, 39, 39), BoundingBox(8, 0, 47, 39)
    assert compute_smash_score(a, boxes[0], b, boxes[1]) == pytest.approx(0.5 * 2 / 3)


# A chain: neighbours overlap by 3/5, the ends not at all; 3 is everyone's best partner of 2.
CHAIN = [(0, 0, 3, 3), (1, 0, 4, 3), (2, 0, 5, 3), (3, 0, 6, 3)]


def test_linkages_on_a_chain():
    chain = [instance(number, box) for number, box in enumerate(CHAIN)]
    assert chain[0].smash_score(chain[1]) == pytest.approx(0.6)
    assert partition(group_instances_to_objects(chain, 0.6)) == [[0, 1, 2, 3]]
    assert partition(group_instances_to_objects(chain, 0.61)) == [[0], [1], [2], [3]]
    # Every best partner is the first of equals: 0-1, 1-0, 2-1, 3-2.
    assert partition(group_instances_to_objects(chain, 0.1, 'argmax')) == [[0, 1, 2, 3]]
    # (0, 1) and (2, 3) join at 0.6, their mean score is (1/3 + 0.6 + 1/7 + 1/3) / 4 = 0.352.
    assert partition(group_instances_to_objects(chain, 0.36, 'average')) == [[0, 1], [2, 3]]
    assert partition(group_instances_to_objects(chain, 0.35, 'average')) == [[0, 1, 2, 3]]


def test_argmax_splits_what_threshold_joins():
    boxes = [(0, 0, 9, 9), (1, 0, 10, 9), (8, 0, 17, 9), (9, 0, 18, 9)]
    pairs = [instance(number, box) for number, box in enumerate(boxes)]
    assert partition(group_instances_to_objects(pairs, 0.05)) == [[0, 1, 2, 3]]
    assert partition(group_instances_to_objects(pairs, 0.05, 'argmax')) == [[0, 1], [2, 3]]


@settings(max_examples=40)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.02, 0.1, 0.3]))
def test_argmax_refines_threshold(seed, threshold):
    instances = random_instances(seed)
    coarse = group_instances_to_objects(instances, threshold, 'threshold')
    for rule in ('argmax', 'average'):
        fine = group_instances_to_objects(instances, threshold, rule)
        for group in fine:
            ids = {item.instance_id for item in group.instances}
            assert any(ids <= {i.instance_id for i in other.instances} for other in coarse)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.sampled_from(['threshold', 'argmax', 'average']))
def test_grouping_does_not_depend_on_the_order(seed, rule):
    instances = random_instances(seed)
    shuffled = [instances[i] for i in np.random.default_rng(seed + 1).permutation(len(instances))]
    first = group_instances_to_objects(instances, 0.05, rule)
    second = group_instances_to_objects(shuffled, 0.05, rule)
    assert [[i.instance_id for i in group.instances] for group in first] == [
        [i.instance_id for i in group.instances] for group in second
    ]
    smallest = [min(item.instance_id for item in group.instances) for group in first]
    assert smallest == sorted(smallest)
    assert [group.object_id for group in first] == list(range(len(first)))
    assert sum(group.n_instances for group in first) == len(instances)


def test_pairs_without_overlap_are_never_joined():
    apart = [instance(0, (0, 0, 3, 3)), instance(1, (4, 0, 7, 3))]
    for rule in ('threshold', 'argmax', 'average'):
        assert len(group_instances_to_objects(apart, 0.0, rule)) == 2


def test_classes_are_kept_apart_unless_told_otherwise():
    same_place = [instance(0, (0, 0, 3, 3)), instance(1, (0, 0, 3, 3), class_id=1)]
    assert len(group_instances_to_objects(same_place)) == 2
    assert len(group_instances_to_objects(same_place, separate_classes=False)) == 1


def test_objects_combine_hash_box_mask_and_class():
    crop = np.ones((2, 2), bool)
    size = (20, 30)
    one = instance(4, (1, 2, 2, 3), crop=crop, frame_size=size, score=1.0)
    two = instance(7, (2, 3, 3, 4), np.ones((4, 6)), 1, crop=crop, frame_size=size, score=2.5)
    group = Object(0, [one, two])
    assert group.n_instances == 2
    assert group.combined_bbox == BoundingBox(1, 2, 3, 4)
    assert group.combined_ash.n_active == 24
    assert group.class_id == 1
    np.testing.assert_array_equal(group.crop, [[1, 1, 0], [1, 1, 1], [0, 1, 1]])
    assert one.mask.shape == size
    assert BoundingBox.from_mask(one.mask) == one.bbox
    with pytest.raises(GroupingError, match='no instances'):
        _ = Object(1).crop
    with pytest.raises(GroupingError, match='no mask'):
        _ = Object(1, [instance(0, (0, 0, 1, 1))]).crop


def test_instance_takes_a_full_mask_like_the_published_class():
    mask = torch.zeros(8, 9)
    mask[2:4, 3] = 1
    made = Instance(
        instance_id=0,
        ash=ActiveSpikeHash(torch.ones(3, 2), n_features=3, n_timesteps=2),
        bbox=BoundingBox.from_mask(mask),
        mask=mask,
        spike_location=(1, 2),
    )
    assert made.mask is mask
    assert made.frame_size == (8, 9)
    np.testing.assert_array_equal(made.crop, [[True], [True]])
    assert made.origin == (3, 2)
    assert 'spike_location=(1, 2)' in repr(made)


def test_grouping_refuses_what_it_cannot_use():
    with pytest.raises(GroupingError, match="'single'"):
        group_instances_to_objects([], linkage='single')
    with pytest.raises(GroupingError, match=r'1\.5'):
        group_labels(np.zeros((2, 2), np.float32), 1.5, 'threshold')
    with pytest.raises(GroupingError, match='nan'):
        group_labels(np.zeros((2, 2), np.float32), float('nan'), 'threshold')
    mixed = [instance(0, (0, 0, 1, 1)), instance(1, (0, 0, 1, 1), np.ones((4, 7)))]
    with pytest.raises(HashError):
        group_instances_to_objects(mixed)
    assert group_instances_to_objects([]) == []


def test_objects_are_matched_one_to_one_across_windows():
    hashes = np.zeros((3, 4, 6))
    hashes[0, 0, :4] = hashes[1, 0, 2:] = hashes[2, 3, :] = 1

    def objects(*rows):
        return [
            Object(10 + n, [instance(n, (0, 0, 1, 1), hashes[row])]) for n, row in enumerate(rows)
        ]

    assert match_objects_across_sequences(objects(1, 2), objects(2, 0, 1)) == {10: 12, 11: 10}
    # Both resemble the same earlier object: only the better one gets it.
    assert match_objects_across_sequences(objects(0, 1), objects(1)) == {11: 10}
    assert match_objects_across_sequences(objects(0), objects(1), 0.5) == {}
    assert match_objects_across_sequences([], objects(1)) == {}
    with pytest.raises(GroupingError, match='no hash'):
        match_objects_across_sequences([Object(0)], objects(1))
