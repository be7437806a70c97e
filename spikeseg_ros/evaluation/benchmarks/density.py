# SPDX-License-Identifier: Apache-2.0
"""DBSCAN on a grid of counted events, exact and fast.

DBSCAN (Ester et al., KDD 1996) of points on a grid needs no search for neighbours: they lie at
fixed offsets. Points are numbered in the order of the grid, and clusters by their first core
point, so that the labels are those of scikit-learn's DBSCAN with counts as sample weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


def grid_dbscan(
    counts: NDArray[np.int32], eps: float, min_events: int, spacing: Sequence[float]
) -> NDArray[np.int32]:
    """Return the cluster of every cell of a grid, -1 for noise and for empty cells.

    Args:
        counts: Events per cell, shape (A, B, C).
        eps: Cells at most this far from each other are neighbours.
        min_events: Events in the neighbourhood of a core cell, the cell itself included.
        spacing: Distance of neighbouring cells along each axis, in units of eps.

    Returns:
        Clusters from 0, shape (A, B, C).
    """
    reach = [int(eps / step) for step in spacing]
    axes = [np.arange(-count, count + 1) for count in reach]
    offsets = np.stack(np.meshgrid(*axes, indexing='ij'), axis=-1).reshape(-1, 3)
    distance = np.sqrt(((offsets * np.asarray(spacing)) ** 2).sum(1))
    # Near cells first: core cells are recognised early.
    order = np.argsort(distance, kind='stable')
    offsets = np.ascontiguousarray(offsets[order][distance[order] <= eps], np.int64)
    labels = np.full(counts.shape, -1, np.int32)
    _cluster(counts, offsets, min_events, labels)
    return labels


@njit(cache=True, nogil=True)
def _cluster(counts: Any, offsets: Any, min_events: Any, labels: Any) -> None:
    """Write the clusters into `labels`, which holds -1 everywhere.

    Args:
        counts: Events per cell, (A, B, C), int32.
        offsets: Neighbours of a cell, (N, 3), int64.
        min_events: Events in the neighbourhood of a core cell.
        labels: Receives the clusters, (A, B, C), int32.
    """
    depth, height, width = counts.shape
    core = np.zeros(counts.shape, np.bool_)
    active = 0
    for a in range(depth):
        for b in range(height):
            for c in range(width):
                if counts[a, b, c] == 0:
                    continue
                active += 1
                total = 0
                for n in range(offsets.shape[0]):
                    i, j, k = a + offsets[n, 0], b + offsets[n, 1], c + offsets[n, 2]
                    if 0 <= i < depth and 0 <= j < height and 0 <= k < width:
                        total += counts[i, j, k]
                        if total >= min_events:
                            core[a, b, c] = True
                            break
    stack = np.empty((active, 3), np.int64)
    cluster = 0
    for a in range(depth):
        for b in range(height):
            for c in range(width):
                if not core[a, b, c] or labels[a, b, c] >= 0:
                    continue
                labels[a, b, c] = cluster
                stack[0] = a, b, c
                top = 1
                while top:
                    top -= 1
                    x, y, z = stack[top]
                    for n in range(offsets.shape[0]):
                        i, j, k = x + offsets[n, 0], y + offsets[n, 1], z + offsets[n, 2]
                        if (
                            0 <= i < depth
                            and 0 <= j < height
                            and 0 <= k < width
                            and counts[i, j, k]
                            and labels[i, j, k] < 0
                        ):
                            labels[i, j, k] = cluster
                            if core[i, j, k]:
                                stack[top] = i, j, k
                                top += 1
                cluster += 1
