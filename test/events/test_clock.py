# SPDX-License-Identifier: Apache-2.0
"""Mapping of sensor time to ROS time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import EventError, SensorClock
from spikeseg_ros.events.clock import MAX_STEP_NS, FixedClock

NOW = 1_700_000_000_000_000_000


def test_first_packet_sets_the_offset_exactly() -> None:
    clock = SensorClock()
    assert clock.to_ros(123) == 123
    clock.reset()
    clock.update(NOW + 7, 1_000)
    assert clock.offset == NOW + 7 - 1_000
    assert clock.to_ros(1_001) == NOW + 8
    assert clock.to_sensor(NOW + 8) == 1_001


def test_offset_is_low_passed_to_the_nanosecond() -> None:
    clock = SensorClock()
    clock.update(NOW, 0)
    clock.update(NOW + 1_000_300, 1_000_000)
    # One hundredth of the deviation of 300 ns; a float could not hold the sum.
    assert clock.offset == NOW + 3
    clock.update(NOW + 2_000_303, 2_000_000)
    assert clock.offset == NOW + 6


def test_jitter_is_averaged_and_drift_followed() -> None:
    rng = np.random.default_rng(0)
    clock = SensorClock()
    for k in range(3000):
        sensor = k * 4_000_000
        drifted = sensor + sensor // 20_000
        clock.update(NOW + drifted + int(rng.exponential(500_000)), sensor)
    error = clock.to_ros(sensor) - NOW - drifted
    # Mean delay 0.5 ms, minus a lag of 100 packets of 0.2 us drift each.
    assert abs(error - 480_000) < 150_000


def test_a_clock_that_was_set_is_followed_at_once() -> None:
    clock = SensorClock()
    clock.update(NOW, 0)
    clock.update(NOW + 3_600_000_000_000, 1_000)
    assert clock.to_ros(1_000) == NOW + 3_600_000_000_000


def test_no_stamp_is_no_measurement() -> None:
    clock = SensorClock()
    clock.update(0, 55)
    assert clock.offset is None
    assert clock.to_ros(55) == 55


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 10**7), st.integers(-(10**8), 10**8)), max_size=40))
def test_mapped_time_never_runs_backwards(packets: list[tuple[int, int]]) -> None:
    clock = SensorClock(alpha=0.5)
    sensor, last = 0, None
    for step, jitter in packets:
        sensor += step
        clock.update(NOW + sensor + jitter, sensor)
        mapped = clock.to_ros(sensor)
        assert last is None or mapped >= last
        last = mapped


def test_reset_forgets() -> None:
    clock = SensorClock()
    clock.update(NOW, 0)
    clock.to_ros(10**12)
    clock.reset()
    clock.update(500, 0)
    assert clock.to_ros(1) == 501


@pytest.mark.parametrize('alpha', [0, -0.1, 1.1])
def test_alpha_is_checked(alpha: float) -> None:
    with pytest.raises(EventError, match='alpha'):
        SensorClock(alpha)


def test_a_fixed_clock_stays_with_its_first_stamp() -> None:
    clock = FixedClock()
    assert clock.to_ros(5) == 5
    clock.update(0, 10)  # no stamp
    assert clock.offset is None
    clock.update(1_000_000_000_000, 0)
    for step in range(1, 100):
        clock.update(1_000_000_000_000 + step * 1_000_000 + step * 5_000_000, step * 1_000_000)
        assert clock.offset == 1_000_000_000_000
    # A jump is a new beginning, as for the other clock.
    clock.update(1_000_000_000_000 + MAX_STEP_NS + 200_000_001, 200_000_000)
    assert clock.offset == 1_000_000_000_000 + MAX_STEP_NS + 1
    clock.reset()
    assert clock.offset is None
