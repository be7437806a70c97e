# SPDX-License-Identifier: Apache-2.0
"""HULK on patches equals its plain definition."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hulk_scenes import DENSITY, GEOMETRIES, random_trace, random_weights

from spikeseg_ros.algorithms import HULKConfigError, HULKDecoder, HULKRuntimeError, hulk_patches
from spikeseg_ros.algorithms.ash import unpack
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes
from spikeseg_ros.spiking.unravel import unravel_dense


def decoder(geometry, weights):
    return HULKDecoder(*weights, geometry.pool_kernels, geometry.pool_strides)


def assert_equal_to_definition(trace, weights, mode, threshold=0.5, every=1):
    hulk = decoder(trace.geometry, weights)
    batch = hulk.instances_from_trace(trace, mode=mode, threshold=threshold, keep_empty=True)
    assert len(batch) == len(trace.classes)
    matrices = unpack(batch.words, batch.n_features, batch.steps)
    for row in range(0, len(batch), every):
        truth = unravel_dense(trace, weights, [row], threshold, mode)
        mask = batch.select(np.array([row])).union_mask()
        np.testing.assert_array_equal(mask, truth.mask)
        features = np.concatenate([truth.conv1, truth.conv2, truth.classes], axis=1)
        np.testing.assert_array_equal(matrices[row], features.T)
        x_min, y_min, x_max, y_max = batch.boxes[row]
        if truth.mask.any():
            ys, xs = np.nonzero(truth.mask)
            assert (x_min, y_min, x_max, y_max) == (xs.min(), ys.min(), xs.max(), ys.max())
        else:
            assert x_max < x_min
    return batch


@pytest.mark.parametrize('name', GEOMETRIES)
def test_causal_equals_definition(name):
    geometry = GEOMETRIES[name]
    # A single conv1 weight needs many connections to find an event.
    small = name == 'kernel 1'
    trace = random_trace(geometry, 3, density=(0.4, 0.3, 0.2, 0.1) if small else DENSITY)
    weights = random_weights(geometry, 4, 0.7 if small else 0.25)
    batch = assert_equal_to_definition(trace, weights, 'causal')
    assert (batch.boxes[:, 2] >= batch.boxes[:, 0]).any()


@pytest.mark.parametrize('name', GEOMETRIES)
def test_weights_equals_definition(name):
    geometry = GEOMETRIES[name]
    trace = random_trace(geometry, seed=5)
    weights = random_weights(geometry, seed=6, share=0.05)
    batch = assert_equal_to_definition(trace, weights, 'weights', every=6)
    assert (batch.boxes[:, 2] >= batch.boxes[:, 0]).any()


@pytest.mark.parametrize('threshold', [0.0, 0.05, 0.8])
def test_threshold_decides_what_is_connected(threshold):
    geometry = GEOMETRIES['igarss2023']
    trace = random_trace(geometry, 7, density=(0.05, 0.05, 0.03, 0.02))
    assert_equal_to_definition(
        trace, random_weights(geometry, 8, 0.1), 'causal', threshold, every=3
    )


def test_without_charge_starts_everything_up_to_the_spike_counts():
    geometry = GEOMETRIES['two polarities, three classes']
    trace = random_trace(geometry, 9, since=False)
    assert_equal_to_definition(trace, random_weights(geometry, 10), 'causal', every=3)


@pytest.mark.parametrize('steps', [1, 16, 17, 64, 65, 70])
def test_windows_of_any_length_equal_the_definition(steps):
    geometry = GEOMETRIES['igarss2023']
    thin = tuple(4 * share / max(4, steps) for share in DENSITY)
    trace = random_trace(geometry, steps, steps, thin)
    assert_equal_to_definition(trace, random_weights(geometry, 21), 'causal', every=4)


def test_a_small_memory_changes_nothing(monkeypatch):
    geometry = GEOMETRIES['igarss2023']
    trace, weights = random_trace(geometry, 11), random_weights(geometry, 12)
    whole = decoder(geometry, weights).instances_from_trace(trace)
    monkeypatch.setattr(hulk_patches, 'MAX_TRACES', 8)
    forgetful = decoder(geometry, weights).instances_from_trace(trace)
    np.testing.assert_array_equal(whole.rows, forgetful.rows)
    np.testing.assert_array_equal(whole.words, forgetful.words)


def test_union_of_instances_is_the_semantic_mask():
    for name, geometry in GEOMETRIES.items():
        trace, weights = random_trace(geometry, 13), random_weights(geometry, 14)
        batch = decoder(geometry, weights).instances_from_trace(trace)
        everything = unravel_dense(trace, weights, range(len(trace.classes)))
        np.testing.assert_array_equal(batch.union_mask(), everything.mask, err_msg=name)
        union = np.bitwise_or.reduce(
            decoder(geometry, weights).instances_from_trace(trace, keep_empty=True).words, axis=0
        )
        features = np.concatenate([everything.conv1, everything.conv2, everything.classes], axis=1)
        np.testing.assert_array_equal(unpack(union, batch.n_features, batch.steps), features.T)


def full_trace(geometry, cell, steps=1):
    """Return a record in which everything fired, with one class spike, and weights of 1."""
    trace = random_trace(geometry, 0, steps)
    y, x = (np.array([value], np.int32) for value in cell)
    zero = np.zeros(1, np.int32)
    # In neighbouring windows the outermost cells win in turns, so that the reach is complete.
    pools = []
    for pool, like in ((0, trace.pool1), (1, trace.pool2)):
        last = geometry.pool_kernels[pool] ** 2
        offsets = np.full(like.shape, last, np.uint8)
        offsets[..., ::2] = 1
        pools.append(offsets)
    return dataclasses.replace(
        trace,
        inputs=np.ones_like(trace.inputs),
        pool1=pools[0],
        pool2=pools[1],
        pool1_since=np.zeros_like(trace.pool1),
        pool2_since=np.zeros_like(trace.pool2),
        classes=ClassSpikes(zero + steps - 1, zero, y, x, np.ones(1, np.float32), zero),
    ), tuple(
        np.ones((geometry.channels[i + 1], geometry.channels[i], k, k), np.float32)
        for i, k in enumerate(geometry.conv_kernels)
    )


def test_receptive_field_is_40_pixels_at_a_stride_of_4():
    geometry = ChainGeometry(120, 100, (1, 4, 36, 1))
    for y, x in ((12, 9), (13, 10)):
        trace, weights = full_trace(geometry, (y, x))
        batch = decoder(geometry, weights).instances_from_trace(trace)
        corner = (4 * x - 18, 4 * y - 18)
        assert tuple(batch.boxes[0]) == (*corner, corner[0] + 39, corner[1] + 39)
    # 7 + 14 + 18 + 36 + 40 px: the border cuts it.
    trace, weights = full_trace(geometry, (0, 0))
    batch = decoder(geometry, weights).instances_from_trace(trace)
    assert tuple(batch.boxes[0]) == (0, 0, 21, 21)


def test_receptive_field_of_the_strided_pool_needs_two_words_a_row():
    geometry = ChainGeometry(260, 346, (1, 4, 6, 1), (5, 5, 7), (7, 2), (6, 2))
    assert geometry.footprint()[1] == 113
    trace, weights = full_trace(geometry, (10, 12))
    batch = decoder(geometry, weights).instances_from_trace(trace)
    assert batch.rows.shape == (1, 113, 2)
    start = geometry.footprint()[0]
    assert tuple(batch.boxes[0, :2]) == (12 * 12 + start, 12 * 10 + start)
    assert tuple(batch.boxes[0, 2:] - batch.boxes[0, :2] + 1) == (113, 113)


def test_a_choice_of_spikes_covers_the_field_and_the_rest_is_counted():
    geometry = GEOMETRIES['two polarities, three classes']
    trace, weights = random_trace(geometry, 15), random_weights(geometry, 16)
    hulk = decoder(geometry, weights)
    everything = hulk.instances_from_trace(trace, keep_empty=True)
    few = hulk.instances_from_trace(trace, 10, keep_empty=True)
    assert (len(few), few.n_spikes) == (10, len(trace.classes))
    assert few.n_dropped == len(trace.classes) - 10
    classes = trace.classes
    blocks = list(zip(classes.class_id, classes.y // 2, classes.x // 2, strict=True))
    turns = []
    for i, block in enumerate(blocks):
        rivals = [j for j, other in enumerate(blocks) if other == block]
        order = sorted(rivals, key=lambda j: (-classes.potential[j], j))
        turns.append(order.index(i))
    ranked = sorted(range(len(blocks)), key=lambda i: (turns[i], -classes.potential[i], i))
    assert few.ids.tolist() == sorted(ranked[:10])
    np.testing.assert_array_equal(few.rows, everything.select(few.ids).rows)
    assert hulk.instances_from_trace(trace, 10**6).n_dropped == 0
    assert len(hulk.instances_from_trace(trace, 0)) == 0


def test_empty_window_and_silent_inputs():
    geometry = GEOMETRIES['igarss2023']
    weights = random_weights(geometry, 17)
    silent = random_trace(geometry, 18, density=(0.0, 0.1, 0.1, 0.05))
    hulk = decoder(geometry, weights)
    # Instances without a pixel are dropped; their spikes are still counted.
    batch = hulk.instances_from_trace(silent)
    assert (len(batch), batch.n_spikes) == (0, len(silent.classes))
    assert batch.to_instances() == []
    assert not batch.union_mask().any()
    nothing = dataclasses.replace(
        silent,
        classes=ClassSpikes(
            *(getattr(silent.classes, f.name)[:0] for f in dataclasses.fields(ClassSpikes))
        ),
    )
    for mode in ('causal', 'weights'):
        assert len(hulk.instances_from_trace(nothing, mode=mode)) == 0


def test_instances_carry_what_the_batch_holds():
    geometry = GEOMETRIES['two polarities, three classes']
    trace, weights = random_trace(geometry, 19), random_weights(geometry, 20)
    batch = decoder(geometry, weights).instances_from_trace(trace)
    instances = batch.to_instances()
    assert len(instances) == len(batch) > 20
    union = np.zeros((geometry.height, geometry.width), bool)
    for row, item in enumerate(instances):
        place = int(item.instance_id)
        classes = trace.classes
        assert item.class_id == classes.class_id[place]
        assert item.step == classes.step[place]
        assert item.spike_location == (classes.x[place], classes.y[place])
        assert item.score == classes.potential[place]
        assert item.bbox.to_xyxy() == tuple(batch.boxes[row])
        assert item.ash.matrix[sum(batch.layers[:2]) + item.class_id, item.step]
        full = item.mask.numpy()
        np.testing.assert_array_equal(
            full[item.bbox.y_min : item.bbox.y_max + 1, item.bbox.x_min : item.bbox.x_max + 1],
            item.crop,
        )
        assert full.sum() == item.crop.sum()
        union |= full
    np.testing.assert_array_equal(union, batch.union_mask())


def test_hostile_records_are_refused_or_harmless():
    geometry = GEOMETRIES['igarss2023']
    trace, weights = random_trace(geometry, 21), random_weights(geometry, 22)
    hulk = decoder(geometry, weights)
    far = dataclasses.replace(trace.classes, x=trace.classes.x + 1000)
    with pytest.raises(HULKRuntimeError, match='x of the class spikes'):
        hulk.instances_from_trace(dataclasses.replace(trace, classes=far))
    with pytest.raises(HULKRuntimeError, match='pool2 of the record'):
        hulk.instances_from_trace(dataclasses.replace(trace, pool2=trace.pool2[:, :-1]))
    with pytest.raises(HULKRuntimeError, match='the weights are of'):
        hulk.instances_from_trace(random_trace(GEOMETRIES['kernel 1'], 0))
    with pytest.raises(HULKConfigError, match="'both'"):
        hulk.instances_from_trace(trace, mode='both')
    with pytest.raises(HULKConfigError, match='nan'):
        hulk.instances_from_trace(trace, threshold=float('nan'))
    # Offsets outside the pooling window count as silence in the causal mode.
    wild = dataclasses.replace(trace, pool1=np.where(trace.pool1, 255, 0).astype(np.uint8))
    assert len(hulk.instances_from_trace(wild)) == 0
    assert hulk.instances_from_trace(wild, mode='weights').n_dropped == 0


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        ({'w1': np.zeros((4, 1, 4, 4))}, 'odd kernel'),
        ({'w2': np.zeros((6, 3, 5, 5))}, 'do not follow each other'),
        ({'w3': np.full((1, 6, 7, 7), np.nan)}, 'not finite'),
        ({'pool_kernels': (2, 0)}, 'positive'),
        ({'pool_kernels': (2, 2, 2)}, 'two positive'),
        ({'pool_kernels': (16, 2)}, 'too large'),
    ],
)
def test_weights_that_do_not_fit_are_refused(change, text):
    good = {
        'w1': np.zeros((4, 1, 5, 5)),
        'w2': np.zeros((6, 4, 5, 5)),
        'w3': np.zeros((1, 6, 7, 7)),
    }
    with pytest.raises(HULKConfigError, match=text):
        HULKDecoder(**(good | change))
