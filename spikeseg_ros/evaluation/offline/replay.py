# SPDX-License-Identifier: Apache-2.0
"""A recording as what the perception sees of it, the same at every reading."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from spikeseg_ros.perception.config import PerceptionConfig


@dataclass
class RecordingFacts:
    """What a reading has found out about a recording.

    Attributes:
        topic: Topic of the events or images.
        type: Its message type.
        encoding: Encoding of the first message.
        width: Sensor columns of the first message [px].
        height: Sensor rows of the first message [px].
        messages: Messages read.
        events: Events in windows; 0 for images.
        on_events: Those of them that are ON; 0 for images.
        t_first: Sensor time of the first event, or stamp of the first image [ns].
        t_last: Sensor time of the last event, or stamp of the last image [ns].
        damaged: What is wrong with the recording, without the path; empty where nothing is.
    """

    topic: str = ''
    type: str = ''
    encoding: str = ''
    width: int = 0
    height: int = 0
    messages: int = 0
    events: int = 0
    on_events: int = 0
    t_first: int = 0
    t_last: int = 0
    damaged: str = ''


@dataclass
class Replay(ABC):
    """Reads a recording frame by frame; every iteration begins anew.

    A frame is a window of events or an image. A recording that is damaged gives the complete
    frames in front of the damage, and facts.damaged says what is wrong.

    Attributes:
        path: The recording.
        topic: Topic that is read; empty = the one with most messages.
        config: Options of the perception.
        progress: Called with the steps read since the last call, see `reading_length`.
        facts: What the last reading has found out.
        kind: What is read, 'events' or 'images'.
        word: What a frame is called.
    """

    path: Path
    topic: str
    config: PerceptionConfig
    progress: Callable[[int], None] | None = None
    facts: RecordingFacts = field(default_factory=RecordingFacts)
    _hash: Any = None

    kind: ClassVar[str]
    word: ClassVar[str]

    @abstractmethod
    def __iter__(self) -> Iterator[Any]:
        """Yield the frames in order.

        Raises:
            BagError: The recording cannot be opened, or has no such topic.
        """

    def _begin(self) -> RecordingFacts:
        """Forget what the last reading has found out."""
        self._hash, self.facts = hashlib.sha256(), RecordingFacts()
        return self.facts

    @property
    def sha256(self) -> str:
        """Hash of what was read so far, in order."""
        return str(self._hash.hexdigest()) if self._hash is not None else ''

    def _note_bad(self, count: int, last_error: str) -> None:
        """Note messages that could not be decoded, unless there is worse."""
        facts = self.facts
        if count and not facts.damaged:
            facts.damaged = (
                f'{count} of {facts.messages} messages of {facts.topic!r} in '
                f'{self.path.name!r} could not be decoded: {last_error}'
            )

    def _anonymous(self, err: Exception) -> str:
        """Return the text of an error with the recording's name instead of its path."""
        return str(err).replace(str(self.path), self.path.name)
