# SPDX-License-Identifier: Apache-2.0
"""Detection of small moving objects in space and time: sensitivity, specificity, informedness.

After Afshar et al., "Event-based object detection and tracking for space situational awareness",
IEEE Sensors Journal 20(24), 2020: a volume of space and time is called positive where events are
denser than in the whole recording. The whole recording counts, never a part around the labels;
the raw events stand beside every method as the baseline to beat.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.sets import match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import ArrayLike, NDArray

    from spikeseg_ros.events.types import Events

SLICE_NS = 10_000_000
RADII = (1, 3, 5)
RAW = 'raw events'
# Resamples and seed of the confidence intervals.
BOOTSTRAP = 2000
BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Trajectory:
    """Where a labelled object was.

    Attributes:
        track_id: Number of the object, from 1.
        t: Times of the labels [ns], strictly increasing, shape (M,).
        x: Columns [px], shape (M,).
        y: Rows [px], shape (M,).
    """

    track_id: int
    t: NDArray[np.int64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse labels that are no trajectory."""
        if not len(self.t) == len(self.x) == len(self.y) or not len(self.t):
            msg = (
                f'Trajectory {self.track_id!r} needs equally many times and places, at least one.'
            )
            raise MetricError(msg)
        if (np.diff(self.t) <= 0).any():
            msg = f'The times of trajectory {self.track_id!r} do not increase.'
            raise MetricError(msg)

    def at(self, time: int) -> tuple[float, float] | None:
        """Return (x, y) at a time, between labels by a straight line; None outside of them."""
        if not self.t[0] <= time <= self.t[-1]:
            return None
        # Differences keep the precision that absolute nanoseconds lose in float64.
        since = float(time - int(self.t[0]))
        known = (self.t - self.t[0]).astype(np.float64)
        return float(np.interp(since, known, self.x)), float(np.interp(since, known, self.y))


