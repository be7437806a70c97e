# SPDX-License-Identifier: Apache-2.0
"""HULK on patches equals its plain definition."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scenes import GEOMETRIES, random_trace, random_weights

from spikeseg_ros.algorithms import HULKDecoder
from spikeseg_ros.algorithms.ash import unpack
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


@pytest.mark.parametrize('mode', ['causal', 'weights'])
@pytest.mark.parametrize('name', GEOMETRIES)
def test_equals_definition_on_random_records(name, mode):
    geometry = GEOMETRIES[name]
    trace = random_trace(geometry, seed=3)
    weights = random_weights(geometry, seed=4, share=0.25 if mode == 'causal' else 0.05)
    assert_equal_to_definition(trace, weights, mode, every=1 if mode == 'causal' else 5)
