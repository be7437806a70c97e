# SPDX-License-Identifier: Apache-2.0
"""recorder_node: writes topics to a rosbag2 recording, without decoding them.

The recording is closed properly on SIGINT and SIGTERM, so that it can always be read.
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.task import Future

from spikeseg_ros.nodes.options import RecorderConfig
from spikeseg_ros.nodes.parameters import Parameters
from spikeseg_ros.nodes.player_node import message_class
from spikeseg_ros.nodes.runtime import NodeError, run, steady_clock
from spikeseg_ros.perception.config import options
from spikeseg_ros.recordings.bags import BagError, BagWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK_SECONDS = 0.2
_DEPTH = 1000


class RecorderNode(Node):
    """Subscribes to topics as they appear and writes them down.

    Args:
        arguments: Arguments of rclpy's Node.
    """

    def __init__(self, **arguments: Any) -> None:
        arguments.setdefault('namespace', 'spikeseg')
        super().__init__('recorder_node', **arguments)
        self.done: Future = Future()
        declared = Parameters(self, options(RecorderConfig))
        self.config = RecorderConfig(**declared.values())
        self.counts: dict[str, int] = {}
        self._writer: BagWriter | None = None
        self._refused: set[str] = set()
        names = [name.strip() for name in self.config.topics.split(',') if name.strip()]
        self._wanted = [self.resolve_topic_name(name) for name in names]

    def start(self) -> None:
        """Create the recording and begin to look for the topics.

        Raises:
            NodeError: No topic is named.
            BagError: The recording cannot be created.
        """
        if not self._wanted:
            msg = 'No topic to record; set the parameter topics.'
            raise NodeError(msg)
        name = self.config.bag or time.strftime('recording_%Y_%m_%d-%H_%M_%S')
        writer = BagWriter(
            Path(name).expanduser(), self.config.storage, overwrite=self.config.overwrite
        )
        self._writer = writer.__enter__()
        self.create_timer(_LOOK_SECONDS, self._look, clock=steady_clock())
        self._look()
        self.get_logger().info(f'Recording to {name}: {", ".join(self._wanted)}.')

    def close(self) -> None:
        """Finish the recording."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except BagError as err:
            sys.stderr.write(f'{err}\n')
        total = sum(self.counts.values())
        sys.stdout.write(f'Recorded {total} messages to {writer.path}.\n')

    def _look(self) -> None:
        """Subscribe to wanted topics that have a publisher by now."""
        if self._writer is None:
            return
        waiting = [name for name in self._wanted if name not in self.counts]
        if not waiting:
            return
        present = dict(self.get_topic_names_and_types())
        for name in waiting:
            infos = self.get_publishers_info_by_topic(name)
            kinds = present.get(name, [])
            if infos and kinds and name not in self._refused:
                self._record(name, kinds[0], infos)

    def _record(self, name: str, kind: str, infos: list[Any]) -> None:
        """Begin to record one topic."""
        assert self._writer is not None
        cls = message_class(kind)
        if cls is None:
            self._refused.add(name)
            self.get_logger().warning(f'{name} is left out: its type {kind} is not installed.')
            return
        latched = all(
            info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for info in infos
        )
        reliable = all(
            info.qos_profile.reliability == ReliabilityPolicy.RELIABLE for info in infos
        )
        try:
            offered = 'latched' if latched else 'reliable' if reliable else 'best_effort'
            self._writer.add_topic(name, kind, offered)
        except BagError as err:
            self._refused.add(name)
            self.get_logger().warning(f'{name} is left out: {err}')
            return
        profile = QoSProfile(
            history=HistoryPolicy.KEEP_LAST,
            depth=_DEPTH,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        self.counts[name] = 0
        self.create_subscription(cls, name, partial(self._write, name), profile, raw=True)

    def _write(self, name: str, raw: bytes) -> None:
        """Write one message."""
        if self._writer is None:
            return
        try:
            self._writer.write(name, self.get_clock().now().nanoseconds, raw)
        except BagError as err:
            self.get_logger().error(f'Recording stops: {err}')
            self.done.set_result(1)
            return
        self.counts[name] += 1


def main(args: Sequence[str] | None = None) -> int:
    """Run recorder_node; returns the exit status."""
    return run(RecorderNode, args)


if __name__ == '__main__':
    sys.exit(main())
