# SPDX-License-Identifier: Apache-2.0
"""Procedural scenes: textured objects that move in front of a static textured background."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.simulation.events import SimulationError
from spikeseg_ros.simulation.shapes import (
    Bar,
    Blob,
    Disc,
    Motion,
    Polygon,
    SceneObject,
    Shape,
    Texture,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
KINDS = ('disc', 'polygon', 'bar', 'blob')


@dataclass(frozen=True)
class Scene:
    """Objects over a background; object k has instance id k + 1, and later ones are nearer.

    Attributes:
        width: Columns [px].
        height: Rows [px].
        objects: Objects from far to near.
        background: Texture of the background.
    """

    width: int
    height: int
    objects: tuple[SceneObject, ...]
    background: Texture

    def render(
        self, seconds: float
    ) -> tuple[NDArray[np.float32], NDArray[np.uint16], NDArray[np.uint16]]:
        """Return the picture at a time.

        Returns:
            Linear intensity, shape (H, W), float32, 0 .. 1; the instance that covers most of
            each pixel, shape (H, W), uint16, 0 = background; and the nearest instance that
            covers any part of the pixel, likewise.
        """
        image = _backdrop(self.background, self.width, self.height).copy()
        ids = np.zeros((self.height, self.width), np.uint16)
        touch = ids.copy()
        for number, item in enumerate(self.objects, 1):
            x, y, angle = item.motion.pose(seconds)
            reach = item.shape.radius + 1.5
            left, right = max(0, math.floor(x - reach)), min(self.width, math.ceil(x + reach) + 1)
            top, bottom = max(0, math.floor(y - reach)), min(self.height, math.ceil(y + reach) + 1)
            if left >= right or top >= bottom:
                continue
            dx = np.arange(left, right, dtype=np.float32)[None, :] - np.float32(x)
            dy = np.arange(top, bottom, dtype=np.float32)[:, None] - np.float32(y)
            cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
            u, v = dx * cos + dy * sin, dy * cos - dx * sin
            cover = np.clip(np.float32(0.5) - item.shape.distance(u, v), 0, 1)
            part = image[top:bottom, left:right]
            part += cover * (item.texture.intensity(u, v) - part)
            ids[top:bottom, left:right][cover >= 0.5] = number
            touch[top:bottom, left:right][cover > 0] = number
        return image, ids, touch

    def color(self, image: NDArray[np.float32], ids: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Return a rendered picture in colour, shape (H, W, 3), uint8 RGB, gamma 2.2."""
        colors = np.array([(1.0, 1.0, 1.0), *(item.color for item in self.objects)], np.float32)
        colors /= (colors @ _LUMA)[:, None]
        linear = np.clip(image[..., None] * colors[ids], 0, 1)
        return np.asarray(np.round(255 * linear ** (1 / 2.2)), np.uint8)


