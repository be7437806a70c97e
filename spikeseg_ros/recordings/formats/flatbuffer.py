# SPDX-License-Identifier: Apache-2.0
"""Reading of flatbuffers that may be damaged: every offset is checked before it is followed."""

from __future__ import annotations

import struct


class FlatbufferError(ValueError):
    """The bytes are no such flatbuffer."""


class Table:
    """The root table of a size-prefixed flatbuffer.

    Fields are asked for by their number in the schema; absent ones have their default.
    """

    def __init__(self, data: bytes, kind: bytes) -> None:
        """Find the root table.

        Raises:
            FlatbufferError: The length or the identifier is another, or an offset leads outside.
        """
        self.data = data
        if self._at(0, 'I') != len(data) - 4 or data[8:12] != kind:
            msg = f'no {kind.decode("latin-1")} buffer of {len(data)} bytes'
            raise FlatbufferError(msg)
        self._table = 4 + self._at(4, 'I')
        self._vtable = self._table - self._at(self._table, 'i')
        self._size = self._at(self._vtable, 'H')

    def number(self, field: int, kind: str, default: int = 0) -> int:
        """Return a field of a struct format character."""
        place = self._place(field)
        return self._at(place, kind) if place else default

    def vector(self, field: int, item: int) -> tuple[int, int]:
        """Return (position, number of elements) of a vector whose elements have `item` bytes."""
        place = self._place(field)
        if not place:
            return 0, 0
        begin = place + self._at(place, 'I')
        count = self._at(begin, 'I')
        if begin + 4 + count * item > len(self.data):
            msg = f'a vector of {count} elements in {len(self.data)} bytes'
            raise FlatbufferError(msg)
        return begin + 4, count

    def _place(self, field: int) -> int:
        """Return the position of a field, 0 where it is absent."""
        entry = 4 + 2 * field
        offset = self._at(self._vtable + entry, 'H') if entry + 2 <= self._size else 0
        return self._table + offset if offset else 0

    def _at(self, position: int, kind: str) -> int:
        """Return the number at a position."""
        if not 0 <= position <= len(self.data) - struct.calcsize('<' + kind):
            msg = f'an offset leads to byte {position} of {len(self.data)}'
            raise FlatbufferError(msg)
        (value,) = struct.unpack_from('<' + kind, self.data, position)
        return int(value)
