# SPDX-License-Identifier: Apache-2.0
"""A recording as windows on recorded time, the same ones at every reading."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.events.clock import FixedClock
from spikeseg_ros.events.stream import EventStream
from spikeseg_ros.recordings.bags import BagError
from spikeseg_ros.recordings.opening import EventRecording, open_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.recordings.opening import BagRecording

# Every packet is decoded at once, so that nothing has to be dropped.
_QUEUE_BYTES = 1 << 40


@dataclass
class RecordingFacts:
    """What a reading has found out about a recording.

    Attributes:
        topic: Topic of the events.
        type: Its message type.
        encoding: Encoding of the first packet.
        width: Sensor columns of the first packet [px].
        height: Sensor rows of the first packet [px].
        messages: Messages read.
        events: Events in windows.
        on_events: Those of them that are ON.
        t_first: Sensor time of the first event [ns].
        t_last: Sensor time of the last event [ns].
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
class Replay:
    """Reads a recording window by window; every iteration begins anew.

    A recording that is damaged gives the complete windows in front of the damage, and
    facts.damaged says what is wrong.

    Attributes:
        path: The recording.
        topic: Topic of its events; empty = the one with most messages.
        config: Lengths of the windows.
        progress: Called with the steps read since the last call, see `position`.
        facts: What the last reading has found out.
    """

    path: Path
    topic: str
    config: PerceptionConfig
    progress: Callable[[int], None] | None = None
    facts: RecordingFacts = field(default_factory=RecordingFacts)
    _hash: Any = None

    def __iter__(self) -> Iterator[EventWindow]:
        """Yield the windows in order, the last one being incomplete.

        Raises:
            BagError: The recording cannot be opened, or has no such event topic.
        """
        facts = self.facts = RecordingFacts()
        self._hash = hashlib.sha256()
        stream = _stream(self.config)
        with open_recording(self.path, self.topic or None) as reader:
            topic = event_topic(reader, self.topic)
            facts.topic, facts.type = topic, reader.topics[topic].type
            reached = 0
            try:
                for _, packet in reader.packets(topic):
                    if not facts.messages:
                        facts.encoding = packet.encoding
                        facts.width, facts.height = packet.width, packet.height
                    facts.messages += 1
                    self._hash.update(packet.payload)
                    stream.push(packet)
                    yield from self._counted(stream.poll(0))
                    if self.progress is not None:
                        step = position(reader, facts.messages) - reached
                        reached += step
                        self.progress(step)
            except BagError as err:
                facts.damaged = self._anonymous(err)
        if not facts.damaged:
            yield from self._counted(stream.flush())
        counters = stream.counters
        if counters.bad_packets and not facts.damaged:
            facts.damaged = (
                f'{counters.bad_packets} of {facts.messages} messages of {facts.topic!r} in '
                f'{self.path.name!r} could not be decoded: {counters.last_error}'
            )

    @property
    def sha256(self) -> str:
        """Hash of the payloads read so far, in order."""
        return str(self._hash.hexdigest()) if self._hash is not None else ''

    def _counted(self, windows: list[EventWindow]) -> Iterator[EventWindow]:
        """Yield windows and count their events."""
        facts = self.facts
        for window in windows:
            t = window.events.t
            if len(t):
                facts.t_first = facts.t_first if facts.events else int(t[0])
                facts.t_last = int(t[-1])
                facts.events += len(t)
                facts.on_events += int(np.count_nonzero(window.events.p))
            yield window

    def _anonymous(self, err: Exception) -> str:
        """Return the text of an error with the recording's name instead of its path."""
        return str(err).replace(str(self.path), self.path.name)


def event_topic(reader: BagRecording | EventRecording, topic: str) -> str:
    """Return the topic whose events are taken.

    Raises:
        BagError: There is no such topic, or it carries no events.
    """
    if topic not in reader.event_topics:
        # Its own words name what the recording has instead.
        next(iter(reader.packets(topic or None)), None)
    return topic or reader.event_topics[0]


def position(reader: BagRecording | EventRecording, messages: int) -> int:
    """Return how far a reading is: messages of a bag, steps of another file."""
    return reader.position if isinstance(reader, EventRecording) else messages


def reading_length(path: Path, topic: str) -> int:
    """Return the position at which a reading will end; 0 where that is not known."""
    try:
        with open_recording(path, topic or None) as reader:
            if isinstance(reader, EventRecording):
                return reader.length
            return reader.topics[event_topic(reader, topic)].count
    except (ValueError, OSError):
        return 0


def _stream(config: PerceptionConfig) -> EventStream:
    """Return the event stream of a run."""
    events = config.events
    try:
        return EventStream(
            duration_ns=round(events.window_ms * 1e6),
            count=events.window_events,
            max_bytes=_QUEUE_BYTES,
            clock=FixedClock(),
        )
    except ValueError as err:
        raise EvaluationError(str(err)) from None
