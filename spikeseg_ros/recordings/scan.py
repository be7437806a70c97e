# SPDX-License-Identifier: Apache-2.0
"""What readers of damaged storage files share: connections, counts and the way to messages."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path


class ScanError(ValueError):
    """The file is no recording, or damaged from some place on."""


@dataclass(frozen=True)
class ScanDefinition:
    """Text of a message definition."""

    data: str


@dataclass
class ScanConnection:
    """One topic of the file, with the fields that rosbags gives its connections.

    Attributes:
        id: Number in the file.
        topic: Topic.
        msgtype: Message type.
        msgdef: Definition.
        qos_text: Offered quality of service as it stands in the file, YAML.
        msgcount: Messages found.
    """

    id: int
    topic: str
    msgtype: str
    msgdef: ScanDefinition
    qos_text: str = ''
    msgcount: int = 0
    ext: object = None


class StorageScan(ABC):
    """A storage file read from its beginning for as long as it is whole.

    Attributes:
        path: The file.
        connections: Topics whose type is known.
        damage: What ended the reading; empty where all of the file was whole.
        start_time: Time of the earliest message [ns].
        end_time: Time behind the latest message [ns].
        message_count: Number of messages.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connections: list[ScanConnection] = []
        self.damage = ''
        self.start_time = 2**63 - 1
        self.end_time = 0
        self.message_count = 0

    @abstractmethod
    def open(self) -> None:
        """Read the file once and fill the attributes.

        Raises:
            ScanError: The file is none of this kind.
        """

    def close(self) -> None:  # noqa: B027 - needed by those who close all readers alike
        """Nothing stays open between calls."""

    def messages(
        self, connections: Collection[Any]
    ) -> Iterator[tuple[ScanConnection, int, bytes]]:
        """Yield (connection, time [ns], message) in the order of the file.

        Raises:
            ScanError: Behind the last whole message, where the file is damaged.
        """
        wanted = {item.id: item for item in connections}
        for number, time, data in self._messages():
            if number in wanted:
                yield wanted[number], time, bytes(data)
        if self.damage:
            raise ScanError(self.damage)

    @abstractmethod
    def _messages(self) -> Iterator[tuple[int, int, bytes | memoryview]]:
        """Yield (number of the connection, time [ns], message); note what ended them."""

    def _count(self, connection: ScanConnection, time: int) -> None:
        """Count a message."""
        connection.msgcount += 1
        self.message_count += 1
        self.start_time = min(self.start_time, time)
        self.end_time = max(self.end_time, time + 1)
