# SPDX-License-Identifier: Apache-2.0
"""Reading sqlite3 recordings that were cut off or are damaged, row by row.

SQLite refuses a file that is shorter than its header says, and its index by time may be what is
missing. The rows are therefore read in the order in which they were written, for as long as they
are whole.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.recordings.mcap_scan import ScanConnection, ScanDefinition, ScanError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


@dataclass
class SqliteScan:
    """A storage file read row by row.

    Attributes:
        path: The file.
        connections: Topics.
        damage: What ended the reading; empty where all rows were whole.
        start_time: Time of the earliest message [ns].
        end_time: Time behind the latest message [ns].
        message_count: Number of messages.
    """

    path: Path
    connections: list[ScanConnection] = field(default_factory=list)
    damage: str = ''
    start_time: int = 2**63 - 1
    end_time: int = 0
    message_count: int = 0

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
                topics[number].msgcount += 1
                self.message_count += 1
                self.start_time = min(self.start_time, time)
                self.end_time = max(self.end_time, time + 1)
        self.connections = list(topics.values())

    def close(self) -> None:
        """Nothing stays open between calls."""

    def messages(
        self, connections: Collection[Any]
    ) -> Iterator[tuple[ScanConnection, int, bytes]]:
        """Yield (topic, time [ns], message) in the order of the file.

        Raises:
            ScanError: Behind the last whole row, where the file is damaged.
        """
        wanted = {item.id: item for item in connections}
        for number, time, data in self._rows('data'):
            if number in wanted:
                yield wanted[number], time, data
        if self.damage:
            raise ScanError(self.damage)

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
