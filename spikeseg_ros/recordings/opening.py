# SPDX-License-Identifier: Apache-2.0
"""One door to recordings of any format.

Example:
    with open_recording('recording.raw') as recording:
        for time, packet in recording.packets():
            ...
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.bags import BagError, BagReader, TopicInfo
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.formats.source import FormatError, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    from typing_extensions import Self

    from spikeseg_ros.recordings.formats.source import EventSource

RAW_IMAGE = 'sensor_msgs/msg/Image'
PACKED_IMAGE = 'sensor_msgs/msg/CompressedImage'
EVENTS_TOPIC = '/event_camera/events'
BAG = 'bag'
# Kind: module and class of the reader.
KINDS = {
    'raw': 'raw:RawSource',
    'aedat4': 'aedat4:Aedat4Source',
    'hdf5': 'hdf5:Hdf5Source',
    'text': 'text:TextSource',
    'truth': 'arrays:TruthSource',
    'nmnist': 'arrays:NmnistSource',
}
SUFFIXES = {
    '.raw': 'raw',
    '.aedat4': 'aedat4',
    '.aedat': 'aedat4',
    '.h5': 'hdf5',
    '.hdf5': 'hdf5',
    '.txt': 'text',
    '.csv': 'text',
    '.npz': 'truth',
    '.bs2': 'nmnist',
    '.bin': 'nmnist',
}
_BAG_SUFFIXES = ('.bag', '.mcap', '.db3', '.mcap.zstd', '.db3.zstd')


class Recording(Protocol):
    """An open recording of any format.

    Attributes:
        path: The recording.
        name: Name of the recording: its folder, or its file without suffix.
        topic: Topic of the events; for a file without topics the one that a bag would have.
        topics: Topics by name.
        notes: What was odd about the recording but could be worked around.
    """

    path: Path
    topics: dict[str, TopicInfo]
    notes: list[str]

    @property
    def name(self) -> str:
        """Name of the recording."""
        ...

    @property
    def topic(self) -> str | None:
        """Topic of the events."""
        ...

    def packets(self, topic: str | None = None) -> Iterator[tuple[int, Packet]]:
        """Yield (time [ns], event packet) in order of time.

        Raises:
            BagError: The recording has no such events, or is damaged from here on.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class BagRecording(BagReader):
    """A bag whose event topic may be chosen when it is opened."""

    def __init__(self, path: str | Path, topic: str | None = None) -> None:
        super().__init__(path)
        self._wanted = topic

    @property
    def name(self) -> str:
        """Name of the folder or file."""
        return recording_name(self.path)

    @property
    def topic(self) -> str | None:
        """The topic asked for, or the event topic with the most messages."""
        return self._wanted or (self.event_topics[0] if self.event_topics else None)

    def packets(self, topic: str | None = None) -> Iterator[tuple[int, Packet]]:
        """Yield (time [ns], event packet) in order of time."""
        return super().packets(topic or self._wanted)


