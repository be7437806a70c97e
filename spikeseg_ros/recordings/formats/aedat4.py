# SPDX-License-Identifier: Apache-2.0
"""AEDAT4 files of iniVation cameras (DV): events and camera images.

The format (docs.inivation.com, AEDAT 4.0): a line with the version, a flatbuffer 'IOHE' that holds
the compression, the end of the data and an XML text about the streams, then packets of stream
number, length and a compressed flatbuffer. It is read here, and not by a library, because a
damaged file must not end the process.
"""

from __future__ import annotations

import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

from spikeseg_ros.recordings.bags import decompressor
from spikeseg_ros.recordings.formats.flatbuffer import FlatbufferError, Table
from spikeseg_ros.recordings.formats.source import FormatError, Frame, TableSource

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.recordings.formats.source import ReadOptions

_MAGIC = b'#!AER-DAT'
_VERSION = b'#!AER-DAT4.0\r\n'
_US = 1000
_LATEST = (1 << 61) // _US
_MAX_HEADER = 1 << 26
_MAX_PACKET = 1 << 28
_COMPRESSION = {0: '', 1: 'lz4', 2: 'lz4', 3: 'zstd', 4: 'zstd'}
_EVENT = np.dtype(
    {
        'names': ['t', 'x', 'y', 'p'],
        'formats': ['<i8', '<i2', '<i2', 'u1'],
        'offsets': [0, 8, 10, 12],
        'itemsize': 16,
    }
)
_LEFT_OUT = {'IMUS': 'packets of inertial measurements', 'TRIG': 'packets of trigger edges'}
# Fields of a frame, by their number in the schema.
_TIME, _KIND, _WIDTH, _HEIGHT, _PIXELS = 0, 5, 6, 7, 10


@dataclass(frozen=True)
class _Stream:
    """One stream of the file: what it carries, and its geometry where it is told."""

    kind: str
    size: tuple[int, int] | None


