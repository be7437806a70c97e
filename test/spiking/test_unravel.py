# SPDX-License-Identifier: Apache-2.0
"""Tracing a class spike back, on records small enough to follow by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace
from spikeseg_ros.spiking.unravel import UnravelError, transposed_convolution, unravel_dense

GEOMETRY = ChainGeometry(8, 8, (1, 1, 1, 1), (1, 1, 1), (2, 2), (2, 2))
ONES = (np.ones((1, 1, 1, 1), np.float32),) * 3


def record(steps: int = 4) -> SpikeTrace:
    """One cause at each layer: event at (1, 3), then a class spike in cell (0, 0) at step 3.

    The event of step 0 at the same pixel comes before the charge of conv1 began.
    """
    inputs = np.zeros((steps, 8, 8, 1), np.uint8)
    inputs[[0, 1], 1, 3] = 1
    inputs[1, 0, 0] = 1
    pool1, pool1_since = (np.zeros((steps, 4, 4, 1), np.uint8) for _ in range(2))
    # Offset 3 (dy 1, dx 1) of window (0, 1): conv1 neuron (1, 3).
    pool1[1, 0, 1], pool1_since[1, 0, 1] = 4, 1
    pool2, pool2_since = (np.zeros((steps, 2, 2, 1), np.uint8) for _ in range(2))
    # Offset 1 (dy 0, dx 1) of window (0, 0): conv2 neuron (0, 1).
    pool2[2, 0, 0], pool2_since[2, 0, 0] = 2, 1
    cell = np.zeros(1, np.int32)
    classes = ClassSpikes(
        np.array([3], np.int32), cell, cell, cell, np.ones(1, np.float32), np.array([2], np.int32)
    )
    counts = {'input': 3, 'conv1': 1, 'conv2': 1, 'conv3': 1}
    return SpikeTrace(
        GEOMETRY, steps, inputs, pool1, pool1_since, pool2, pool2_since, classes, counts
    )


def test_causes_are_followed_through_winners_and_times() -> None:
    found = unravel_dense(record(), ONES, [0])
    assert np.argwhere(found.mask).tolist() == [[1, 3]]
    assert np.argwhere(found.events).tolist() == [[1, 1, 3, 0]]
    assert np.argwhere(found.conv1).tolist() == [[1, 0]]
    assert np.argwhere(found.conv2).tolist() == [[2, 0]]
    assert np.argwhere(found.classes).tolist() == [[3, 0]]


@pytest.mark.parametrize('name', ['classes', 'pool2_since', 'pool1_since'])
def test_charge_that_began_after_the_cause_has_no_cause(name: str) -> None:
    trace = record()
    if name == 'classes':
        trace.classes.since[0] = 3
    else:
        getattr(trace, name)[:] = 2
    found = unravel_dense(trace, ONES, [0])
    assert not found.mask.any()
    assert found.classes.any()
    assert found.conv2.any() == (name != 'classes')
    assert found.conv1.any() == (name == 'pool1_since')


@pytest.mark.parametrize('layer', [0, 1, 2])
def test_weak_connections_are_not_followed(layer: int) -> None:
    weights = list(ONES)
    weights[layer] = np.full((1, 1, 1, 1), 0.5, np.float32)
    assert not unravel_dense(record(), tuple(weights), [0]).mask.any()
    assert unravel_dense(record(), tuple(weights), [0], threshold=0.4).mask.any()


def test_kernels_look_in_the_direction_of_the_convolution() -> None:
    # Current of a neuron at y comes from y + ky - 1: only ky = 2 means the row below.
    weights = np.zeros((1, 1, 3, 3), np.float32)
    weights[0, 0, 2, 1] = 1
    trace = record()
    trace.inputs[1, 2, 3] = 1
    geometry = ChainGeometry(8, 8, (1, 1, 1, 1), (3, 1, 1), (2, 2), (2, 2))
    trace = SpikeTrace(geometry, *list(vars(trace).values())[1:])
    found = unravel_dense(trace, (weights, ONES[1], ONES[2]), [0])
    assert np.argwhere(found.mask).tolist() == [[2, 3]]


def test_the_weights_mode_ignores_what_fired() -> None:
    trace = record()
    found = unravel_dense(trace, ONES, [0], mode='weights')
    # At step 3 nothing passed the pools: each silent window stands for its first cell.
    assert np.argwhere(found.mask).tolist() == [[0, 0]]
    assert not found.events.any()
    for rows in (found.conv1, found.conv2, found.classes):
        assert np.argwhere(rows).tolist() == [[3, 0]]


def test_the_union_over_spikes_and_no_spikes() -> None:
    assert not unravel_dense(record(), ONES, []).mask.any()
    twice = unravel_dense(record(), ONES, [0, 0])
    assert np.array_equal(twice.mask, unravel_dense(record(), ONES, [0]).mask)


def test_the_transposed_convolution_is_the_adjoint_of_the_forward_one() -> None:
    torch = pytest.importorskip('torch')
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 2, 5, 5)).astype(np.float32)
    activity = rng.normal(size=(6, 7, 3))
    expected = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(activity).permute(2, 0, 1)[None],
        torch.from_numpy(weights).double(),
        padding=2,
    )[0].permute(1, 2, 0)
    assert np.allclose(transposed_convolution(activity, weights), expected.numpy())


def test_nonsense_is_refused() -> None:
    with pytest.raises(UnravelError, match="'acausal'"):
        unravel_dense(record(), ONES, [0], mode='acausal')
    with pytest.raises(UnravelError, match='No class spike 1'):
        unravel_dense(record(), ONES, [1])
