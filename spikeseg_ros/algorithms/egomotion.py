# SPDX-License-Identifier: Apache-2.0
"""Moving cameras: which pixels move otherwise than the background.

When the camera moves, the whole scene makes events. The flow between thirds of a window is
estimated from images of its events (dense inverse search, Kroeger et al., ECCV 2016, as OpenCV
has it); an affine motion is fitted to it robustly and taken as the background. What departs from
it is foreground. A camera at rest is recognised by how few events most of the sensor makes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events

# Events per pixel of the middle block from which the camera may be moving.
BUSY = 0.2
# Edge of a cell of the event images [px].
CELL = 2
# Event images per window.
PARTS = 3
# Least motion of the background between two images [cells].
LEAST_MOTION = 0.15
# Foreground departs by more than each of: cells, spreads of the fit, share of the motion.
LEAST_DEPARTURE = 0.25
SPREADS = 3.0
MOTION_SHARE = 0.3
# Foreground narrower than this is dropped [cells].
NARROWEST = 9
_BLUR = 1.0
_ROUNDS = 10
_SAMPLES = 3000


@dataclass(frozen=True)
class Egomotion:
    """Motion of the background in a window.

    Attributes:
        foreground: Pixels that move otherwise, shape (H, W), bool.
        velocity: Median background motion (x, y) [px/s].
    """

    foreground: NDArray[np.bool_]
    velocity: tuple[float, float]


def egomotion(
    events: Events,
    t_start: int,
    t_end: int,
    height: int,
    width: int,
    density: NDArray[np.float64],
) -> Egomotion | None:
    """Return the motion of the background, None where it is at rest.

    Args:
        events: Events of the window, ordered by time.
        t_start: Begin of the window [ns].
        t_end: End of the window [ns].
        height: Rows H of the sensor [px].
        width: Columns W of the sensor [px].
        density: Events per pixel of every block (block_density).
    """
    rows, columns = height // CELL, width // CELL
    # The flow works on patches of 8 cells and an image pyramid.
    if float(np.median(density)) < BUSY or min(rows, columns) < 32:
        return None
    edges = np.searchsorted(
        events.t, [t_start + (t_end - t_start) * k // PARTS for k in range(PARTS + 1)]
    )
    images = [
        _event_image(events.x[a:b], events.y[a:b], rows, columns)
        for a, b in itertools.pairwise(edges)
    ]
    flow = _flow(images)
    texture = np.sum(images, axis=0)
    motion, spread = _affine(flow, texture)
    textured = texture > np.median(texture)
    speed = float(np.median(np.hypot(*motion[textured].T))) if textured.any() else 0.0
    if speed < LEAST_MOTION:
        return None
    departure = np.hypot(*np.moveaxis(flow - motion, 2, 0))
    limit = max(LEAST_DEPARTURE, SPREADS * spread, MOTION_SHARE * speed)
    mask = cv2.morphologyEx(
        (departure > limit).astype(np.uint8),
        cv2.MORPH_OPEN,
        np.ones((NARROWEST, NARROWEST), np.uint8),
    )
    foreground = np.zeros((height, width), np.bool_)
    grown = np.repeat(np.repeat(mask, CELL, axis=0), CELL, axis=1)
    foreground[: grown.shape[0], : grown.shape[1]] = grown > 0
    seconds = (t_end - t_start) * 1e-9 / PARTS
    x, y = np.median(motion[textured], axis=0) * CELL / seconds
    return Egomotion(foreground, (float(x), float(y)))


def _event_image(
    x: NDArray[np.uint16], y: NDArray[np.uint16], rows: int, columns: int
) -> NDArray[np.float32]:
    """Return the blurred root of the counts of events, shape (rows, columns)."""
    counts = np.zeros((rows, columns), np.float32)
    _add(x, y, counts)
    return np.asarray(cv2.GaussianBlur(np.sqrt(counts), (0, 0), _BLUR), np.float32)


def _flow(images: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the mean flow from image to image, shape (rows, columns, 2) [cells]."""
    vision: Any = cv2  # its stubs lack the optical flow
    method = vision.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    top = max(float(np.percentile(image, 99)) for image in images) + 1e-6
    pictures = [np.clip(image * (255 / top), 0, 255).astype(np.uint8) for image in images]
    # The result depends on the number of stripes the image is cut into, one per thread.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        flows = [method.calc(one, other, None) for one, other in itertools.pairwise(pictures)]
    finally:
        cv2.setNumThreads(threads)
    return np.asarray(np.mean(flows, axis=0), np.float32)


def _affine(
    flow: NDArray[np.float32], texture: NDArray[np.float32]
) -> tuple[NDArray[np.float64], float]:
    """Fit an affine motion by reweighted least squares where there is texture.

    Returns:
        The motion of every cell, shape (rows, columns, 2), and the median residual [cells].
    """
    rows, columns = texture.shape
    ys, xs = np.nonzero(texture > np.median(texture))
    if len(ys) > _SAMPLES:
        chosen = np.linspace(0, len(ys) - 1, _SAMPLES).astype(np.int64)
        ys, xs = ys[chosen], xs[chosen]
    if len(ys) < _ROUNDS:
        return np.zeros((rows, columns, 2)), 0.0

    def terms(x: Any, y: Any) -> NDArray[np.float64]:
        x, y = (x - columns / 2) / columns, (y - rows / 2) / columns
        return np.stack([x, y, np.ones(np.shape(x))], axis=-1)

    known, wanted = terms(xs, ys), flow[ys, xs].astype(np.float64)
    weights = 1 / (1 + (np.hypot(*(wanted - np.median(wanted, axis=0)).T) / 2) ** 2)
    for _ in range(_ROUNDS):
        factors = np.linalg.lstsq(known * weights[:, None], wanted * weights[:, None], rcond=None)
        residual = np.hypot(*(wanted - known @ factors[0]).T)
        spread = max(0.1, float(np.median(residual)))
        weights = 1 / (1 + (residual / spread) ** 2)
    grid = np.mgrid[0:rows, 0:columns]
    return terms(grid[1], grid[0]) @ factors[0], spread


@njit(cache=True, nogil=True)
def _add(x: Any, y: Any, counts: Any) -> None:
    """Count events by cell."""
    for i in range(x.shape[0]):
        row, column = y[i] // CELL, x[i] // CELL
        if row < counts.shape[0] and column < counts.shape[1]:
            counts[row, column] += 1
