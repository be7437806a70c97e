# SPDX-License-Identifier: Apache-2.0
"""From the instances of a window to its objects: grouping, and one owner for every event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.algorithms.ash import relative_words
from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import GroupingError
from spikeseg_ros.algorithms.hulk_causal import ones
from spikeseg_ros.algorithms.smash import group_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.batch import InstanceBatch

# Summed potential at which the score of an object is one half.
SCORE_HALF = 4.0


@dataclass(frozen=True)
class ObjectCandidate:
    """One object of a window.

    Attributes:
        object_id: Number within the window, from 0.
        box: Tight box of the mask.
        mask: Pixels of the object inside the box, shape (box.height, box.width), bool.
        class_id: Class map, from 0, with the largest summed potential.
        score: P / (P + 4), where P is the summed potential / threshold of the instances; 0.2 for
            one weak spike, near 1 for many. It orders objects; it is not a probability.
        centroid: Mean (x, y) of the mask's pixels [px].
        n_events: Events assigned to the object; 0 where no events were given.
        instance_ids: Instances it was grouped from, in ascending order.
        words: Union of the instances' hashes with the window's steps, shape (W,), uint64.
        relative_words: Union of their hashes with the lag behind each class spike, shape (W,),
            uint64; comparable across windows.
    """

    object_id: int
    box: BoundingBox
    mask: NDArray[np.bool_]
    class_id: int
    score: float
    centroid: tuple[float, float]
    n_events: int
    instance_ids: tuple[int, ...]
    words: NDArray[np.uint64]
    relative_words: NDArray[np.uint64]


@dataclass(frozen=True)
class ObjectOptions:
    """How instances become objects.

    Attributes:
        smash_threshold: Score from which two instances belong together, 0 .. 1.
        linkage: 'threshold', 'average' or 'argmax'.
        separate_classes: Never group instances of different classes.
        min_events: Objects with fewer events (pixels, where no events are given) are dropped.
        max_objects: At most this many objects, those with the most events.
        fill: Close gaps of up to 2 * fill pixels in the masks; 0 keeps to pixels with events.
        time_align: Columns of the hashes that are compared, 'absolute' or 'relative'.
        include: Layers of the hashes that are compared.
    """

    smash_threshold: float = 0.1
    linkage: str = 'threshold'
    separate_classes: bool = True
    min_events: int = 50
    max_objects: int = 64
    fill: int = 0
    time_align: str = 'absolute'
    include: tuple[str, ...] = ('conv1', 'conv2', 'class')


@dataclass(frozen=True)
class WindowObjects:
    """Objects of one window.

    Attributes:
        objects: Objects, ordered by object_id.
        of_instance: object_id of every instance, -1 where its object was dropped, shape (N,).
        of_event: object_id of every event, -1 for background, shape (M,).
        n_dropped: Objects dropped because there were more than max_objects.
    """

    objects: tuple[ObjectCandidate, ...]
    of_instance: NDArray[np.int32]
    of_event: NDArray[np.int32]
    n_dropped: int = 0


def objects_from_batch(
    batch: InstanceBatch,
    event_x: NDArray[np.integer[Any]] | None = None,
    event_y: NDArray[np.integer[Any]] | None = None,
    options: ObjectOptions | None = None,
) -> WindowObjects:
    """Group instances and give every pixel, and so every event, to at most one object.

    A pixel belongs to the object whose instances cover it with the largest summed potential, the
    object of the earlier instance where two are equal.

    Args:
        batch: Instances of the window.
        event_x: Columns of the window's events, shape (M,); None for a window without events (an
            image): then the pixels of the instances are the masks.
        event_y: Rows of the window's events, shape (M,).
        options: How; the defaults where None.

    Returns:
        The objects. Objects are numbered in the order of their first instance.

    Raises:
        GroupingError: Unknown linkage, a threshold outside 0 .. 1, or columns without rows.
        HashError: Unknown alignment or layer.
    """
    options = options or ObjectOptions()
    if (event_x is None) != (event_y is None):
        msg = 'Give columns and rows of the events, or neither.'
        raise GroupingError(msg)
    labels = group_batch(
        batch,
        options.smash_threshold,
        options.linkage,
        options.separate_classes,
        time_align=options.time_align,
        include=options.include,
    )
    n_groups = int(labels.max()) + 1 if len(labels) else 0
    owner, corner = _owners(batch, labels, n_groups)
    if event_x is None or event_y is None:
        of_event = np.empty(0, np.int32)
        hits = (owner >= 0).astype(np.int32)
    else:
        of_event, hits = event_owners(owner, corner, event_x, event_y)
    counts = np.bincount(owner[owner >= 0], hits[owner >= 0], n_groups).astype(np.int64)
    kept = np.flatnonzero((counts >= options.min_events) & (counts > 0))
    n_dropped = max(0, len(kept) - options.max_objects)
    if n_dropped:
        kept = np.sort(kept[np.argsort(-counts[kept], kind='stable')[: options.max_objects]])
    number = np.full(n_groups + 1, -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    made: list[ObjectCandidate] = []
    for group in kept:
        members = np.flatnonzero(labels == group)
        n_events = int(counts[group]) if event_x is not None else 0
        mask, box = _mask(owner, hits, corner, int(group), options.fill)
        made.append(candidate(len(made), box, mask, n_events, [batch.select(members)], [0]))
    return WindowObjects(tuple(made), number[labels], number[of_event], n_dropped)


def candidate(
    object_id: int,
    box: BoundingBox,
    mask: NDArray[np.bool_],
    n_events: int,
    batches: Sequence[InstanceBatch],
    first_ids: Sequence[int],
    strength: float | None = None,
) -> ObjectCandidate:
    """Return an object with the properties of its instances.

    Args:
        object_id: Number within the window.
        box: Tight box of the mask.
        mask: Pixels inside the box, shape (box.height, box.width), bool.
        n_events: Its events.
        batches: Its instances; several batches where they come from several scales.
        first_ids: What is added to the ids of each batch.
        strength: Summed potential; that of the instances where None.
    """
    rows, columns = np.nonzero(mask)
    potential = np.concatenate([item.potential for item in batches]).astype(np.float64)
    classes = np.concatenate([item.class_id for item in batches])
    words = np.concatenate([item.words for item in batches])
    relative = np.concatenate(
        [relative_words(b.words, b.step, b.n_features, b.steps) for b in batches]
    )
    if strength is None:
        strength = float(potential.sum())
    ids = [b.ids + first for b, first in zip(batches, first_ids, strict=True)]
    return ObjectCandidate(
        object_id=object_id,
        box=box,
        mask=mask,
        class_id=int(np.bincount(classes, potential, 1).argmax()),
        score=strength / (strength + SCORE_HALF),
        centroid=(float(columns.mean()) + box.x_min, float(rows.mean()) + box.y_min),
        n_events=n_events,
        instance_ids=tuple(np.sort(np.concatenate(ids)).tolist()),
        words=np.bitwise_or.reduce(words, axis=0),
        relative_words=np.bitwise_or.reduce(relative, axis=0),
    )


def _owners(
    batch: InstanceBatch, labels: NDArray[np.int32], n_groups: int
) -> tuple[NDArray[np.int32], tuple[int, int]]:
    """Return the group of every pixel of the region of all instances, and its corner (x, y)."""
    if not n_groups:
        return np.full((1, 1), -1, np.int32), (0, 0)
    corner = batch.boxes[:, :2].min(axis=0)
    size = batch.boxes[:, 2:].max(axis=0) - corner + 1
    owner = np.full((int(size[1]), int(size[0])), -1, np.int32)
    best = np.zeros(owner.shape, np.float32)
    order = np.argsort(labels, kind='stable')
    starts = np.searchsorted(labels[order], np.arange(n_groups + 1))
    _vote(
        batch.rows,
        batch.boxes,
        np.ascontiguousarray(batch.origin),
        batch.potential,
        order,
        starts,
        int(corner[0]),
        int(corner[1]),
        owner,
        best,
    )
    return owner, (int(corner[0]), int(corner[1]))


@njit(cache=True, nogil=True)
def _vote(
    rows: Any,
    boxes: Any,
    origin: Any,
    potential: Any,
    order: Any,
    starts: Any,
    corner_x: Any,
    corner_y: Any,
    owner: Any,
    best: Any,
) -> None:
    """Let every group vote for its pixels with the potential of its instances.

    Args:
        rows: Mask rows, (N, S, R), uint64.
        boxes: Tight boxes, (N, 4).
        origin: (x, y) of the crops, (N, 2).
        potential: Weights of the votes, (N,).
        order: Instances by group, (N,).
        starts: First entry of every group in order, and N, (groups + 1,).
        corner_x: Column of the region's left edge.
        corner_y: Row of the region's top edge.
        owner: -1, receives the group of every pixel of the region, (h, w), int32.
        best: 0, receives the largest vote of every pixel, (h, w), float32.
    """
    for group in range(starts.shape[0] - 1):
        x_min, y_min, x_max, y_max = boxes[order[starts[group]]]
        for entry in range(starts[group], starts[group + 1]):
            i = order[entry]
            x_min, y_min = min(x_min, boxes[i, 0]), min(y_min, boxes[i, 1])
            x_max, y_max = max(x_max, boxes[i, 2]), max(y_max, boxes[i, 3])
        votes = np.zeros((y_max - y_min + 1, x_max - x_min + 1), np.float32)
        for entry in range(starts[group], starts[group + 1]):
            i = order[entry]
            x0, y0 = origin[i, 0], origin[i, 1]
            for y in range(boxes[i, 1], boxes[i, 3] + 1):
                for word in range(rows.shape[2]):
                    bits = rows[i, y - y0, word]
                    # Below 0 where the box begins inside the word; no set bit is left of it.
                    shift = np.uint64(x0 + 64 * word - x_min)
                    while bits != 0:
                        rest = bits & (bits - np.uint64(1))
                        column = shift + ones((bits ^ rest) - np.uint64(1))
                        votes[np.uint64(y - y_min), column] += potential[i]
                        bits = rest
        for y in range(y_min, y_max + 1):
            for x in range(x_min, x_max + 1):
                vote = votes[y - y_min, x - x_min]
                if vote > best[y - corner_y, x - corner_x]:
                    best[y - corner_y, x - corner_x] = vote
                    owner[y - corner_y, x - corner_x] = group


@njit(cache=True, nogil=True)
def _assign(owner: Any, corner_x: Any, corner_y: Any, x: Any, y: Any, of_event: Any, hits: Any):  # type: ignore[no-untyped-def]
    """Look up the owner of every event and count the events of every owned pixel."""
    height, width = owner.shape
    for i in range(x.shape[0]):
        column, row = np.int64(x[i]) - corner_x, np.int64(y[i]) - corner_y
        if 0 <= column < width and 0 <= row < height and owner[row, column] >= 0:
            of_event[i] = owner[row, column]
            hits[row, column] += 1


def event_owners(
    owner: NDArray[np.int32],
    corner: tuple[int, int],
    event_x: NDArray[np.integer[Any]],
    event_y: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the owner of every event, and the number of events of every owned pixel.

    Args:
        owner: Group of every pixel of a region, -1 for none, shape (h, w).
        corner: (x, y) of the region's top left pixel.
        event_x: Columns of the events, shape (M,).
        event_y: Rows of the events, shape (M,).

    Returns:
        Groups of the events, -1 for none, shape (M,), and event counts, shape (h, w).

    Raises:
        GroupingError: The numbers of columns and rows differ.
    """
    if len(event_x) != len(event_y):
        msg = f'Give one row per column, got {len(event_x)} columns and {len(event_y)} rows.'
        raise GroupingError(msg)
    of_event = np.full(len(event_x), -1, np.int32)
    hits = np.zeros(owner.shape, np.int32)
    _assign(owner, corner[0], corner[1], event_x, event_y, of_event, hits)
    return of_event, hits


