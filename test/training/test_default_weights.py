# SPDX-License-Identifier: Apache-2.0
"""The weights that come with the package do their job."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from spikeseg_ros.evaluation.metrics.instances import InstanceMetrics
from spikeseg_ros.evaluation.metrics.sets import regions
from spikeseg_ros.evaluation.weights import (
    agreement,
    network,
    real_score,
    recorded_windows,
    window_of,
)
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.models.weights import load_weights, packaged_weights
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.registry import create
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import random_scene

BAGS = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'events' / 'ros2_bags'
needs_bags = pytest.mark.skipif(not BAGS.is_dir(), reason=f'the recordings are not at {BAGS}')


@pytest.fixture(scope='module')
def method():
    """The weights with the documented grouping rule, every window from rest."""
    return network(create(from_flat({'device': 'cpu', 'objects.linkage': 'threshold'})))


def test_file_is_small_exact_and_says_where_it_comes_from():
    path = packaged_weights('spikeseg_default')
    assert path.stat().st_size < 100_000
    stored = load_weights(path)
    for weight in stored.weights.values():
        assert torch.equal(weight, torch.round(weight * 256) / 256)
    training = stored.metadata['training']
    assert (training['first_id'], training['last_id']) == (1, 800)
    assert 'N-MNIST' in stored.metadata['data']
    assert stored.metadata['summary']['conv2']['dead_maps'] == 0
    assert stored.metadata['summary']['conv2']['c_live'] < 0.01
    assert stored.metadata['summary']['conv3']['c_live'] < 0.01


def test_loading_the_weights_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        load_weights(packaged_weights('spikeseg_default')).build()


def test_separate_simulated_objects_are_found(method):
    truths = []
    for seed in (3, 4, 5):
        scene = random_scene(240, 180, seed, 3, (12.0, 30.0), (60.0, 200.0), 0.1, gap=25.0)
        sensor = SensorConfig(240, 180, noise_hz=0.3, seed=seed)
        truths.append(simulate_scene(scene, 0.1, sensor, camera_hz=0).truth)
    score = agreement(method, truths)
    assert score.true_objects >= 12
    assert score.recall >= 0.8
    assert score.precision >= 0.8


def test_the_defaults_find_more_than_the_documented_rule():
    """Over windows, with memory; objects of 10 to 60 px radius, 25 px apart."""
    found = {}
    for linkage in ('coherence', 'threshold'):
        segmenter = create(from_flat({'device': 'cpu', 'objects.linkage': linkage}))
        total = InstanceMetrics()
        for seed in (1, 2, 3):
            scene = random_scene(346, 260, seed, 4, (10.0, 60.0), (40.0, 250.0), 0.3, gap=25.0)
            sensor = SensorConfig(346, 260, noise_hz=0.3, seed=seed)
            truth = simulate_scene(scene, 0.3, sensor, camera_hz=0).truth
            state = segmenter.initial_state()
            for start in range(0, 300_000_000, 50_000_000):
                window, labels = window_of(truth, start)
                result, state = segmenter.segment(window, state)
                total.add(result.objects, regions(labels), window.events)
        found[linkage] = total.result()
    assert found['coherence']['ap50'] > found['threshold']['ap50']
    assert found['coherence']['ap50'] > 0.6


def test_pure_noise_gives_nothing(method):
    rng = np.random.default_rng(0)
    count = 8000
    events = Events(
        rng.integers(0, 640, count).astype(np.uint16),
        rng.integers(0, 480, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        np.sort(rng.integers(0, 50_000_000, count)),
    )
    window = EventWindow(events, 0, 50_000_000, 50_000_000, 640, 480)
    assert len(method(window)) == 0
    empty = EventWindow(Events.empty(), 0, 50_000_000, 50_000_000, 640, 480)
    assert len(method(empty)) == 0


@needs_bags
@pytest.mark.slow
def test_the_person_is_found_and_the_background_is_not(method):
    windows = recorded_windows(BAGS / 'event_camera_py' / 'test_events_1')
    score = real_score(method, windows, 14, 7000)
    assert score.motion == 13
    assert score.hit == 13
    assert score.union_iou > 0.75
    assert score.quiet_objects < 0.3


@needs_bags
@pytest.mark.slow
def test_recorded_noise_gives_almost_nothing(method):
    windows = recorded_windows(BAGS / 'event_camera_codecs' / 'test_data_libcaer_rollover')
    assert len(windows) >= 35
    assert sum(len(method(window)) for window in windows) < len(windows) / 3
