# SPDX-License-Identifier: Apache-2.0
"""The events of a recording as windows on recorded time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.replay import Replay
from spikeseg_ros.events.clock import FixedClock
from spikeseg_ros.events.stream import EventStream
from spikeseg_ros.perception.segmenter import EVENTS
from spikeseg_ros.recordings.bags import BagError
from spikeseg_ros.recordings.opening import EventRecording, open_recording

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.recordings.opening import BagRecording

# Every packet is decoded at once, so that nothing has to be dropped.
_QUEUE_BYTES = 1 << 40


@dataclass
class EventReplay(Replay):
    """Reads windows of events; config gives their lengths."""

    kind: ClassVar[str] = EVENTS
    word: ClassVar[str] = 'window'

    def __iter__(self) -> Iterator[EventWindow]:
        """Yield the windows in order, the last one being incomplete.

        Raises:
            BagError: The recording cannot be opened, or has no such event topic.
        """
        facts = self._begin()
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
        self._note_bad(stream.counters.bad_packets, stream.counters.last_error)

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
