# SPDX-License-Identifier: Apache-2.0
"""Simulated event sensor: log-intensity contrast thresholds, refractory time and noise.

Each pixel remembers the log intensity at its last event. Between two frames the log intensity is
taken as linear in time; whenever it has moved by the pixel's ON or OFF threshold, an event is
emitted at the interpolated time. After an event the pixel is blind for the refractory time and
then takes the log intensity of that moment as its new reference, as a pixel held in reset does.
Model of Lichtsteiner et al., "A 128x128 120 dB 15 us latency asynchronous temporal contrast
vision sensor", IEEE JSSC 43(2), 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numba
import numpy as np

from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from numpy.typing import NDArray

SECOND = 1_000_000_000
_LOWEST_THRESHOLD = 0.01


class SimulationError(ValueError):
    """A simulation cannot be set up or fed like this; the text names the value."""


@dataclass(frozen=True)
class SensorConfig:
    """Properties of the simulated sensor.

    Attributes:
        width: Columns [px].
        height: Rows [px].
        threshold_on: Rise of the natural log intensity that makes an ON event.
        threshold_off: Fall of the natural log intensity that makes an OFF event.
        threshold_sigma: Standard deviation of both thresholds over the pixels.
        refractory_ns: Time a pixel is blind after an event [ns].
        noise_hz: Background events per pixel and second, half of them ON.
        hot_pixels: Number of pixels that fire on their own all the time.
        hot_hz: Mean rate of a hot pixel [events/s].
        dark: Intensity added before the logarithm, as the dark current does (0 .. 1 scale).
        seed: Seed of thresholds, hot pixels and noise.
    """

    width: int
    height: int
    threshold_on: float = 0.2
    threshold_off: float = 0.2
    threshold_sigma: float = 0.02
    refractory_ns: int = 300_000
    noise_hz: float = 0.1
    hot_pixels: int = 0
    hot_hz: float = 100.0
    dark: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            SimulationError: A value lies outside its range.
        """
        checks = {
            'width': 1 <= self.width <= 8192,
            'height': 1 <= self.height <= 8192,
            'threshold_on': _LOWEST_THRESHOLD <= self.threshold_on < math.inf,
            'threshold_off': _LOWEST_THRESHOLD <= self.threshold_off < math.inf,
            'threshold_sigma': 0 <= self.threshold_sigma < math.inf,
            'refractory_ns': 0 <= self.refractory_ns < 1 << 40,
            'noise_hz': 0 <= self.noise_hz < 1e6,
            'hot_pixels': 0 <= self.hot_pixels <= self.width * self.height,
            'hot_hz': 0 <= self.hot_hz < 1e6,
            'dark': 0 < self.dark < math.inf,
        }
        for name, good in checks.items():
            if not good:
                msg = f'SensorConfig.{name} is out of range: {getattr(self, name)!r}.'
                raise SimulationError(msg)


