# SPDX-License-Identifier: Apache-2.0
"""The journal of a run: every finished window is appended to it, all files are made from it.

A file of records: kind (one byte), length and CRC-32 of the body (little endian), body. What a
killed process left half written does not pass the checksum and is cut off when it is opened anew.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from spikeseg_ros.evaluation.offline.errors import EvaluationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

NAME = 'journal.bin'
MAGIC = b'spikeseg journal 1\n'
HEADER, WINDOW, FAILED, STATE, DONE = b'H', b'W', b'F', b'S', b'D'
_HEAD = struct.Struct('<cII')


def records(path: Path) -> Iterator[tuple[bytes, bytes, int]]:
    """Yield (kind, body, position behind the record) of all whole records.

    Raises:
        EvaluationError: The file is no journal.
    """
    with path.open('rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            msg = f'{str(path)!r} is no journal of a run; start anew with --overwrite.'
            raise EvaluationError(msg)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            kind, length, checksum = _HEAD.unpack(head)
            body = file.read(length)
            if len(body) < length or zlib.crc32(body) != checksum:
                return
            yield kind, body, file.tell()


class JournalWriter:
    """Appends records.

    Args:
        path: The journal; created where position is 0.
        position: Where to go on; what lies behind it is cut off.
    """

    def __init__(self, path: Path, position: int = 0) -> None:
        self._file = path.open('r+b' if position else 'wb')
        self._file.truncate(position)
        self._file.seek(position)
        if not position:
            self._file.write(MAGIC)

    def append(self, kind: bytes, body: bytes) -> None:
        """Append a record and hand it to the operating system, so that a kill cannot lose it."""
        self._file.write(_HEAD.pack(kind, len(body), zlib.crc32(body)) + body)
        self._file.flush()

    def __enter__(self) -> Self:
        """Return the writer."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        self._file.close()
