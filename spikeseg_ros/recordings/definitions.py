# SPDX-License-Identifier: Apache-2.0
"""Message definitions for reading and writing bags where ROS is not installed."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from pathlib import Path
from typing import Any

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

EVENT_PACKET = 'event_camera_msgs/msg/EventPacket'
EVENT_ARRAY = 'event_array_msgs/msg/EventArray'
DVS_ARRAY = 'dvs_msgs/msg/EventArray'
PROPHESEE_ARRAY = 'prophesee_event_msgs/msg/EventArray'
PACKET_TYPES = (EVENT_PACKET, EVENT_ARRAY)
LEGACY_TYPES = (DVS_ARRAY, PROPHESEE_ARRAY)
EVENT_TYPES = PACKET_TYPES + LEGACY_TYPES

_PACKET_FIELDS = """\
std_msgs/Header header
uint32 height
uint32 width
uint64 seq
uint64 time_base
string encoding
bool is_bigendian
uint8[] events
"""
_EVENT_FIELDS = """\
uint16 x
uint16 y
builtin_interfaces/Time ts
bool polarity
"""
_ARRAY_FIELDS = """\
std_msgs/Header header
uint32 height
uint32 width
Event[] events
"""


class DefinitionError(ValueError):
    """A message type has no definition here, or a value does not fit its definition."""


def message_folders() -> list[Path]:
    """Return the folders in which the package's own .msg files may lie, best first.

    A source tree, a ROS workspace (AMENT_PREFIX_PATH), the prefix of the interpreter, and the
    files recorded for an installed wheel, whatever its prefix.
    """
    folders = [Path(__file__).resolve().parents[2] / 'msg']
    prefixes = [*os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep), sys.prefix]
    folders += [Path(prefix) / 'share' / 'spikeseg_ros' / 'msg' for prefix in prefixes if prefix]
    try:
        recorded = importlib.metadata.files('spikeseg_ros') or []
        folders += sorted({Path(str(f.locate())).parent for f in recorded if f.suffix == '.msg'})
    except importlib.metadata.PackageNotFoundError:
        pass
    return [folder for folder in folders if (folder / 'SegmentedObjectArray.msg').is_file()]


@functools.lru_cache(maxsize=1)
def typestore() -> Any:
    """Return a rosbags typestore that knows ROS 2's, the event cameras' and our own messages.

    Our own messages are missing where their .msg files are not found; `known` tells.
    """
    store = get_typestore(Stores.ROS2_JAZZY)
    types: dict[str, Any] = {}
    for name in PACKET_TYPES:
        types.update(get_types_from_msg(_PACKET_FIELDS, name))
    for name in LEGACY_TYPES:
        types.update(get_types_from_msg(_EVENT_FIELDS, name.replace('EventArray', 'Event')))
        types.update(get_types_from_msg(_ARRAY_FIELDS, name))
    for folder in message_folders()[:1]:
        for path in sorted(folder.glob('*.msg')):
            text = path.read_text(encoding='utf-8')
            types.update(get_types_from_msg(text, f'spikeseg_ros/msg/{path.stem}'))
    store.register(types)
    return store


@functools.lru_cache(maxsize=1)
def ros1_typestore() -> Any:
    """Return a rosbags typestore of the standard messages of ROS 1."""
    return get_typestore(Stores.ROS1_NOETIC)


def known(msgtype: str) -> bool:
    """Return whether a message type, for example 'sensor_msgs/msg/Image', has a definition."""
    return msgtype in typestore().fielddefs


def definition(msgtype: str) -> tuple[str, str]:
    """Return (text with all nested types, RIHS01 hash) of a message type.

    Raises:
        DefinitionError: The type is unknown here.
    """
    require(msgtype)
    store = typestore()
    text, _ = store.generate_msgdef(msgtype, ros_version=2)
    return str(text), str(store.hash_rihs01(msgtype))


def require(msgtype: str) -> None:
    """Raise a DefinitionError that says what is known where a type has no definition."""
    if not known(msgtype):
        msg = (
            f'Message type {msgtype!r} has no definition here; known are the standard ROS 2 '
            'messages, event_camera_msgs and, from a source tree or an installation with its '
            'share folder, spikeseg_ros.'
        )
        raise DefinitionError(msg)