@numba.njit(cache=True, nogil=True)
def _crossings(
    l0: NDArray[np.float64],
    l1: NDArray[np.float64],
    t0: int,
    t1: int,
    ref: NDArray[np.float64],
    blind: NDArray[np.int64],
    on: NDArray[np.float64],
    off: NDArray[np.float64],
    refractory: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:  # pragma: no cover
    """Return (pixel, time, polarity) of all threshold crossings in (t0, t1], by pixel."""
    bound = 0
    for i in range(l0.shape[0]):
        away = abs(l1[i] - l0[i])
        if not math.isnan(ref[i]):
            away += abs(l0[i] - ref[i])
        steps = away / min(on[i], off[i])
        if steps > 0.999:
            bound += int(steps) + 2
    pixel = np.empty(bound, np.int64)
    time = np.empty(bound, np.int64)
    polarity = np.empty(bound, np.uint8)
    count = 0
    span = t1 - t0
    for i in range(l0.shape[0]):
        slope = l1[i] - l0[i]
        start = t0
        if math.isnan(ref[i]):
            if blind[i] > t1:
                continue
            start = max(t0, blind[i])
            ref[i] = l0[i] + slope * ((start - t0) / span)
        while slope != 0.0:
            if slope > 0.0:
                level = ref[i] + on[i]
                if level > l1[i]:
                    break
            else:
                level = ref[i] - off[i]
                if level < l1[i]:
                    break
            t = t0 + math.ceil((level - l0[i]) / slope * span)
            t = min(max(t, start), t1)
            pixel[count] = i
            time[count] = t
            polarity[count] = 1 if slope > 0.0 else 0
            count += 1
            if refractory == 0:
                ref[i] = level
                start = t
            else:
                blind[i] = t + refractory
                if blind[i] > t1:
                    ref[i] = np.nan
                    break
                start = blind[i]
                ref[i] = l0[i] + slope * ((start - t0) / span)
    return pixel[:count], time[:count], polarity[:count]


def crossings_definition(
    l0: NDArray[np.float64],
    l1: NDArray[np.float64],
    t0: int,
    t1: int,
    ref: NDArray[np.float64],
    blind: NDArray[np.int64],
    on: NDArray[np.float64],
    off: NDArray[np.float64],
    refractory: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
    """Define the threshold crossings: what the compiled kernel must equal.

    Args:
        l0: Log intensities at t0, shape (N,).
        l1: Log intensities at t1, shape (N,).
        t0: Time of the first frame [ns].
        t1: Time of the second frame [ns].
        ref: Log intensity at each pixel's last event, NaN while blind; updated in place.
        blind: End of each pixel's refractory time [ns]; updated in place.
        on: ON thresholds.
        off: OFF thresholds.
        refractory: Refractory time [ns].

    Returns:
        Pixel, time [ns] and polarity of the events, ordered by pixel, then time.
    """
    span = t1 - t0
    slope = l1 - l0
    start = np.full(l0.shape, t0, np.int64)
    wake = np.isnan(ref) & (blind <= t1)
    start[wake] = np.maximum(t0, blind[wake])
    ref[wake] = l0[wake] + slope[wake] * ((start[wake] - t0) / span)
    alive = ~np.isnan(ref) & (slope != 0)
    found: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]] = []
    while alive.any():
        level = np.where(slope > 0, ref + on, ref - off)
        alive &= np.where(slope > 0, level <= l1, level >= l1)
        index = np.flatnonzero(alive)
        fraction = (level[index] - l0[index]) / slope[index]
        t = t0 + np.ceil(fraction * span).astype(np.int64)
        t = np.minimum(np.maximum(t, start[index]), t1)
        found.append((index, t, (slope[index] > 0).astype(np.uint8)))
        if refractory == 0:
            ref[index], start[index] = level[index], t
        else:
            blind[index] = t + refractory
            asleep = index[blind[index] > t1]
            ref[asleep] = np.nan
            alive[asleep] = False
            awake = index[blind[index] <= t1]
            start[awake] = blind[awake]
            ref[awake] = l0[awake] + slope[awake] * ((start[awake] - t0) / span)
    pixel = np.concatenate([part[0] for part in found] or [np.empty(0, np.int64)])
    time = np.concatenate([part[1] for part in found] or [np.empty(0, np.int64)])
    polarity = np.concatenate([part[2] for part in found] or [np.empty(0, np.uint8)])
    order = np.argsort(pixel, kind='stable')
    return pixel[order], time[order], polarity[order]


