# SPDX-License-Identifier: Apache-2.0
"""Reading MCAP files that were cut off, as a recorder leaves them when the power fails.

Such files have no index and no footer. Their records are read one after the other for as long as
they are whole (MCAP specification: magic, then records of opcode, length and body).
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from spikeseg_ros.recordings.scan import (
    ScanConnection,
    ScanDefinition,
    ScanError,
    StorageScan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _DATA_END = 2, 3, 4, 5, 6, 15


class McapScan(StorageScan):
    """An MCAP file read record by record.

    Attributes:
        decompress: Turns ('zstd' or 'lz4', bytes) into plain bytes.
    """

    def __init__(self, path: Path, decompress: Callable[[str, bytes], bytes]) -> None:
        super().__init__(path)
        self.decompress = decompress

    def open(self) -> None:
        """Read all records once.

        Raises:
            ScanError: The file does not begin like an MCAP file.
        """
        schemas: dict[int, tuple[str, str]] = {}
        channels: dict[int, ScanConnection] = {}
        for opcode, body in self._records():
            if opcode == _SCHEMA:
                cursor = _Fields(body)
                number = cursor.number('<H')
                name, _ = cursor.text(), cursor.text()
                schemas[number] = name, cursor.text()
            elif opcode == _CHANNEL:
                cursor = _Fields(body)
                number, schema = cursor.number('<H'), cursor.number('<H')
                topic, _ = cursor.text(), cursor.text()
                if number not in channels and schema in schemas:
                    name, text = schemas[schema]
                    qos = cursor.mapping().get('offered_qos_profiles', '')
                    channels[number] = ScanConnection(
                        number, topic, name, ScanDefinition(text), qos
                    )
            elif opcode == _MESSAGE:
                number, _, time, _ = struct.unpack_from('<HIQQ', body)
                if number in channels:
                    self._count(channels[number], time)
        self.connections = list(channels.values())

    def _messages(self) -> Iterator[tuple[int, int, memoryview]]:
        for opcode, body in self._records():
            if opcode == _MESSAGE:
                number, _, time, _ = struct.unpack_from('<HIQQ', body)
                yield number, time, body[22:]

    def _records(self) -> Iterator[tuple[int, memoryview]]:
        """Yield whole records, those of chunks included; note what ended them."""
        self.damage = ''
        with self.path.open('rb') as file:
            if file.read(len(MAGIC)) != MAGIC:
                msg = 'no MCAP file: it does not begin with the magic bytes'
                raise ScanError(msg)
            size = self.path.stat().st_size
            while True:
                begin = file.tell()
                head = file.read(9)
                if not head or head[0] in (_FOOTER, _DATA_END):
                    return
                length = int.from_bytes(head[1:], 'little')
                if len(head) < 9 or length > size - begin - 9:
                    self.damage = f'the file ends within the record at byte {begin} of {size}'
                    if head[0] == _CHUNK and len(head) == 9:
                        yield from self._of_chunk(memoryview(file.read()))
                    return
                body = memoryview(file.read(length))
                try:
                    if head[0] == _CHUNK:
                        yield from self._of_chunk(body)
                    else:
                        _check(head[0], body)
                        yield head[0], body
                except (ScanError, struct.error, UnicodeDecodeError) as err:
                    self.damage = f'the record at byte {begin} is damaged: {err}'
                    return

    def _of_chunk(self, body: memoryview) -> Iterator[tuple[int, memoryview]]:
        """Yield the whole records of a chunk; of a chunk that is cut off, those in front."""
        cursor = _Fields(body)
        cursor.number('<Q')
        cursor.number('<Q')
        plain_size, crc = cursor.number('<Q'), cursor.number('<I')
        kind, length = cursor.text(), cursor.number('<Q')
        data = body[cursor.pos : cursor.pos + length]
        whole = len(data) == length
        if kind:
            if not whole:
                return
            data = memoryview(self.decompress(kind, bytes(data)))
        if whole and (len(data) != plain_size or (crc and zlib.crc32(data) != crc)):
            msg = 'size or checksum of a chunk do not fit'
            raise ScanError(msg)
        pos = 0
        while pos + 9 <= len(data):
            opcode = data[pos]
            end = pos + 9 + int.from_bytes(data[pos + 1 : pos + 9], 'little')
            if end > len(data):
                return
            _check(opcode, data[pos + 9 : end])
            yield opcode, data[pos + 9 : end]
            pos = end


def _check(opcode: int, body: memoryview) -> None:
    if opcode == _MESSAGE and len(body) < 22:
        msg = f'a message record of {len(body)} bytes'
        raise ScanError(msg)


class _Fields:
    """Reads the fields of a record with every length checked."""

    def __init__(self, data: memoryview) -> None:
        self.data = data
        self.pos = 0

    def number(self, kind: str) -> int:
        (value,) = struct.unpack_from(kind, self.data, self.pos)
        self.pos += struct.calcsize(kind)
        return int(value)

    def text(self) -> str:
        length = self.number('<I')
        if length > len(self.data) - self.pos:
            msg = f'a text of {length} bytes is longer than its record'
            raise ScanError(msg)
        self.pos += length
        return bytes(self.data[self.pos - length : self.pos]).decode('utf-8')

    def mapping(self) -> dict[str, str]:
        end = self.number('<I') + self.pos
        found = {}
        while self.pos < min(end, len(self.data)):
            key = self.text()
            found[key] = self.text()
        return found
