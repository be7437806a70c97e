# SPDX-License-Identifier: Apache-2.0
"""One learning step of each layer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events
from spikeseg_ros.spiking.neurons import StepOutput
from spikeseg_ros.spiking.stdp import convergence
from spikeseg_ros.training.config import StdpConfig
from spikeseg_ros.training.layers import (
    TrainingState,
    calibrated_threshold,
    conv2_step,
    conv3_step,
    first_times,
    peak_potential,
    pooled_conv1,
    pooled_conv2,
    race,
)
from spikeseg_ros.training.stdp import build_encoder

CONFIG = StdpConfig(features=8)


def bar_spikes(angle, steps=10, size=48):
    """A bar that moves across the canvas, ON in front and OFF behind."""
    u = np.linspace(-12, 12, 60)
    points = []
    for k in range(40):
        shift = -8 + 16 * k / 40
        for side in (0, 1):
            x = size / 2 + u * math.cos(angle) - (shift - 2 * side) * math.sin(angle)
            y = size / 2 + u * math.sin(angle) + (shift - 2 * side) * math.cos(angle)
            t = np.full(len(u), k * 50_000_000 // 40)
            points.append((x, y, np.full(len(u), side), t))
    x, y, p, t = (np.concatenate(column) for column in zip(*points, strict=True))
    events = Events(
        np.round(x).astype(np.uint16), np.round(y).astype(np.uint16), p.astype(np.uint8), t
    )
    spikes = torch.from_numpy(bin_events(events, 0, 50_000_000, steps, size, size))
    return spikes.permute(0, 3, 1, 2).unsqueeze(1).float()


@pytest.fixture(scope='module')
def encoder():
    return build_encoder(CONFIG)


def begin(encoder, theta3=20.0):
    _, conv2, conv3 = (torch.from_numpy(w) for w in encoder.weights)
    theta = torch.tensor(theta3, dtype=torch.float64)
    return TrainingState(0, 0, 0, 0, conv2, conv3, torch.ones(len(conv2)), theta)


def test_first_times_and_race():
    spikes = torch.zeros(4, 1, 2, 1, 3, dtype=torch.bool)
    potential = torch.zeros(spikes.shape)
    spikes[1, 0, 0, 0, 0] = spikes[2, 0, 1, 0, 0] = True  # map 0 is earlier: map 1 is silenced
    spikes[3, 0, 1, 0, 1] = spikes[2, 0, 1, 0, 1] = True  # the first of two spikes counts
    potential[1, 0, 0, 0, 0], potential[2, 0, 1, 0, 1], potential[3, 0, 1, 0, 1] = 5.0, 7.0, 9.0
    assert first_times(spikes)[:, 0].tolist() == [[1, -1, -1], [2, 2, -1]]
    output = StepOutput(spikes, potential, torch.zeros(spikes.shape, dtype=torch.int16))
    times, strength = race(output)
    assert times[:, 0].tolist() == [[1, -1, -1], [-1, 2, -1]]
    assert strength[0, 0, 0] == 5.0
    assert strength[1, 0, 1] == 7.0


def test_conv2_learns_different_features_for_different_stimuli(encoder):
    state = begin(encoder)
    stimuli = [pooled_conv1(bar_spikes(angle), encoder) for angle in (0.0, math.pi / 2)]
    start = convergence(state.conv2)
    assert start.c == pytest.approx(0.16, abs=0.002)
    assert start.dead_maps == 8
    for k in range(200):
        before = state
        state, winners = conv2_step(state, stimuli[k % 2], CONFIG)
        assert state.step == before.step + 1
        assert 1 <= len(winners) <= 8
        assert len({w.feature for w in winners}) == len(winners)
        untouched = set(range(8)) - {w.feature for w in winners}
        for number in untouched:
            assert torch.equal(state.conv2[number], before.conv2[number])
    end = convergence(state.conv2)
    assert end.dead_maps == 0
    assert end.c_live < start.c / 3
    binary = state.conv2 > 0.5
    assert len({tuple(row.flatten().tolist()) for row in binary}) >= 4
    assert (state.conv2 >= 0).all()
    assert (state.conv2 <= 1).all()


def test_homeostasis_makes_winners_harder_to_excite(encoder):
    state = begin(encoder)
    pool1 = pooled_conv1(bar_spikes(0.3), encoder)
    config = StdpConfig(features=8, conv2_winners=1)
    after, (winner,) = conv2_step(state, pool1, config)
    others = [k for k in range(8) if k != winner.feature]
    assert after.factors[winner.feature] > after.factors[others].max()
    # Without homeostasis one map may win for ever; with it the wins go round.
    winners = set()
    for _ in range(40):
        state, won = conv2_step(state, pool1, config)
        winners |= {w.feature for w in won}
    assert len(winners) >= 6


def test_silence_teaches_nothing(encoder):
    state = begin(encoder)
    silent = pooled_conv1(torch.zeros(10, 1, 2, 48, 48), encoder)
    after, winners = conv2_step(state, silent, CONFIG)
    assert not winners
    assert after.silent == 1
    assert torch.equal(after.conv2, state.conv2)
    pool2 = pooled_conv2(silent, state.conv2, encoder)
    after, winners = conv3_step(state, pool2, CONFIG)
    assert not winners
    assert float(after.theta3) == pytest.approx(20.0 * CONFIG.conv3_relax)
    assert torch.equal(after.conv3, state.conv3)


def test_conv3_converges_on_a_repeated_stimulus(encoder):
    pool2 = pooled_conv2(pooled_conv1(bar_spikes(0.7), encoder), begin(encoder).conv2, encoder)
    peak = float(peak_potential(pool2, begin(encoder).conv3))
    state = begin(encoder, theta3=0.2 * peak)
    for _ in range(300):
        state, winners = conv3_step(state, pool2, CONFIG)
        assert len(winners) == 1
    assert convergence(state.conv3).c < 0.01
    seen = first_times(pool2) >= 0
    assert 0 < int((state.conv3 > 0.5).sum()) < int(seen.sum()) * 49


def test_peak_is_the_potential_without_firing(encoder):
    pool2 = pooled_conv2(pooled_conv1(bar_spikes(0.7), encoder), begin(encoder).conv2, encoder)
    weights = begin(encoder).conv3
    steps = [torch.nn.functional.conv2d(step.float(), weights, padding=3)[0] for step in pool2]
    assert float(peak_potential(pool2, weights)) == pytest.approx(
        float(torch.stack(steps).sum(0).max()), rel=1e-6
    )


def test_calibration_is_a_share_of_the_median_on_the_grid():
    peaks = [torch.tensor([value]) for value in (10.0, 100.0, 30.0)]
    assert calibrated_threshold(peaks, 0.25) == 7.5
    assert calibrated_threshold([torch.tensor([0.0])], 0.25) == 1 / 256
    assert (calibrated_threshold(peaks, 0.21) * 256) % 1 == 0
