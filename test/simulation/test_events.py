# SPDX-License-Identifier: Apache-2.0
"""The simulated event sensor."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.simulation.events import (
    EventSimulator,
    SensorConfig,
    SimulationError,
    _crossings,
    crossings_definition,
)

MS = 1_000_000


def quiet(**changes):
    values = {'threshold_sigma': 0.0, 'noise_hz': 0.0, 'refractory_ns': 0, 'dark': 1e-6}
    return SensorConfig(**{'width': 8, 'height': 6, **values, **changes})


def flat(value, width=8, height=6):
    return np.full((height, width), value, np.float64)


def edges(frames, sensor, dt=MS):
    simulator = EventSimulator(sensor)
    parts = [simulator.step(frame, k * dt)[0] for k, frame in enumerate(frames)]
    return [np.concatenate([getattr(part, name) for part in parts]) for name in 'xypt']


def test_brightening_by_known_contrast_gives_known_events():
    # The first event needs 0.5 .. 1.5 thresholds, because pixels start between two events.
    x, y, p, t = edges([flat(0.1), flat(0.1 * math.exp(1.0))], quiet(threshold_on=0.2))
    counts = np.zeros((6, 8), int)
    np.add.at(counts, (y, x), 1)
    assert set(np.unique(counts)) <= {4, 5}
    assert (p == 1).all()
    assert (t > 0).all()
    assert (t <= MS).all()


def test_crossing_times_are_interpolated():
    # Log intensity 0 -> 1 in 1 ms with reference 0: thresholds 0.25 cross every 250 us.
    on = np.array([0.25])
    found = _crossings(
        np.array([0.0]), np.array([1.0]), 0, MS, np.array([0.0]), np.zeros(1, np.int64), on, on, 0
    )
    assert found[1].tolist() == [250_000, 500_000, 750_000, MS]
    assert found[2].tolist() == [1, 1, 1, 1]


def test_polarity_follows_the_edge():
    rising = [flat(0.2), flat(0.8)]
    assert (edges(rising, quiet())[2] == 1).all()
    assert (edges(rising[::-1], quiet())[2] == 0).all()


def test_moving_edge_gives_off_in_front_and_on_behind():
    # A dark bar, three columns wide, moves to the right by one column a frame.
    frames = []
    for k in range(20):
        frame = np.full((4, 40), 0.8)
        frame[:, 5 + k : 8 + k] = 0.2
        frames.append(frame)
    x, _, p, t = edges(frames, quiet(width=40, height=4))
    step = (t - 1) // MS
    assert ((x == 8 + step) == (p == 0)).all()
    assert ((x == 5 + step) == (p == 1)).all()
    # ln(4) / 0.2 = 6.9 thresholds, give or take the phase: 6 or 7 events per pixel and edge.
    per_pixel = len(t) / (4 * 2 * 19)
    assert 6 <= per_pixel <= 7.5


def test_separate_thresholds():
    sensor = quiet(threshold_on=0.1, threshold_off=0.4)
    x, _, p, _ = edges([flat(0.1), flat(0.5), flat(0.1)], sensor)
    ratio = (p == 1).sum() / (p == 0).sum()
    assert 3.5 < ratio < 5.5
    assert len(x)


def test_refractory_time_limits_the_rate():
    sensor = quiet(refractory_ns=300_000)
    x, y, _, t = edges([flat(0.01), flat(1.0), flat(0.01), flat(1.0)], sensor)
    pixel = y.astype(int) * 8 + x
    order = np.lexsort((t, pixel))
    same = np.diff(pixel[order]) == 0
    assert np.diff(t[order])[same].min() >= 300_000
    without = edges([flat(0.01), flat(1.0), flat(0.01), flat(1.0)], quiet())
    assert len(t) < len(without[3]) / 2


def test_a_pixel_forgets_what_it_missed_while_blind():
    # The step happens inside the refractory time: only the first event comes out.
    sensor = quiet(width=1, height=1, refractory_ns=10 * MS)
    x, _, _, _ = edges(
        [flat(v, 1, 1) for v in (0.1, 0.8, 0.8, 0.8)] + [flat(0.8, 1, 1)] * 20, sensor
    )
    assert len(x) == 1


def test_noise_and_hot_pixels_have_the_asked_rate():
    sensor = SensorConfig(100, 80, noise_hz=2.0, hot_pixels=5, hot_hz=200.0, seed=3)
    simulator = EventSimulator(sensor)
    frame = np.full((80, 100), 0.5, np.float32)
    simulator.step(frame, 0)
    events, cause = simulator.step(frame, 1_000_000_000)
    counts = np.zeros((80, 100), int)
    np.add.at(counts, (events.y, events.x), 1)
    hot = counts > 20
    assert 1 <= hot.sum() <= 5
    assert counts[~hot].mean() == pytest.approx(2.0, rel=0.05)
    assert events.p.mean() == pytest.approx(0.5, abs=0.05)
    assert not cause.any()
    assert (np.diff(events.t) >= 0).all()


def test_the_same_seed_gives_the_same_events():
    rng = np.random.default_rng(0)
    frames = [rng.random((6, 8)) for _ in range(5)]
    sensor = SensorConfig(8, 6, noise_hz=50.0, seed=4)
    for first, second in zip(edges(frames, sensor), edges(frames, sensor), strict=True):
        assert np.array_equal(first, second)
    other = edges(frames, SensorConfig(8, 6, noise_hz=50.0, seed=5))
    assert not all(np.array_equal(a, b) for a, b in zip(edges(frames, sensor), other, strict=True))


@settings(max_examples=40)
@given(
    seed=st.integers(0, 1 << 30),
    refractory=st.sampled_from([0, 1, 40_000, 2_500_000]),
    steps=st.integers(2, 6),
)
def test_kernel_equals_definition(seed, refractory, steps):
    rng = np.random.default_rng(seed)
    sensor = SensorConfig(7, 5, refractory_ns=refractory, threshold_sigma=0.05, seed=seed)
    fast, plain = EventSimulator(sensor), EventSimulator(sensor, reference=True)
    for k in range(steps):
        frame = rng.random((5, 7)) ** 3 * rng.integers(0, 2, (5, 7))
        ids = rng.integers(0, 3, (5, 7)).astype(np.uint16)
        (a, cause_a), (b, cause_b) = (s.step(frame, k * MS, ids) for s in (fast, plain))
        for name in 'xypt':
            assert np.array_equal(getattr(a, name), getattr(b, name))
        assert np.array_equal(cause_a, cause_b)


def test_definition_orders_like_the_kernel_at_exact_hits():
    l0, l1 = np.array([0.0, 0.0, 1.0]), np.array([0.5, 0.0, 0.5])
    on = np.full(3, 0.25)
    results = [
        method(l0, l1, 0, 1000, l0.copy(), np.zeros(3, np.int64), on, on, 0)
        for method in (_crossings, crossings_definition)
    ]
    assert [part.tolist() for part in results[0]] == [part.tolist() for part in results[1]]
    assert results[0][0].tolist() == [0, 0, 2, 2]


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('width', 0),
        ('threshold_on', 0.0),
        ('refractory_ns', -1),
        ('noise_hz', float('nan')),
        ('hot_pixels', 10_000),
    ],
)
def test_bad_sensors_are_refused_by_name(name, value):
    with pytest.raises(SimulationError, match=name):
        SensorConfig(**{'width': 8, 'height': 6, name: value})


def test_frames_must_fit_and_advance():
    simulator = EventSimulator(quiet())
    simulator.step(flat(0.5), 10)
    with pytest.raises(SimulationError, match='advance'):
        simulator.step(flat(0.5), 10)
    with pytest.raises(SimulationError, match='shape'):
        simulator.step(np.zeros((3, 3)), 20)
