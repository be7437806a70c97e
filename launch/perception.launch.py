# SPDX-License-Identifier: Apache-2.0
"""Start perception_node, and visualizer_node where wanted.

The argument params_file gives everything; an argument that is not empty overrides one value of
it. 'ros2 launch spikeseg_ros perception.launch.py --show-args' explains them.
"""

from __future__ import annotations

import os

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from spikeseg_ros.perception.config import MODELS

ARGUMENTS = (
    (
        'params_file',
        '',
        'YAML file with parameters of the nodes: a path, or the name of one that comes with the '
        'package (demo, evk4, davis346, camera, spike2former). Empty: the defaults.',
        None,
    ),
    (
        'events_topic',
        '',
        'Topic of event_camera_msgs/EventPacket. Empty: that of params_file, else '
        '/event_camera/events, which a network for camera images leaves unused. "none": no '
        'events.',
        None,
    ),
    (
        'image_topic',
        '',
        'Topic of sensor_msgs/Image, or of CompressedImage where the name ends in /compressed. '
        'Empty: that of params_file, else no images. "none": no images.',
        None,
    ),
    (
        'model',
        '',
        'Model family: spikeseg for what moves in events; mfs_seg or spike2former for classes, '
        'in the images of image_topic. Empty: that of params_file, else spikeseg.',
        ['', *MODELS],
    ),
    (
        'weights',
        '',
        'Weight file, or the name of one that comes with the package. Empty: that of params_file, '
        'else the default of the model. spike2former has none; spike2former_camvid is an example.',
        None,
    ),
    (
        'device',
        '',
        'Device of the network; auto takes CUDA where there is one. Empty: that of params_file, '
        'else auto.',
        ['', 'auto', 'cuda', 'cpu'],
    ),
    ('namespace', 'spikeseg', 'Namespace of the nodes and of the topics they publish.', None),
    (
        'use_sim_time',
        'false',
        'Take the time from /clock, for replay and simulation.',
        ['true', 'false'],
    ),
    (
        'autostart',
        'true',
        'Configure and activate perception_node at start; false leaves that to a lifecycle '
        'manager or to "ros2 lifecycle set".',
        ['true', 'false'],
    ),
    (
        'visualizer',
        'false',
        'Also start visualizer_node, which publishes the picture overlay for RViz and Foxglove.',
        ['true', 'false'],
    ),
    (
        'log_level',
        'info',
        'Least important messages that are logged.',
        ['debug', 'info', 'warn', 'error', 'fatal'],
    ),
)


def _nodes(context):
    """Return the nodes for the arguments of this launch."""
    chosen = {name: LaunchConfiguration(name).perform(context) for name, *_ in ARGUMENTS}
    path = chosen['params_file']
    if path and os.sep not in path and not path.endswith('.yaml'):
        share = FindPackageShare('spikeseg_ros').perform(context)
        path = os.path.join(share, 'config', f'{path}.yaml')
    if path and not os.path.isfile(path):
        share = FindPackageShare('spikeseg_ros').perform(context)
        names = sorted(name[:-5] for name in os.listdir(os.path.join(share, 'config')))
        msg = f'params_file {path!r} does not exist; give a path, or one of {", ".join(names)}.'
        raise FileNotFoundError(msg)
    files = [path] if path else []
    common = {'use_sim_time': chosen['use_sim_time'] == 'true'}
    topics = {
        name: '' if chosen[name] == 'none' else chosen[name]
        for name in ('events_topic', 'image_topic')
        if chosen[name]
    }
    own = {name: chosen[name] for name in ('model', 'weights', 'device') if chosen[name]}
    own['autostart'] = chosen['autostart'] == 'true'
    arguments = ['--ros-args', '--log-level', chosen['log_level']]
    return [
        Node(
            package='spikeseg_ros',
            executable='perception_node',
            name='perception_node',
            namespace=chosen['namespace'],
            parameters=[*files, {**common, **topics, **own}],
            arguments=arguments,
            output='screen',
            # Nothing else is of use without it, and a failed start should be seen.
            on_exit=Shutdown(reason='perception_node ended'),
        ),
        Node(
            package='spikeseg_ros',
            executable='visualizer_node',
            name='visualizer_node',
            namespace=chosen['namespace'],
            parameters=[*files, {**common, **topics}],
            arguments=arguments,
            output='screen',
            condition=IfCondition(LaunchConfiguration('visualizer')),
        ),
    ]


def generate_launch_description():
    """Return arguments and nodes."""
    declared = [
        DeclareLaunchArgument(name, default_value=default, description=text, choices=choices)
        for name, default, text, choices in ARGUMENTS
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_nodes)])
