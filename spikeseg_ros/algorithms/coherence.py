# SPDX-License-Identifier: Apache-2.0
"""Grouping by common fate: what touches and fires in the same rhythm is one object.

The instances of all scales say where there is something; its events are then parted and joined:

1. Connected pixels with events under an instance form a region.
2. A region is cut into cells relative to its size. Neighbouring cells are merged, the most alike
   first, until the rhythms of all neighbours (their events over the steps of the window) are
   discordant. The objects of the window before take part: cells that belonged to different ones
   are less alike, so that what was once told apart stays apart while it moves alike.
3. Fragments with a gap between them that is small against their size, and with one rhythm, are
   joined: edges parallel to the motion make no events, so one object often comes in pieces.
4. What is not clearly more than the background activity of its place is dropped.

All lengths are relative to the size of the object in question, so that one setting serves
objects of all sizes.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.spatial import cKDTree

from spikeseg_ros.algorithms.coherence_kernels import by_label, discord, merge_cells
from spikeseg_ros.events.background import least_events

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Time steps of a rhythm.
RHYTHM_STEPS = 5
# Cells along the longer side of a region, and the least edge of a cell [px].
CELLS = 8
LEAST_CELL = 4
# Events by which the discord of small fragments is drawn to 0.
PRIOR_EVENTS = 60.0
# Weight of an event's old object against its time when cells are merged.
MEMORY_WEIGHT = 0.3
# What different or equal old objects add to, or take from, the discord of fragments.
MEMORY_BONUS = 0.05
# Fragments of old objects stay apart whose motions differ by more than this [px per window] and
# this share of the faster one.
LEAST_APART = 1.0
APART_SHARE = 0.5
# Old objects reach this far, for what moved since [px].
MEMORY_REACH = 4
# Share of the events of an object that a fragment needs, and the least number.
FRAGMENT_SHARE = 0.3
LEAST_FRAGMENT = 15
# Events around a pixel are counted in a square of this edge [px]; noise alone reaches the number
# asked for with this probability.
DENSITY_SIDE = 5
DENSITY_SHARE = 0.1
# Pixels around an object in which background is expected, too.
MARGIN = 2


@dataclass(frozen=True)
class CoherenceOptions:
    """How regions are parted and fragments joined.

    Attributes:
        split: Discord of rhythms from which neighbouring parts are two objects, 0 .. 1.39.
        join: Discord up to which fragments with a gap between them are one object.
        reach: Largest gap, in units of the smaller fragment's longer side.
        min_events: Events an object needs beyond the background.
    """

    split: float = 0.65
    join: float = 0.055
    reach: float = 0.7
    min_events: int = 50


@dataclass(frozen=True)
class Field:
    """Events of a window, and what is known about their surroundings.

    Attributes:
        x: Columns, shape (M,).
        y: Rows, shape (M,).
        step: Steps of the rhythm, 0 .. RHYTHM_STEPS - 1, shape (M,).
        support: Pixels under an instance, shape (H, W), bool.
        background: Background events per pixel, one value for a block of pixels.
        block: Edge of a block [px].
        before: Object of every pixel in the window before, -1 for none, shape (H, W), int16;
            None for the first window.
        motion: Motion (x, y) per window of those objects, nan where it is not known, shape (K, 2)
            [px].
    """

    x: NDArray[np.integer[Any]]
    y: NDArray[np.integer[Any]]
    step: NDArray[np.integer[Any]]
    support: NDArray[np.bool_]
    background: NDArray[np.float64]
    block: int
    before: NDArray[np.int16] | None = None
    motion: NDArray[np.float64] | None = None


def coherent_objects(field: Field, options: CoherenceOptions) -> NDArray[np.int32]:
    """Return the object of every event, -1 for none, numbered from 0, shape (M,), int32."""
    labels = np.full(len(field.x), -1, np.int32)
    seen = (field.support & _dense(field))[field.y, field.x]
    if not seen.any():
        return labels
    chosen = np.flatnonzero(seen)
    x, y = field.x[chosen].astype(np.int64), field.y[chosen].astype(np.int64)
    step = field.step[chosen].astype(np.int64)
    old = _reached(field.before)[y, x] if field.before is not None else np.full(len(x), -1)
    least = max(LEAST_FRAGMENT, FRAGMENT_SHARE * options.min_events)
    fragment = _fragments(x, y, step, old, field.support.shape, least, options.split)
    kept = fragment >= 0
    parts = _Parts(x[kept], y[kept], step[kept], old[kept], fragment[kept])
    owner = _join(parts, options, field.motion)
    owner = _significant(parts, owner, field, options.min_events)
    labels[chosen[kept]] = owner[fragment[kept]]
    return labels


def _dense(field: Field) -> NDArray[np.bool_]:
    """Return the pixels around which there are more events than the sensor's noise brings.

    The noise is the local background, but no more than that of the middle block: within a large
    object, the local background is the object.

    Returns:
        Shape (H, W), bool.
    """
    height, width = field.support.shape
    noise = np.minimum(field.background, np.median(field.background))
    least = least_events(noise * DENSITY_SIDE**2, DENSITY_SHARE)
    if int(least.max(initial=1)) == 1:
        return np.ones((height, width), np.bool_)
    place = field.y.astype(np.int64) * width + field.x
    found = np.bincount(place, minlength=height * width)
    counts = found.astype(np.float32).reshape(height, width)
    near = cv2.boxFilter(
        counts,
        -1,
        (DENSITY_SIDE, DENSITY_SIDE),
        normalize=False,
        borderType=cv2.BORDER_CONSTANT,
    )
    blocks = np.repeat(np.repeat(least, field.block, axis=0), field.block, axis=1)
    # Sums of whole numbers are exact.
    return np.asarray(near >= blocks[:height, :width])


def label_image(
    labels: NDArray[np.int32],
    x: NDArray[np.integer[Any]],
    y: NDArray[np.integer[Any]],
    shape: tuple[int, int],
) -> NDArray[np.int16]:
    """Return the object of every pixel with events, -1 elsewhere, shape (H, W), int16."""
    image = np.full(shape, -1, np.int16)
    seen = labels >= 0
    image[y[seen], x[seen]] = labels[seen]
    return image


def _reached(labels: NDArray[np.int16]) -> NDArray[np.int16]:
    """Return the nearest object within MEMORY_REACH of every pixel, -1 for none."""
    empty = (labels < 0).astype(np.uint8)
    if empty.all():
        return labels
    distance, nearest = cv2.distanceTransformWithLabels(
        empty, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.full(int(nearest.max()) + 1, -1, np.int16)
    own = empty == 0
    of_label[nearest[own]] = labels[own]
    return np.asarray(np.where(distance <= MEMORY_REACH, of_label[nearest], -1), np.int16)


def _fragments(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    step: NDArray[np.int64],
    old: NDArray[np.integer[Any]],
    shape: tuple[int, ...],
    least: float,
    split: float,
) -> NDArray[np.int32]:
    """Return the fragment of every event, -1 for those in regions of fewer than least events."""
    pixels = np.zeros(shape, np.uint8)
    pixels[y, x] = 1
    grown = cv2.dilate(pixels, np.ones((3, 3), np.uint8))
    count, regions = cv2.connectedComponents(grown, connectivity=8)
    region = regions[y, x]
    order, bounds = by_label(region, count)
    result = np.full(len(x), -1, np.int32)
    total = 0
    for start, stop in itertools.pairwise(bounds):
        if stop - start < least:
            continue
        members = order[start:stop]
        groups = _parted(x[members], y[members], step[members], old[members], least, split)
        result[members] = total + groups
        total += int(groups.max()) + 1
    return result


def _parted(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    step: NDArray[np.int64],
    old: NDArray[np.integer[Any]],
    least: float,
    split: float,
) -> NDArray[np.int32]:
    """Part one region; returns the fragment of every event, from 0."""
    x, y = x - x.min(), y - y.min()
    edge = max(LEAST_CELL, (max(int(x.max()), int(y.max())) + 1) // CELLS)
    row, column = y // edge, x // edge
    rows, columns = int(row.max()) + 1, int(column.max()) + 1
    place = row * columns + column
    used = np.flatnonzero(np.bincount(place, minlength=rows * columns))
    if len(used) == 1:
        return np.zeros(len(x), np.int32)
    number = np.empty(rows * columns, np.int64)
    number[used] = np.arange(len(used))
    cell = number[place]
    rhythm = _histogram(cell, step, len(used), RHYTHM_STEPS)
    known = old >= 0
    names = int(old.max(initial=-1)) + 1
    before = MEMORY_WEIGHT * _histogram(cell[known], old[known], len(used), max(1, names))
    first, second = _neighbours(used, rows, columns)
    groups = merge_cells(rhythm, before, first, second, split, PRIOR_EVENTS, least)
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(-1)[cell], np.int32)


def _histogram(
    row: NDArray[np.integer[Any]], column: NDArray[np.integer[Any]], rows: int, columns: int
) -> NDArray[np.float64]:
    """Count pairs, shape (rows, columns), float64."""
    flat = row.astype(np.int64) * columns + column
    counts = np.bincount(flat, minlength=rows * columns)
    return counts.reshape(rows, columns).astype(np.float64)


def _neighbours(
    used: NDArray[np.int64], rows: int, columns: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs of cells that touch, corners included, as numbers within used."""
    number = np.full((rows + 1, columns + 2), -1, np.int64)
    row, column = used // columns, used % columns + 1
    number[row, column] = np.arange(len(used))
    firsts, seconds = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        other = number[row + down, column + right]
        firsts.append(np.flatnonzero(other >= 0))
        seconds.append(other[other >= 0])
    return np.concatenate(firsts), np.concatenate(seconds)


