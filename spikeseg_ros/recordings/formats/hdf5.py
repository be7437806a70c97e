# SPDX-License-Identifier: Apache-2.0
"""HDF5 event files: DSEC, TUM-VIE, M3ED, MVSEC, v2e, Prophesee and groups with like columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.extras import require
from spikeseg_ros.recordings.formats.source import FormatError, TableSource
from spikeseg_ros.recordings.formats.units import detect_unit, to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.recordings.formats.source import ReadOptions

_STEP = 1 << 20
_ECF = 36559
_NAMES = {
    't': ('t', 'ts', 'timestamp', 'timestamps', 'time'),
    'x': ('x', 'xs'),
    'y': ('y', 'ys'),
    'p': ('p', 'ps', 'polarity', 'pol', 'polarities'),
}
# Column order of tables without names: v2e, and MVSEC.
_TXYP = (0, 1, 2, 3)
_XYTP = (2, 0, 1, 3)
# An index from milliseconds to events says that times are microseconds.
_INDICES = ('ms_to_idx', 'ms_map_idx')


@dataclass(frozen=True)
class _Layout:
    """Where the events of a file are.

    Attributes:
        path: Group or dataset.
        columns: Name of the datasets or fields, or numbers of the columns, of t, x, y, p.
        table: Whether all columns are in one dataset.
    """

    path: str
    columns: tuple[Any, ...]
    table: bool


class Hdf5Source(TableSource):
    """An HDF5 file with one group (or table) of events, or several of which --group names one."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        h5py = require('h5py', 'formats')
        # Registers blosc, zstd and the other codecs of data sets.
        require('hdf5plugin', 'formats')
        self._h5py = h5py
        self._file: Any = None
        try:
            self._file = h5py.File(path, 'r')
            self._layout = self._choose()
            self._check_codecs()
            self._length()
            self._offset, self._unit = self._times()
            self.take_size(self._geometry(), self._extent)
        except FormatError:
            self.close()
            raise
        except Exception as err:
            self.close()
            raise self._damaged(err) from None

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def chunks(self) -> Iterator[Events]:
        """Yield the events."""
        for at in range(0, self.total, _STEP):
            try:
                t, x, y, p = self._read(at, min(at + _STEP, self.total))
            except Exception as err:
                raise self._damaged(err) from None
            self.done = min(self.total, at + _STEP)
            times = to_nanoseconds(t, self._unit)
            times = np.where(times >= 0, times + self._offset, -1)
            yield from self.columns(at, x, y, p, times)

    def _damaged(self, err: Exception) -> FormatError:
        reason = ' '.join(str(err).split())[:200] or type(err).__name__
        return self.fail(
            f'the HDF5 file is damaged or was cut off ({reason}); what was read so far is '
            'complete. Copy or download the file again.'
        )

    def _choose(self) -> _Layout:
        """Return where the events are."""
        found: dict[str, _Layout] = {}
        wanted = self.options.group.strip('/')

        def visit(name: str, item: Any) -> None:
            layout = self._match(name, item)
            if layout is not None:
                found[name.strip('/')] = layout

        visit('/', self._file)
        self._file.visititems(visit)
        if wanted:
            # --group may name the group above: 'prophesee/left', or 'CD' for 'CD/events'.
            inside = [name for name in found if name == wanted or name.startswith(wanted + '/')]
            if not inside:
                raise self.fail(
                    f'no events below --group {self.options.group!r}; there are events in: '
                    f'{self._list(found)}.'
                )
            return found[min(inside, key=len)]
        if not found:
            kinds: list[str] = []
            self._file.visit(kinds.append)
            raise self.fail(
                'no group or table with x, y, p (polarity) and t (ts, timestamp) of equal length; '
                f'the file holds: {", ".join(kinds[:12]) or "nothing"}.'
            )
        if len(found) > 1:
            raise self.fail(
                'there are events in several groups; choose one with --group: '
                f'{self._list(found)}.'
            )
        return next(iter(found.values()))

    @staticmethod
    def _list(found: dict[str, _Layout]) -> str:
        return ', '.join(f'/{name}' for name in sorted(found)) or 'none'

    def _match(self, name: str, item: Any) -> _Layout | None:
        """Return the layout of a group or dataset that holds events."""
        if isinstance(item, self._h5py.Group):
            members = {
                key.lower(): key
                for key in item
                if isinstance(item.get(key), self._h5py.Dataset) and item[key].ndim == 1
            }
            columns = _named(members)
            return _Layout(name, columns, False) if columns else None
        if not isinstance(item, self._h5py.Dataset):
            return None
        if item.dtype.names:
            columns = _named({field.lower(): field for field in item.dtype.names})
            return _Layout(name, columns, True) if columns and item.ndim == 1 else None
        plain = item.ndim == 2 and item.shape[1] == 4 and item.dtype.kind in 'iuf'
        if not plain or name.rsplit('/', 1)[-1].lower() not in ('events', 'event'):
            return None
        if not len(item):
            return _Layout(name, _TXYP, True)
        # Times rise, and are mostly by far the largest numbers.
        rows = np.asarray(item[:1000], np.float64)
        rising = [bool((np.diff(rows[:, k]) >= 0).all()) for k in (0, 2)]
        largest = bool(rows[:, 0].max() >= rows[:, 2].max())
        first = rising[0] if rising[0] != rising[1] else largest
        return _Layout(name, _TXYP if first else _XYTP, True)

    def _datasets(self) -> list[Any]:
        """Return the datasets that hold the events."""
        item = self._file[self._layout.path]
        return [item] if self._layout.table else [item[name] for name in self._layout.columns]

    def _check_codecs(self) -> None:
        """Raise a FormatError where a dataset is packed with a codec that is not here."""
        for dataset in self._datasets():
            plist = dataset.id.get_create_plist()
            for k in range(plist.get_nfilters()):
                number = int(plist.get_filter(k)[0])
                if self._h5py.h5z.filter_avail(number):
                    continue
                if number == _ECF:
                    raise self.fail(
                        f'{dataset.name} is packed with the ECF codec of Prophesee, which no '
                        'Python package brings. Install hdf5_ecf (OpenEB) and set '
                        'HDF5_PLUGIN_PATH to its folder, or write the recording as RAW or CSV '
                        'with the Metavision tools (metavision_file_to_csv) and convert that.'
                    )
                raise self.fail(
                    f'{dataset.name} is packed with HDF5 filter {number}, which is not here; '
                    'repack the file with h5repack, or set HDF5_PLUGIN_PATH.'
                )

    def _length(self) -> None:
        """Set the number of events."""
        lengths = {len(dataset) for dataset in self._datasets()}
        if len(lengths) != 1:
            sizes = ', '.join(f'{d.name} {len(d)}' for d in self._datasets())
            raise self.fail(f'the columns differ in length ({sizes}); the file is incomplete.')
        self.total = lengths.pop()
        if not self.total:
            raise self.fail(f'/{self._layout.path.strip("/")} holds no events.')

    def _read(self, start: int, stop: int) -> tuple[NDArray[Any], ...]:
        """Return columns t, x, y, p of some events."""
        item = self._file[self._layout.path]
        names = self._layout.columns
        if self._layout.table:
            rows = item[start:stop]
            if rows.dtype.names:
                columns = [rows[name] for name in names]
            else:
                columns = [rows[:, k] for k in names]
        else:
            columns = [item[name][start:stop] for name in names]
        kept = []
        for column in columns:
            if column.dtype.kind not in 'iufb':
                raise self.fail(f'a column holds {column.dtype}, no numbers.')
            if column.dtype.kind == 'b':
                column = column.view(np.uint8)
            kept.append(column)
        return tuple(kept)

    def _times(self) -> tuple[int, str]:
        """Return (offset of all times [ns], unit of the times)."""
        group = self._file[self._layout.path]
        if self._layout.table:
            group = group.parent
        indexed = any(name in place for place in (group, self._file) for name in _INDICES)
        unit = self.options.time_unit
        first, last = (self._read(at, at + 1)[0] for at in (0, self.total - 1))
        if unit == 'auto':
            told = str(self._file[self._layout.path].attrs.get('time_unit', ''))
            if indexed or self._is_prophesee():
                unit = 'us'
            elif told in ('s', 'ms', 'us', 'ns'):
                unit = told
            else:
                whole = first.dtype.kind != 'f' or bool(
                    first[0] == np.rint(first[0]) and last[0] == np.rint(last[0]) and last[0] > 1e5
                )
                unit = detect_unit(float(first[0]), float(last[0]), self.total, whole)
                self.notes.append(f'times taken as {unit} (change it with --time-unit)')
        offset = 0
        for place in (group, self._file):
            if 't_offset' in place and place['t_offset'].size == 1:
                value = np.asarray(place['t_offset'][()]).reshape(1)
                offset = int(to_nanoseconds(value, unit)[0])
                if offset < 0:
                    raise self.fail(f't_offset {value[0]} {unit} cannot be.')
                break
        return offset, unit

    def _is_prophesee(self) -> bool:
        """Say whether this is a table as the Metavision software writes it."""
        path = self._layout.path.strip('/')
        return self._layout.table and path.endswith('CD/events')

    def _geometry(self) -> tuple[int, int] | None:
        """Return (columns, rows) where the file tells them."""
        item = self._file[self._layout.path]
        places = [item, item.parent, self._file]
        for place in places:
            size = place.attrs.get('geometry')
            if size is not None:
                text = size.decode() if isinstance(size, bytes) else str(size)
                parts = text.lower().split('x')
                if len(parts) == 2 and all(part.strip().isdecimal() for part in parts):
                    return int(parts[0]), int(parts[1])
            sides = [place.attrs.get(name) for name in ('width', 'height')]
            if all(side is not None for side in sides):
                return int(np.ravel(sides[0])[0]), int(np.ravel(sides[1])[0])
        group = item.parent if self._layout.table else item
        # M3ED keeps the geometry with the calibration.
        if 'calib/resolution' in group and group['calib/resolution'].size == 2:
            size = np.ravel(group['calib/resolution'][()])
            return int(size[0]), int(size[1])
        return None

    def _extent(self) -> tuple[int, int]:
        """Return the highest column and row of all events."""
        right = low = 0
        for at in range(0, self.total, _STEP):
            try:
                _t, x, y, _p = self._read(at, min(at + _STEP, self.total))
            except FormatError:
                raise
            except Exception:
                # Told when the events are read; what comes before counts.
                break
            right, low = max(right, int(x.max())), max(low, int(y.max()))
        return right, low


def _named(members: dict[str, str]) -> tuple[str, ...]:
    """Return the members that are t, x, y and p; nothing where one is missing."""
    found = []
    for wanted in ('t', 'x', 'y', 'p'):
        hits = [members[name] for name in _NAMES[wanted] if name in members]
        if not hits:
            return ()
        found.append(hits[0])
    return tuple(found)
