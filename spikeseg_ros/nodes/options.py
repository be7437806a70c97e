# SPDX-License-Identifier: Apache-2.0
"""Options that belong to the nodes alone: topics, publishing, timing. Free of ROS imports."""

from __future__ import annotations

from dataclasses import dataclass

from spikeseg_ros.perception.config import option
from spikeseg_ros.perception.node_options import ROS_OPTIONS, PerceptionNodeConfig

__all__ = (
    'ROS_OPTIONS',
    'PerceptionNodeConfig',
    'PlayerConfig',
    'RecorderConfig',
    'VisualizerConfig',
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
    mask_topic: str = option(
        'mask',
        'Class mask to draw under the objects, where the network knows several classes; empty = '
        'none.',
    )
    labels_topic: str = option('labels', 'Names and colours of the classes.')
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
        'Wait at most this long for subscribers of every topic before the first message [s].',
        low=0.0,
        high=3600.0,
    )
    min_subscribers: int = option(
        1, 'How many subscribers of every topic wait_for_subscribers_s waits for.', low=1, high=100
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
