# SPDX-License-Identifier: Apache-2.0
"""A drawn street with known classes: what a camera on a slow car might see, in perspective.

It shows that sizes, masks, colours and tracks are right where there are no labelled images at
hand. It is a drawing: how well a network does on it says little about real streets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

CLASSES = ('sky', 'building', 'pole', 'road', 'pavement', 'tree', 'car', 'pedestrian')
SKY, BUILDING, POLE, ROAD, PAVEMENT, TREE, CAR, PEDESTRIAN = range(len(CLASSES))
# Metres: height of the camera, half of the road, outer edge of the pavement, nearest depth drawn.
EYE, KERB, WALL, NEAR = 1.5, 4.0, 7.5, 1.2
FAR = 90.0
SPEED = 4.0
_SCALE = 2

Color = tuple[float, float, float]
# Colours of cars.
PAINTS: tuple[Color, ...] = (
    (34, 35, 39), (30, 40, 82), (132, 26, 27), (166, 168, 172), (28, 60, 46), (70, 74, 80),
)  # fmt: skip


class _Thing(NamedTuple):
    """Something that stands or moves on the street.

    Attributes:
        kind: Class.
        x: Metres to the right of the camera.
        z: Metres ahead of the camera at time 0.
        speed: Metres per second along the street.
        size: Scale of its shape.
        color: Colour, red-green-blue.
    """

    kind: int
    x: float
    z: float
    speed: float
    size: float
    color: Color


class _House(NamedTuple):
    """A front along the street: side (-1, 1), beginning and end, height, colour."""

    side: int
    near: float
    far: float
    height: float
    color: Color


@dataclass(frozen=True)
class StreetScene:
    """A street through which the camera drives.

    Attributes:
        width: Columns [px].
        height: Rows [px].
        seed: Seed of houses, trees, cars and people.
    """

    width: int = 480
    height: int = 360
    seed: int = 3

    def render(self, seconds: float) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the picture at a time.

        Returns:
            Colour image, shape (H, W, 3), uint8, red-green-blue; and the class of each pixel,
            shape (H, W), uint8, a number of CLASSES.
        """
        pen = _Pen(self.width, self.height, SPEED * seconds)
        houses, things = _furnish(self.seed)
        _ground(pen)
        for house in sorted(houses, key=lambda item: -item.far):
            _house(pen, house)
        placed = [item._replace(z=item.z + item.speed * seconds) for item in things]
        for item in sorted(placed, key=lambda each: -each.z):
            if NEAR + 2 < item.z - pen.offset < FAR:
                _DRAW[item.kind](pen, item)
        return pen.picture(np.random.default_rng([self.seed, round(seconds * 1000)])), pen.labels


