# SPDX-License-Identifier: Apache-2.0
"""Reading and writing recordings (rosbag2 and ROS 1 bags) without ROS.

Example:
    with BagReader('recording') as bag:
        for time, packet in bag.packets():
            ...
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from rosbags import rosbag1, rosbag2
from rosbags.rosbag2.metadata import parse_qos

from spikeseg_ros.recordings.definitions import EVENT_TYPES, DefinitionError, definition
from spikeseg_ros.recordings.mcap_scan import McapScan
from spikeseg_ros.recordings.qos import QOS, qos_name, qos_profile
from spikeseg_ros.recordings.serialization import MessageError, parse_packet
from spikeseg_ros.recordings.sqlite_scan import SqliteScan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from types import TracebackType

    from typing_extensions import Self

    from spikeseg_ros.events.types import Packet

STORAGES = ('mcap', 'sqlite3')
_ZSTD_MAGIC = b'\x28\xb5\x2f\xfd'


class BagError(ValueError):
    """A recording cannot be read or written; the text names file, topic and what to do."""


@dataclass(frozen=True)
class TopicInfo:
    """One topic of a recording.

    Attributes:
        name: Topic.
        type: Message type, for example 'event_camera_msgs/msg/EventPacket'.
        count: Number of messages.
        qos: Offered quality of service: 'reliable', 'best_effort' or 'latched'.
        definition: Text of the message definition; empty where the recording has none.
    """

    name: str
    type: str
    count: int
    qos: str = 'reliable'
    definition: str = ''


class BagReader:
    """A recording: rosbag2 folder, single .mcap or .db3 file (also .zstd), or ROS 1 .bag.

    A folder whose metadata.yaml is missing, damaged or names no storage is read through its
    storage files. A damaged storage file raises a BagError where the damage begins; what was
    yielded before that stays valid.

    Attributes:
        path: The recording.
        topics: Topics by name (after opening).
        ros1: Whether the raw messages are in the ROS 1 format instead of CDR.
        notes: What was odd about the recording but could be worked around.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.topics: dict[str, TopicInfo] = {}
        self.ros1 = False
        self.notes: list[str] = []
        self._readers: list[Any] = []
        self._stack = ExitStack()
        self._maybe_compressed = False

    def __enter__(self) -> Self:
        """Open the recording.

        Raises:
            BagError: The path does not exist, is no recording, or is damaged.
        """
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Close the recording; may be called twice."""
        self._readers.clear()
        # A library that fails while closing a damaged file must not hide the first error.
        with suppress(Exception):
            self._stack.close()

    @property
    def duration(self) -> int:
        """Time from the first to the last message [ns]."""
        spans = [(r.start_time, r.end_time) for r in self._readers if r.message_count]
        if not spans:
            return 0
        return int(max(end for _, end in spans) - min(start for start, _ in spans) - 1)

    @property
    def event_topics(self) -> tuple[str, ...]:
        """Topics that carry events, the one with most messages first."""
        found = [item for item in self.topics.values() if item.type in EVENT_TYPES]
        return tuple(item.name for item in sorted(found, key=lambda item: -item.count))

    def messages(
        self, topics: Collection[str] | None = None
    ) -> Iterator[tuple[str, str, int, bytes]]:
        """Yield (topic, message type, time [ns], serialised message) in order of time.

        Args:
            topics: Topics to yield; all where None.

        Raises:
            BagError: A topic does not exist, or the file is damaged from here on.
        """
        if not self._readers:
            msg = f'The recording {str(self.path)!r} is not open; use it in a with statement.'
            raise BagError(msg)
        for name in topics or ():
            self._topic(name)
        yielded = 0
        try:
            for reader in self._readers:
                wanted = [c for c in reader.connections if topics is None or c.topic in topics]
                if not wanted:
                    continue
                for connection, time, raw in reader.messages(connections=wanted):
                    if self._maybe_compressed and raw[:4] == _ZSTD_MAGIC:
                        raw = _decompress('zstd', bytes(raw))
                    yield connection.topic, connection.msgtype, time, raw
                    yielded += 1
        except Exception as err:
            # GeneratorExit is no Exception; whatever else comes here is the library's.
            msg = (
                f'Recording {str(self.path)!r} is damaged behind message {yielded}: '
                f'{_reason(err)}. What was read so far is valid; "ros2 bag reindex" or '
                '"mcap recover" may save more.'
            )
            raise BagError(msg) from None

    def packets(self, topic: str | None = None) -> Iterator[tuple[int, Packet]]:
        """Yield (time [ns], event packet) in order of time.

        Args:
            topic: Event topic; where None the one with the most messages.

        Raises:
            BagError: There is no such topic, it carries no events, or the file is damaged.
        """
        if topic is None:
            if not self.event_topics:
                have = ', '.join(f'{t.name} ({t.type})' for t in self.topics.values()) or 'none'
                msg = (
                    f'Recording {str(self.path)!r} has no event topic; it has: {have}. '
                    f'Known event types: {", ".join(EVENT_TYPES)}.'
                )
                raise BagError(msg)
            topic = self.event_topics[0]
        info = self._topic(topic)
        if info.type not in EVENT_TYPES:
            msg = (
                f'Topic {topic!r} of {str(self.path)!r} is of type {info.type!r} and carries no '
                f'events; event topics: {", ".join(self.event_topics) or "none"}.'
            )
            raise BagError(msg)
        for number, (_, msgtype, time, raw) in enumerate(self.messages([topic])):
            try:
                packet = parse_packet(raw, msgtype, self.ros1)
            except MessageError as err:
                msg = f'Message {number} of {topic!r} in {str(self.path)!r} is damaged: {err}'
                raise BagError(msg) from None
            yield time, packet

    def _topic(self, name: str) -> TopicInfo:
        if name not in self.topics:
            msg = (
                f'Recording {str(self.path)!r} has no topic {name!r}; it has: '
                f'{", ".join(self.topics) or "none"}.'
            )
            raise BagError(msg)
        return self.topics[name]

    def _open(self) -> None:
        if not self.path.exists():
            msg = f'Recording {str(self.path)!r} does not exist.'
            raise BagError(msg)
        if self.path.name == 'metadata.yaml':
            self.path = self.path.parent
        if self.path.is_dir():
            self._open_folder()
        else:
            self._open_files([self.path])
        for reader in self._readers:
            for connection in reader.connections:
                self._add_topic(connection)

    def _open_folder(self) -> None:
        """Open a rosbag2 folder, by its metadata where they can be used."""
        try:
            self._readers = [self._enter(rosbag2.Reader(self.path))]
            return
        except Exception as err:
            reason = _reason(err)
        files = _storage_files(self.path)
        if not files:
            msg = (
                f'{str(self.path)!r} is no recording: {reason}. A rosbag2 folder holds a '
                'metadata.yaml and .mcap or .db3 files.'
            )
            raise BagError(msg)
        self.notes.append(f'metadata.yaml is not usable ({reason}); storage files read directly')
        self._open_files(files)

    def _open_files(self, files: list[Path]) -> None:
        self._maybe_compressed = True
        for path in files:
            try:
                if path.suffix == '.zstd':
                    path = self._decompressed(path)
                if path.suffix == '.bag':
                    self.ros1 = True
                    self._maybe_compressed = False
                    self._readers.append(self._enter(rosbag1.Reader(path)))
                else:
                    self._readers.append(self._storage(path))
            except Exception as err:
                msg = (
                    f'Cannot read {str(path)!r}: {_reason(err)}. Readable are rosbag2 folders, '
                    '.mcap, .db3 and .bag files; a recording that was cut off can often be '
                    'saved with "mcap recover" or "ros2 bag reindex".'
                )
                raise BagError(msg) from None

    def _storage(self, path: Path) -> Any:
        """Open one storage file; one without usable index is read record by record."""
        try:
            return self._enter(rosbag2.Reader(path))
        except Exception as err:
            scan: McapScan | SqliteScan
            if path.suffix == '.mcap':
                scan = McapScan(path, _decompress)
            elif path.suffix == '.db3':
                scan = SqliteScan(path)
            else:
                raise
            scan.open()
            if not scan.message_count:
                raise
            self.notes.append(f'{path.name} has no usable index ({_reason(err)}); records read')
            return scan

    def _enter(self, reader: Any) -> Any:
        reader.open()
        self._stack.callback(reader.close)
        return reader

    def _decompressed(self, path: Path) -> Path:
        """Return a decompressed temporary copy of a .zstd file."""
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix='spikeseg_'))
        target = Path(folder) / path.stem
        with _zstd().open(path, 'rb') as source, target.open('wb') as sink:
            shutil.copyfileobj(source, sink)
        return target

    def _add_topic(self, connection: Any) -> None:
        old = self.topics.get(connection.topic)
        if old is not None and old.type != connection.msgtype:
            self.notes.append(
                f'topic {connection.topic!r} carries both {old.type!r} and {connection.msgtype!r}'
            )
        count = int(connection.msgcount) + (old.count if old else 0)
        text = connection.msgdef.data or (old.definition if old else '')
        profiles = getattr(connection.ext, 'offered_qos_profiles', None) or []
        if getattr(connection, 'qos_text', ''):
            with suppress(Exception):
                profiles = parse_qos(connection.qos_text)
        latching = bool(getattr(connection.ext, 'latching', False))
        self.topics[connection.topic] = TopicInfo(
            connection.topic, connection.msgtype, count, qos_name(profiles, latching), text
        )


class BagWriter:
    """Writes a rosbag2 folder with complete message definitions.

    Leaving the with statement closes the recording also after an error, so that what was
    written stays readable.

    Args:
        path: Folder to create.
        storage: 'mcap' or 'sqlite3'.
        overwrite: Whether an existing recording at path is replaced.
    """

    def __init__(
        self, path: str | Path, storage: str = 'mcap', *, overwrite: bool = False
    ) -> None:
        self.path = Path(path)
        if storage not in STORAGES:
            msg = f'Unknown storage {storage!r}; choose one of {", ".join(STORAGES)}.'
            raise BagError(msg)
        self.storage = storage
        self._overwrite = overwrite
        self._writer: rosbag2.Writer | None = None
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> Self:
        """Create the recording.

        Raises:
            BagError: The folder exists and may not be replaced, or cannot be created.
        """
        if self.path.exists():
            ours = is_bag_folder(self.path)
            if not (self._overwrite and ours):
                msg = (
                    f'{str(self.path)!r} exists already; choose another name or remove it'
                    f'{" (it is no recording, so it is not replaced)" if not ours else ""}.'
                )
                raise BagError(msg)
            shutil.rmtree(self.path)
        plugin = rosbag2.StoragePlugin[self.storage.upper()]
        try:
            # Version 8 writes the QoS in the form that Humble to Kilted all read.
            self._writer = rosbag2.Writer(self.path, version=8, storage_plugin=plugin)
            self._writer.open()
        except Exception as err:
            msg = f'Cannot create the recording {str(self.path)!r}: {_reason(err)}.'
            raise BagError(msg) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the recording."""
        self.close()

    def close(self) -> None:
        """Write index and metadata; may be called twice."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except Exception as err:
            msg = f'Cannot finish the recording {str(self.path)!r}: {_reason(err)}.'
            raise BagError(msg) from None

    def add_topic(
        self,
        topic: str,
        msgtype: str,
        qos: str = 'reliable',
        described: tuple[str, str] | None = None,
    ) -> None:
        """Declare a topic.

        Args:
            topic: Absolute name.
            msgtype: Message type, for example 'sensor_msgs/msg/Image'.
            qos: Quality of service offered on replay: 'reliable', 'best_effort' or 'latched'.
            described: Text of the definition and RIHS01 hash, for types that are unknown here.

        Raises:
            BagError: The type or the QoS is unknown, or the topic exists already.
        """
        if qos not in QOS:
            msg = f'Unknown QoS {qos!r} of topic {topic!r}; choose one of {", ".join(QOS)}.'
            raise BagError(msg)
        if topic in self._connections:
            msg = f'Topic {topic!r} was already added to {str(self.path)!r}.'
            raise BagError(msg)
        try:
            text, digest = described or definition(msgtype)
            self._connections[topic] = self._open_writer().add_connection(
                topic, msgtype, msgdef=text, rihs01=digest, offered_qos_profiles=[qos_profile(qos)]
            )
        except DefinitionError as err:
            msg = f'Cannot add topic {topic!r} to {str(self.path)!r}: {err}'
            raise BagError(msg) from None

    def write(self, topic: str, time: int, raw: bytes | memoryview) -> None:
        """Write one message.

        Args:
            topic: Topic that was added before.
            time: Time of the message [ns].
            raw: Message serialised as CDR.

        Raises:
            BagError: The topic was not added, or the disk refuses.
        """
        if topic not in self._connections:
            msg = (
                f'Topic {topic!r} was not added to {str(self.path)!r}; call add_topic first '
                f'(added: {", ".join(self._connections) or "none"}).'
            )
            raise BagError(msg)
        try:
            self._open_writer().write(self._connections[topic], int(time), raw)
        except BagError:
            raise
        except Exception as err:
            msg = f'Cannot write topic {topic!r} to {str(self.path)!r}: {_reason(err)}.'
            raise BagError(msg) from None

    def _open_writer(self) -> rosbag2.Writer:
        if self._writer is None:
            msg = f'The recording {str(self.path)!r} is not open; use it in a with statement.'
            raise BagError(msg)
        return self._writer


def is_bag_folder(path: Path) -> bool:
    """Return whether a path is a folder with storage files of rosbag2."""
    return path.is_dir() and bool(_storage_files(path))


def _storage_files(folder: Path) -> list[Path]:
    """Return the storage files of a rosbag2 folder in order of recording."""
    suffixes = ('.mcap', '.db3', '.mcap.zstd', '.db3.zstd')
    found = [path for path in folder.iterdir() if path.name.endswith(suffixes)]
    listed: list[str] = []
    with suppress(OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        tree = yaml.safe_load((folder / 'metadata.yaml').read_text(encoding='utf-8'))
        names = tree['rosbag2_bagfile_information']['relative_file_paths']
        listed = [Path(str(name)).name for name in names]

    def order(path: Path) -> tuple[int, int, str]:
        number = path.name.split('.')[0].rsplit('_', 1)[-1]
        rank = listed.index(path.name) if path.name in listed else len(listed)
        return rank, int(number) if number.isdecimal() else 0, path.name

    return sorted(found, key=order)


def _zstd() -> Any:
    try:
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        from backports import zstd  # type: ignore[import-not-found, no-redef, unused-ignore]
    return zstd


def decompressor(kind: str) -> Any:
    """Return an object that unpacks one frame of 'zstd' or 'lz4' data, in steps if wanted."""
    if kind == 'lz4':
        from lz4.frame import (  # type: ignore[import-untyped, unused-ignore]
            LZ4FrameDecompressor,
        )

        return LZ4FrameDecompressor()
    return _zstd().ZstdDecompressor()


def _decompress(kind: str, data: bytes) -> bytes:
    """Return the plain bytes of 'zstd' or 'lz4' data."""
    if kind == 'lz4':
        from lz4 import frame  # type: ignore[import-untyped, unused-ignore]

        return bytes(frame.decompress(data))
    if kind != 'zstd':
        msg = f'unknown compression {kind!r}'
        raise BagError(msg)
    return bytes(_zstd().decompress(data))


def _reason(err: BaseException) -> str:
    """Return one line on an error of a library."""
    text = ' '.join(str(err).split()).rstrip('.')
    return text if text and not isinstance(err, (KeyError, TypeError)) else repr(err)
