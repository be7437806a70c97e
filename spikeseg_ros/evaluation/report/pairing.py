# SPDX-License-Identifier: Apache-2.0
"""Two runs of one recording: which windows belong together and where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.facts import metrics, show_value, speed
from spikeseg_ros.evaluation.report.masks import agreement, mask_pixels
from spikeseg_ros.evaluation.report.run import load_runs
from spikeseg_ros.evaluation.report.text import NONE, clean, number, picojoule, seconds
from spikeseg_ros.evaluation.report.tracks import objects_by_window

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.report.run import Run

_NOISE = 0.05


@dataclass(frozen=True)
class Pair:
    """Two runs of the same recording.

    Attributes:
        first: Run A.
        second: Run B.
        rows: Rows of the windows that both have: columns A and B, shape (N, 2).
        agreements: How well the objects of these windows agree, 0 .. 1, shape (N,); None where
            a run lacks its objects.json.
    """

    first: Run
    second: Run
    rows: NDArray[np.int64]
    agreements: NDArray[np.float64] | None

    def by_difference(self) -> list[int]:
        """Return the places of the windows that differ, most different first."""
        if self.agreements is None:
            return []
        order = np.argsort(self.agreements, kind='stable')
        return [int(place) for place in order if self.agreements[place] < 1.0]


@dataclass(frozen=True)
class Row:
    """A number of both runs.

    Attributes:
        name: What it is.
        first: Value of run A, None where missing.
        second: Value of run B, None where missing.
        show: Makes text of a value.
        more_is_better: Whether a larger value is a better one; None where neither is.
        noise: Relative change that says nothing, as wall-clock time has it.
    """

    name: str
    first: float | None
    second: float | None
    show: Callable[[float | None], str]
    more_is_better: bool | None = None
    noise: float = 0.0

    @property
    def difference(self) -> str:
        """B - A as text, with the change in percent where that means something."""
        if self.first is None or self.second is None:
            return NONE
        change = self.second - self.first
        if not change:
            return 'equal'
        text = self.show(abs(change))
        sign = '+' if change > 0 else '\u2212'
        if not self.first or self.show is _metric:
            return sign + text
        return f'{sign}{text} ({sign}{abs(change / self.first):.0%})'

    @property
    def verdict(self) -> str:
        """'good' where B is better, 'bad' where it is worse, else empty."""
        if self.more_is_better is None or self.first is None or self.second is None:
            return ''
        if abs(self.second - self.first) <= self.noise * abs(self.first):
            return ''
        return 'good' if (self.second > self.first) == self.more_is_better else 'bad'


def load_pairs(first: str | Path, second: str | Path) -> list[Pair]:
    """Read two run directories and put the runs of equal recordings together.

    Raises:
        ReportError: One is no run or is broken, or they share no recording.
    """
    ours, theirs = load_runs(first)[1], load_runs(second)[1]
    left = list(theirs)
    pairs = []
    for run in ours:
        match = next((other for other in left if _same(run, other)), None)
        if match is not None:
            left.remove(match)
            pairs.append(_pair(run, match))
    if not pairs:
        msg = (
            f'{str(first)!r} and {str(second)!r} are runs of different recordings '
            f'({_names(ours)}; {_names(theirs)}), so their windows cannot be compared. '
            'Evaluate the same recording twice.'
        )
        raise ReportError(msg)
    return pairs


def _same(one: Run, other: Run) -> bool:
    """Return whether two runs are of the same recording."""
    sums = (one.get('bag.sha256', str), other.get('bag.sha256', str))
    if all(sums):
        return bool(sums[0] == sums[1])
    names = ('bag.name', 'bag.topic', 'bag.events', 'bag.t_first_ns', 'bag.t_last_ns')
    return all(one.get(name, (str, int)) == other.get(name, (str, int)) for name in names)


def _names(runs: list[Run]) -> str:
    """Return the recordings of runs."""
    return ', '.join(repr(clean(run.name, 60)) for run in runs) or 'none'


def _pair(one: Run, other: Run) -> Pair:
    """Find the windows that two runs share."""
    keys = [_keys(run) for run in (one, other)]
    common = [key for key in keys[0] if key in keys[1]]
    rows = np.array([(keys[0][key], keys[1][key]) for key in common], np.int64).reshape(-1, 2)
    values = None
    if one.objects and other.objects:
        values = np.ones(len(rows))
        masks = [_masks(run) for run in (one, other)]
        numbers = [run.windows['index'] for run in (one, other)] if len(rows) else []
        for place, (row, column) in enumerate(rows):
            found = (
                masks[0].get(int(numbers[0][row]), []),
                masks[1].get(int(numbers[1][column]), []),
            )
            values[place] = agreement(*found)
    return Pair(one, other, rows, values)


def _keys(run: Run) -> dict[tuple[int, int, int], int]:
    """Return the row of every window by epoch, stamp and length."""
    stamps, lengths = run.column('stamp_ns'), run.column('duration_ns')
    if stamps is None or lengths is None:
        return {}
    epochs = run.column('epoch')
    if epochs is None:
        epochs = np.zeros_like(stamps)
    columns = (epochs.tolist(), stamps.tolist(), lengths.tolist())
    return {key: row for row, key in enumerate(zip(*columns, strict=True))}


def _masks(run: Run) -> dict[int, list[NDArray[np.int64]]]:
    """Return the masks by window index."""
    path = run.path / 'objects.json'
    return {
        window: [mask_pixels(item, path) for item in items]
        for window, items in objects_by_window(run).items()
    }


def numbers(pair: Pair) -> list[Row]:
    """Return the numbers of both runs: metrics first, then counts, speed and energy."""
    one, other = pair.first, pair.second
    rows = []
    known = [{item.key: item for item in metrics(run)} for run in (one, other)]
    for key in [*known[0], *(key for key in known[1] if key not in known[0])]:
        items = [table.get(key) for table in known]
        some = next(item for item in items if item is not None)
        values = [item.value if item else None for item in items]
        rows.append(Row(some.title, values[0], values[1], _metric, some.more_is_better))
    word = one.word
    counts = [
        (f'{word.capitalize()}s', 'windows'),
        (f'{word.capitalize()}s with objects', 'windows_with_objects'),
        ('Objects', 'objects'),
        ('Tracks', 'tracks'),
    ]
    counts += [] if one.of_images else [('Events in objects', 'events_in_objects')]
    rows += [Row(title, one.get(name), other.get(name), number) for title, name in counts]
    shares = [run.get('classes', dict) or {} for run in (one, other)]
    for name in [*shares[0], *(name for name in shares[1] if name not in shares[0])]:
        parts = [share.get(name) for share in shares]
        values = [value if isinstance(value, (int, float)) else None for value in parts]
        rows.append(Row(f'Share of {clean(name, 30)}', values[0], values[1], _metric))
    layers = [run.get('spikes_per_window', dict) or {} for run in (one, other)]
    for name in [*layers[0], *(name for name in layers[1] if name not in layers[0])]:
        spikes = [layer.get(name) for layer in layers]
        values = [value if isinstance(value, (int, float)) else None for value in spikes]
        rows.append(Row(f'Spikes per window, {clean(name, 30)}', values[0], values[1], number))
    key = 'energy.picojoule_per_window'
    rows.append(Row('Energy per window', one.get(key), other.get(key), picojoule, False))
    rows.append(Row('Times real time', speed(one), speed(other), _ratio, True, _NOISE))
    for share in (50, 99):
        values = [_percentile(run, share) for run in (one, other)]
        rows.append(
            Row(f'Time per {word}, p{share}', values[0], values[1], seconds, False, _NOISE)
        )
    return [row for row in rows if row.first is not None or row.second is not None]


def _metric(value: float | None) -> str:
    """Return a metric as text."""
    return show_value(value) if value is not None else NONE


def _ratio(value: float | None) -> str:
    """Return a ratio as text."""
    return number(value, 3)


def _percentile(run: Run, share: int) -> float | None:
    """Return a percentile of the total time of the windows [s]."""
    total: Any = run.stages.get('total')
    known = total[np.isfinite(total)] if total is not None else np.zeros(0)
    return float(np.percentile(known, share)) if known.size else None
