# SPDX-License-Identifier: Apache-2.0
"""Reading sqlite3 recordings that were cut off or are damaged, row by row.

SQLite refuses a file that is shorter than its header says, and its index by time may be what is
missing. The rows are therefore read in the order in which they were written, for as long as they
are whole.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from spikeseg_ros.recordings.scan import (
    ScanConnection,
    ScanDefinition,
    ScanError,
    StorageScan,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


class SqliteScan(StorageScan):
    """A sqlite3 file read row by row."""

    def open(self) -> None:
        """Read all rows once, without their data.

        Raises:
            ScanError: The file is no recording, or its topics cannot be read.
        """
        topics: dict[int, ScanConnection] = {}
        try:
            with closing(self._database()) as database:
                rows = database.execute('SELECT id, name, type FROM topics ORDER BY id')
                for number, name, kind in rows:
                    topics[number] = ScanConnection(
                        int(number), str(name), str(kind), ScanDefinition('')
                    )
        except (sqlite3.Error, ValueError, OverflowError) as err:
            msg = f'its topics cannot be read: {err}'
            raise ScanError(msg) from None
        for number, time, _ in self._rows('0'):
            if number in topics:
                self._count(topics[number], time)
        self.connections = list(topics.values())

    def _messages(self) -> Iterator[tuple[int, int, bytes]]:
        return self._rows('data')

    def _rows(self, data: str) -> Iterator[tuple[int, int, bytes]]:
        """Yield (topic, time [ns], column) of whole rows; note what ended them."""
        self.damage = ''
        try:
            with closing(self._database()) as database:
                query = f'SELECT topic_id, timestamp, {data} FROM messages ORDER BY id'
                for number, time, column in database.execute(query):
                    if not isinstance(number, int) or not isinstance(time, int):
                        self.damage = 'a row has no topic or no time'
                        return
                    yield number, time, column if isinstance(column, bytes) else b''
        except (sqlite3.Error, ValueError, OverflowError) as err:
            self.damage = str(err)

    def _database(self) -> sqlite3.Connection:
        """Open the file without changing anything near it."""
        place = self.path.absolute().as_uri()
        database = sqlite3.connect(f'{place}?mode=ro&immutable=1', uri=True)
        # Without this SQLite does not read a file that is shorter than its header says.
        database.execute('PRAGMA writable_schema=ON')
        return database
