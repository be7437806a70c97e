# SPDX-License-Identifier: Apache-2.0
"""All topics of a bag of any age, as messages of today: ROS 1 and event_array_msgs to ROS 2."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rosbags.convert.converter import is_same_wireformat, migrate_message
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.recordings.bags import BagError
from spikeseg_ros.recordings.definitions import (
    EVENT_PACKET,
    EVENT_TYPES,
    LEGACY_TYPES,
    PACKET_TYPES,
    known,
    typestore,
)
from spikeseg_ros.recordings.formats.source import Stats
from spikeseg_ros.recordings.serialization import MessageError, packet_message, parse_packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from spikeseg_ros.recordings.bags import BagReader, BagWriter, TopicInfo

_LITTLE_ENDIAN = b'\x00\x01'


class BagCopy:
    """Copies an open bag into another one.

    Event packets keep their payload. Lists of single events (dvs_msgs, prophesee_event_msgs)
    become packets of the 'mono' encoding, which keeps their nanoseconds. Other messages are
    copied byte by byte, or translated to the ROS 2 form of their type where the bag is ROS 1.

    Attributes:
        stats: What was copied; events are counted on all event topics together.
        sizes: Geometries (columns, rows) of the event packets.
        encodings: Encodings of the event packets.
        messages: Messages copied.
        notes: What could not be copied.
    """

    def __init__(self, source: BagReader, target: BagWriter) -> None:
        self.stats = Stats()
        self.sizes: set[tuple[int, int]] = set()
        self.encodings: set[str] = set()
        self.messages = 0
        self.notes: list[str] = []
        self._source = source
        self._target = target
        self._types = _Types()
        self._convert: dict[str, Callable[[Any, str], bytes]] = {}
        self._decoders: dict[str, EventDecoder] = {}
        self._sequence: dict[str, int] = {}
        for info in source.topics.values():
            self._add(info)

    @property
    def total(self) -> int:
        """Number of messages to copy."""
        return sum(self._source.topics[name].count for name in self._convert)

    def items(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield (topic, time [ns], serialised message) for the new bag.

        Raises:
            BagError: The bag is damaged from here on.
        """
        for topic, msgtype, time, raw in self._source.messages(list(self._convert)):
            try:
                if msgtype != self._source.topics[topic].type:
                    continue
                message = self._convert[topic](raw, msgtype)
            except MessageError as err:
                msg = f'A message of {topic!r} in {str(self._source.path)!r} is damaged: {err}'
                raise BagError(msg) from None
            except Exception as err:
                reason = ' '.join(str(err).split())[:200] or type(err).__name__
                msg = (
                    f'A message of {topic!r} ({msgtype}) in {str(self._source.path)!r} is '
                    f'damaged: {reason}. What was read so far is complete.'
                )
                raise BagError(msg) from None
            self.messages += 1
            yield topic, time, message

    def _add(self, info: TopicInfo) -> None:
        """Declare a topic in the new bag and choose how its messages are converted."""
        if info.type in EVENT_TYPES:
            self._target.add_topic(info.name, EVENT_PACKET, info.qos)
            self._convert[info.name] = lambda raw, kind: self._packet(info.name, raw, kind)
            return
        try:
            if self._source.ros1:
                kind, described = self._types.from_ros1(info.type, info.definition)
                self._target.add_topic(info.name, kind, info.qos, described)
                self._convert[info.name] = self._types.translate
            else:
                described = None if known(info.type) else self._types.described(info)
                self._target.add_topic(info.name, info.type, info.qos, described)
                self._convert[info.name] = lambda raw, kind: bytes(raw)
        except BagError:
            raise
        except Exception as err:
            reason = ' '.join(str(err).split())[:200] or type(err).__name__
            self.notes.append(f'topic {info.name!r} of type {info.type!r} left out: {reason}')

    def _packet(self, topic: str, raw: Any, msgtype: str) -> bytes:
        """Return an event message as EventPacket, and count its events."""
        packet = parse_packet(raw, msgtype, self._source.ros1)
        if msgtype in LEGACY_TYPES:
            seq = self._sequence[topic] = self._sequence.get(topic, -1) + 1
            packet = replace(packet, seq=seq)
        decoder = self._decoders.get(topic)
        key = (packet.encoding, packet.width, packet.height)
        try:
            if decoder is None or (decoder.encoding, decoder.width, decoder.height) != key:
                decoder = self._decoders[topic] = EventDecoder(*key)
            clipped = decoder.clipped
            self.stats.count(decoder.decode(packet.payload, packet.time_base))
            self.stats.triggers += len(decoder.triggers)
            self.stats.clipped += decoder.clipped - clipped
        except EventError as err:
            note = f'packets of {topic!r} were copied but cannot be decoded: {err}'
            if note not in self.notes and len(self.notes) < 20:
                self.notes.append(note)
        self.sizes.add(key[1:])
        self.encodings.add(key[0])
        same = msgtype in PACKET_TYPES and not self._source.ros1
        if same and bytes(raw[:2]) == _LITTLE_ENDIAN:
            return bytes(raw)
        return packet_message(packet)


class _Types:
    """Definitions of message types that a bag brings along, and their ROS 2 form."""

    def __init__(self) -> None:
        base = typestore()
        self._new = get_typestore(Stores.ROS2_JAZZY)
        self._register(self._new, base.fielddefs)
        self._old = get_typestore(Stores.ROS1_NOETIC)
        self._plain: dict[str, bool] = {}
        self._cache: dict[str, object] = {}

    @staticmethod
    def _register(store: Any, found: Any) -> None:
        """Register the types that a store does not know yet."""
        store.register({k: v for k, v in found.items() if k not in store.fielddefs})

    def described(self, info: TopicInfo) -> tuple[str, str]:
        """Return (text, hash) of a ROS 2 type by the definition in the bag."""
        if not info.definition:
            msg = 'neither this program nor the bag knows its definition'
            raise ValueError(msg)
        self._register(self._new, get_types_from_msg(info.definition, info.type))
        return info.definition, str(self._new.hash_rihs01(info.type))

    def from_ros1(self, msgtype: str, text: str) -> tuple[str, tuple[str, str] | None]:
        """Learn a ROS 1 type; return its ROS 2 name and, for an unknown type, (text, hash)."""
        found = get_types_from_msg(text, msgtype)
        # What the bag says counts more than what the type is like today.
        self._old = get_typestore(Stores.ROS1_NOETIC) if not self._plain else self._old
        for name, fields in found.items():
            self._old.fielddefs.pop(name, None)
            self._old.register({name: fields})
        self._register(self._new, found)
        self._plain[msgtype] = is_same_wireformat(self._old, self._new, msgtype, msgtype)
        if known(msgtype):
            return msgtype, None
        definition, _ = self._new.generate_msgdef(msgtype, ros_version=2)
        return msgtype, (str(definition), str(self._new.hash_rihs01(msgtype)))

    def translate(self, raw: Any, msgtype: str) -> bytes:
        """Return a ROS 1 message as CDR."""
        if self._plain[msgtype]:
            return bytes(self._new.ros1_to_cdr(raw, msgtype))
        old = self._old.deserialize_ros1(raw, msgtype)
        new = migrate_message(self._old, self._new, msgtype, msgtype, self._cache, old)
        return bytes(self._new.serialize_cdr(new, msgtype))