class Aedat4Source(TableSource):
    """An AEDAT4 file. Inertial measurements and trigger edges are left out, with a note."""

    def __init__(self, path: Path, options: ReadOptions) -> None:
        super().__init__(path, options)
        self._file = path.open('rb')
        try:
            self.total = path.stat().st_size
            self._streams = self._read_header()
            self._stream = self._choose()
            self.take_size(self._streams[self._stream].size, self._extent)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def chunks(self) -> Iterator[Events | Frame]:
        """Yield events and images in the order of the file."""
        left_out: Counter[str] = Counter()
        taken = 0
        try:
            for stream, data in self._packets():
                kind = self._streams[stream].kind if stream in self._streams else ''
                if stream == self._stream:
                    rows = self._events(data)
                    t = np.where(rows['t'] > _LATEST, -1, rows['t']) * _US
                    yield from self.columns(taken, rows['x'], rows['y'], rows['p'], t)
                    taken += len(rows)
                elif kind == 'FRME':
                    frame = self._frame(data)
                    if frame is None:
                        left_out['images of another kind'] += 1
                    else:
                        yield frame
                elif kind != 'EVTS':
                    left_out[_LEFT_OUT.get(kind, f'packets of {kind or "unknown streams"}')] += 1
        finally:
            self.notes += [f'{count} {what} left out' for what, count in sorted(left_out.items())]

    def _damaged(self, reason: object) -> FormatError:
        text = ' '.join(str(reason).split())[:200]
        return self.fail(
            f'the file is damaged or was cut off ({text}). What was read so far is complete; the '
            'DV software may repair the file.'
        )

    def _read_header(self) -> dict[int, _Stream]:
        """Read what comes before the packets, and return the streams."""
        magic = self._file.read(len(_VERSION))
        if not magic.startswith(_MAGIC):
            raise self.fail('this is no AEDAT file; name its format with --from.')
        if magic != _VERSION:
            version = magic[len(_MAGIC) :].split(b'\r')[0].decode('latin-1')
            raise self.fail(
                f'AEDAT version {version!r} is not supported; open it with the DV software and '
                'save it as AEDAT4.'
            )
        try:
            prefix = self._file.read(4)
            (length,) = struct.unpack('<I', prefix)
            if length > min(_MAX_HEADER, self.total):
                raise self._damaged(f'a header of {length} bytes')
            header = Table(prefix + self._file.read(length), b'IOHE')
            self._packing = _COMPRESSION[header.number(0, 'i')]
            end = header.number(1, 'q', -1)
            at, count = header.vector(2, 1)
            tree = ElementTree.fromstring(header.data[at : at + count])
        except KeyError as err:
            raise self._damaged(f'unknown compression {err}') from None
        except (FlatbufferError, struct.error, ElementTree.ParseError, ValueError) as err:
            raise err if isinstance(err, FormatError) else self._damaged(err) from None
        self._begin = self._file.tell()
        self._end = end if self._begin <= end <= self.total else self.total
        return _streams(tree)

    def _choose(self) -> int:
        """Return the number of the event stream to read."""
        wanted = self.options.group
        events = sorted(k for k, stream in self._streams.items() if stream.kind == 'EVTS')
        have = ', '.join(map(str, events))
        if not events:
            kinds = ', '.join(sorted({s.kind for s in self._streams.values()})) or 'none'
            raise self.fail(f'the file has no stream of events; it has: {kinds}.')
        if wanted and wanted not in map(str, events):
            raise self.fail(f'no event stream {wanted!r}; --group can be: {have}.')
        if not wanted and len(events) > 1:
            self.notes.append(f'event stream {events[0]} of {have} taken (change it with --group)')
        return int(wanted) if wanted else events[0]

    def _extent(self) -> tuple[int, int]:
        """Return the highest column and row of all events."""
        right = low = 0
        try:
            for stream, data in self._packets():
                if stream == self._stream and len(rows := self._events(data)):
                    right = max(right, int(rows['x'].max()))
                    low = max(low, int(rows['y'].max()))
        except FormatError:
            # Told when the events are read; what comes before counts.
            pass
        return right, low

    def _packets(self) -> Iterator[tuple[int, bytes]]:
        """Yield (stream, flatbuffer) of the packets."""
        self._file.seek(self._begin)
        position = self._begin
        while position < self._end:
            head = self._file.read(8)
            if len(head) < 8:
                raise self._damaged(f'{len(head)} bytes are left over')
            stream, length = struct.unpack('<ii', head)
            position += 8 + length
            if not 0 <= length <= _MAX_PACKET or position > self._end:
                raise self._damaged(f'a packet of {length} bytes reaches behind the end')
            data = self._file.read(length)
            self.done = min(self.total, position)
            yield stream, self._unpacked(data)

    def _unpacked(self, data: bytes) -> bytes:
        """Return the plain bytes of a packet."""
        if not self._packing:
            return data
        try:
            unpacker = decompressor(self._packing)
            plain: bytes = unpacker.decompress(data, max_length=_MAX_PACKET)
            whole = bool(unpacker.eof)
        except Exception as err:
            raise self._damaged(err) from None
        if not whole:
            raise self._damaged('a compressed packet is incomplete')
        return plain

    def _events(self, data: bytes) -> np.ndarray[Any, Any]:
        """Return the events of a packet, shape (N,), with fields t, x, y, p."""
        try:
            at, count = Table(data, b'EVTS').vector(0, _EVENT.itemsize)
        except FlatbufferError as err:
            raise self._damaged(err) from None
        return np.frombuffer(data, _EVENT, count, at)

    def _frame(self, data: bytes) -> Frame | None:
        """Return the image of a packet, None where it is of no known kind."""
        try:
            table = Table(data, b'FRME')
            time, kind = table.number(_TIME, 'q'), table.number(_KIND, 'b')
            width, height = table.number(_WIDTH, 'h'), table.number(_HEIGHT, 'h')
            at, count = table.vector(_PIXELS, 1)
        except FlatbufferError as err:
            raise self._damaged(err) from None
        # As OpenCV numbers its types: depth in three bits, then channels less one.
        pixels: dict[int, np.dtype[Any]] = {0: np.dtype('u1'), 2: np.dtype('<u2')}
        pixel = pixels.get(kind & 7)
        channels = (kind >> 3) + 1
        if pixel is None or channels not in (1, 3, 4) or not 0 <= time <= _LATEST:
            return None
        if width <= 0 or height <= 0 or width * height * channels * pixel.itemsize != count:
            return None
        image = np.frombuffer(data, pixel, width * height * channels, at)
        if channels == 1:
            return Frame(image.reshape(height, width), time * _US)
        colors = image.reshape(height, width, channels)[:, :, :3]
        return Frame(np.ascontiguousarray(colors), time * _US, f'bgr{8 * pixel.itemsize}')


def _streams(tree: ElementTree.Element) -> dict[int, _Stream]:
    """Return the streams that the header's XML text describes."""
    found = {}
    for node in tree.iterfind("./node[@name='outInfo']/node"):
        name = node.get('name', '')
        kind = node.findtext("./attr[@key='typeIdentifier']", '')
        sides = [
            node.findtext(f"./node[@name='info']/attr[@key='{key}']", '').strip()
            for key in ('sizeX', 'sizeY')
        ]
        if name.isdecimal() and len(name) < 10:
            told = all(side.isdecimal() and len(side) < 6 for side in sides)
            found[int(name)] = _Stream(kind, (int(sides[0]), int(sides[1])) if told else None)
    return found
