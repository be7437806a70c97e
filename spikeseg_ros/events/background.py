# SPDX-License-Identifier: Apache-2.0
"""Background activity: how many events every part of the sensor makes without any object.

Sensor noise differs between corners of one sensor by a factor of a hundred. It is estimated as
the local median of the density of events in blocks: objects cover less than half of the blocks
around most places, noise covers all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy import ndimage, special

from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Edge of a block [px]; a multiple of every cell of the pyramid.
BLOCK = 16
# Blocks along the edge of the neighbourhood whose median counts.
NEIGHBOURHOOD = 5
# Share of the voxels of pure noise that may become a spike below full size.
NOISE_SHARE = 0.005
# Counts go no further; one bit of a byte is left for the verdict.
_MOST = 127
_DECIDED = 128


def block_density(events: Events, height: int, width: int) -> NDArray[np.float64]:
    """Return the events per pixel of every block.

    Args:
        events: Events of a window.
        height: Rows of the sensor [px].
        width: Columns of the sensor [px].

    Returns:
        Shape (ceil(height / BLOCK), ceil(width / BLOCK)).
    """
    rows, columns = -(-height // BLOCK), -(-width // BLOCK)
    counts = np.zeros((rows, columns), np.int64)
    _count(events.x, events.y, counts)
    tall = np.minimum(height - np.arange(rows) * BLOCK, BLOCK)
    wide = np.minimum(width - np.arange(columns) * BLOCK, BLOCK)
    return np.asarray(counts / (tall[:, None] * wide[None]))


def background_density(density: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the background events per pixel of every block: the median of its neighbourhood."""
    return np.asarray(ndimage.median_filter(density, NEIGHBOURHOOD, mode='reflect'))


def least_events(expected: NDArray[np.float64], share: float) -> NDArray[np.uint8]:
    """Return the number of events from which a voxel is more than noise.

    Args:
        expected: Expected noise events per voxel.
        share: Largest probability that noise reaches the number (Poisson).

    Returns:
        Smallest number with P(noise >= number) <= share, 1 .. 127, of the shape of expected.
    """
    # P(noise >= n) with mean m is the regularised incomplete gamma function P(n, m).
    limits = special.gammaincinv(np.arange(1, _MOST), share)
    return np.asarray(np.searchsorted(limits, expected, side='left') + 1, np.uint8)


def bin_scaled(
    events: Events,
    t_start: int,
    t_end: int,
    steps: int,
    height: int,
    width: int,
    level: int,
    background: NDArray[np.float64],
    polarities: int = 2,
) -> NDArray[np.uint8]:
    """Sort events into time steps and cells of 2^level x 2^level pixels, without background.

    A pixel fires in a step when it has an event; a cell when it holds more events than background
    alone would bring, for many pixels together are never silent.

    Args:
        events: Events of a window.
        t_start: Begin of the window [ns].
        t_end: End of the window, exclusive [ns].
        steps: Time steps T.
        height: Rows of the sensor [px].
        width: Columns of the sensor [px].
        level: 0 = pixels, 1 = cells of 2 x 2 pixels, 2 = of 4 x 4 pixels, ...; at most 4.
        background: Background events per pixel and window of every block.
        polarities: 2 = OFF and ON in channels of their own; 1 = merged.

    Returns:
        Spikes, shape (T, ceil(height / 2^level), ceil(width / 2^level), P), uint8, 0 or 1.
    """
    if not level:
        return bin_events(events, t_start, t_end, steps, height, width, polarities)
    least = least_events(background * (4.0**level / (steps * polarities)), NOISE_SHARE)
    shape = (height + (1 << level) - 1) >> level, (width + (1 << level) - 1) >> level
    events = Events(
        (events.x >> level).astype(np.uint16),
        (events.y >> level).astype(np.uint16),
        events.p,
        events.t,
    )
    if int(least.max(initial=1)) == 1:
        return bin_events(events, t_start, t_end, steps, *shape, polarities)
    volume = np.zeros((steps, *shape, polarities), np.uint8)
    # Floor division is exact: an event at the border of two steps belongs to the later one.
    step = (events.t - t_start) * steps // (t_end - t_start)
    _set_more_than(events.x, events.y, events.p, step, least, BLOCK >> level, volume)
    return volume


@njit(cache=True, nogil=True)
def _count(x: Any, y: Any, counts: Any) -> None:
    """Count events by block."""
    for i in range(x.shape[0]):
        row, column = y[i] // BLOCK, x[i] // BLOCK
        if row < counts.shape[0] and column < counts.shape[1]:
            counts[row, column] += 1


@njit(cache=True, nogil=True)
def _set_more_than(x: Any, y: Any, p: Any, step: Any, least: Any, cells: Any, volume: Any) -> None:
    """Set the voxels that hold at least as many events as their block asks for.

    Three passes over the events touch less memory than one over all voxels.
    """
    steps, height, width, polarities = volume.shape
    flat = volume.reshape(-1)
    place = np.empty(x.shape[0], np.int64)
    for i in range(x.shape[0]):
        place[i] = -1
        if 0 <= step[i] < steps and y[i] < height and x[i] < width:
            channel = 1 if polarities == 2 and p[i] else 0
            at = ((step[i] * height + y[i]) * width + x[i]) * polarities + channel
            place[i] = at
            if flat[at] < _MOST:
                flat[at] += 1
    for i in range(x.shape[0]):
        if place[i] >= 0 and flat[place[i]] < _DECIDED:
            enough = flat[place[i]] >= least[y[i] // cells, x[i] // cells]
            flat[place[i]] = _DECIDED + 1 if enough else _DECIDED
    for i in range(x.shape[0]):
        if place[i] >= 0:
            flat[place[i]] &= 1
