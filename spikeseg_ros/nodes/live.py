# SPDX-License-Identifier: Apache-2.0
"""A recording played through the live node in real time, to compare with an offline run."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any

import rclpy

from spikeseg_ros.nodes.domains import own_environment
from spikeseg_ros.nodes.processes import Graph, heard_as
from spikeseg_ros.recordings.opening import PACKED_IMAGE, RAW_IMAGE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

OBJECTS = '/spikeseg/objects'
RECORDED = f'{OBJECTS},/diagnostics'
READY_SECONDS = 300.0
_SPACE = ('-r', '__ns:=/spikeseg')


class LiveError(ValueError):
    """The live run did not work; the text says which node ended and what it said."""


def play_live(
    bag: Path,
    topic: tuple[str, str],
    seconds: float,
    config: Mapping[str, Any],
    size: tuple[int, int],
    folder: Path,
) -> Path:
    """Play a recording through player, perception and recorder, each in its own process.

    Args:
        bag: The recording.
        topic: Topic of its events or images, and their message type.
        seconds: Its length [s].
        config: Options of the perception by dotted name.
        size: Columns and rows of the sensor or camera [px].
        folder: Takes the recorded output and the logs of the nodes.

    Returns:
        The recording of what the node published.

    Raises:
        LiveError: A node ended early, or did not become ready in time.
    """
    name, kind = topic
    heard = heard_as(name, kind)
    renaming = ('-r', f'{name}:={heard}') if heard != name else ()
    images = kind in (RAW_IMAGE, PACKED_IMAGE)
    topics = {'events_topic': '' if images else heard, 'image_topic': heard if images else ''}
    environment = own_environment()
    os.environ.update(environment)
    shutil.rmtree(folder, ignore_errors=True)
    logs = folder / 'logs'
    logs.mkdir(parents=True)
    output = folder / 'output'
    rclpy.init()
    try:
        watch = rclpy.create_node('evaluation', namespace='/spikeseg')
        with Graph(logs.resolve(), environment) as graph:
            recorder = {'bag': str(output.resolve()), 'topics': RECORDED}
            graph.start('recorder_node', recorder, arguments=_SPACE)
            own = {**topics, 'sensor_width': size[0], 'sensor_height': size[1]}
            graph.start('perception_node', {**config, **own}, arguments=_SPACE)
            deadline = time.monotonic() + READY_SECONDS
            # The recorder follows a topic as soon as somebody publishes it.
            while not (watch.count_subscribers(OBJECTS) and watch.count_subscribers(heard)):
                _check(graph, deadline)
                time.sleep(0.1)
            played = {
                'bag': str(bag.resolve()),
                'topics': name,
                'wait_for_subscribers_s': 20.0,
            }
            player = graph.start('player_node', played, finishes=True, arguments=renaming)
            deadline = time.monotonic() + seconds + 60.0
            while player.process.poll() is None:
                _check(graph, deadline)
                time.sleep(0.1)
            # The last windows come on silence, the last diagnostics within a second.
            time.sleep(2.0)
            _check(graph, deadline + 60.0)
        watch.destroy_node()
    finally:
        rclpy.try_shutdown()
    return output


def _check(graph: Graph, deadline: float) -> None:
    """Raise a LiveError where a node has ended, or where it takes too long."""
    if graph.failed:
        node = graph.failed[0]
        msg = f'{node.name} ended early. Its last words: {node.tail(5)}'
        raise LiveError(msg)
    if time.monotonic() > deadline:
        msg = f'The nodes did not become ready or did not end in time; see {graph.logs}.'
        raise LiveError(msg)
