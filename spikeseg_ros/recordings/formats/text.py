# SPDX-License-Identifier: Apache-2.0
"""Events as text: one event a line, as in the RPG event camera dataset, or CSV with a header."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.recordings.formats.source import FormatError, TableSource
from spikeseg_ros.recordings.formats.units import detect_unit, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.recordings.formats.source import ReadOptions

_BLOCK = 1 << 22
_NAMES = {
    't': ('t', 'ts', 'time', 'timestamp', 'timestamps'),
    'x': ('x', 'xs', 'column', 'col'),
    'y': ('y', 'ys', 'row'),
    'p': ('p', 'ps', 'pol', 'polarity', 'on'),
}
_GEOMETRY = re.compile(r'^(\d{1,5})[\s,x]+(\d{1,5})$')
_DIGITS = re.compile(r'^-?\d+$')


class TextSource(TableSource):
    """A text file with four columns, by default t, x, y, p; comma, semicolon, tab or blanks.

    Lines that begin with '#' or '%' are skipped; a header line that names the columns gives
    their order; a first line of two numbers is the geometry. Times with a decimal point are
    seconds, whole ones microseconds, unless they say otherwise by their size.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        self.total = path.stat().st_size
        self._order = (0, 1, 2, 3)
        self._delimiter: str | None = None
        self._begin = 0
        self._skip = 0
        self._unit = ''
        self._whole = False
        told = self._read_header()
        self.take_size(told, self._extent)

    def chunks(self) -> Iterator[Events]:
        """Yield the events."""
        taken = 0
        for t, x, y, p in self._tables():
            if not self._unit:
                self._unit = self.options.time_unit
                if self._unit == 'auto':
                    self._unit = detect_unit(float(t[0]), float(t[-1]), len(t), self._whole)
                    self.notes.append(f'times taken as {self._unit} (change it with --time-unit)')
            nanoseconds = to_nanoseconds(t.astype(np.int64) if self._whole else t, self._unit)
            yield from self.columns(taken, x, y, p, nanoseconds)
            taken += len(t)

    def _extent(self) -> tuple[int, int]:
        """Return the highest column and row of the whole file."""
        right = low = 0
        try:
            for _t, x, y, _p in self._tables():
                right, low = max(right, int(x.max())), max(low, int(y.max()))
        except FormatError:
            # Told when the events are read; what comes before counts.
            pass
        self.done = 0
        return right, low

    def _read_header(self) -> tuple[int, int] | None:
        """Find where the events begin and what the columns are; return the geometry if told."""
        told = None
        with self.path.open('rb') as file:
            for _ in range(1000):
                self._begin = file.tell()
                raw = file.readline(4096)
                line = raw.decode('latin-1').strip()
                if not raw:
                    raise self.fail('the file holds no events.')
                if line and line[0] not in '#%':
                    fields = self._split(line)
                    if size := _GEOMETRY.match(line):
                        told = int(size.group(1)), int(size.group(2))
                    elif all(_is_number(field) for field in fields):
                        break
                    else:
                        self._name_columns(fields)
                self._skip += 1
        if len(fields) < 4:
            raise self.fail(
                f'line {self._skip + 1} has {len(fields)} columns ({line[:60]!r}); needed are t, '
                'x, y and p.'
            )
        self._whole = bool(_DIGITS.match(fields[self._order[0]]))
        return told

    def _split(self, line: str) -> list[str]:
        """Return the fields of a line and remember what separates them."""
        self._delimiter = next((mark for mark in ',;' if mark in line), None)
        return [field.strip() for field in line.split(self._delimiter)]

    def _name_columns(self, fields: list[str]) -> None:
        """Take the order of the columns from a header line."""
        names = [field.strip('"\' []').lower() for field in fields]
        names = [name.split('[')[0].split('(')[0].strip() for name in names]
        order = []
        for wanted in ('t', 'x', 'y', 'p'):
            found = [k for k, name in enumerate(names) if name in _NAMES[wanted]]
            if not found:
                raise self.fail(
                    f'line {self._skip + 1} ({" ".join(fields)[:60]!r}) is neither an event nor a '
                    'header with the columns t, x, y and p; is this a text file of events?'
                )
            order.append(found[0])
        self._order = (order[0], order[1], order[2], order[3])

    def _tables(self) -> Iterator[tuple[NDArray[Any], ...]]:
        """Yield columns t, x, y, p by blocks, up to the first bad line."""
        line = self._skip
        with self.path.open('rb') as file:
            file.seek(self._begin)
            rest = b''
            while True:
                block = file.read(_BLOCK)
                self.done = file.tell()
                if block:
                    end = block.rfind(b'\n') + 1
                    if end == 0 and len(rest) + len(block) > _BLOCK:
                        raise self.fail(f'line {line + 1} does not end; this is no text file.')
                    data, rest = (rest + block[:end], block[end:]) if end else (b'', rest + block)
                    if not data:
                        continue
                else:
                    data, rest = rest, b''
                    if not data.strip():
                        return
                lines = [row for row in data.split(b'\n') if row.strip()]
                rows, bad = self._parse(lines)
                if len(rows):
                    yield rows[:, 0], rows[:, 1], rows[:, 2], rows[:, 3]
                if bad:
                    number = line + _line_of(data, len(rows)) + 1
                    raise self.fail(
                        f'line {number} is no event of four numbers: {bad[:60]!r}; mend or remove '
                        'it. Everything before is complete.'
                    )
                line += data.count(b'\n')
                if not block:
                    return

    def _parse(self, lines: list[bytes]) -> tuple[NDArray[np.float64], str]:
        """Return the events (N, 4) before the first bad line, and that line."""
        try:
            return self._load(lines), ''
        except (ValueError, OverflowError):
            pass
        # Halve until the first bad line is found: the left part is good, the right one not.
        good, bad = 0, len(lines)
        while bad - good > 1:
            middle = (good + bad) // 2
            try:
                self._load(lines[good:middle])
                good = middle
            except (ValueError, OverflowError):
                bad = middle
        return self._load(lines[:good]), lines[good].decode('latin-1').strip()

    def _load(self, lines: list[bytes]) -> NDArray[np.float64]:
        """Return lines as columns t, x, y, p, shape (N, 4).

        Raises:
            ValueError: A line is no event.
        """
        if not lines:
            return np.empty((0, 4))
        texts = [line.decode('latin-1') for line in lines]
        rows: NDArray[np.float64] = np.loadtxt(
            texts,
            np.float64,
            delimiter=self._delimiter,
            usecols=self._order,
            ndmin=2,
            comments=None,
        )
        if len(rows) != len(lines) or not bool(np.isfinite(rows).all()):
            msg = 'a number is not finite'
            raise ValueError(msg)
        return rows


def _line_of(data: bytes, count: int) -> int:
    """Return the index of the line with the count-th event, blank lines counted."""
    for index, row in enumerate(data.split(b'\n')):
        if row.strip():
            if count == 0:
                return index
            count -= 1
    return 0


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
