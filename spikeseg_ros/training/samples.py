# SPDX-License-Identifier: Apache-2.0
"""Samples for the STDP training: windows of events around single objects, as spike tensors.

Sample k is a function of (settings, k) alone, so that a resumed run sees what an uninterrupted
one would have seen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.nmnist import DURATION, SIZE, Dataset
from spikeseg_ros.simulation.recording import record, scene_frames
from spikeseg_ros.simulation.scene import random_scene
from spikeseg_ros.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.training.config import StdpConfig

# Kinds of randomness that must not share a stream.
_CHOICE, _SCENE = 1, 2
_SCENE_SIZE = 160, 120
_SCENE_SECONDS = 0.25
_MIN_EVENTS = 100


class Source(Protocol):
    """Gives the events of one sample on a square canvas."""

    def draw(self, rng: np.random.Generator) -> Events:
        """Return events with 0 <= t < window, x and y within the canvas."""
        ...


class NmnistSource:
    """Single N-MNIST recordings in the middle of the canvas, from a random moment on."""

    def __init__(self, folder: str | Path, config: StdpConfig) -> None:
        self._dataset = Dataset.open(folder)
        ids = range(config.first_id, config.last_id + 1)
        self._ids = sorted(set(self._dataset.classes) & set(ids))
        if not self._ids:
            msg = (
                f'{str(folder)!r} holds no recordings {config.first_id} .. {config.last_id}; '
                'check first_id and last_id.'
            )
            raise TrainingError(msg)
        self._window = round(config.window_ms * 1e6)
        self._offset = (config.canvas - SIZE) // 2

    def draw(self, rng: np.random.Generator) -> Events:
        """Return a window of a random recording."""
        events = self._dataset.read(int(rng.choice(self._ids)))
        begin = int(rng.integers(0, max(1, DURATION - self._window)))
        first, last = np.searchsorted(events.t, [begin, begin + self._window])
        part = events.slice(first, last)
        return Events(
            part.x + np.uint16(self._offset),
            part.y + np.uint16(self._offset),
            part.p,
            part.t - begin,
        )


class SimulatedSource:
    """Crops around the objects of random simulated scenes.

    Sensor noise, thresholds, sizes and speeds vary from scene to scene. All crops are made once
    and kept.

    Args:
        config: Settings.
        progress: Called after each scene.
    """

    def __init__(self, config: StdpConfig, progress: Callable[[], None] | None = None) -> None:
        self._crops: list[Events] = []
        for number in range(config.scenes):
            self._crops += _scene_crops(config, number)
            if progress is not None:
                progress()
        if not self._crops:
            msg = f'{config.scenes} simulated scenes gave no sample; use more scenes.'
            raise TrainingError(msg)

    def __len__(self) -> int:
        """Return the number of different samples."""
        return len(self._crops)

    def draw(self, rng: np.random.Generator) -> Events:
        """Return a random crop."""
        return self._crops[int(rng.integers(len(self._crops)))]


def _scene_crops(config: StdpConfig, number: int) -> list[Events]:
    """Return the crops of one scene: one for each object and window with enough events."""
    rng = np.random.default_rng([config.seed, _SCENE, number])
    width, height = _SCENE_SIZE
    scene = random_scene(
        width,
        height,
        int(rng.integers(1 << 31)),
        objects=int(rng.integers(1, 4)),
        sizes=(8.0, 40.0),
        speeds=(40.0, 250.0),
        seconds=_SCENE_SECONDS,
    )
    sensor = SensorConfig(
        width,
        height,
        threshold_on=rng.uniform(0.15, 0.3),
        threshold_off=rng.uniform(0.15, 0.3),
        threshold_sigma=0.03,
        refractory_ns=int(rng.integers(100_000, 2_000_000)),
        noise_hz=float(np.exp(rng.uniform(np.log(0.05), np.log(1.0)))),
        seed=int(rng.integers(1 << 31)),
    )
    truth = record(scene_frames(scene, _SCENE_SECONDS), sensor, camera_hz=0).truth
    window = round(config.window_ms * 1e6)
    crops = []
    for begin in range(0, int(_SCENE_SECONDS * 1e9) - window + 1, window):
        events, instance = truth.labels(begin, begin + window)
        for item in range(1, len(scene.objects) + 1):
            mine = np.flatnonzero(instance == item)
            if len(mine) < _MIN_EVENTS:
                continue
            # Centred on an event of the object, so that large ones give edges and corners.
            centre = mine[int(rng.integers(len(mine)))]
            left = int(events.x[centre]) - config.canvas // 2
            top = int(events.y[centre]) - config.canvas // 2
            x, y = events.x.astype(np.int64) - left, events.y.astype(np.int64) - top
            keep = (x >= 0) & (x < config.canvas) & (y >= 0) & (y < config.canvas)
            crops.append(
                Events(
                    x[keep].astype(np.uint16),
                    y[keep].astype(np.uint16),
                    events.p[keep],
                    events.t[keep] - begin,
                )
            )
    return crops


class Samples:
    """Numbered samples drawn from one or two sources.

    Args:
        config: Settings.
        nmnist: Folder of N-MNIST; needed unless all samples are simulated.
        progress: Called after each simulated scene.

    Raises:
        TrainingError: N-MNIST is needed and not given.
    """

    def __init__(
        self,
        config: StdpConfig,
        nmnist: str | Path | None = None,
        progress: Callable[[], None] | None = None,
    ) -> None:
        if config.simulated < 1 and nmnist is None:
            msg = (
                f'With simulated = {config.simulated!r} N-MNIST recordings are needed: give '
                'their folder (--data), or train on simulated events alone (--simulated 1).'
            )
            raise TrainingError(msg)
        self.config = config
        self._nmnist = NmnistSource(nmnist, config) if nmnist and config.simulated < 1 else None
        self._simulated = SimulatedSource(config, progress) if config.simulated > 0 else None

    def events(self, layer: int, number: int) -> Events:
        """Return the events of a sample.

        Args:
            layer: Layer that learns from it: each has its own sequence.
            number: Number of the sample, from 0.
        """
        rng = np.random.default_rng([self.config.seed, _CHOICE, layer, number])
        simulated = rng.random() < self.config.simulated
        source: Source | None = self._simulated if simulated else self._nmnist
        assert source is not None
        return source.draw(rng)

    def spikes(self, layer: int, number: int) -> NDArray[np.uint8]:
        """Return a sample as spikes, shape (T, canvas, canvas, 2), uint8 0 / 1."""
        config = self.config
        return bin_events(
            self.events(layer, number),
            0,
            round(config.window_ms * 1e6),
            config.steps,
            config.canvas,
            config.canvas,
        )
