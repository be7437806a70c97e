# SPDX-License-Identifier: Apache-2.0
"""A watcher of the graph: collects objects and pictures, prints a live table."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image

from spikeseg_ros.images import image_to_rgb
from spikeseg_ros.msg import SegmentedObjectArray
from spikeseg_ros.nodes.messages import from_object_array, to_nanoseconds

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.perception.result import Result

TABLE_ROWS = 8
MAX_PICTURES = 400


class Monitor:
    """Watches /spikeseg and keeps what it saw. A context manager.

    Attributes:
        results: Published results in order.
        pictures: Overlays with their stamps [ns] (at most 400, thinned out evenly), each of shape
            (H, W, 3), uint8, RGB.
        shed: Windows that were not processed.
        dropped: Packets dropped by the perception.
        lost: Packets that never arrived.
        latency: Last reported (p50, p99) from arrival of a packet to published objects [ms].
        health: Last reported message of every diagnostic status, by its name.
    """

    def __init__(self, video: Path, rate: float = 20.0) -> None:
        """Prepare.

        Args:
            video: File for the overlays (MP4).
            rate: Pictures per second of the video.
        """
        self.results: list[Result] = []
        self.pictures: list[tuple[int, NDArray[np.uint8]]] = []
        self.shed = self.dropped = self.lost = 0
        self.latency: tuple[str, str] | None = None
        self.health: dict[str, str] = {}
        self._video, self._rate = video, rate
        self._writer: Any = None
        self._stride, self._count = 1, 0
        self._printed = 0.0
        self._lines = 0

    def __enter__(self) -> Monitor:
        """Join the graph."""
        rclpy.init()
        self._node = rclpy.create_node('monitor', namespace='/spikeseg')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        reliable = QoSProfile(depth=200)
        self._node.create_subscription(
            SegmentedObjectArray, '/spikeseg/objects', self._on_objects, reliable
        )
        self._node.create_subscription(Image, '/spikeseg/overlay', self._on_picture, reliable)
        self._node.create_subscription(
            DiagnosticArray, '/diagnostics', self._on_diagnostics, reliable
        )
        return self

    def __exit__(self, *exc: object) -> None:
        """Leave the graph and finish the video."""
        if self._writer is not None:
            self._writer.release()
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def ready(self) -> bool:
        """Whether perception, visualizer and recorder are connected."""
        node = self._node
        return (
            node.count_publishers('/spikeseg/objects') > 0
            and node.count_publishers('/spikeseg/overlay') > 0
            and node.count_subscribers('/spikeseg/objects') >= 3
        )

    def spin(self, seconds: float) -> None:
        """Take messages for a while."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def latency_text(self) -> str:
        """Return the latency as text."""
        if self.latency is None:
            return 'not reported'
        return f'p50 {self.latency[0]}, p99 {self.latency[1]} (packet received to published)'

    def print_table(self, period: float = 1.0) -> None:
        """Print the newest objects, at most once per period; in place on a terminal."""
        now = time.monotonic()
        if not self.results or now < self._printed + period:
            return
        self._printed = now
        result = self.results[-1]
        names = ('track', 'class', 'score', 'box x, y, w, h', 'velocity [px/s]', 'events')
        rows = [names]
        for item in result.objects[:TABLE_ROWS]:
            box = item.box
            rows.append(
                (
                    str(item.track_id or '-'),
                    item.class_name,
                    f'{item.score:.2f}',
                    f'{box.x_min}, {box.y_min}, {box.width}, {box.height}',
                    f'{item.velocity[0]:+.0f}, {item.velocity[1]:+.0f}',
                    str(item.n_events),
                )
            )
        head = (
            f'window {len(self.results)}: {len(result.objects)} objects, {result.n_events} events'
        )
        widths = (6, 16, 6, 21, 16, 7)
        lines = [head] + [
            '  ' + ''.join(f'{cell:<{width}}' for cell, width in zip(row, widths, strict=True))
            for row in rows
        ]
        if sys.stdout.isatty() and self._lines:
            sys.stdout.write(f'\x1b[{self._lines}A\x1b[J')
        self._lines = len(lines)
        sys.stdout.write('\n'.join(lines) + '\n')
        sys.stdout.flush()

    def _on_objects(self, message: SegmentedObjectArray) -> None:
        self.results.append(from_object_array(message))
        self.shed = message.shed_windows
        self.dropped = message.dropped_packets
        self.lost = message.lost_packets

    def _on_picture(self, message: Image) -> None:
        picture = image_to_rgb(message)
        if self._writer is None:
            code = cv2.VideoWriter.fourcc(*'mp4v')
            size = (picture.shape[1], picture.shape[0])
            self._writer = cv2.VideoWriter(str(self._video), code, self._rate, size)
        self._writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
        if self._count % self._stride == 0:
            self.pictures.append((to_nanoseconds(message.header.stamp), picture))
            if len(self.pictures) > MAX_PICTURES:
                self.pictures = self.pictures[::2]
                self._stride *= 2
        self._count += 1

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            self.health[status.name] = status.message
            values = {item.key: item.value for item in status.values}
            if 'latency p50' in values and 'latency p99' in values:
                self.latency = (values['latency p50'], values['latency p99'])