class EventRecording:
    """An event file of another format, turned into packets while it is read."""

    def __init__(
        self, path: str | Path, topic: str | None = None, options: ReadOptions | None = None
    ) -> None:
        self.path = Path(path)
        self.options = options or ReadOptions()
        self.topic = topic or EVENTS_TOPIC
        self.topics = {self.topic: TopicInfo(self.topic, EVENT_PACKET, 0, 'best_effort')}
        self.notes: list[str] = []
        self._sources: list[EventSource] = []

    @property
    def name(self) -> str:
        """Name of the file without suffix."""
        return recording_name(self.path)

    @property
    def event_topics(self) -> tuple[str, ...]:
        """The one topic."""
        return (self.topic,)

    @property
    def length(self) -> int:
        """Size of the file in steps of 4 KiB, at least one."""
        return max(1, self.path.stat().st_size // 4096)

    @property
    def position(self) -> int:
        """Steps that the last reading has behind it."""
        source = self._sources[-1] if self._sources else None
        return self.length * source.done // max(1, source.total) if source is not None else 0

    def __enter__(self) -> Self:
        """Open the file.

        Raises:
            FormatError: It cannot be read.
        """
        self._open().close()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the file."""
        while self._sources:
            self._sources.pop().close()

    def packets(self, topic: str | None = None) -> Iterator[tuple[int, Packet]]:
        """Yield (time [ns], event packet) in order of time.

        Raises:
            FormatError: The file is damaged from here on.
        """
        if topic not in (None, self.topic):
            msg = f'{str(self.path)!r} has no topic {topic!r}; it has: {self.topic}.'
            raise FormatError(msg)
        source = self._open()
        self._sources.append(source)
        try:
            for time, item in source.items():
                if isinstance(item, Packet):
                    yield time, item
        finally:
            self.notes += [note for note in source.notes if note not in self.notes]
            source.close()

    def _open(self) -> EventSource:
        return open_source(self.path, self.options)


def image_topics(topics: Mapping[str, TopicInfo]) -> tuple[str, ...]:
    """Return the topics that carry camera images, the one with most messages first."""
    found = [item for item in topics.values() if item.type in (RAW_IMAGE, PACKED_IMAGE)]
    return tuple(item.name for item in sorted(found, key=lambda item: -item.count))


def kind_of(path: Path, kind: str = '') -> str:
    """Return the format of a path: 'bag' or one of KINDS.

    Raises:
        FormatError: There is no such format, or the suffix tells none.
    """
    if kind:
        if kind not in (BAG, *KINDS):
            msg = f'Unknown format {kind!r}; choose one of {BAG}, {", ".join(KINDS)}.'
            raise FormatError(msg)
        return kind
    name = path.name.lower()
    if path.is_dir() or name == 'metadata.yaml' or name.endswith(_BAG_SUFFIXES):
        return BAG
    found = SUFFIXES.get(path.suffix.lower(), '')
    if not found:
        suffixes = ', '.join((*_BAG_SUFFIXES, *SUFFIXES))
        missing = '' if path.exists() else ' (and it does not exist)'
        msg = (
            f'The suffix of {str(path)!r} tells no known format{missing}; known are rosbag2 '
            f'folders, {suffixes}. Name the format with --from.'
        )
        raise FormatError(msg)
    return found


def recording_name(path: Path) -> str:
    """Return the name of a recording: its folder, or its file without suffix."""
    if path.name == 'metadata.yaml' or path.is_dir():
        return (path.parent if path.name == 'metadata.yaml' else path).resolve().name
    return path.name.split('.')[0] or path.name


def open_source(path: Path, options: ReadOptions) -> EventSource:
    """Open an event file that is no bag.

    Raises:
        FormatError: The file cannot be read, or is of no known format.
    """
    options.check()
    if not path.is_file():
        state = 'is no file' if path.exists() else 'does not exist'
        msg = f'Recording {str(path)!r} {state}.'
        raise FormatError(msg)
    if path.stat().st_size == 0:
        msg = f'Recording {str(path)!r} is empty (0 bytes); copy or record it again.'
        raise FormatError(msg)
    module, name = KINDS[kind_of(path, options.kind)].split(':')
    reader = getattr(importlib.import_module(f'spikeseg_ros.recordings.formats.{module}'), name)
    try:
        source: EventSource = reader(path, options)
    except OSError as err:
        msg = f'Cannot read {str(path)!r}: {err.strerror or err}.'
        raise FormatError(msg) from None
    return source


def open_recording(
    path: str | Path, topic: str | None = None, options: ReadOptions | None = None
) -> BagRecording | EventRecording:
    """Return a recording of any format, to be used in a with statement.

    Args:
        path: A bag (rosbag2 folder, .mcap, .db3, .bag) or an event file.
        topic: Event topic; where None the one with the most messages.
        options: How an event file is read.

    Raises:
        BagError: The format is unknown; reading errors come when it is opened.
    """
    path = Path(path)
    if not path.exists():
        msg = f'Recording {str(path)!r} does not exist.'
        raise BagError(msg)
    if kind_of(path, options.kind if options else '') == BAG:
        return BagRecording(path, topic)
    return EventRecording(path, topic, options)
