# SPDX-License-Identifier: Apache-2.0
"""Inputs of any size to the size that a network sees, and its answers back, exactly undone."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from spikeseg_ros.events.frames import resized_frames
from spikeseg_ros.images.resize import Letterbox, apply, letterbox

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

Size = tuple[int, int]


def placement(source: Size, target: Size, *, keep_ratio: bool, multiple: int = 1) -> Letterbox:
    """Return where an input of a size lies in what the network sees.

    Args:
        source: Rows and columns of the input.
        target: Rows and columns that are wanted; 0 = follow the other side, both 0 = as it is.
        keep_ratio: Keep the ratio of the sides and pad, instead of stretching.
        multiple: The network's sides must be multiples of this; they are rounded up.

    Raises:
        ImageError: A side is not positive.
    """
    wanted = letterbox(source, target).target
    rows, columns = (math.ceil(side / multiple) * multiple for side in wanted)
    if keep_ratio:
        return letterbox(source, (rows, columns))
    return Letterbox(source, (rows, columns), (rows, columns), 0, 0)


def place_image(
    image: NDArray[np.uint8], box: Letterbox, fill: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """Return a colour image (H, W, 3) as the network sees it, shape (*box.target, 3).

    Args:
        image: The image, of the size box.source.
        box: Result of placement.
        fill: Colour around it.
    """
    return np.ascontiguousarray(apply(image, box, fill), np.uint8)


def place_frames(frames: NDArray[np.float32], box: Letterbox) -> NDArray[np.float32]:
    """Return event frames (T, C, H, W) as the network sees them, shape (T, C, *box.target)."""
    placed = resized_frames(frames, box.size)
    if box.size == box.target:
        return np.ascontiguousarray(placed)
    padded = np.zeros(frames.shape[:2] + box.target, np.float32)
    height, width = box.size
    padded[:, :, box.top : box.top + height, box.left : box.left + width] = placed
    return padded


def spread(values: Tensor, box: Letterbox) -> Tensor:
    """Return values of the network for each pixel of the input, linear in between.

    Args:
        values: Shape (1, K, h, w), for the whole of box.target.
        box: Result of placement.

    Returns:
        Shape (K, *box.source), float32.
    """
    values = values.float().contiguous()
    if box.size == box.target:
        return F.interpolate(values, box.source, mode='bilinear', align_corners=False)[0]
    rows = _samples(values.shape[2], box.target[0], box.top, box.size[0], box.source[0])
    columns = _samples(values.shape[3], box.target[1], box.left, box.size[1], box.source[1])
    return _mixed(_mixed(values[0], 1, *rows), 2, *columns)


def _mixed(values: Tensor, axis: int, first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return values between those at two places along an axis."""
    device = values.device
    shape = [1] * values.ndim
    shape[axis] = -1
    one, two = (values.index_select(axis, place.to(device)) for place in (first, second))
    return torch.lerp(one, two, share.to(device).view(shape))


def _samples(
    count: int, target: int, start: int, size: int, source: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the two places around the centre of each input pixel, and the second one's share.

    Args:
        count: Values along this side.
        target: Length of the side that they stand for [px].
        start: Where the input begins on it [px].
        size: Length of the input on it [px].
        source: Length of the input itself [px].
    """
    centre = start + (torch.arange(source, dtype=torch.float64) + 0.5) * size / source
    place = (centre * count / target - 0.5).clamp(0, count - 1)
    first = place.floor().long()
    second = (first + 1).clamp(max=count - 1)
    return first, second, (place - first).float()
