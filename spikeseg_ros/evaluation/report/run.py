# SPDX-License-Identifier: Apache-2.0
"""A run directory as the report reads it; missing parts are noted, broken ones are errors."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

FORMAT = 'spikeseg_run/1'
INTEGERS = frozenset(
    (
        *('index', 'epoch', 'stamp_ns', 'duration_ns', 'events', 'on_events', 'objects', 'tracks'),
        *('object_events', 'instances', 'dropped', 'true_objects', 'matched'),
    )
)
Table = dict[str, 'NDArray[Any]']


@dataclass
class Run:
    """What a run directory holds.

    Attributes:
        path: The directory.
        summary: Content of summary.json.
        windows: Columns of windows.csv, one value per window; empty where it is missing.
        timing: Content of timing.json.
        stages: Columns of timing.csv: 'index' and seconds by stage.
        objects: Content of objects.json.
        overlays: Pictures by window index.
        notes: Files that are missing or incomplete, one sentence each.
    """

    path: Path
    summary: dict[str, Any]
    windows: Table = field(default_factory=dict)
    timing: dict[str, Any] = field(default_factory=dict)
    stages: Table = field(default_factory=dict)
    objects: dict[str, Any] = field(default_factory=dict)
    overlays: dict[int, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Name of the recording."""
        return str(self.get('bag.name', str) or self.path.name)

    def get(self, dotted: str, kind: type | tuple[type, ...] = (int, float)) -> Any:
        """Return a field of the summary; None where it is missing.

        Args:
            dotted: Names from the outside in, for example 'bag.width'.
            kind: Type it must have; null counts as missing.

        Raises:
            ReportError: The field has another type.
        """
        return lookup(self.summary, dotted, kind, self.path / 'summary.json')

    def column(self, name: str) -> NDArray[Any] | None:
        """Return a column of windows.csv, or None where the run has none."""
        return self.windows.get(name)

    @property
    def of_images(self) -> bool:
        """Whether the network saw camera images: then a window is an image, without length."""
        return bool(self.get('input', str) == 'images')

    @property
    def word(self) -> str:
        """What a window is called."""
        return 'image' if self.of_images else 'window'

    @property
    def n_windows(self) -> int:
        """Number of windows in windows.csv, or as the summary states it."""
        if self.windows:
            return int(next(iter(self.windows.values())).size)
        return int(self.get('windows') or 0)

    @property
    def recorded_seconds(self) -> float | None:
        """Length of the recording [s]."""
        first, last = self.get('bag.t_first_ns'), self.get('bag.t_last_ns')
        if first is not None and last is not None and last > first:
            return float((int(last) - int(first)) / 1e9)
        return self.covered_seconds

    @property
    def covered_seconds(self) -> float | None:
        """Time that the windows cover [s]; an image covers the time to the next one."""
        durations, length = self.column('duration_ns'), self.window_seconds()
        if self.of_images:
            return self.n_windows * length if length is not None else None
        return float(durations.sum() / 1e9) if durations is not None and durations.size else None

    def times(self) -> NDArray[np.float64]:
        """Return the middle of every window since the first one began [s]; empty if unknown."""
        stamps, durations = self.column('stamp_ns'), self.column('duration_ns')
        if stamps is None or durations is None or not stamps.size:
            return np.zeros(0)
        if self.of_images:
            return onward(stamps)
        begins = stamps - durations
        middle: NDArray[np.float64] = (begins - begins.min() + durations // 2) / 1e9
        return middle

    def window_seconds(self) -> float | None:
        """Return the median length of a window, or time from image to image [s]."""
        durations, stamps = self.column('duration_ns'), self.column('stamp_ns')
        if self.of_images:
            return interval(stamps) if stamps is not None else None
        if durations is None or not durations.size:
            return None
        return float(np.median(durations)) / 1e9


def interval(stamps: NDArray[Any]) -> float | None:
    """Return the median time from image to image [s]; None where there is but one."""
    steps = np.diff(stamps)
    steps = steps[steps > 0]
    return float(np.median(steps)) / 1e9 if steps.size else None


def onward(stamps: NDArray[Any]) -> NDArray[np.float64]:
    """Return stamps of images [ns] as seconds since the first one.

    Where the stamps run backwards, as in a recording that was looped, time goes on by one image.
    """
    steps = np.diff(stamps) / 1e9
    steps[steps < 0] = interval(stamps) or 0.0
    return np.concatenate([[0.0], np.cumsum(steps)])


def lookup(tree: Mapping[str, Any], dotted: str, kind: type | tuple[type, ...], path: Path) -> Any:
    """Return a nested field, None where it is missing; ReportError where its type is wrong."""
    found: Any = tree
    for word in dotted.split('.'):
        if found is None:
            return None
        if not isinstance(found, dict):
            found = _wrong(path, dotted, found)
        found = found.get(word)
    if found is None:
        return None
    if not isinstance(found, kind) or (isinstance(found, bool) and kind == (int, float)):
        _wrong(path, dotted, found)
    return found


def _wrong(path: Path, dotted: str, value: object) -> Any:
    """Complain about a field of the wrong type."""
    msg = (
        f'{str(path)!r}: field {dotted!r} holds {clean(value, 60)!r}, which is not what a run '
        'writes there; evaluate the recording again.'
    )
    raise ReportError(msg)


def load_run(path: str | Path) -> Run:
    """Read a run directory.

    Args:
        path: Directory that `spikeseg evaluate bag` has written.

    Raises:
        ReportError: It is no run, is of a newer format, or one of its files is broken.
    """
    folder = Path(path)
    run = Run(folder, _summary(folder))
    run.windows = _table(folder / 'windows.csv', run.notes, _counts)
    run.stages = _table(folder / 'timing.csv', run.notes, 'index'.__eq__)
    run.timing = _json(folder / 'timing.json', run.notes)
    run.objects = _json(folder / 'objects.json', run.notes)
    for name in ('images', 'annotations', 'categories'):
        lookup(run.objects, name, list, folder / 'objects.json')
    pictures = folder / 'overlays'
    for item in sorted(pictures.glob('*.png')) if pictures.is_dir() else ():
        if item.stem.isascii() and item.stem.isdigit():
            run.overlays[int(item.stem)] = item
    if not run.overlays:
        run.notes.append('overlays/ holds no pictures.')
    return run


def load_runs(path: str | Path) -> tuple[dict[str, Any], list[Run]]:
    """Read a directory of one recording or of several.

    Returns:
        The summary of the directory, and the runs in it: itself, or one per recording.

    Raises:
        ReportError: As load_run, or a folder that the summary names is missing.
    """
    folder = Path(path)
    summary = _summary(folder)
    names = lookup(summary, 'bags', list, folder / 'summary.json')
    if names is None:
        return summary, [load_run(folder)]
    runs = []
    for item in names:
        # The summary of a recording, or its name alone.
        name = lookup(item, 'bag.name', str, folder / 'summary.json') if _is_tree(item) else item
        if not isinstance(name, str) or not name or Path(name).name != name or name == '..':
            _wrong(folder / 'summary.json', 'bags', item)
        runs.append(load_run(folder / str(name)))
    return summary, runs


def _is_tree(value: object) -> bool:
    """Return whether a value is a JSON object."""
    return isinstance(value, dict)


def _summary(folder: Path) -> dict[str, Any]:
    """Read and judge summary.json."""
    path = folder / 'summary.json'
    if not path.is_file():
        msg = (
            f'{str(folder)!r} is no run: it holds no summary.json. Give the directory that '
            '`spikeseg evaluate bag ... --output DIR` has written and finished.'
        )
        raise ReportError(msg)
    summary = _json(path, [])
    found = summary.get('format')
    if found != FORMAT:
        msg = (
            f'{str(path)!r} has the format {clean(found, 60)!r}, this version reads {FORMAT!r}; '
            'use the version of spikeseg_ros that wrote it, or evaluate the recording again.'
        )
        raise ReportError(msg)
    return summary


def _read(path: Path, notes: list[str]) -> str | None:
    """Return the text of a file, None with a note where it is missing."""
    if not path.exists():
        notes.append(f'{path.name} is missing.')
        return None
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as err:
        msg = f'Cannot read {str(path)!r}: {err}; evaluate the recording again.'
        raise ReportError(msg) from None


def _json(path: Path, notes: list[str]) -> dict[str, Any]:
    """Read a JSON object; empty where the file is missing."""
    text = _read(path, notes)
    if text is None:
        return {}
    try:
        found = json.loads(
            text, parse_int=_whole, parse_float=_finite, parse_constant=lambda _name: None
        )
    except (ValueError, RecursionError) as err:
        msg = f'{str(path)!r} is not valid JSON ({err}); evaluate the recording again.'
        raise ReportError(msg) from None
    if not isinstance(found, dict):
        msg = f'{str(path)!r} holds no JSON object; evaluate the recording again.'
        raise ReportError(msg)
    return found


def _whole(text: str) -> int:
    """Read a whole number of at most 64 bits."""
    value = int(text)
    if abs(value) >= 1 << 63:
        msg = f'number {clean(text, 30)} is too large'
        raise ValueError(msg)
    return value


def _finite(text: str) -> float | None:
    """Read a number; one beyond the range of floats counts as missing."""
    value = float(text)
    return value if math.isfinite(value) else None


def _table(path: Path, notes: list[str], whole: Callable[[str], bool]) -> Table:
    """Read a CSV file into columns; empty where it is missing. `whole` names the counts."""
    text = _read(path, notes)
    if text is None:
        return {}
    try:
        rows = list(csv.reader(text.splitlines()))
    except csv.Error as err:
        msg = f'{str(path)!r} is not valid CSV ({err}); evaluate the recording again.'
        raise ReportError(msg) from None
    if not rows or len(set(rows[0])) != len(rows[0]) or 'index' not in rows[0]:
        msg = (
            f'{str(path)!r} must begin with a line of different column names, among them '
            "'index'; evaluate the recording again."
        )
        raise ReportError(msg)
    header = rows.pop(0)
    if rows and len(rows[-1]) < len(header) and not text.endswith('\n'):
        rows.pop()
        notes.append(f'{path.name} ends in the middle of a line, which is left out.')
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            msg = (
                f'{str(path)!r} line {line}: {len(row)} values for {len(header)} columns; '
                'evaluate the recording again.'
            )
            raise ReportError(msg)
    return {
        name: _numbers(path, name, [row[number] for row in rows], whole(name))
        for number, name in enumerate(header)
        if name != 'bag'
    }


def _counts(name: str) -> bool:
    """Return whether a column of windows.csv holds whole numbers."""
    return name in INTEGERS or name.startswith('spikes_')


def _numbers(path: Path, name: str, cells: list[str], whole: bool) -> NDArray[Any]:
    """Turn the cells of a column into numbers; empty cells become nan (0 in counts)."""
    try:
        if whole:
            return np.array([int(cell or 0) for cell in cells], np.int64)
        return np.array([float(cell or 'nan') for cell in cells], np.float64)
    except (ValueError, OverflowError):
        msg = (
            f'{str(path)!r}: column {name!r} holds something that is no '
            f'{"whole number" if whole else "number"}; evaluate the recording again.'
        )
        raise ReportError(msg) from None
