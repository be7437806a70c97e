# SPDX-License-Identifier: Apache-2.0
"""visualizer_node: events or images with masks, boxes and track ids, as a picture for RViz.

Nothing is subscribed while nobody watches. Callbacks only queue; a worker draws the newest
objects on the events of exactly their window, or on their image and class mask.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from event_camera_msgs.msg import EventPacket
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from spikeseg_ros import msg
from spikeseg_ros.images import ImageError, render_overlay
from spikeseg_ros.images.classes import FEW_CLASSES
from spikeseg_ros.nodes.history import EventHistory, warm_up_decoders
from spikeseg_ros.nodes.messages import (
    MessageError,
    from_label_map,
    from_object_array,
    read_mask,
    to_image_frame,
    to_image_message,
    to_nanoseconds,
    to_packet,
)
from spikeseg_ros.nodes.options import VisualizerConfig
from spikeseg_ros.nodes.parameters import Parameters
from spikeseg_ros.nodes.qos import best_effort, latched, overridable, reliable, subscribe
from spikeseg_ros.nodes.recent import Recent
from spikeseg_ros.nodes.runtime import run, steady_clock
from spikeseg_ros.nodes.worker import Worker
from spikeseg_ros.perception.config import options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.perception.segmenter import ClassLabel

_POLL_SECONDS = 1.0
_MAX_PACKETS = 2000
_JOIN_SECONDS = 5.0
# Objects are drawn without their class mask when it has not come by then.
_MASK_SECONDS = 0.5


class VisualizerNode(Node):
    """Draws what perception_node publishes.

    Args:
        arguments: Arguments of rclpy's Node.
    """

    def __init__(self, **arguments: Any) -> None:
        arguments.setdefault('namespace', 'spikeseg')
        super().__init__('visualizer_node', **arguments)
        declared = Parameters(self, options(VisualizerConfig))
        self.config = VisualizerConfig(**declared.values())
        self._overlay = self.create_publisher(
            Image, self.config.overlay_topic, reliable(2), qos_overriding_options=overridable()
        )
        self._inputs: list[Any] = []
        self._lock = threading.Lock()
        self._packets: deque[Any] = deque(maxlen=_MAX_PACKETS)
        self._objects: Any = None
        self._objects_since = 0.0
        self._images = Recent()
        self._masks = Recent()
        self._labels: tuple[ClassLabel, ...] = ()
        self._mask_input: Any = None
        self._history = EventHistory(round(self.config.history_ms * 1e6))
        self._drawn = 0.0
        self._worker = Worker(self._draw, self._failed, 'visualizer')
        self._poll_timer = self.create_timer(_POLL_SECONDS, self._poll, clock=steady_clock())

    def start(self) -> None:
        """Start the worker and look whether somebody watches."""
        # Both take seconds; better now than at the first picture.
        importlib.import_module('spikeseg_ros.algorithms')
        warm_up_decoders()
        self._worker.start()
        self._poll()

    def close(self) -> None:
        """Stop drawing."""
        self._unsubscribe()
        self._worker.stop(_JOIN_SECONDS)

    def _poll(self) -> None:
        """Subscribe while somebody watches, and only then."""
        watched = self.config.always or self._overlay.get_subscription_count() > 0
        if watched and not self._inputs:
            self._subscribe()
        elif not watched and self._inputs:
            self._unsubscribe()
        if self._inputs and self._mask_input is None and len(self._labels) > FEW_CLASSES:
            self._mask_input = subscribe(
                self, msg.SegmentationMask, self.config.mask_topic, self._on_mask, reliable(5),
                self._warn,
            )  # fmt: skip
        self._worker.signal()

    def _subscribe(self) -> None:
        """Subscribe to everything that is drawn."""
        config = self.config
        self._inputs.append(
            subscribe(
                self, msg.SegmentedObjectArray, config.objects_topic, self._on_objects,
                best_effort(5), self._warn,
            )
        )  # fmt: skip
        if config.events_topic:
            self._inputs.append(
                subscribe(
                    self, EventPacket, config.events_topic, self._on_packet, best_effort(1000),
                    self._warn,
                )
            )  # fmt: skip
        if config.image_topic:
            topic, packed = config.image_topic, config.image_transport == 'compressed'
            if packed and not topic.endswith('/compressed'):
                topic += '/compressed'
            packed = packed or (config.image_transport == 'auto' and topic.endswith('/compressed'))
            kind = CompressedImage if packed else Image
            self._inputs.append(
                subscribe(self, kind, topic, self._on_image, best_effort(5), self._warn)
            )
        if config.mask_topic:
            self._inputs.append(
                subscribe(
                    self, msg.LabelMap, config.labels_topic, self._on_labels, latched(),
                    self._warn,
                )
            )  # fmt: skip

    def _unsubscribe(self) -> None:
        """Drop the subscriptions and what they left."""
        inputs, self._inputs = [*self._inputs, self._mask_input], []
        for item in inputs:
            if item is not None:
                self.destroy_subscription(item)
        with self._lock:
            self._mask_input = self._objects = None
            self._packets.clear()
            self._images.clear()
            self._masks.clear()

    def _warn(self, text: str) -> None:
        """Report a QoS mismatch once per text."""
        self.get_logger().warning(text, once=True)

    def _on_packet(self, message: EventPacket) -> None:
        """Queue events."""
        with self._lock:
            self._packets.append(message)

    def _on_image(self, message: Any) -> None:
        """Keep an image until its objects come."""
        with self._lock:
            self._images.push(to_nanoseconds(message.header.stamp), message, len(message.data))

    def _on_labels(self, message: msg.LabelMap) -> None:
        """Keep names and colours of the classes; they decide whether the mask is drawn."""
        try:
            self._labels = from_label_map(message)
        except MessageError as err:
            self._warn(f'Labels left out: {err}')
        self._poll()

    def _on_mask(self, message: msg.SegmentationMask) -> None:
        """Keep a class mask until its objects come."""
        with self._lock:
            self._masks.push(to_nanoseconds(message.header.stamp), message, len(message.data))
        self._worker.signal()

    def _on_objects(self, message: msg.SegmentedObjectArray) -> None:
        """Keep the newest objects and have them drawn."""
        with self._lock:
            self._objects, self._objects_since = message, time.monotonic()
        self._worker.signal()

    def _draw(self) -> None:
        """Draw the newest objects."""
        with self._lock:
            packets = list(self._packets)
            self._packets.clear()
            objects = self._objects
        for packet in packets:
            self._history.push(to_packet(packet))
        now = time.monotonic()
        if objects is None or now < self._drawn + 0.9 / self.config.max_rate_hz:
            return
        stamp = to_nanoseconds(objects.header.stamp)
        with self._lock:
            mask = self._masks.at(stamp)
            late = now > self._objects_since + _MASK_SECONDS
            if mask is None and self._mask_input is not None and not late:
                return
            picture = self._images.before(stamp)
            if self._objects is objects:
                self._objects = None
        try:
            result = from_object_array(objects)
        except MessageError as err:
            self.get_logger().warning(f'Objects left out: {err}', throttle_duration_sec=5.0)
            return
        if not (result.width and result.height):
            return
        self._drawn = now
        events = self._history.between(result.stamp - result.duration, result.stamp)
        caption = f'{result.stamp / 1e9:.2f} s   {len(result.objects)} objects'
        if result.duration:
            caption += f'   {result.n_events} events'
        background, classes = self._background(picture, result), self._classes(mask, result)
        overlay = render_overlay(result, events, background, self._labels, caption, classes)
        self._overlay.publish(to_image_message(overlay, result.stamp, result.frame_id))

    def _background(self, message: Any, result: Result) -> Any:
        """Return the camera image in the size of the result, or None."""
        if message is None:
            return None
        try:
            image = to_image_frame(message).image
        except ImageError as err:
            self.get_logger().warning(f'Image left out: {err}', throttle_duration_sec=5.0)
            return None
        if image.shape[:2] != (result.height, result.width):
            size = (result.width, result.height)
            return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return image

    def _classes(self, message: Any, result: Result) -> Any:
        """Return the class mask of a result, or None where there is none."""
        if message is None or message.content != msg.SegmentationMask.CLASS_IDS:
            return None
        try:
            mask = read_mask(message)
        except MessageError as err:
            self.get_logger().warning(f'Mask left out: {err}', throttle_duration_sec=5.0)
            return None
        fits = mask.shape == (result.height, result.width) and mask.dtype == np.uint8
        return mask if fits else None

    def _failed(self, err: Exception) -> None:
        """Report an error while drawing; the next picture is tried afresh."""
        text = f'Cannot draw: {type(err).__name__}: {err}'
        self.get_logger().error(text, throttle_duration_sec=5.0)


def main(args: Sequence[str] | None = None) -> int:
    """Run visualizer_node; returns the exit status."""
    return run(VisualizerNode, args)


if __name__ == '__main__':
    sys.exit(main())