class _Parts:
    """The fragments of a window: pixels, rhythms and old objects of each."""

    def __init__(
        self,
        x: NDArray[np.int64],
        y: NDArray[np.int64],
        step: NDArray[np.int64],
        old: NDArray[np.integer[Any]],
        fragment: NDArray[np.int32],
    ) -> None:
        self.count = int(fragment.max()) + 1 if len(fragment) else 0
        self.rhythm = _histogram(fragment, step, self.count, RHYTHM_STEPS)
        known = old >= 0
        names = int(old.max(initial=-1)) + 1
        self.old = _histogram(fragment[known], old[known], self.count, names)
        width, height = int(x.max(initial=0)) + 1, int(y.max(initial=0)) + 1
        image = np.full((height, width), -1, np.int32)
        image[y, x] = fragment
        rows, columns = np.nonzero(image >= 0)
        order, bounds = by_label(image[rows, columns], self.count)
        places = np.stack([columns, rows], axis=1)[order]
        self.pixels = [places[a:b] for a, b in itertools.pairwise(bounds)]
        self.low = np.array([item.min(axis=0) for item in self.pixels]).reshape(-1, 2)
        self.high = np.array([item.max(axis=0) for item in self.pixels]).reshape(-1, 2)


def _join(
    parts: _Parts, options: CoherenceOptions, motion: NDArray[np.float64] | None
) -> NDArray[np.int32]:
    """Join fragments; returns the object of every fragment."""
    owner = np.arange(parts.count, dtype=np.int32)
    if parts.count < 2 or options.reach <= 0:
        return owner
    low, high = parts.low.copy(), parts.high.copy()
    rhythm, old = parts.rhythm.copy(), parts.old.copy()
    side = (high - low).max(axis=1) + 1.0
    gap = _gaps(parts, float(side.max()) * options.reach)
    gap[_apart(parts, motion)] = np.inf
    alive = np.ones(parts.count, np.bool_)
    while True:
        best: tuple[float, int, int] | None = None
        limit = options.reach * np.minimum(side[:, None], side[None])
        near = (gap <= limit) & alive[:, None] & alive[None]
        for i, j in np.argwhere(np.triu(near, 1)):
            cost = discord(rhythm[i], rhythm[j], PRIOR_EVENTS)
            cost += _memory(old[i], old[j], rhythm[i].sum(), rhythm[j].sum())
            if cost > options.join:
                continue
            cost += gap[i, j] / min(side[i], side[j])
            if best is None or cost < best[0]:
                best = (float(cost), int(i), int(j))
        if best is None:
            break
        _, kept, gone = best
        rhythm[kept] += rhythm[gone]
        old[kept] += old[gone]
        low[kept] = np.minimum(low[kept], low[gone])
        high[kept] = np.maximum(high[kept], high[gone])
        side[kept] = float((high[kept] - low[kept]).max()) + 1.0
        gap[kept] = gap[:, kept] = np.minimum(gap[kept], gap[gone])
        alive[gone] = False
        owner[owner == gone] = kept
    return owner


