# SPDX-License-Identifier: Apache-2.0
"""Active spike hashes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms import ActiveSpikeHash, HashError
from spikeseg_ros.algorithms.ash import layer_words, pack, relative_words, unpack


def random_matrix(seed, features=41, steps=10, share=0.1):
    return np.random.default_rng(seed).random((features, steps)) < share


def test_bits_are_feature_times_steps_plus_step():
    matrix = np.zeros((41, 20), bool)
    matrix[3, 5] = matrix[40, 19] = True
    ash = ActiveSpikeHash(matrix)
    # 41 * 20 = 820 bits in 13 words; bits 65 and 819.
    assert ash.words.shape == (13,)
    assert ash.words.dtype == np.uint64
    assert ash.words[1] == 2
    assert ash.words[12] == 1 << (819 - 768)
    assert np.count_nonzero(ash.words) == 2


@settings(max_examples=40)
@given(st.integers(1, 70), st.integers(1, 40), st.integers(0, 1000))
def test_packing_keeps_every_bit(features, steps, seed):
    matrix = random_matrix(seed, features, steps, 0.4)
    np.testing.assert_array_equal(unpack(pack(matrix), features, steps), matrix)
    ash = ActiveSpikeHash(torch.from_numpy(matrix).float(), features, steps)
    np.testing.assert_array_equal(ash.hash_matrix.numpy(), matrix)
    assert ash.n_active == matrix.sum()
    assert ash.sparsity == pytest.approx(1 - matrix.mean())


def test_from_spike_activity_sets_feature_and_step():
    ash = ActiveSpikeHash.from_spike_activity(
        {0: [(10, 20, 0), (11, 20, 1)], 3: [(5, 5, 2)]}, 10, 5
    )
    assert {tuple(row) for row in np.argwhere(ash.matrix)} == {(0, 0), (0, 1), (3, 2)}
    assert (ash.n_features, ash.n_timesteps) == (10, 5)
    with pytest.raises(HashError, match='step 5'):
        ActiveSpikeHash.from_spike_activity({0: [(0, 0, 5)]}, 10, 5)
    with pytest.raises(HashError, match='feature -1'):
        ActiveSpikeHash.from_spike_activity({-1: [(0, 0, 0)]}, 10, 5)


def test_from_tensors_stacks_layers_and_forgets_places():
    first, second = torch.zeros(5, 2, 4, 6), torch.zeros(5, 1, 3, 2, 3)
    first[1, 0, 3, 2] = first[1, 0, 0, 0] = 1
    second[4, 0, 2, 1, 1] = 1
    ash = ActiveSpikeHash.from_layer_spikes([first, second])
    assert {tuple(row) for row in np.argwhere(ash.matrix)} == {(0, 1), (4, 4)}
    assert ActiveSpikeHash.from_spike_tensor(first) == ActiveSpikeHash.from_spike_tensor(
        first.amax(dim=(2, 3))
    )
    with pytest.raises(HashError, match='one batch item'):
        ActiveSpikeHash.from_spike_tensor(torch.zeros(5, 2, 3, 2, 3))
    with pytest.raises(HashError, match='same number of steps'):
        ActiveSpikeHash.from_layer_spikes([first, torch.zeros(4, 2, 4, 6)])
    with pytest.raises(HashError, match='at least one layer'):
        ActiveSpikeHash.from_layer_spikes([])


def test_similarity_is_the_jaccard_index():
    a = ActiveSpikeHash(np.array([[1, 1, 0], [0, 1, 0]]))
    b = ActiveSpikeHash(np.array([[0, 1, 0], [0, 1, 1]]))
    nothing = ActiveSpikeHash(np.zeros((2, 3)))
    assert a.similarity(b) == 2 / 4
    assert a.similarity(a) == 1.0
    assert a.similarity(nothing) == 0.0
    assert nothing.similarity(nothing) == 0.0
    assert a.union(b).n_active == 4
    with pytest.raises(HashError, match='cannot be compared'):
        a.similarity(ActiveSpikeHash(np.zeros((3, 2))))


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_similarity_is_symmetric_and_bounded(one, other):
    a, b = ActiveSpikeHash(random_matrix(one)), ActiveSpikeHash(random_matrix(other))
    assert 0.0 <= a.similarity(b) == b.similarity(a) <= 1.0
    assert a.similarity(b) <= min(a.n_active, b.n_active) / max(a.n_active, b.n_active, 1)


def test_relative_hash_holds_lags_and_does_not_depend_on_onset():
    early, late = np.zeros((6, 10), bool), np.zeros((6, 10), bool)
    for feature, lag in ((0, 3), (2, 1), (5, 0)):
        early[feature, 4 - lag] = late[feature, 8 - lag] = True
    a, b = ActiveSpikeHash(early), ActiveSpikeHash(late)
    assert a.similarity(b) == 0.0
    assert a.relative_to(4) == b.relative_to(8)
    assert {tuple(row) for row in np.argwhere(a.relative_to(4).matrix)} == {(0, 3), (2, 1), (5, 0)}
    words = relative_words(np.stack([a.words, b.words]), np.array([4, 8]), 6, 10)
    np.testing.assert_array_equal(words[0], words[1])


def test_layers_can_be_left_out():
    kept = unpack(layer_words((4, 36, 1), 10, ('conv2', 'class')), 41, 10)
    assert not kept[:4].any()
    assert kept[4:].all()
    with pytest.raises(HashError, match="'conv9'"):
        layer_words((4, 36, 1), 10, ('conv9',))


def test_errors_name_the_shape():
    with pytest.raises(HashError, match=r'\(3, 4\)'):
        ActiveSpikeHash(np.zeros((3, 4)), n_features=4, n_timesteps=3)
    with pytest.raises(HashError, match=r'\(5,\)'):
        ActiveSpikeHash(np.zeros(5))
    with pytest.raises(HashError, match='7 words'):
        ActiveSpikeHash.from_words(np.zeros(3, np.uint64), 41, 10)