class EventSimulator:
    """Turns frames into events, one frame after the other.

    The same configuration and frames always give the same events.

    Args:
        config: The sensor.
        reference: Use the plain numpy definition instead of the compiled kernel.
    """

    def __init__(self, config: SensorConfig, *, reference: bool = False) -> None:
        self.config = config
        self._crossings = crossings_definition if reference else _crossings
        count = config.width * config.height
        rng = np.random.default_rng(config.seed)

        def thresholds(mean: float) -> NDArray[np.float64]:
            values = rng.normal(mean, config.threshold_sigma, count)
            return np.maximum(values, max(_LOWEST_THRESHOLD, mean / 4))

        self._on = thresholds(config.threshold_on)
        self._off = thresholds(config.threshold_off)
        self._phase = rng.uniform(-0.5, 0.5, count)
        self._hot = rng.choice(count, config.hot_pixels, replace=False)
        self._hot_rate = rng.exponential(config.hot_hz, config.hot_pixels)
        self._rng = rng
        self._log = np.empty(0)
        self._frame: NDArray[np.float32] | NDArray[np.float64] = np.empty(0)
        self._ids = np.empty(0, np.uint16)
        self._ref = np.empty(0)
        self._blind = np.zeros(count, np.int64)
        self._time: int | None = None

    def step(
        self,
        frame: NDArray[np.float32] | NDArray[np.float64],
        time: int,
        ids: NDArray[np.uint16] | None = None,
    ) -> tuple[Events, NDArray[np.uint16]]:
        """Return the events since the last frame.

        Args:
            frame: Linear intensity, shape (H, W), 0 .. 1.
            time: Time of the frame [ns], later than the last one.
            ids: Instance that touches each pixel, shape (H, W), 0 = none; a higher id is
                nearer to the camera.

        Returns:
            Events ordered by time, and for each the instance that caused it, shape (N,): the
            nearer one of those seen by the pixel at the two frames. Noise has instance 0. The
            first frame gives no events.

        Raises:
            SimulationError: The shape is wrong, or time does not advance.
        """
        shape = (self.config.height, self.config.width)
        if frame.shape != shape or (ids is not None and ids.shape != shape):
            msg = f'Expected frames and ids of shape {shape}, got {frame.shape!r}.'
            raise SimulationError(msg)
        flat = frame.reshape(-1)
        near = np.zeros(flat.shape, np.uint16) if ids is None else ids.reshape(-1)
        if self._time is None:
            self._log = self._logarithm(flat)
            # Pixels of a running sensor are somewhere between two events.
            self._ref = self._log + self._phase * np.minimum(self._on, self._off)
            self._frame, self._ids, self._time = flat.copy(), near.copy(), time
            return Events.empty(), np.empty(0, np.uint16)
        if time <= self._time:
            msg = f'Frames must advance in time: {time!r} ns follows {self._time!r} ns.'
            raise SimulationError(msg)
        # Only pixels that change, or wake up from their refractory time, can do anything.
        busy = np.flatnonzero((flat != self._frame) | np.isnan(self._ref))
        log, ref, blind = self._logarithm(flat[busy]), self._ref[busy], self._blind[busy]
        which, when, polarity = self._crossings(
            self._log[busy],
            log,
            self._time,
            time,
            ref,
            blind,
            self._on[busy],
            self._off[busy],
            self.config.refractory_ns,
        )
        self._log[busy], self._ref[busy], self._blind[busy] = log, ref, blind
        pixel = busy[which]
        cause = np.maximum(self._ids[pixel], near[pixel]).astype(np.uint16)
        noise_pixel, noise_when, noise_polarity = self._noise(self._time, time)
        self._frame, self._ids, self._time = flat.copy(), near.copy(), time
        pixel = np.concatenate([pixel, noise_pixel])
        when = np.concatenate([when, noise_when])
        polarity = np.concatenate([polarity, noise_polarity])
        cause = np.concatenate([cause, np.zeros(len(noise_pixel), np.uint16)])
        order = np.argsort(when, kind='stable')
        pixel = pixel[order]
        events = Events(
            (pixel % self.config.width).astype(np.uint16),
            (pixel // self.config.width).astype(np.uint16),
            polarity[order],
            when[order],
        )
        return events, cause[order]

    def _logarithm(
        self, intensity: NDArray[np.float32] | NDArray[np.float64]
    ) -> NDArray[np.float64]:
        return np.log(np.maximum(intensity.astype(np.float64), 0) + self.config.dark)

    def _noise(
        self, t0: int, t1: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint8]]:
        """Draw background and hot-pixel events of (t0, t1]; they do not touch the pixels."""
        rng, seconds = self._rng, (t1 - t0) / SECOND
        pixels = self.config.width * self.config.height
        count = int(rng.poisson(self.config.noise_hz * pixels * seconds))
        hot = np.repeat(self._hot, rng.poisson(self._hot_rate * seconds))
        pixel = np.concatenate([rng.integers(0, pixels, count), hot]).astype(np.int64)
        when = rng.integers(t0 + 1, t1 + 1, len(pixel))
        return pixel, when, rng.integers(0, 2, len(pixel)).astype(np.uint8)
