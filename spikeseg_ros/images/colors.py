# SPDX-License-Identifier: Apache-2.0
"""Colours of classes and tracks: fixed, well apart from each other, readable on dark."""

from __future__ import annotations

import colorsys
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Steps of the golden angle keep neighbouring numbers far apart on the colour wheel.
_GOLDEN = 0.6180339887498949
_START = 0.09


def track_color(number: int) -> tuple[int, int, int]:
    """Return the colour of a track or object number, red-green-blue; 0 is gray."""
    if number <= 0:
        return (150, 150, 150)
    hue = (_START + (number - 1) * _GOLDEN) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.62, 0.78)
    return round(red * 255), round(green * 255), round(blue * 255)


def class_color(class_id: int) -> tuple[int, int, int]:
    """Return the colour of a class id, red-green-blue; background (0) is black."""
    if class_id <= 0:
        return (0, 0, 0)
    return track_color(class_id)


def palette(entries: int = 256) -> NDArray[np.uint8]:
    """Return the colours of the class ids 0 .. entries - 1, shape (entries, 3), uint8."""
    return np.array([class_color(number) for number in range(entries)], np.uint8).reshape(-1, 3)


def colorize(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Paint a mask of class ids, shape (H, W), as red-green-blue image (H, W, 3)."""
    return palette()[mask]
