# SPDX-License-Identifier: Apache-2.0
"""AEDAT4 files of iniVation cameras (DV): events and camera images."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.extras import require
from spikeseg_ros.recordings.formats.source import FormatError, Frame, TableSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.recordings.formats.source import ReadOptions

_MAGIC = b'#!AER-DAT'
_US = 1000
_LATEST = (1 << 61) // _US


class Aedat4Source(TableSource):
    """An AEDAT4 file. Inertial measurements and trigger edges are left out, with a note.

    Progress is measured in events' bytes before compression, so it is an estimate.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        with path.open('rb') as file:
            magic = file.read(14)
        if not magic.startswith(_MAGIC):
            raise self.fail('this is no AEDAT file; name its format with --from.')
        if not magic.startswith(_MAGIC + b'4'):
            version = magic[len(_MAGIC) :].split(b'\r')[0].decode('latin-1')
            raise self.fail(
                f'AEDAT version {version} is not supported; open it with the DV software and save '
                'it as AEDAT4.'
            )
        self.total = path.stat().st_size
        self._decoder = self._open()
        streams = self._decoder.id_to_stream()
        events = sorted(k for k, stream in streams.items() if stream['type'] == 'events')
        if not events:
            kinds = ', '.join(sorted({str(s['type']) for s in streams.values()})) or 'none'
            raise self.fail(f'the file has no stream of events; it has: {kinds}.')
        self._stream = events[0]
        if options.group:
            if options.group not in map(str, events):
                have = ', '.join(map(str, events))
                raise self.fail(f'no event stream {options.group!r}; --group can be: {have}.')
            self._stream = int(options.group)
        elif len(events) > 1:
            have = ', '.join(map(str, events))
            self.notes.append(
                f'event stream {self._stream} of {have} taken (change it with --group)'
            )
        stream = streams[self._stream]
        self.take_size((int(stream['width']), int(stream['height'])), lambda: (0, 0))

    def _open(self) -> Any:
        """Return the decoder of the file."""
        aedat = require('aedat', 'formats')
        try:
            return aedat.Decoder(str(self.path))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as err:
            # The library is written in Rust; its panics are no Exception.
            raise self._damaged(err) from None

    def _damaged(self, err: BaseException) -> FormatError:
        reason = ' '.join(str(err).split()) or type(err).__name__
        return self.fail(
            f'the file is damaged or was cut off ({reason}). What was read so far is complete; '
            'the DV software may repair the file.'
        )

    def close(self) -> None:
        """Close the file."""
        self._decoder = None

    def chunks(self) -> Iterator[Events | Frame]:
        """Yield events and images in the order of the file."""
        left_out: Counter[str] = Counter()
        taken = 0
        try:
            while (packet := self._next()) is not None:
                if 'events' in packet:
                    if packet['stream_id'] != self._stream:
                        continue
                    rows = packet['events']
                    # Compression by half is typical.
                    self.done = min(self.total, self.done + 8 * len(rows))
                    t = np.minimum(rows['t'], np.uint64(_LATEST)).astype(np.int64) * _US
                    on = rows.dtype.names[3]
                    p = rows[on].view(np.uint8)
                    yield from self.columns(taken, rows['x'], rows['y'], p, t)
                    taken += len(rows)
                elif 'frame' in packet:
                    frame = self._frame(packet['frame'])
                    if frame is None:
                        left_out['images of unknown kind'] += 1
                    else:
                        yield frame
                elif 'imus' in packet:
                    left_out['inertial measurements'] += len(packet['imus'])
                elif 'triggers' in packet:
                    left_out['trigger edges'] += len(packet['triggers'])
            self.done = self.total
        finally:
            self.notes += [f'{count} {what} left out' for what, count in sorted(left_out.items())]

    def _next(self) -> dict[str, Any] | None:
        """Return the next packet of the file, None at its end."""
        try:
            packet: dict[str, Any] | None = next(self._decoder, None)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as err:
            raise self._damaged(err) from None
        return packet

    def _frame(self, frame: dict[str, Any]) -> Frame | None:
        """Return an image, None where messages cannot express it."""
        pixels = frame['pixels']
        if pixels.ndim == 3 and pixels.shape[2] == 4:
            pixels = pixels[:, :, :3]
        if not pixels.size or int(frame['t']) > _LATEST:
            return None
        encoding = 'rgb16' if pixels.ndim == 3 and pixels.dtype == np.uint16 else ''
        return Frame(np.ascontiguousarray(pixels), int(frame['t']) * _US, encoding)
