# SPDX-License-Identifier: Apache-2.0
"""The state of segmenters survives being written down."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from spikeseg_ros.algorithms import TrackerState
from spikeseg_ros.algorithms.tracking import Track
from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.state import decode_state, encode_state
from spikeseg_ros.models.chain import EncoderState
from spikeseg_ros.spiking.neurons import NeuronState


def test_plain_values():
    state = {'a': [1, 2.5, None, True, 'x'], 'b': (0.1 + 0.2, -0.0, 1e-320), 'c': []}
    found = decode_state(encode_state(state))
    assert found == state
    assert isinstance(found['b'], tuple)
    assert str(found['b'][1]) == '-0.0'


def test_arrays_and_scalars():
    arrays = [
        np.arange(12, dtype=np.uint64).reshape(3, 4).T,
        np.empty((0, 3), np.float32),
        np.array(True),
        np.array([np.nan, np.inf, -0.0]),
    ]
    for array in arrays:
        found = decode_state(encode_state([array]))[0]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
    found = decode_state(encode_state([np.float32(0.1), np.int64(-7)]))
    assert [type(item) for item in found] == [np.float32, np.int64]
    assert found == [np.float32(0.1), -7]


def test_state_of_the_spikeseg_family():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, 13).astype(np.uint64)
    track = Track(3, 9, 1, (1.1, 2.2), (-3.3, 1 / 3), (5.0, 6.0), (0.1, 0.2), 1, words, 10**18 + 1)
    layer = NeuronState(
        torch.from_numpy(rng.random((1, 2, 3, 4), np.float32)),
        torch.zeros((1, 2, 3, 4), dtype=torch.int16),
        torch.from_numpy(rng.random((1, 2, 3, 4)) < 0.5),
    )
    state = TrackerState((track,), 4), EncoderState(layer, layer, layer)
    found = decode_state(encode_state((state, 7)))
    assert isinstance(found[0][0], TrackerState)
    (other,) = found[0][0].tracks
    np.testing.assert_array_equal(other.words, track.words)
    assert {**asdict(other), 'words': 0} == {**asdict(track), 'words': 0}
    assert found[0][0].next_id == 4
    for mine, theirs in zip(found[0][1], state[1], strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_other_values_are_refused():
    for value in (object(), {1: 2}, {'f': len}, np.array(['text']), {3, 4}):
        with pytest.raises(EvaluationError, match='cannot be saved'):
            encode_state(value)


@pytest.mark.parametrize(
    'text',
    [
        '["object","os:system",{"command":"true"}]',
        '["object","spikeseg_ros.evaluation.offline.state:encode_state",{"state":1}]',
        '["object","spikeseg_ros.evaluation.offline.state:json",{}]',
        '["object","spikeseg_ros.nowhere:Thing",{}]',
        '["what",1]',
        '["array","<f4",[3],"AAAA"]',
        '["array","<f4",[3],"eJxjYGAAAAADAAE="]',
        '{',
        '\xff',
    ],
)
def test_bad_bytes_are_refused(text):
    with pytest.raises(EvaluationError, match='overwrite'):
        decode_state(text.encode('latin-1'))


def test_only_text_is_written():
    assert json.loads(encode_state(TrackerState()))[0] == 'object'
