# SPDX-License-Identifier: Apache-2.0
"""Stable ids for objects over windows: a pure function of (state, objects, time).

Every track predicts its object with constant velocity; tracks and objects are matched one to one
(Hungarian method) by distance, overlap of boxes and similarity of relative spike hashes. Tracks
that already have an id choose first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from scipy.optimize import linear_sum_assignment

from spikeseg_ros.algorithms.errors import TrackingError
from spikeseg_ros.algorithms.smash import jaccard_matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.boxes import BoundingBox

# Share of distance, box overlap and hash similarity in the cost; hashes say least about identity.
COST_SHARES = (0.45, 0.40, 0.15)
# Share of a new measurement in the position, and least share in velocity and box size.
POSITION_GAIN = 0.7
VELOCITY_GAIN = 0.25
# Windows a track without an id may miss.
TENTATIVE_MISSES = 1
_FORBIDDEN = 1e6


class Trackable(Protocol):
    """What the tracker reads of an object; ObjectCandidate has it."""

    @property
    def box(self) -> BoundingBox:
        """Box of the object."""

    @property
    def centroid(self) -> tuple[float, float]:
        """Mean (x, y) of its pixels [px]."""

    @property
    def class_id(self) -> int:
        """Class of the object."""

    @property
    def relative_words(self) -> NDArray[np.uint64]:
        """Hash with lags as columns, shape (W,); empty where there is none."""


@dataclass(frozen=True)
class TrackerOptions:
    """How objects are tracked.

    Attributes:
        min_hits: Windows in which an object must be seen before it gets a track id.
        max_missed: Windows in a row a track with an id survives without being seen.
        gate: Largest distance between prediction and object, in units of the mean diagonal of
            the two boxes.
        separate_classes: Tracks never change their class.
    """

    min_hits: int = 3
    max_missed: int = 6
    gate: float = 1.5
    separate_classes: bool = True

    def __post_init__(self) -> None:
        """Refuse values that no tracker can work with."""
        if self.min_hits < 1 or self.max_missed < 0 or not self.gate > 0:
            msg = f'{self!r}: min_hits must be >= 1, max_missed >= 0 and gate > 0.'
            raise TrackingError(msg)


@dataclass(frozen=True)
class Track:
    """One object over time.

    Attributes:
        track_id: Stable number, from 1; 0 while not confirmed.
        age: Windows in which it was seen.
        missed: Windows in a row in which it was not seen.
        position: Filtered centroid (x, y) at the last sighting [px].
        velocity: Filtered velocity (x, y) [px/s].
        size: Filtered (width, height) of the box [px].
        offset: Box centre minus centroid (x, y) at the last sighting [px].
        class_id: Class at the last sighting.
        words: Relative hash at the last sighting, shape (W,), uint64.
        stamp: Time of the last sighting [ns].
    """

    track_id: int
    age: int
    missed: int
    position: tuple[float, float]
    velocity: tuple[float, float]
    size: tuple[float, float]
    offset: tuple[float, float]
    class_id: int
    words: NDArray[np.uint64]
    stamp: int

    def predicted(self, stamp: int) -> tuple[float, float]:
        """Return the expected centroid (x, y) at a time [ns]; time never runs backwards."""
        seconds = max(0, stamp - self.stamp) * 1e-9
        return (
            self.position[0] + self.velocity[0] * seconds,
            self.position[1] + self.velocity[1] * seconds,
        )


@dataclass(frozen=True)
class TrackerState:
    """All that the tracker remembers. A new epoch of the input starts with TrackerState().

    Attributes:
        tracks: Living tracks, ordered by track_id; those without an id last.
        next_id: Id of the next track that is confirmed.
    """

    tracks: tuple[Track, ...] = ()
    next_id: int = 1


@dataclass(frozen=True)
class TrackAssignment:
    """Track of one object.

    Attributes:
        track_id: Stable number, from 1; 0 while not confirmed.
        age: Windows in which the track was seen, this one included.
        velocity: Velocity (x, y) [px/s]; 0 for a new track.
    """

    track_id: int
    age: int
    velocity: tuple[float, float]


def update(
    state: TrackerState,
    objects: Sequence[Trackable],
    stamp_ns: int,
    options: TrackerOptions | None = None,
) -> tuple[tuple[TrackAssignment, ...], TrackerState]:
    """Advance the tracks by one window.

    Ids count up from 1 in the order of confirmation and are never given twice; among objects
    confirmed in one window, the upper left one comes first. The order of the objects has no
    influence.

    Args:
        state: State after the window before.
        objects: Objects of this window; also call it for windows without any.
        stamp_ns: Time of the window [ns].
        options: How; the defaults where None.

    Returns:
        The track of every object, in the order given, and the new state.

    Raises:
        HashError: Hashes of different networks or window lengths.
    """
    options = options or TrackerOptions()
    order = sorted(range(len(objects)), key=lambda index: _place(objects[index]))
    known = [track for track in state.tracks if track.track_id]
    tentative = [track for track in state.tracks if not track.track_id]
    of_track: dict[int, int] = {}
    tracks = known + tentative
    free = order
    for first, group in ((0, known), (len(known), tentative)):
        pairs = _match(group, [objects[index] for index in free], stamp_ns, options)
        of_track.update({first + row: free[column] for row, column in pairs})
        free = [index for index in free if index not in of_track.values()]

    next_id = state.next_id
    kept: list[Track] = []
    assigned: dict[int, TrackAssignment] = {}
    # Objects from the upper left give the ids their order.
    seen = {index: tracks[number] for number, index in of_track.items()}
    for index in order:
        if index in seen:
            track = _seen(seen[index], objects[index], stamp_ns)
        else:
            track = _born(objects[index], stamp_ns)
        if not track.track_id and track.age >= options.min_hits:
            track = replace(track, track_id=next_id)
            next_id += 1
        kept.append(track)
        assigned[index] = TrackAssignment(track.track_id, track.age, track.velocity)
    for number, track in enumerate(tracks):
        limit = options.max_missed if track.track_id else min(TENTATIVE_MISSES, options.max_missed)
        if number not in of_track and track.missed < limit:
            kept.append(replace(track, missed=track.missed + 1))
    kept.sort(key=lambda track: (not track.track_id, track.track_id))
    result = tuple(assigned[index] for index in range(len(objects)))
    return result, TrackerState(tuple(kept), next_id)


def match_cost(
    tracks: Sequence[Track],
    objects: Sequence[Trackable],
    stamp_ns: int,
    options: TrackerOptions,
) -> NDArray[np.float64]:
    """Return the cost of every pair of track and object, shape (tracks, objects).

    The cost is 0.45 * distance / gate + 0.40 * (1 - IoU of the predicted box) + 0.15 * (1 -
    Jaccard of the relative hashes), each within 0 .. 1, and infinite beyond the gate or, with
    separate_classes, between classes. The distance is in units of the mean diagonal of the boxes.
    """
    cost = np.full((len(tracks), len(objects)), np.inf)
    if not cost.size:
        return cost
    predicted = np.array([track.predicted(stamp_ns) for track in tracks])
    centroid = np.array([item.centroid for item in objects])
    size = np.array([track.size for track in tracks])
    other = np.array([(item.box.width, item.box.height) for item in objects], np.float64)
    distance = np.hypot(*np.moveaxis(predicted[:, None] - centroid[None], 2, 0))
    distance /= (np.hypot(*size.T)[:, None] + np.hypot(*other.T)[None]) / 2

    centre = predicted + np.array([track.offset for track in tracks])
    low = np.array([(item.box.x_min, item.box.y_min) for item in objects]) - 0.5
    left = np.maximum((centre - size / 2)[:, None], low[None])
    right = np.minimum((centre + size / 2)[:, None], (low + other)[None])
    common = np.maximum(right - left, 0).prod(axis=2)
    iou = common / (size.prod(axis=1)[:, None] + other.prod(axis=1)[None] - common)

    similarity = jaccard_matrix(
        np.stack([track.words for track in tracks]),
        np.stack([item.relative_words for item in objects]),
    )
    allowed = distance <= options.gate
    if options.separate_classes:
        names = np.array([track.class_id for track in tracks])
        allowed &= names[:, None] == np.array([item.class_id for item in objects])[None]
    shares = COST_SHARES
    total = shares[0] * distance / options.gate + shares[1] * (1 - iou)
    total += shares[2] * (1 - similarity)
    return np.where(allowed, total, np.inf)


def _match(
    tracks: Sequence[Track],
    objects: Sequence[Trackable],
    stamp_ns: int,
    options: TrackerOptions,
) -> list[tuple[int, int]]:
    """Return the pairs (track, object) of the cheapest one-to-one matching."""
    cost = match_cost(tracks, objects, stamp_ns, options)
    rows, columns = linear_sum_assignment(np.where(np.isinf(cost), _FORBIDDEN, cost))
    return [(r, c) for r, c in zip(rows, columns, strict=True) if np.isfinite(cost[r, c])]


def _place(item: Trackable) -> tuple[float, ...]:
    """Return a key that orders objects by place, whatever their numbers."""
    x, y = item.centroid
    return (y, x, *item.box.to_xyxy(), item.class_id)


def _offset(item: Trackable) -> tuple[float, float]:
    """Return the centre of the box minus the centroid."""
    (x, y), (column, row) = item.box.center, item.centroid
    return x - column, y - row


def _born(item: Trackable, stamp_ns: int) -> Track:
    """Return a new track."""
    return Track(
        track_id=0,
        age=1,
        missed=0,
        position=item.centroid,
        velocity=(0.0, 0.0),
        size=(float(item.box.width), float(item.box.height)),
        offset=_offset(item),
        class_id=item.class_id,
        words=item.relative_words,
        stamp=stamp_ns,
    )


def _seen(track: Track, item: Trackable, stamp_ns: int) -> Track:
    """Return a track after a sighting: an alpha-beta filter whose velocity gain starts high."""
    seconds = (stamp_ns - track.stamp) * 1e-9
    expected = track.predicted(stamp_ns)
    error = (item.centroid[0] - expected[0], item.centroid[1] - expected[1])
    gain = max(VELOCITY_GAIN, 1.0 / track.age)
    velocity = track.velocity
    if seconds > 0:
        velocity = (
            velocity[0] + gain * error[0] / seconds,
            velocity[1] + gain * error[1] / seconds,
        )
    size = (item.box.width - track.size[0], item.box.height - track.size[1])
    return replace(
        track,
        age=track.age + 1,
        missed=0,
        position=(
            expected[0] + POSITION_GAIN * error[0],
            expected[1] + POSITION_GAIN * error[1],
        ),
        velocity=velocity,
        size=(track.size[0] + POSITION_GAIN * size[0], track.size[1] + POSITION_GAIN * size[1]),
        offset=_offset(item),
        class_id=item.class_id,
        words=item.relative_words,
        stamp=max(stamp_ns, track.stamp),
    )
