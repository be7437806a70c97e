# SPDX-License-Identifier: Apache-2.0
"""Options that belong to the nodes alone: topics, publishing, timing. Free of ROS imports."""

from __future__ import annotations

from dataclasses import dataclass

from spikeseg_ros.perception.config import option

# Prefixes and names in a node's YAML that rclpy itself declares.
ROS_OPTIONS = ('use_sim_time', 'start_type_description_service', 'qos_overrides.*')


@dataclass(frozen=True)
class PerceptionNodeConfig:
    """Options of perception_node beyond those of the perception."""

    events_topic: str = option(
        '/event_camera/events',
        'Topic of event_camera_msgs/EventPacket; empty = no events.',
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
        'objects',
        'Pixels of the mask topic: object_id + 1 or class id.',
        choices=('objects', 'classes'),
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


@dataclass(frozen=True)
class VisualizerConfig:
    """Options of visualizer_node."""

    events_topic: str = option('/event_camera/events', 'Events to draw; empty = none.')
    image_topic: str = option('', 'Camera image to draw on; empty = dark background.')
    image_transport: str = option(
        'auto',
        'Kind of image_topic: auto takes compressed where the name ends so.',
        choices=('auto', 'raw', 'compressed'),
    )
    objects_topic: str = option('objects', 'Objects to draw.')
    overlay_topic: str = option('overlay', 'Topic of the picture (rgb8).')
    max_rate_hz: float = option(30.0, 'Pictures per second at most.', low=0.1, high=1000.0)
    history_ms: float = option(
        500.0, 'Events kept while objects are awaited [ms].', low=10.0, high=10_000.0
    )
    always: bool = option(False, 'Draw also while nobody watches.')


@dataclass(frozen=True)
class PlayerConfig:
    """Options of player_node."""

    bag: str = option('', 'Recording to replay: rosbag2 folder, .mcap, .db3 or .bag file.')
    rate: float = option(1.0, 'Speed; 2 = twice as fast.', low=0.01, high=100.0)
    loop: bool = option(False, 'Begin anew at the end.')
    clock_hz: float = option(
        0.0, 'Publish /clock at this rate of wall time; 0 = no clock [Hz].', low=0.0, high=10_000.0
    )
    start_offset_s: float = option(
        0.0, 'Skip this much of the recording at the beginning [s].', low=0.0, high=1e6
    )
    duration_s: float = option(
        0.0, 'Stop after this much of the recording; 0 = all [s].', low=0.0, high=1e6
    )
    topics: str = option('', 'Topics to replay, separated by commas; empty = all.')
    wait_for_subscribers_s: float = option(
        0.0,
        'Wait at most this long for a subscriber of every topic before the first message [s].',
        low=0.0,
        high=3600.0,
    )


@dataclass(frozen=True)
class RecorderConfig:
    """Options of recorder_node."""

    bag: str = option('', 'Folder to create; empty = recording_<date> in the working directory.')
    topics: str = option(
        'objects,mask,instances,labels,/diagnostics',
        'Topics to record, separated by commas; relative names are resolved in the namespace.',
    )
    storage: str = option('mcap', 'Storage of the recording.', choices=('mcap', 'sqlite3'))
    overwrite: bool = option(False, 'Replace an existing recording of the same name.')
