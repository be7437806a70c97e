# SPDX-License-Identifier: Apache-2.0
"""Axis-aligned boxes with inclusive integer corners."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.algorithms.errors import BoxError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


@dataclass(frozen=True)
class BoundingBox:
    """Box that covers the pixels x_min .. x_max and y_min .. y_max, both ends included.

    Attributes:
        x_min: Leftmost column [px].
        y_min: Topmost row [px].
        x_max: Rightmost column [px].
        y_max: Bottommost row [px].

    Raises:
        BoxError: A maximum lies below its minimum.
    """

    x_min: int
    y_min: int
    x_max: int
    y_max: int

    def __post_init__(self) -> None:
        """Turn the corners into int and check their order."""
        for name in ('x_min', 'y_min', 'x_max', 'y_max'):
            object.__setattr__(self, name, int(getattr(self, name)))
        if self.x_max < self.x_min or self.y_max < self.y_min:
            msg = f'{self!r} is empty: give x_max >= x_min and y_max >= y_min (inclusive ends).'
            raise BoxError(msg)

    @property
    def width(self) -> int:
        """Number of columns [px]."""
        return self.x_max - self.x_min + 1

    @property
    def height(self) -> int:
        """Number of rows [px]."""
        return self.y_max - self.y_min + 1

    @property
    def area(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def center(self) -> tuple[float, float]:
        """Centre (x, y) [px]."""
        return (self.x_min + self.x_max) / 2, (self.y_min + self.y_max) / 2

    @classmethod
    def from_mask(cls, mask: torch.Tensor | NDArray[Any]) -> BoundingBox | None:
        """Return the tight box of the non-zero pixels, or None where there are none.

        Args:
            mask: Shape (H, W), or with leading axes of size 1.

        Raises:
            BoxError: The mask has more than two axes that are not 1.
        """
        pixels = np.asarray(mask)
        while pixels.ndim > 2 and pixels.shape[0] == 1:
            pixels = pixels[0]
        if pixels.ndim != 2:
            msg = f'A mask has the shape (H, W), got {tuple(pixels.shape)!r}.'
            raise BoxError(msg)
        rows = np.flatnonzero((pixels != 0).any(axis=1))
        columns = np.flatnonzero((pixels != 0).any(axis=0))
        if rows.size == 0:
            return None
        return cls(int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))

    @classmethod
    def from_coordinates(
        cls, x_coords: torch.Tensor | NDArray[Any], y_coords: torch.Tensor | NDArray[Any]
    ) -> BoundingBox | None:
        """Return the tight box of N pixels, or None for N = 0.

        Args:
            x_coords: Columns, shape (N,).
            y_coords: Rows, shape (N,).

        Raises:
            BoxError: The numbers of columns and rows differ.
        """
        x, y = np.asarray(x_coords), np.asarray(y_coords)
        if x.shape != y.shape:
            msg = f'Give one row per column, got {x.shape!r} columns and {y.shape!r} rows.'
            raise BoxError(msg)
        if x.size == 0:
            return None
        return cls(int(x.min()), int(y.min()), int(x.max()), int(y.max()))

    def intersection(self, other: BoundingBox) -> BoundingBox | None:
        """Return the common part, or None where the boxes do not overlap."""
        x_min, y_min = max(self.x_min, other.x_min), max(self.y_min, other.y_min)
        x_max, y_max = min(self.x_max, other.x_max), min(self.y_max, other.y_max)
        if x_max < x_min or y_max < y_min:
            return None
        return BoundingBox(x_min, y_min, x_max, y_max)

    def hull(self, other: BoundingBox) -> BoundingBox:
        """Return the smallest box that contains both."""
        return BoundingBox(
            min(self.x_min, other.x_min),
            min(self.y_min, other.y_min),
            max(self.x_max, other.x_max),
            max(self.y_max, other.y_max),
        )

    def union_area(self, other: BoundingBox) -> int:
        """Return the number of pixels in at least one of the boxes."""
        common = self.intersection(other)
        return self.area + other.area - (common.area if common else 0)

    def iou(self, other: BoundingBox) -> float:
        """Return intersection over union, 0 .. 1."""
        common = self.intersection(other)
        return common.area / self.union_area(other) if common else 0.0

    def to_xywh(self) -> tuple[int, int, int, int]:
        """Return (x_min, y_min, width, height)."""
        return self.x_min, self.y_min, self.width, self.height

    def to_xyxy(self) -> tuple[int, int, int, int]:
        """Return (x_min, y_min, x_max, y_max), inclusive."""
        return self.x_min, self.y_min, self.x_max, self.y_max