@dataclass(frozen=True)
class LabelledRecording:
    """One recording with all of its labels.

    Attributes:
        events: All events of the recording.
        trajectories: The labelled objects.
        width: Columns [px].
        height: Rows [px].
        t_start: First nanosecond.
        t_end: First nanosecond after the recording.
    """

    events: Events
    trajectories: Sequence[Trajectory]
    width: int
    height: int
    t_start: int
    t_end: int

    def slices(self, slice_ns: int = SLICE_NS) -> Iterator[tuple[int, int]]:
        """Yield (begin, end) of the time slices; a remainder at the end is left out."""
        if slice_ns <= 0 or self.t_end - self.t_start < slice_ns:
            msg = f'A recording of {self.t_end - self.t_start} ns has no slice of {slice_ns!r} ns.'
            raise MetricError(msg)
        for begin in range(self.t_start, self.t_end - slice_ns + 1, slice_ns):
            yield begin, begin + slice_ns

    def places(self, begin: int, end: int) -> list[tuple[float, float]]:
        """Return (x, y) of the objects that are labelled at the middle of a slice."""
        found = [item.at((begin + end) // 2) for item in self.trajectories]
        return [
            (x, y)
            for x, y in (place for place in found if place is not None)
            if -0.5 <= x < self.width - 0.5 and -0.5 <= y < self.height - 0.5
        ]


@dataclass(frozen=True)
class VolumeCounts:
    """Volumes of one recording: true ones called positive or not, false ones likewise."""

    tp: int = 0
    fn: int = 0
    tn: int = 0
    fp: int = 0

    @property
    def sensitivity(self) -> float:
        """True volumes called positive / true volumes; nan without any."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else float('nan')

    @property
    def specificity(self) -> float:
        """False volumes not called positive / false volumes; nan without any."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp else float('nan')

    @property
    def informedness(self) -> float:
        """Sensitivity + specificity - 1."""
        return self.sensitivity + self.specificity - 1.0


def volume_counts(
    recording: LabelledRecording, output: Events, radius: int, slice_ns: int = SLICE_NS
) -> VolumeCounts:
    """Count the volumes of a recording.

    In every slice each labelled object has one true volume: the pixels within the radius of its
    place. What no true volume covers is tiled into squares of the nearest area; a tile counts
    where at least half of its pixels are left over. A volume is positive if its events per pixel
    are more than the mean of all slices.

    Args:
        recording: The recording.
        output: What a method let through or reported; `recording.events` for the baseline.
        radius: Radius of the true volumes [px].
        slice_ns: Length of a slice [ns].

    Raises:
        MetricError: The recording is too short, or an event lies off the sensor.
    """
    if radius < 1:
        msg = f'Volumes need a radius of at least one pixel, got {radius!r}.'
        raise MetricError(msg)
    width, height = recording.width, recording.height
    if len(output) and (int(output.x.max()) >= width or int(output.y.max()) >= height):
        msg = f'There are events off the {width}x{height} sensor of the recording.'
        raise MetricError(msg)
    slices = list(recording.slices(slice_ns))
    borders = [slices[0][0], *(end for _, end in slices)]
    edges = np.searchsorted(output.t, borders)
    limit = float(edges[-1] - edges[0]) / (len(slices) * width * height)
    reach = np.arange(-radius, radius + 1)
    disc = int((reach[:, None] ** 2 + reach[None] ** 2 <= radius**2).sum())
    side = max(1, round(disc**0.5))
    rows, columns = np.divmod(np.arange(width * height), width)
    tile = (rows // side) * -(-width // side) + columns // side
    whole = np.bincount(tile)
    tp = fn = tn = fp = 0
    for (begin, end), first, last in zip(slices, edges[:-1], edges[1:], strict=True):
        pixel = output.y[first:last].astype(np.int64) * width + output.x[first:last]
        discs = [_disc(place, radius, width, height) for place in recording.places(begin, end)]
        for inside in discs:
            positive = bool(np.isin(pixel, inside).sum() > limit * len(inside))
            tp += positive
            fn += not positive
        covered = np.unique(np.concatenate([*discs, np.zeros(0, np.int64)]))
        free = whole - np.bincount(tile[covered], minlength=len(whole))
        outside = pixel[np.isin(pixel, covered, invert=True)]
        events = np.bincount(tile[outside], minlength=len(whole))
        asked = 2 * free >= side * side
        dense = int((asked & (events > limit * free)).sum())
        fp += dense
        tn += int(asked.sum()) - dense
    return VolumeCounts(tp, fn, tn, fp)


def _disc(place: tuple[float, float], radius: int, width: int, height: int) -> NDArray[np.int64]:
    """Return the pixels y * width + x of a sensor within a radius of a place (x, y)."""
    x, y = place
    columns = np.arange(max(0, math.ceil(x - radius)), min(width, math.floor(x + radius) + 1))
    rows = np.arange(max(0, math.ceil(y - radius)), min(height, math.floor(y + radius) + 1))
    inside = (columns[None] - x) ** 2 + (rows[:, None] - y) ** 2 <= radius**2
    return np.asarray((rows[:, None] * width + columns[None])[inside], np.int64)


@dataclass(frozen=True)
class Interval:
    """A mean over recordings with its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    @staticmethod
    def of(values: ArrayLike) -> Interval:
        """Return mean and percentile interval of the values that are not nan."""
        known = np.asarray(values, np.float64)
        known = known[~np.isnan(known)]
        if not len(known):
            return Interval(float('nan'), float('nan'), float('nan'))
        rng = np.random.default_rng(BOOTSTRAP_SEED)
        means = known[rng.integers(0, len(known), (BOOTSTRAP, len(known)))].mean(1)
        low, high = np.percentile(means, [2.5, 97.5])
        return Interval(float(known.mean()), float(low), float(high))


@dataclass
class VolumeMetrics:
    """Sensitivity, specificity and informedness of methods over recordings.

    Attributes:
        radii: Radii of the true volumes [px].
        slice_ns: Length of a slice [ns].
        counts: Volumes by method and radius, one entry per recording.
    """

    radii: tuple[int, ...] = RADII
    slice_ns: int = SLICE_NS
    counts: dict[str, dict[int, list[VolumeCounts]]] = field(default_factory=dict)

    def add(self, recording: LabelledRecording, outputs: Mapping[str, Events]) -> None:
        """Judge what methods made of one recording, and the raw events beside them.

        Args:
            recording: The recording.
            outputs: Events by name of the method; every recording needs the same names.

        Raises:
            MetricError: The recording has no labels, or the methods are not those before.
        """
        if not recording.trajectories:
            msg = 'The recording has no labelled object; it cannot be judged.'
            raise MetricError(msg)
        names = [RAW, *outputs]
        if RAW in outputs or (self.counts and set(names) != set(self.counts)):
            msg = (
                f'Every recording needs the same methods, and none may be called {RAW!r}: '
                f'got {sorted(outputs)!r} after {sorted(self.counts)!r}.'
            )
            raise MetricError(msg)
        for name in names:
            output = recording.events if name == RAW else outputs[name]
            table = self.counts.setdefault(name, {radius: [] for radius in self.radii})
            for radius in self.radii:
                table[radius].append(volume_counts(recording, output, radius, self.slice_ns))

    def result(self) -> dict[str, dict[int, dict[str, Interval]]]:
        """Return mean and interval by method, radius and score; the raw events come first."""
        scores = ('sensitivity', 'specificity', 'informedness')
        return {
            name: {
                radius: {
                    score: Interval.of([getattr(item, score) for item in items])
                    for score in scores
                }
                for radius, items in table.items()
            }
            for name, table in self.counts.items()
        }


@dataclass
class PointMetrics:
    """Detections as points, matched to true places one to one in every slice.

    Attributes:
        radius: Largest distance of a match [px].
        matched: Matches.
        predicted: Detections.
        true_objects: True places.
    """

    radius: float = 1.0
    matched: int = 0
    predicted: int = 0
    true_objects: int = 0

    def add(self, predicted: ArrayLike, truth: ArrayLike) -> None:
        """Add one slice.

        Args:
            predicted: Centroids (x, y) of the detections [px], shape (P, 2).
            truth: True places (x, y) [px], shape (T, 2).
        """
        ours = np.asarray(predicted, np.float64).reshape(-1, 2)
        theirs = np.asarray(truth, np.float64).reshape(-1, 2)
        distance = np.hypot(*np.moveaxis(ours[:, None] - theirs[None], 2, 0))
        self.matched += len(match(-distance, -self.radius))
        self.predicted += len(ours)
        self.true_objects += len(theirs)

    def merge(self, other: PointMetrics) -> None:
        """Add the counts of another metric.

        Raises:
            MetricError: It has another radius.
        """
        if other.radius != self.radius:
            msg = f'Matches within {self.radius!r} and {other.radius!r} px cannot be merged.'
            raise MetricError(msg)
        self.matched += other.matched
        self.predicted += other.predicted
        self.true_objects += other.true_objects

    def result(self) -> dict[str, float]:
        """Return precision, recall and f1; nan where one is not defined."""
        total = self.predicted + self.true_objects
        return {
            'precision': self.matched / self.predicted if self.predicted else float('nan'),
            'recall': self.matched / self.true_objects if self.true_objects else float('nan'),
            'f1': 2 * self.matched / total if total else float('nan'),
        }
