# SPDX-License-Identifier: Apache-2.0
"""From frames to recordings: events, camera images and ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.events import SECOND, EventSimulator, SensorConfig, SimulationError
from spikeseg_ros.simulation.truth import GroundTruth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from spikeseg_ros.simulation.scene import Scene

_MICROSECOND = 1000


@dataclass(frozen=True)
class Frame:
    """What the sensor sees at one moment.

    Attributes:
        time: Sensor time [ns].
        intensity: Linear intensity, shape (H, W), float32, 0 .. 1.
        ids: Instance that covers most of each pixel, shape (H, W), uint16; 0 = background,
            higher = nearer.
        touch: Nearest instance that covers any part of each pixel, shape (H, W), uint16.
        color: Makes the camera image of the moment, shape (H, W, 3), uint8 RGB.
    """

    time: int
    intensity: NDArray[np.float32]
    ids: NDArray[np.uint16]
    touch: NDArray[np.uint16]
    color: Callable[[], NDArray[np.uint8]]


@dataclass(frozen=True)
class Recording:
    """A simulated recording.

    Attributes:
        truth: The events with their ground truth.
        image_times: Times of the camera images [ns].
        images: Camera images, each of shape (H, W, 3), uint8 RGB.
    """

    truth: GroundTruth
    image_times: tuple[int, ...] = ()
    images: tuple[NDArray[np.uint8], ...] = ()

    @property
    def events(self) -> Events:
        """The events."""
        return self.truth.events


def scene_frames(scene: Scene, seconds: float, rate_hz: float = 500.0) -> Iterator[Frame]:
    """Yield the frames of a scene at a fine rate, the first at time 0.

    Objects should move less than about a pixel from frame to frame.
    """
    for k in range(round(seconds * rate_hz) + 1):
        image, ids, touch = scene.render(k / rate_hz)
        yield Frame(
            round(k * SECOND / rate_hz),
            image,
            ids,
            touch,
            lambda image=image, ids=ids: scene.color(image, ids),  # type: ignore[misc]
        )


def record(
    frames: Iterable[Frame],
    sensor: SensorConfig,
    *,
    camera_hz: float = 20.0,
    mask_hz: float = 100.0,
    classes: Mapping[int, int] | None = None,
    names: Mapping[int, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Let the simulated sensor see frames.

    Args:
        frames: Frames in order of time.
        sensor: The sensor; event times come out in whole microseconds.
        camera_hz: Rate of the camera images; 0 = none.
        mask_hz: Rate at which instance images are kept for the ground truth.
        classes: Class id (from 1) by instance id; 1 where missing.
        names: Name by instance id.
        progress: Called with the time [ns] after each frame.

    Raises:
        SimulationError: The frames do not fit the sensor.
    """
    simulator = EventSimulator(sensor)
    parts: list[Events] = []
    causes: list[NDArray[np.uint16]] = []
    image_times: list[int] = []
    images: list[NDArray[np.uint8]] = []
    mask_times: list[int] = []
    masks: list[NDArray[np.uint8]] = []
    for frame in frames:
        events, cause = simulator.step(frame.intensity, frame.time, frame.touch)
        parts.append(events)
        causes.append(cause)
        if camera_hz and frame.time * camera_hz >= len(images) * SECOND:
            images.append(frame.color())
            image_times.append(frame.time)
        if frame.time * mask_hz >= len(masks) * SECOND:
            if frame.ids.max(initial=0) > np.iinfo(np.uint8).max:
                msg = f'At most 255 instances are supported, got id {int(frame.ids.max())!r}.'
                raise SimulationError(msg)
            masks.append(frame.ids.astype(np.uint8))
            mask_times.append(frame.time)
        if progress is not None:
            progress(frame.time)
    events = Events.concatenate(parts)
    events = Events(events.x, events.y, events.p, events.t // _MICROSECOND * _MICROSECOND)
    truth = GroundTruth(
        sensor.width,
        sensor.height,
        events,
        np.concatenate(causes) if causes else np.empty(0, np.uint16),
        classes or {},
        names or {},
        np.array(mask_times, np.int64),
        np.array(masks, np.uint8).reshape(-1, sensor.height, sensor.width),
    )
    return Recording(truth, tuple(image_times), tuple(images))


def simulate_scene(
    scene: Scene,
    seconds: float,
    sensor: SensorConfig | None = None,
    *,
    rate_hz: float = 500.0,
    camera_hz: float = 20.0,
    progress: Callable[[int], None] | None = None,
) -> Recording:
    """Record a scene; the truth names each object by its shape and gives all of them class 1."""
    return record(
        scene_frames(scene, seconds, rate_hz),
        sensor or SensorConfig(scene.width, scene.height),
        camera_hz=camera_hz,
        classes=dict.fromkeys(range(1, len(scene.objects) + 1), 1),
        names={k: item.kind for k, item in enumerate(scene.objects, 1)},
        progress=progress,
    )