@functools.lru_cache(maxsize=2)
def _backdrop(texture: Texture, width: int, height: int) -> NDArray[np.float32]:
    """Return the picture without objects; not to be written to."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    return texture.intensity(x, y)


def demo_scene(width: int = 346, height: int = 260, seconds: float = 4.0) -> Scene:
    """Return the scene of the demonstration.

    Five objects of different shape, size and speed: a disc that crosses the image, a bar that
    comes the other way and passes in front of it, a large slow blob that comes to rest half way,
    a pentagon that enters from below and leaves above, and a small fast disc.

    Args:
        width: Columns [px].
        height: Rows [px].
        seconds: Time the scene is made for; speeds scale with it.
    """
    rng = np.random.default_rng(7)
    unit = min(width, height)
    w, h = float(width), float(height)

    def texture(mean: float) -> Texture:
        return Texture.random(rng, mean, 0.25, unit * 0.05)

    objects = (
        SceneObject(
            Blob(0.15 * unit, ((3, 0.12, 0.4), (5, 0.06, 1.0))),
            texture(0.3),
            Motion(
                (0.68 * w, 0.30 * h),
                (-0.16 * w / seconds, 0.10 * h / seconds),
                sway=(0.02 * unit, 0.03 * unit),
                sway_hz=2.4 / seconds,
                turn=1.6 / seconds,
                rest=(0.55 * seconds, 0.8 * seconds),
            ),
            (0.55, 0.75, 1.0),
            'blob',
        ),
        SceneObject(
            Disc(0.085 * unit),
            texture(0.75),
            Motion((-0.10 * w, 0.74 * h), (1.15 * w / seconds, -0.05 * h / seconds), turn=0.6),
            (1.0, 0.85, 0.4),
            'disc',
        ),
        SceneObject(
            Bar(0.30 * unit, 0.07 * unit),
            texture(0.2),
            Motion(
                (1.12 * w, 0.80 * h),
                (-1.05 * w / seconds, -0.12 * h / seconds),
                turn=2.5 / seconds,
                angle=1.2,
            ),
            (1.0, 0.5, 0.45),
            'bar',
        ),
        SceneObject(
            Polygon(5, 0.11 * unit),
            texture(0.7),
            Motion(
                (0.22 * w, 1.05 * h),
                (0.06 * w / seconds, -1.1 * h / seconds),
                turn=3.0 / seconds,
            ),
            (0.6, 1.0, 0.6),
            'polygon',
        ),
        SceneObject(
            Disc(0.04 * unit),
            texture(0.12),
            Motion((-0.35 * w, 0.12 * h), (1.7 * w / seconds, 0.16 * h / seconds)),
            (1.0, 0.7, 1.0),
            'disc',
        ),
    )
    return Scene(width, height, objects, Texture.random(rng, 0.45, 0.18, unit * 0.18))


def random_scene(
    width: int,
    height: int,
    seed: int,
    objects: int = 4,
    sizes: tuple[float, float] = (10.0, 60.0),
    speeds: tuple[float, float] = (30.0, 200.0),
    seconds: float = 1.0,
    gap: float | None = None,
) -> Scene:
    """Return a random scene; the same arguments always give the same scene.

    Args:
        width: Columns [px].
        height: Rows [px].
        seed: Seed.
        objects: Number of objects.
        sizes: Smallest and largest radius [px], drawn log-uniformly.
        speeds: Smallest and largest speed [px/s], drawn log-uniformly.
        seconds: Time the scene is made for: every path crosses the image in its middle.
        gap: Smallest distance of the objects' circles in the middle of that time [px]; objects
            for which there is no room are left out. None lets them overlap.

    Raises:
        SimulationError: A range is empty or negative.
    """
    for name, (low, high) in (('sizes', sizes), ('speeds', speeds)):
        if not 0 < low <= high:
            msg = f'{name} must be positive and ascending, got {(low, high)!r}.'
            raise SimulationError(msg)
    rng = np.random.default_rng(seed)
    background = Texture.random(rng, rng.uniform(0.3, 0.6), 0.15, min(width, height) * 0.2)
    items: list[SceneObject] = []
    taken: list[tuple[float, float, float]] = []
    for number in range(objects):
        radius = math.exp(rng.uniform(math.log(sizes[0]), math.log(sizes[1])))
        speed = math.exp(rng.uniform(math.log(speeds[0]), math.log(speeds[1])))
        heading = rng.uniform(0, 2 * math.pi)
        velocity = (speed * math.cos(heading), speed * math.sin(heading))
        middle = _middle(rng, width, height, radius, taken, gap)
        if middle is None:
            continue
        taken.append((*middle, radius))
        start = tuple(m - v * seconds / 2 for m, v in zip(middle, velocity, strict=True))
        mean = rng.uniform(0.08, 0.3) if rng.random() < 0.5 else rng.uniform(0.6, 0.9)
        kind = KINDS[number % len(KINDS)]
        items.append(
            SceneObject(
                _random_shape(rng, kind, radius),
                Texture.random(rng, mean, 0.2, max(6.0, radius * rng.uniform(0.3, 0.8))),
                Motion(
                    (start[0], start[1]),
                    velocity,
                    turn=rng.uniform(-2, 2),
                    angle=rng.uniform(0, 2 * math.pi),
                ),
                tuple(rng.uniform(0.4, 1.0, 3).tolist()),
                kind,
            )
        )
    return Scene(width, height, tuple(items), background)


def _middle(
    rng: np.random.Generator,
    width: int,
    height: int,
    radius: float,
    taken: list[tuple[float, float, float]],
    gap: float | None,
) -> tuple[float, float] | None:
    """Return a point (x, y) at which an object keeps its distance from those already placed."""
    for _ in range(50):
        x, y = rng.uniform(0.15, 0.85) * width, rng.uniform(0.15, 0.85) * height
        if gap is None or all(math.hypot(x - a, y - b) >= radius + r + gap for a, b, r in taken):
            return x, y
    return None


def _random_shape(rng: np.random.Generator, kind: str, radius: float) -> Shape:
    if kind == 'disc':
        return Disc(radius)
    if kind == 'polygon':
        return Polygon(int(rng.integers(3, 7)), radius)
    if kind == 'bar':
        return Bar(2 * radius, radius * rng.uniform(0.3, 0.7))
    lobes = tuple((k, rng.uniform(0.05, 0.15), rng.uniform(0, 2 * math.pi)) for k in (2, 3, 5))
    return Blob(radius / 1.2, lobes)