class _Pen:
    """Draws polygons of the world into a picture, twice as fine, and into the labels."""

    def __init__(self, width: int, height: int, offset: float) -> None:
        self.width, self.height, self.offset = width, height, offset
        self.focus, self.horizon = 0.95 * width, 0.46 * height
        self.image = np.zeros((height * _SCALE, width * _SCALE, 3), np.float32)
        self.labels = np.full((height, width), SKY, np.uint8)

    def project(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Return column and row of a point: metres to the right, above the ground, ahead."""
        depth = max(z - self.offset, NEAR)
        return (
            self.width / 2 + self.focus * x / depth,
            self.horizon + self.focus * (EYE - y) / depth,
        )

    def polygon(
        self, points: Sequence[tuple[float, float, float]], color: Color, kind: int
    ) -> None:
        """Fill a polygon given by points of the world."""
        self.flat([self.project(*point) for point in points], color, kind)

    def flat(self, points: Sequence[tuple[float, float]], color: Color, kind: int) -> None:
        """Fill a polygon given by columns and rows."""
        corners = np.clip(np.array(points), -1e4, 1e4)
        fine = np.round(corners * _SCALE).astype(np.int32)
        cv2.fillPoly(self.image, [fine], color)
        cv2.fillPoly(self.labels, [np.round(corners).astype(np.int32)], kind)

    def ellipse(
        self, middle: tuple[float, float, float], radii: Color | tuple[float, float],
        color: Color, kind: int,
    ) -> None:  # fmt: skip
        """Fill an ellipse around a point of the world, its radii in metres."""
        column, row = self.project(*middle)
        scale = self.focus / max(middle[2] - self.offset, NEAR)
        turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        outline = np.stack(
            [column + scale * radii[0] * np.cos(turn), row + scale * radii[1] * np.sin(turn)], 1
        )
        self.flat([(float(x), float(y)) for x, y in outline], color, kind)

    def picture(self, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the picture with texture, blur and noise."""
        small = (self.width, self.height)
        image = cv2.resize(self.image, small, interpolation=cv2.INTER_AREA)
        for cell, strength in ((24, 7.0), (7, 5.0), (2, 6.0)):
            size = (self.height // cell + 2, self.width // cell + 2)
            coarse = rng.normal(0, strength, size).astype(np.float32)
            texture = cv2.resize(coarse, small, interpolation=cv2.INTER_CUBIC)
            image = image + (texture * (self.labels != SKY))[..., None]
        image = cv2.GaussianBlur(image, (0, 0), 0.6)
        image = image + rng.normal(0, 2.0, image.shape)
        return np.asarray(np.clip(np.round(image), 0, 255), np.uint8)


def _furnish(seed: int) -> tuple[list[_House], list[_Thing]]:
    """Return houses and what stands or moves on the street, the same for the same seed."""
    rng = np.random.default_rng(seed)
    houses, things = [], []
    for side in (-1, 1):
        z = -5.0
        while z < 2 * FAR:
            length = rng.uniform(9, 16)
            base = rng.uniform(70, 130)
            tint = (base + 28, base, base - 14) if rng.random() < 0.6 else (base,) * 3
            houses.append(_House(side, z, z + length, rng.uniform(7, 13), tint))
            z += length + rng.choice([0.0, 0.0, 3.0])
        for z in np.arange(7.0, 2 * FAR, 13.0):
            z += rng.uniform(-2, 2)
            green = rng.uniform(55, 85)
            things.append(
                _Thing(TREE, side * 6.4, z + 6, 0, rng.uniform(0.8, 1.3), (green - 8, green, 30))
            )
            things.append(_Thing(POLE, side * 4.5, z, 0, 1.0, (88, 90, 92)))
        for z in rng.uniform(8, 80, 5):
            shade = tuple(rng.uniform(25, 120, 3).tolist())
            pace = float(rng.choice([-1.2, 1.2]) + SPEED * 0.4)
            things.append(_Thing(PEDESTRIAN, side * rng.uniform(4.8, 6.0), z, pace, 1.0, shade))
    for z in np.arange(14.0, 2 * FAR, 9.0):
        things.append(_Thing(CAR, 3.0, z, 0, 1.0, PAINTS[rng.integers(len(PAINTS))]))
    for z in np.arange(24.0, 3 * FAR, 24.0):
        things.append(_Thing(CAR, -1.7, z, -3.0, 1.05, PAINTS[rng.integers(len(PAINTS))]))
    return houses, things


def _ground(pen: _Pen) -> None:
    """Draw sky, the end of the street, road and pavement."""
    rows = pen.image.shape[0]
    level = np.linspace(205, 242, rows, dtype=np.float32)[:, None, None]
    pen.image[:] = level * np.array((0.94, 0.98, 1.0), np.float32)
    near, far = pen.offset + NEAR, pen.offset + FAR
    wide = 60.0
    pen.polygon(
        [(-wide, 0, far), (wide, 0, far), (wide, 9, far), (-wide, 9, far)],
        (128, 118, 110),
        BUILDING,
    )
    for edge, color, kind in ((wide, (150, 147, 142), PAVEMENT), (KERB, (92, 92, 94), ROAD)):
        pen.polygon(
            [(-edge, 0, near), (edge, 0, near), (edge, 0, far), (-edge, 0, far)], color, kind
        )
    for side in (-1, 1):
        kerb = [(side * KERB, 0.0, near), (side * KERB, 0.0, far)]
        kerb += [(side * (KERB + 0.18), 0.1, far), (side * (KERB + 0.18), 0.1, near)]
        pen.polygon(kerb, (178, 176, 170), PAVEMENT)
    for z in np.arange(0.0, 3 * FAR, 6.0):
        if near < z + 2.5 and z < far:
            begin, end = max(z, near), z + 2.5
            dash = [(-0.07, 0, begin), (0.07, 0, begin), (0.07, 0, end), (-0.07, 0, end)]
            pen.polygon(dash, (215, 215, 210), ROAD)


def _house(pen: _Pen, house: _House) -> None:
    """Draw a front with its gable and windows."""
    near, far = max(house.near, pen.offset + NEAR), min(house.far, pen.offset + FAR)
    if near >= far:
        return
    x = house.side * WALL
    dark = tuple(0.8 * value for value in house.color)
    gable = [(x, 0, near), (x * 3, 0, near), (x * 3, house.height, near), (x, house.height, near)]
    pen.polygon(gable, (dark[0], dark[1], dark[2]), BUILDING)
    front = [(x, 0, near), (x, 0, far), (x, house.height, far), (x, house.height, near)]
    pen.polygon(front, house.color, BUILDING)
    for z in np.arange(house.near + 1.0, house.far - 1.5, 2.6):
        if z < near:
            continue
        for y in np.arange(1.0, house.height - 1.6, 2.9):
            frame = [(x, y, z), (x, y, z + 1.2), (x, y + 1.5, z + 1.2), (x, y + 1.5, z)]
            pen.polygon(frame, (48, 54, 62), BUILDING)


def _tree(pen: _Pen, item: _Thing) -> None:
    """Draw a trunk and a crown of several balls of leaves."""
    x, z, s = item.x, item.z, item.size
    trunk = [(x - 0.16, 0, z), (x + 0.16, 0, z), (x + 0.12, 3 * s, z), (x - 0.12, 3 * s, z)]
    pen.polygon(trunk, (66, 56, 44), TREE)
    rng = np.random.default_rng(round(1000 * abs(z * x)))
    for _ in range(16):
        dx, dy = rng.uniform(-1.3, 1.3) * s, rng.uniform(-1.1, 1.4) * s
        shade = rng.uniform(0.65, 1.35)
        red, green, blue = (shade * value for value in item.color)
        radius = rng.uniform(0.5, 0.95) * s
        pen.ellipse((x + dx, 4.2 * s + dy, z), (radius, radius), (red, green, blue), TREE)


def _pole(pen: _Pen, item: _Thing) -> None:
    """Draw a lamp post."""
    x, z = item.x, item.z
    post = [(x - 0.07, 0, z), (x + 0.07, 0, z), (x + 0.05, 6, z), (x - 0.05, 6, z)]
    pen.polygon(post, item.color, POLE)
    reach = -0.9 if x > 0 else 0.9
    pen.polygon(
        [(x, 6, z), (x, 5.9, z), (x + reach, 6.1, z), (x + reach, 6.2, z)], item.color, POLE
    )


def _car(pen: _Pen, item: _Thing) -> None:
    """Draw a car: shadow, wheels, body with its side, cabin, windows and lights."""
    x, near, far = item.x, item.z - 2.1, item.z + 2.1
    half = 0.9 * item.size
    color = item.color
    dark = (0.72 * color[0], 0.72 * color[1], 0.72 * color[2])
    shadow = [(x - half, 0, near), (x + half, 0, near), (x + half, 0, far), (x - half, 0, far)]
    pen.polygon(shadow, (38, 38, 40), CAR)
    inner = -half if x > 0 else half
    for z in (far - 0.8, near + 0.8):
        pen.ellipse((x + inner, 0.33, z), (0.16, 0.33), (20, 20, 22), CAR)
    side = [(x + inner, 0.25, near), (x + inner, 0.25, far), (x + inner, 0.85, far)]
    pen.polygon([*side, (x + inner, 0.85, near)], dark, CAR)
    lid = [(x - half, 0.85, near), (x + half, 0.85, near), (x + half, 0.85, far)]
    pen.polygon([*lid, (x - half, 0.85, far)], color, CAR)
    top = 0.72 * half
    cabin = [(x + inner, 0.85, near + 0.5), (x + inner, 0.85, far - 0.9)]
    cabin += [(x + inner * 0.8, 1.4, far - 1.4), (x + inner * 0.8, 1.4, near + 0.9)]
    pen.polygon(cabin, (40, 46, 54), CAR)
    glass = [(x - half * 0.95, 0.85, near + 0.3), (x + half * 0.95, 0.85, near + 0.3)]
    pen.polygon([*glass, (x + top, 1.42, near + 0.8), (x - top, 1.42, near + 0.8)], dark, CAR)
    pane = [(x - half * 0.82, 0.92, near + 0.3), (x + half * 0.82, 0.92, near + 0.3)]
    pen.polygon(
        [*pane, (x + top * 0.88, 1.34, near + 0.7), (x - top * 0.88, 1.34, near + 0.7)],
        (58, 66, 76),
        CAR,
    )
    back = [(x - half, 0.22, near), (x + half, 0.22, near), (x + half, 0.86, near)]
    pen.polygon([*back, (x - half, 0.86, near)], color, CAR)
    light = (190, 40, 36) if item.speed >= 0 else (232, 232, 220)
    for sign in (-1, 1):
        pen.ellipse((x + sign * half * 0.8, 0.68, near), (0.13, 0.09), light, CAR)
    plate = [(x - 0.26, 0.42, near), (x + 0.26, 0.42, near), (x + 0.26, 0.54, near)]
    pen.polygon([*plate, (x - 0.26, 0.54, near)], (222, 216, 150), CAR)


def _pedestrian(pen: _Pen, item: _Thing) -> None:
    """Draw a walking person: legs, body, arms and head."""
    x, z = item.x, item.z
    step = 0.16 * np.sin(6 * z)
    red, green, blue = item.color
    for sign in (-1, 1):
        hip, foot = x + 0.06 * sign, x + sign * (0.08 + step)
        leg = [(hip - 0.09, 0.85, z), (hip + 0.09, 0.85, z), (foot + 0.08, 0, z)]
        pen.polygon([*leg, (foot - 0.08, 0, z)], (0.5 * red, 0.5 * green, 0.55 * blue), PEDESTRIAN)
    body = [(x - 0.22, 1.45, z), (x + 0.22, 1.45, z), (x + 0.2, 0.8, z), (x - 0.2, 0.8, z)]
    pen.polygon(body, item.color, PEDESTRIAN)
    for sign in (-1, 1):
        pen.ellipse((x + 0.26 * sign, 1.12, z), (0.07, 0.33), item.color, PEDESTRIAN)
    pen.ellipse((x, 1.62, z), (0.12, 0.15), (182, 142, 120), PEDESTRIAN)


_DRAW = {TREE: _tree, POLE: _pole, CAR: _car, PEDESTRIAN: _pedestrian}
