# SPDX-License-Identifier: Apache-2.0
"""Small files that are read at once: ground truth of simulated scenes, and N-MNIST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.events.types import Events
from spikeseg_ros.recordings.formats.source import FormatError, TableSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.recordings.formats.source import ReadOptions

_STEP = 1 << 18
_EVENT = 5
_SIZE = 34


class TruthSource(TableSource):
    """Events of a ground truth file (.npz) as the simulator writes it."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        try:
            with np.load(path, allow_pickle=False) as data:
                size = np.asarray(data['size']).ravel()
                columns = tuple(np.asarray(data[name]) for name in 'xypt')
        except Exception as err:
            msg = (
                f'{str(path)!r} is no ground truth file ({" ".join(str(err).split())}); it needs '
                "'size', 'x', 'y', 'p' and 't' as the simulator writes them."
            )
            raise FormatError(msg) from None
        lengths = {column.shape for column in columns}
        kinds = {column.dtype.kind for column in columns}
        if size.shape != (2,) or len(lengths) != 1 or columns[0].ndim != 1 or kinds - set('iub'):
            shapes = [column.shape for column in (size, *columns)]
            raise self.fail(f'size, x, y, p, t do not fit each other: shapes {shapes}.')
        self._columns = columns
        self.total = len(columns[0])
        self.take_size((int(size[0]), int(size[1])), lambda: (0, 0))

    def chunks(self) -> Iterator[Events]:
        """Yield the events."""
        for at in range(0, self.total, _STEP):
            x, y, p, t = (column[at : at + _STEP] for column in self._columns)
            self.done = min(self.total, at + _STEP)
            yield from self.columns(at, x, y, p.astype(np.int64), t.astype(np.int64))


class NmnistSource(TableSource):
    """An N-MNIST recording (.bs2, .bin): five bytes an event, times in microseconds."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        self.total = path.stat().st_size
        self.take_size(options.size or (_SIZE, _SIZE), lambda: (0, 0))

    def chunks(self) -> Iterator[Events]:
        """Yield the events."""
        with self.path.open('rb') as file:
            while data := file.read(_EVENT * _STEP):
                rows = np.frombuffer(data, np.uint8, len(data) // _EVENT * _EVENT)
                rows = rows.reshape(-1, _EVENT).astype(np.int64)
                micro = (rows[:, 2] & 0x7F) << 16 | rows[:, 3] << 8 | rows[:, 4]
                first = self.done // _EVENT
                yield from self.columns(
                    first, rows[:, 0], rows[:, 1], rows[:, 2] >> 7, micro * 1000
                )
                self.done += len(data)
        if self.done % _EVENT:
            raise self.fail(
                f'{self.done} bytes are no whole number of five-byte events; the file was cut off '
                'or is no N-MNIST. Everything before is complete.'
            )
