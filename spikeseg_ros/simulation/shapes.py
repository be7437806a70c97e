# SPDX-License-Identifier: Apache-2.0
"""Shapes, textures and motions of the objects of a simulated scene.

Shapes are signed distances (negative inside) in the object's own pixel coordinates, so that
edges can be drawn smoothly at any position and angle.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Field = NDArray[np.float32]


class Shape(Protocol):
    """Outline of an object around its own origin."""

    @property
    def radius(self) -> float:
        """Radius of a circle around the origin that contains the shape [px]."""
        ...

    def distance(self, u: Field, v: Field) -> Field:
        """Return the signed distance to the outline [px], negative inside."""
        ...


@dataclass(frozen=True)
class Disc:
    """A disc of the given radius [px]."""

    radius: float

    def distance(self, u: Field, v: Field) -> Field:
        """Return the signed distance to the circle."""
        return np.asarray(np.hypot(u, v) - np.float32(self.radius), np.float32)


@dataclass(frozen=True)
class Bar:
    """A rectangle of the given length (along u) and thickness (along v) [px]."""

    length: float
    thickness: float

    @property
    def radius(self) -> float:
        """Half the diagonal."""
        return math.hypot(self.length, self.thickness) / 2

    def distance(self, u: Field, v: Field) -> Field:
        """Return the distance to the nearest side."""
        along = np.abs(u) - np.float32(self.length / 2)
        across = np.abs(v) - np.float32(self.thickness / 2)
        return np.asarray(np.maximum(along, across), np.float32)


@dataclass(frozen=True)
class Polygon:
    """A regular polygon with the given number of corners on a circle of the radius [px]."""

    corners: int
    radius: float

    def distance(self, u: Field, v: Field) -> Field:
        """Return the distance to the nearest side."""
        apothem = self.radius * math.cos(math.pi / self.corners)
        result = np.full(u.shape, -np.inf, np.float32)
        for k in range(self.corners):
            angle = 2 * math.pi * k / self.corners
            side = u * np.float32(math.cos(angle)) + v * np.float32(math.sin(angle))
            np.maximum(result, side - np.float32(apothem), out=result)
        return result


@dataclass(frozen=True)
class Blob:
    """A round shape with lobes.

    Attributes:
        mean_radius: Mean radius [px].
        lobes: (number of lobes, relative depth, phase [rad]) of each wave along the outline.
    """

    mean_radius: float
    lobes: tuple[tuple[int, float, float], ...]

    @property
    def radius(self) -> float:
        """Radius with all waves at their crest."""
        return self.mean_radius * (1 + sum(abs(depth) for _, depth, _ in self.lobes))

    def distance(self, u: Field, v: Field) -> Field:
        """Return the distance along the ray from the origin."""
        angle = np.arctan2(v, u)
        outline = np.ones(u.shape, np.float32)
        for number, depth, phase in self.lobes:
            outline += np.float32(depth) * np.cos(np.float32(number) * angle + np.float32(phase))
        return np.asarray(np.hypot(u, v) - np.float32(self.mean_radius) * outline, np.float32)


@dataclass(frozen=True)
class Texture:
    """A sum of plane waves around a mean brightness.

    Attributes:
        mean: Mean intensity, 0 .. 1.
        contrast: Largest deviation from the mean.
        waves: (wave number along u, along v [rad/px], phase [rad]) of each wave.
    """

    mean: float
    contrast: float
    waves: tuple[tuple[float, float, float], ...]

    @staticmethod
    def random(
        rng: np.random.Generator, mean: float, contrast: float, wavelength: float, waves: int = 3
    ) -> Texture:
        """Return a texture with random directions and about the given wavelength [px]."""
        drawn = []
        for _ in range(waves):
            angle = rng.uniform(0, math.pi)
            number = 2 * math.pi / (wavelength * rng.uniform(0.7, 1.5))
            drawn.append(
                (number * math.cos(angle), number * math.sin(angle), rng.uniform(0, 2 * math.pi))
            )
        return Texture(mean, contrast, tuple(drawn))

    def intensity(self, u: Field, v: Field) -> Field:
        """Return the intensity at points of the object, 0 .. 1."""
        result = np.zeros(u.shape, np.float32)
        for a, b, phase in self.waves:
            result += np.sin(u * np.float32(a) + v * np.float32(b) + np.float32(phase))
        scale = np.float32(self.contrast / max(1, len(self.waves)))
        return np.asarray(np.clip(np.float32(self.mean) + scale * result, 0, 1), np.float32)


@dataclass(frozen=True)
class Motion:
    """Straight motion with sway and turn; it can rest for a while.

    Attributes:
        start: Position (x, y) at time 0 [px]; may lie outside the image.
        velocity: Velocity (x, y) [px/s].
        sway: Amplitude (x, y) of a swing around the line [px].
        sway_hz: Frequency of the swing [1/s].
        turn: Angular velocity [rad/s].
        angle: Angle at time 0 [rad].
        rest: (first, last) time of rest [s]; everything stands still in between.
    """

    start: tuple[float, float]
    velocity: tuple[float, float]
    sway: tuple[float, float] = (0.0, 0.0)
    sway_hz: float = 0.5
    turn: float = 0.0
    angle: float = 0.0
    rest: tuple[float, float] = (math.inf, math.inf)

    def pose(self, seconds: float) -> tuple[float, float, float]:
        """Return (x, y, angle) at a time."""
        first, last = self.rest
        moving = seconds - max(0.0, min(seconds, last) - first) if seconds > first else seconds
        swing = math.sin(2 * math.pi * self.sway_hz * moving)
        return (
            self.start[0] + self.velocity[0] * moving + self.sway[0] * swing,
            self.start[1] + self.velocity[1] * moving + self.sway[1] * swing,
            self.angle + self.turn * moving,
        )


@dataclass(frozen=True)
class SceneObject:
    """One object.

    Attributes:
        shape: Outline.
        texture: Surface.
        motion: Path.
        color: Red, green, blue factors on the brightness.
        kind: Word for the shape, for people.
    """

    shape: Shape
    texture: Texture
    motion: Motion
    color: tuple[float, float, float] = field(default=(1.0, 1.0, 1.0))
    kind: str = 'object'
