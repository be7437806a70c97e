# SPDX-License-Identifier: Apache-2.0
"""Random views of labelled images: scale, crop, flip and colour. A pure function of its seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

_LUMA = np.array([0.299, 0.587, 0.114])


class Augmentation(NamedTuple):
    """Ranges of the random changes.

    Attributes:
        scale_min: Smallest magnification beyond that of the plain resize.
        scale_max: Largest magnification.
        aspect: Largest stretch of one side against the other, as a share.
        flip: Whether to mirror half of the views.
        color: Strength of brightness, contrast, saturation, tint and gamma; 0 = none.
    """

    scale_min: float = 0.5
    scale_max: float = 2.0
    aspect: float = 0.1
    flip: bool = True
    color: float = 1.0


def random_view(
    image: Bytes,
    label: Bytes,
    size: tuple[int, int],
    ignore: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[Bytes, Bytes]:
    """Cut a random view out of a labelled image.

    Args:
        image: RGB, shape (H, W, 3).
        label: Classes, shape (H, W).
        size: Height and width of the view.
        ignore: Label of what lies outside of the image.
        settings: Ranges of the changes.
        rng: Source of all random numbers.

    Returns:
        View, shape (*size, 3), and its label, shape size.
    """
    height, width = label.shape
    scale = math.exp(rng.uniform(math.log(settings.scale_min), math.log(settings.scale_max)))
    stretch = math.exp(rng.uniform(-settings.aspect, settings.aspect) / 2)
    # Rows and columns of the image that the view shows; more than there are when zoomed out.
    rows, y = _span(height, height / (scale * stretch), rng)
    columns, x = _span(width, width * stretch / scale, rng)
    top, bottom = max(0, y), min(height, y + rows)
    left, right = max(0, x), min(width, x + columns)
    down, across = size[0] / rows, size[1] / columns
    y0, y1 = round((top - y) * down), round((bottom - y) * down)
    x0, x1 = round((left - x) * across), round((right - x) * across)
    inner = (max(x1 - x0, 1), max(y1 - y0, 1))
    smooth = cv2.INTER_AREA if down < 1 else cv2.INTER_LINEAR
    seen = np.asarray(
        cv2.resize(image[top:bottom, left:right], inner, interpolation=smooth), dtype=np.uint8
    )
    marks = cv2.resize(label[top:bottom, left:right], inner, interpolation=cv2.INTER_NEAREST_EXACT)
    view = np.empty((*size, 3), dtype=np.uint8)
    view[:] = cv2.mean(image)[:3]
    target = np.full(size, ignore, dtype=np.uint8)
    place = np.s_[y0 : y0 + inner[1], x0 : x0 + inner[0]]
    view[place] = recolored(seen, settings.color, rng)
    target[place] = marks
    if settings.flip and rng.random() < 0.5:
        view, target = view[:, ::-1], target[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(target)


def _span(length: int, wanted: float, rng: np.random.Generator) -> tuple[int, int]:
    """Return the number of rows (or columns) of a crop and where it begins, maybe below 0."""
    count = max(round(wanted), 8)
    spare = length - count
    begin = int(rng.integers(min(spare, 0), max(spare, 0) + 1))
    return count, begin


def recolored(image: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Change brightness, contrast, saturation, tint and gamma of an RGB image."""
    if strength == 0:
        return image
    contrast = 1 + strength * rng.uniform(-0.3, 0.3)
    saturation = 1 + strength * rng.uniform(-0.5, 0.5)
    tint = 1 + strength * rng.uniform(-0.1, 0.1, 3)
    shift = strength * rng.uniform(-30, 30) + 128 * (1 - contrast)
    gamma = math.exp(strength * rng.uniform(-0.3, 0.3))
    mix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = np.column_stack([contrast * tint[:, None] * mix, np.full(3, shift)])
    curve = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.transform(image, matrix), curve), dtype=np.uint8)
