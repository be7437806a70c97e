# SPDX-License-Identifier: Apache-2.0
"""Objects as sets of elements (events of a window, or pixels), their overlap and matching."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from spikeseg_ros.evaluation.metrics.errors import MetricError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import BoundingBox
    from spikeseg_ros.events.types import Events

# IoU from which a prediction counts as the object it overlaps.
MATCH_IOU = 0.5


class Detection(Protocol):
    """What the metrics read of a published object; SegmentedObject has it."""

    @property
    def box(self) -> BoundingBox:
        """Tight box of the mask, inclusive pixel coordinates."""

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Pixels of the object inside the box, shape (box.height, box.width)."""

    @property
    def score(self) -> float:
        """Confidence; objects are ranked by it."""

    @property
    def class_id(self) -> int:
        """Class of the object, from 1."""

    @property
    def track_id(self) -> int:
        """Stable number over windows, from 1; 0 where it has none."""


@dataclass(frozen=True)
class Candidate:
    """A predicted object as a set of elements.

    Attributes:
        members: Elements that belong to it, shape (N,), bool.
        score: Confidence; candidates are ranked by it.
        class_id: Class of the object, from 1.
        track_id: Stable number over windows, from 1; 0 where it has none.
    """

    members: NDArray[np.bool_]
    score: float = 1.0
    class_id: int = 1
    track_id: int = 0


@dataclass(frozen=True)
class Region:
    """A true object as a set of elements.

    Attributes:
        members: Elements that belong to it, shape (N,), bool.
        class_id: Class of the object, from 1.
        track_id: Instance id, the same in all windows, from 1.
    """

    members: NDArray[np.bool_]
    class_id: int = 1
    track_id: int = 0


def events_inside(item: Detection, events: Events) -> NDArray[np.bool_]:
    """Return which events lie on the object's mask, shape (N,)."""
    box = item.box
    x = events.x.astype(np.int64) - box.x_min
    y = events.y.astype(np.int64) - box.y_min
    rows, columns = item.mask.shape
    inside = (x >= 0) & (y >= 0) & (x < columns) & (y < rows)
    inside[inside] = item.mask[y[inside], x[inside]]
    return np.asarray(inside)


def candidates(objects: Iterable[Detection], events: Events) -> list[Candidate]:
    """Return published objects as the sets of events inside their masks."""
    return [
        Candidate(events_inside(item, events), item.score, item.class_id, item.track_id)
        for item in objects
    ]


def pixel_candidates(objects: Iterable[Detection], height: int, width: int) -> list[Candidate]:
    """Return published objects as sets of pixels of an image, shape (height * width,) each."""
    found = []
    for item in objects:
        image = np.zeros((height, width), np.bool_)
        box = item.box
        image[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1] = item.mask
        found.append(Candidate(image.ravel(), item.score, item.class_id, item.track_id))
    return found


def regions(labels: NDArray[np.integer], classes: Mapping[int, int] | None = None) -> list[Region]:
    """Return one true object per instance, ordered by instance id.

    Args:
        labels: Instance of each element, any shape; 0 = background or noise.
        classes: Class by instance id; 1 where it is not listed.
    """
    flat = np.asarray(labels).ravel()
    ids = np.unique(flat[flat > 0]).tolist()
    table = classes or {}
    return [Region(flat == number, table.get(number, 1), number) for number in ids]


def overlaps(
    rows: Sequence[Candidate | Region], columns: Sequence[Candidate | Region]
) -> NDArray[np.float64]:
    """Return the intersection over union of every pair, shape (rows, columns).

    Two empty sets have an IoU of 0.

    Raises:
        MetricError: The sets are not over the same elements.
    """
    if not rows or not columns:
        return np.zeros((len(rows), len(columns)))
    first, second = _stacked(rows), _stacked(columns)
    if first.shape[1] != second.shape[1]:
        msg = (
            f'Predicted sets are over {first.shape[1]} elements, true ones over '
            f'{second.shape[1]}: give both for the same events or the same image.'
        )
        raise MetricError(msg)
    # Sums of ones up to 2^53 are exact in float64.
    common = first.astype(np.float64) @ second.astype(np.float64).T
    union = first.sum(1)[:, None] + second.sum(1)[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _stacked(sets: Sequence[Candidate | Region]) -> NDArray[np.bool_]:
    """Return the members of all sets as rows of a matrix."""
    sizes = {item.members.shape for item in sets}
    if len(sizes) > 1 or len(next(iter(sizes))) != 1:
        msg = f'Sets of one window need members of one shape (N,), got {sorted(sizes)!r}.'
        raise MetricError(msg)
    return np.stack([item.members for item in sets]).astype(np.bool_)


def match(table: NDArray[np.float64], floor: float | None = None) -> list[tuple[int, int]]:
    """Return the best one-to-one pairs (row, column) of a table of similarities.

    Hungarian method. Without a floor the sum of similarities is largest. With a floor, pairs
    below it are never made, as many pairs as possible are, and among those the sum is largest.
    """
    if not table.size:
        return []
    if floor is None:
        value = table
    else:
        allowed = table >= floor
        # One more pair outweighs everything that the similarities can differ by.
        bonus = 1.0 + 2.0 * min(table.shape) * float(np.ptp(table))
        value = np.where(allowed, table - table.min() + bonus, 0.0)
    chosen = zip(*linear_sum_assignment(-value), strict=True)
    return [(int(r), int(c)) for r, c in chosen if floor is None or allowed[r, c]]
