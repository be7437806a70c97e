# SPDX-License-Identifier: Apache-2.0
"""Methods without a network: components of event density, DBSCAN, and a size prior.

Each takes a window and returns the object of every event. What they have in common with the
network (smallest object, most objects, tracks) is added by `methods.BaselineMethod`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
from scipy import ndimage
from scipy.cluster.hierarchy import fcluster, linkage

from spikeseg_ros.evaluation.benchmarks.density import grid_dbscan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import EventWindow

# Squares in which the density is counted [px].
_SQUARE = 5
# Time steps into which DBSCAN on x, y, t sorts the events of a window.
TIME_STEPS = 10
# Cells of the size prior [px], and from how many on larger cells are taken: the clustering
# compares all pairs.
CELL = 4
MAX_CELLS = 6000


def counts_of(window: EventWindow) -> NDArray[np.int32]:
    """Return the number of events of every pixel, shape (H, W)."""
    place = window.events.y.astype(np.int64) * window.width + window.events.x
    counts = np.bincount(place, minlength=window.height * window.width)
    return counts.reshape(window.height, window.width).astype(np.int32)


def component_image(counts: NDArray[np.int32], density: int, grow: int = 1) -> NDArray[np.int32]:
    """Return the connected components of dense pixels, 0 for pixels of none, shape (H, W).

    Args:
        counts: Events per pixel, shape (H, W).
        density: Events in a square of 5 x 5 pixels from which its centre counts.
        grow: Pixels by which dense regions grow before they are connected (8 neighbours).
    """
    dense = cv2.boxFilter(
        counts.astype(np.float32),
        -1,
        (_SQUARE, _SQUARE),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    region = (dense >= density) & (counts > 0)
    if grow:
        region = ndimage.binary_dilation(region, iterations=grow)
    image, _ = ndimage.label(region, np.ones((3, 3)))
    return np.asarray(image, np.int32)


class Baseline(Protocol):
    """What all of them do."""

    def labels(self, window: EventWindow) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""


@dataclass(frozen=True)
class Components:
    """Connected pixels of sufficient event density.

    Attributes:
        density: Events in a square of 5 x 5 pixels from which its centre counts.
        grow: Pixels by which dense regions grow before they are connected.
    """

    density: int = 6
    grow: int = 1

    def labels(self, window: EventWindow) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""
        image = component_image(counts_of(window), self.density, self.grow)
        return image[window.events.y, window.events.x] - 1


@dataclass(frozen=True)
class Dbscan:
    """DBSCAN on x, y: pixels weighted by their number of events.

    Attributes:
        eps: Radius of the neighbourhood [px].
        min_events: Events in the neighbourhood of a core pixel.
    """

    eps: float = 3.0
    min_events: int = 8

    def labels(self, window: EventWindow) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""
        image = _dbscan_image(counts_of(window), self.eps, self.min_events)
        return image[window.events.y, window.events.x]


@dataclass(frozen=True)
class DbscanTime:
    """DBSCAN on x, y, t: times in ten steps a window, cells weighted by their events.

    Attributes:
        eps: Radius of the neighbourhood [px].
        min_events: Events in the neighbourhood of a core cell.
        pixels_per_ms: What a millisecond counts [px].
    """

    eps: float = 3.0
    min_events: int = 8
    pixels_per_ms: float = 0.1

    def labels(self, window: EventWindow) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""
        events = window.events
        duration = max(1, window.duration)
        step = np.minimum((events.t - window.t_start) * TIME_STEPS // duration, TIME_STEPS - 1)
        place = (step * window.height + events.y) * window.width + events.x
        shape = (TIME_STEPS, window.height, window.width)
        counts = np.bincount(place, minlength=int(np.prod(shape))).reshape(shape)
        spacing = self.pixels_per_ms * duration / TIME_STEPS * 1e-6
        image = grid_dbscan(
            counts.astype(np.int32), self.eps, self.min_events, (spacing, 1.0, 1.0)
        )
        return np.asarray(image.ravel()[place])


@dataclass(frozen=True)
class SizePrior:
    """A control that knows one size: DBSCAN removes noise, cells are clustered up to a width.

    Active cells are grouped by average linkage of their distances, cut at `size`. Whoever knows
    the size of all objects separates them so, without looking at anything else.

    Attributes:
        size: Mean distance at which groups are no longer joined [px].
        eps: Radius of the neighbourhood that tells noise [px].
        min_events: Events in the neighbourhood of a pixel that is no noise.
    """

    size: float = 18.0
    eps: float = 2.5
    min_events: int = 8

    def labels(self, window: EventWindow) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""
        return self.tree(window).cut(self.size)

    def tree(self, window: EventWindow) -> CellTree:
        """Return the clustering of a window before it is cut; `size` plays no role."""
        kept = _dbscan_image(counts_of(window), self.eps, self.min_events) >= 0
        cell, rows, columns = active_cells(kept)
        links = None
        if len(rows) > 1:
            links = linkage(np.stack([columns, rows], 1) * float(cell), 'average')
        image = np.full((-(-window.height // cell), -(-window.width // cell)), -1, np.int32)
        image[rows, columns] = np.arange(len(rows))
        x, y = window.events.x, window.events.y
        return CellTree(np.where(kept[y, x], image[y // cell, x // cell], -1), len(rows), links)


@dataclass(frozen=True)
class CellTree:
    """Cells of a window and how they are joined.

    Attributes:
        cells: Cell of every event, -1 for noise, shape (N,).
        count: Number of cells.
        links: Average linkage of the cells; None for fewer than two.
    """

    cells: NDArray[np.int32]
    count: int
    links: NDArray[np.float64] | None

    def cut(self, size: float) -> NDArray[np.int32]:
        """Return the object of every event, -1 for none, shape (N,)."""
        groups = np.zeros(self.count + 1, np.int32)
        if self.links is not None:
            groups[:-1] = fcluster(self.links, size, 'distance') - 1
        # The last entry serves cell -1.
        groups[-1] = -1
        found: NDArray[np.int32] = groups[self.cells]
        return found


def active_cells(kept: NDArray[np.bool_]) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Return the size [px], rows and columns of the cells that hold pixels."""
    rows, columns = np.nonzero(kept)
    cell = CELL
    while True:
        width = -(-kept.shape[1] // cell)
        places = np.unique(rows // cell * width + columns // cell)
        if len(places) <= MAX_CELLS:
            return cell, places // width, places % width
        cell *= 2


def _dbscan_image(counts: NDArray[np.int32], eps: float, min_events: int) -> NDArray[np.int32]:
    """Return the cluster of every pixel, -1 for none, shape (H, W)."""
    image: NDArray[np.int32] = grid_dbscan(counts[None], eps, min_events, (1.0, 1.0, 1.0))[0]
    return image


# Makers of baselines from settings.
FAMILIES: dict[str, Callable[..., Baseline]] = {
    'components': Components,
    'dbscan': Dbscan,
    'dbscan-time': DbscanTime,
    'size-prior': SizePrior,
}
