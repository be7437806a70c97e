# SPDX-License-Identifier: Apache-2.0
"""Options in the YAML file of perception_node that are not the perception's own.

They stand here, free of ROS, so that an evaluation takes the same file as the node.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeseg_ros.perception.config import load_config, option

if TYPE_CHECKING:
    from pathlib import Path

    from spikeseg_ros.perception.config import PerceptionConfig

# Prefixes and names in a node's YAML that rclpy itself declares.
ROS_OPTIONS = ('use_sim_time', 'start_type_description_service', 'qos_overrides.*')


@dataclass(frozen=True)
class PerceptionNodeConfig:
    """Options of perception_node beyond those of the perception."""

    events_topic: str = option(
        '/event_camera/events',
        'Topic of event_camera_msgs/EventPacket; empty = no events. A network for camera images '
        'leaves the default topic unused.',
    )
    image_topic: str = option(
        '', 'Topic of sensor_msgs/Image or CompressedImage; empty = no images.'
    )
    image_transport: str = option(
        'auto',
        'Kind of image_topic: auto takes compressed where the name ends so.',
        choices=('auto', 'raw', 'compressed'),
    )
    autostart: bool = option(
        True, 'Configure and activate at start; false = wait for a lifecycle manager.'
    )
    tick_rate_hz: float = option(
        0.0,
        'Rate at which the worker looks for complete windows; 0 = four times per window [Hz].',
        low=0.0,
        high=1000.0,
    )
    object_masks: bool = option(True, 'Give every object its mask.')
    instance_masks: bool = option(True, 'Give every instance its mask.')
    mask_content: str = option(
        'auto',
        'Pixels of the mask topic: object_id + 1 or class id; auto = class ids where the network '
        'gives every pixel a class, else objects.',
        choices=('auto', 'objects', 'classes'),
    )
    mask_compression: str = option(
        'none', 'Compression of the mask topic.', choices=('none', 'zlib')
    )
    vision_msgs: bool = option(
        False, 'Also publish vision_msgs/Detection2DArray and LabelInfo (needs vision_msgs).'
    )
    diagnostics_period_s: float = option(
        1.0, 'Time between two messages on /diagnostics [s].', low=0.1, high=60.0
    )
    input_timeout_s: float = option(
        2.0,
        'Without a message for this long, diagnostics warn about the input [s].',
        low=0.1,
        high=3600.0,
    )
    sensor_width: int = option(
        346, 'Columns the network is warmed up with at configure [px].', low=1, high=8192
    )
    sensor_height: int = option(
        260, 'Rows the network is warmed up with at configure [px].', low=1, high=8192
    )


def load_node_config(path: str | Path) -> PerceptionConfig:
    """Read the perception's options from the file that perception_node takes.

    Raises:
        ConfigError: The file cannot be read or holds an unknown or bad option.
    """
    own = tuple(item.name for item in dataclasses.fields(PerceptionNodeConfig))
    return load_config(path, ignore=(*own, *ROS_OPTIONS))