def _mask(
    owner: NDArray[np.int32],
    hits: NDArray[np.int32],
    corner: tuple[int, int],
    group: int,
    fill: int,
) -> tuple[NDArray[np.bool_], BoundingBox]:
    """Return the mask of a group in its tight box: owned pixels with events, gaps closed."""
    pixels = (owner == group) & (hits > 0)
    rows = np.flatnonzero(pixels.any(axis=1))
    columns = np.flatnonzero(pixels.any(axis=0))
    top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
    mask = pixels[top : bottom + 1, left : right + 1].copy()
    if fill > 0:
        # A closing never leaves the tight box; pixels of other objects stay theirs.
        others = owner[top : bottom + 1, left : right + 1]
        mask |= closed(mask, fill) & ((others == group) | (others < 0))
    x, y = corner
    box = BoundingBox(x + int(left), y + int(top), x + int(right), y + int(bottom))
    return mask, box


def closed(mask: NDArray[np.bool_], radius: int) -> NDArray[np.bool_]:
    """Return the morphological closing of a mask with a square of 2 * radius + 1 pixels.

    Args:
        mask: Shape (H, W), bool; outside is background.
        radius: Half size of the square [px].
    """
    padded = np.pad(mask, radius)
    for axis in (0, 1):
        padded = _spread(padded, radius, axis)
    for axis in (0, 1):
        padded = ~_spread(~padded, radius, axis)
    height, width = mask.shape
    return np.asarray(padded[radius : radius + height, radius : radius + width])


def _spread(mask: NDArray[np.bool_], radius: int, axis: int) -> NDArray[np.bool_]:
    """Return the dilation along one axis."""
    out: NDArray[np.bool_] = mask.copy()
    ahead, behind = [slice(None)] * 2, [slice(None)] * 2
    for shift in range(1, radius + 1):
        ahead[axis], behind[axis] = slice(shift, None), slice(None, -shift)
        out[tuple(ahead)] |= mask[tuple(behind)]
        out[tuple(behind)] |= mask[tuple(ahead)]
    return out
