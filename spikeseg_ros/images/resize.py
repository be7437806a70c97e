# SPDX-License-Identifier: Apache-2.0
"""Resizing that keeps the ratio of the sides, and its exact inverse for masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from spikeseg_ros.images.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Letterbox:
    """Where a resized image lies inside a padded one.

    Attributes:
        source: (rows, columns) of the original.
        target: (rows, columns) of the padded image.
        size: (rows, columns) of the resized original inside it.
        top: Padded rows above.
        left: Padded columns to the left.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    size: tuple[int, int]
    top: int
    left: int


def letterbox(source: tuple[int, int], target: tuple[int, int]) -> Letterbox:
    """Fit an image into a frame: as large as possible, ratio kept, centred.

    Args:
        source: (rows, columns) of the image.
        target: (rows, columns) of the frame; 0 = follow the other side, both 0 = as it is.

    Raises:
        ImageError: A side is negative or the source is empty.
    """
    if min(source) < 1 or min(target) < 0:
        msg = f'Cannot resize (rows, columns) {source!r} to {target!r}; sides must be positive.'
        raise ImageError(msg)
    rows, columns = target
    if rows == 0 and columns == 0:
        rows, columns = source
    elif rows == 0:
        rows = max(1, round(source[0] * columns / source[1]))
    elif columns == 0:
        columns = max(1, round(source[1] * rows / source[0]))
    scale = min(rows / source[0], columns / source[1])
    height = min(rows, max(1, round(source[0] * scale)))
    width = min(columns, max(1, round(source[1] * scale)))
    return Letterbox(
        source, (rows, columns), (height, width), (rows - height) // 2, (columns - width) // 2
    )


def apply(image: NDArray[Any], box: Letterbox, fill: int | tuple[int, ...] = 0) -> NDArray[Any]:
    """Resize and pad an image (area average down, linear up).

    Args:
        image: Shape (H, W) or (H, W, C).
        box: Result of letterbox for this size.
        fill: Value of the padding, one or one per channel.

    Raises:
        ImageError: The image has another size than the box was made for.
    """
    if image.shape[:2] != box.source:
        msg = f'Image is {image.shape[:2]!r}, the letterbox was made for {box.source!r}.'
        raise ImageError(msg)
    height, width = box.size
    if box.size != box.source:
        shrinks = height < box.source[0] or width < box.source[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (width, height), interpolation=method))
    if box.size == box.target:
        return image
    padded = np.full(box.target + image.shape[2:], fill, image.dtype)
    padded[box.top : box.top + height, box.left : box.left + width] = image
    return padded


def restore_mask(mask: NDArray[Any], box: Letterbox) -> NDArray[Any]:
    """Bring a mask of the padded image back to the original: nearest pixel, no new values.

    Each original pixel takes the value of the resized pixel that its centre falls into, so a
    mask that was enlarged by repeating pixels comes back exactly.

    Args:
        mask: Shape (rows, columns) of the target, any type.
        box: Result of letterbox.

    Returns:
        Mask of shape box.source, same type.

    Raises:
        ImageError: The mask has another size than the letterbox's target.
    """
    if mask.shape[:2] != box.target:
        msg = f'Mask is {mask.shape[:2]!r}, the letterbox pads to {box.target!r}.'
        raise ImageError(msg)
    height, width = box.size
    rows = box.top + (2 * np.arange(box.source[0]) + 1) * height // (2 * box.source[0])
    columns = box.left + (2 * np.arange(box.source[1]) + 1) * width // (2 * box.source[1])
    return np.ascontiguousarray(mask[rows[:, None], columns[None, :]])
