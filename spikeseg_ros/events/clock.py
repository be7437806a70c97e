# SPDX-License-Identifier: Apache-2.0
"""Sensor time to ROS time and back."""

from __future__ import annotations

from spikeseg_ros.events.errors import EventError

ALPHA = 0.01
MAX_STEP_NS = 1_000_000_000


class SensorClock:
    """Maps sensor time to ROS time by an offset that follows slowly.

    Every packet gives one measurement: its header stamp minus its first sensor time. Jitter of
    single packets is averaged by a first-order low-pass (as in event_camera_renderer), drift of
    the two clocks is followed. A measurement that is off by more than a second is no jitter: one
    of the clocks was set, and the offset is taken anew.

    Attributes:
        alpha: Weight of a new measurement, in (0, 1].
        max_step: Largest deviation that still counts as jitter [ns].
        offset: ROS time minus sensor time [ns], or None before the first measurement.
    """

    def __init__(self, alpha: float = ALPHA, max_step: int = MAX_STEP_NS) -> None:
        """Prepare a clock without measurements.

        Raises:
            EventError: alpha is not in (0, 1].
        """
        if not 0 < alpha <= 1:
            msg = f'alpha {alpha!r} is not in (0, 1].'
            raise EventError(msg)
        self.alpha = alpha
        self.max_step = max_step
        self._first: int | None = None
        self._delta = 0.0
        self._last: tuple[int, int] | None = None

    @property
    def offset(self) -> int | None:
        """ROS time minus sensor time [ns], or None before the first measurement."""
        return None if self._first is None else self._first + round(self._delta)

    def update(self, stamp: int, sensor_time: int) -> None:
        """Take one packet into account.

        Args:
            stamp: Header stamp [ns of ROS time]; 0 means that the driver set none.
            sensor_time: First sensor time of the packet [ns].
        """
        if stamp == 0:
            return
        measured = stamp - sensor_time
        if self._first is None or abs(measured - self._first - self._delta) > self.max_step:
            self._first, self._delta = measured, 0.0
            return
        # Relative to the first measurement a float keeps nanoseconds.
        self._delta += self.alpha * (measured - self._first - self._delta)

    def to_ros(self, sensor_time: int) -> int:
        """Return the ROS time of a sensor time [ns]; the same number before any measurement.

        For sensor times that do not decrease from call to call the results do not either, even
        while the offset is falling.
        """
        offset = self.offset
        mapped = sensor_time + (0 if offset is None else offset)
        if self._last is not None and sensor_time >= self._last[0]:
            mapped = max(mapped, self._last[1])
        self._last = (sensor_time, mapped)
        return mapped

    def to_sensor(self, ros_time: int) -> int:
        """Return the sensor time of a ROS time [ns]; the same number before any measurement."""
        offset = self.offset
        return ros_time - (0 if offset is None else offset)

    def reset(self) -> None:
        """Forget all measurements."""
        self._first = None
        self._delta = 0.0
        self._last = None


class FixedClock(SensorClock):
    """A clock that stays with its first measurement, for evaluation.

    Its times do not depend on how the driver cut its packets, because the stamps of later packets
    change nothing; the drift between the clocks of sensor and host is not followed. A deviation
    beyond max_step is a new beginning here, too.
    """

    def update(self, stamp: int, sensor_time: int) -> None:
        """Take one packet into account; only the first one, and the first after a jump."""
        offset = self.offset
        if offset is None or abs(stamp - sensor_time - offset) > self.max_step:
            super().update(stamp, sensor_time)