def _apart(parts: _Parts, motion: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Return the pairs of fragments whose old objects moved differently, shape (N, N)."""
    none = np.zeros((parts.count, parts.count), np.bool_)
    if motion is None or not parts.old.shape[1]:
        return none
    main = parts.old.argmax(axis=1)
    known = parts.old.max(axis=1) > FRAGMENT_SHARE * parts.rhythm.sum(axis=1)
    moved = np.where(known[:, None], motion[main], np.nan)
    speed = np.hypot(*moved.T)
    apart = np.hypot(*np.moveaxis(moved[:, None] - moved[None], 2, 0))
    limit = LEAST_APART + APART_SHARE * np.maximum(speed[:, None], speed[None])
    # Comparisons with nan are false: what is not known does not part.
    return np.asarray(apart > limit)


def _memory(
    first: NDArray[np.float64], second: NDArray[np.float64], one: float, other: float
) -> float:
    """Return what the old objects of two fragments add to their discord."""
    known, also = float(first.sum()), float(second.sum())
    # Too little of a fragment has an old object to say anything.
    if known < FRAGMENT_SHARE * one or also < FRAGMENT_SHARE * other or not (known and also):
        return 0.0
    same = float(np.minimum(first / known, second / also).sum())
    return MEMORY_BONUS * (1.0 - 2.0 * same)


def _gaps(parts: _Parts, most: float) -> NDArray[np.float64]:
    """Return the empty pixels between every two fragments, infinite beyond `most`, (N, N)."""
    gap = np.full((parts.count, parts.count), np.inf)
    trees: dict[int, cKDTree] = {}
    for i in range(parts.count):
        for j in range(i + 1, parts.count):
            apart = np.maximum(parts.low[i] - parts.high[j], parts.low[j] - parts.high[i])
            if float(np.hypot(*np.maximum(apart, 0))) - 1 > most:
                continue
            big, small = (i, j) if len(parts.pixels[i]) >= len(parts.pixels[j]) else (j, i)
            if big not in trees:
                trees[big] = cKDTree(parts.pixels[big])
            nearest, _ = trees[big].query(parts.pixels[small], distance_upper_bound=most + 2)
            gap[i, j] = gap[j, i] = float(nearest.min()) - 1
    return gap


def _significant(
    parts: _Parts, owner: NDArray[np.int32], field: Field, min_events: int
) -> NDArray[np.int32]:
    """Renumber the objects; those with too few events beyond the background become -1."""
    result = np.full(parts.count, -1, np.int32)
    total = 0
    for group in np.unique(owner).tolist():
        members = np.flatnonzero(owner == group)
        pixels = np.concatenate([parts.pixels[k] for k in members])
        low = pixels.min(axis=0) - MARGIN
        size = pixels.max(axis=0) - low + 1 + MARGIN
        mask = np.zeros((size[1], size[0]), np.uint8)
        mask[pixels[:, 1] - low[1], pixels[:, 0] - low[0]] = 1
        kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
        area = int(np.count_nonzero(cv2.dilate(mask, kernel)))
        expected = field.background[pixels[:, 1] // field.block, pixels[:, 0] // field.block]
        events = float(parts.rhythm[members].sum())
        if events - area * float(expected.mean()) >= min_events:
            result[members] = total
            total += 1
    return result
