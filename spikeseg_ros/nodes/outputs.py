# SPDX-License-Identifier: Apache-2.0
"""What perception_node publishes: objects always, everything else only while somebody listens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeseg_ros import msg
from spikeseg_ros.nodes.messages import (
    MaskWriter,
    to_instance_array,
    to_label_map,
    to_object_array,
)
from spikeseg_ros.nodes.qos import latched, overridable, reliable

if TYPE_CHECKING:
    from spikeseg_ros.nodes.options import PerceptionNodeConfig
    from spikeseg_ros.perception.pipeline import Pipeline
    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.perception.segmenter import ClassLabel


class Outputs:
    """The publishers of perception_node.

    Args:
        node: Lifecycle node; publishers are silent while it is not active.
        config: Options of the node.

    Raises:
        ValueError: vision_msgs is asked for but not installed.
    """

    def __init__(self, node: Any, config: PerceptionNodeConfig) -> None:
        self._node = node
        self._config = config
        self._sequence = 0
        vision = _vision() if config.vision_msgs else None
        self._vision = vision
        self._objects = self._create(msg.SegmentedObjectArray, 'objects', reliable(10))
        self._mask = self._create(msg.SegmentationMask, 'mask', reliable(2))
        self._instances = self._create(msg.InstanceArray, 'instances', reliable(2))
        self._labels = self._create(msg.LabelMap, 'labels', latched())
        self._publishers = [self._objects, self._mask, self._instances, self._labels]
        if vision is not None:
            self._detections = self._create(vision.Detection2DArray, 'detections', reliable(10))
            self._label_info = self._create(vision.LabelInfo, 'label_info', latched())
            self._publishers += [self._detections, self._label_info]
        compression = '' if config.mask_compression == 'none' else config.mask_compression
        self._mask_writer = MaskWriter(
            config.mask_content, compression, node.resolve_topic_name('labels')
        )

    @property
    def sequence(self) -> int:
        """Number of object arrays published so far."""
        return self._sequence

    def publish_labels(self, labels: tuple[ClassLabel, ...], model: str, stamp: int) -> None:
        """Publish the latched names and colours of the classes."""
        self._labels.publish(to_label_map(labels, model, stamp))
        if self._vision is not None:
            self._label_info.publish(self._vision.to_label_info(labels, stamp))

    def publish(self, result: Result, pipeline: Pipeline) -> None:
        """Publish one result.

        Args:
            result: Result of the pipeline's last tick.
            pipeline: Its counters go into the message.
        """
        source = pipeline.source.counters
        message = to_object_array(
            result,
            sequence=self._sequence,
            shed_windows=pipeline.shed,
            dropped_packets=source.dropped_packets + source.bad_packets,
            lost_packets=source.lost_packets,
            masks=self._config.object_masks,
        )
        self._sequence += 1
        # The mask first: whoever draws it with the objects has it when they arrive.
        if _watched(self._mask):
            self._mask.publish(self._mask_writer.write(result))
        self._objects.publish(message)
        if _watched(self._instances):
            self._instances.publish(to_instance_array(result, masks=self._config.instance_masks))
        if self._vision is not None and _watched(self._detections):
            self._detections.publish(self._vision.to_detections(result))

    def destroy(self) -> None:
        """Destroy the publishers."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers = []

    def _create(self, kind: Any, topic: str, profile: Any) -> Any:
        """Create one publisher whose QoS can be overridden."""
        return self._node.create_lifecycle_publisher(
            kind, topic, profile, qos_overriding_options=overridable()
        )


def _watched(publisher: Any) -> bool:
    """Return whether a topic has subscribers."""
    return bool(publisher.get_subscription_count() > 0)


def _vision() -> Any:
    """Import the translation to vision_msgs."""
    try:
        from spikeseg_ros.nodes import vision
    except ImportError as err:
        text = (
            f'vision_msgs is true, but the package cannot be imported ({err}). Install '
            'ros-$ROS_DISTRO-vision-msgs or set vision_msgs to false.'
        )
        raise ValueError(text) from None
    return vision
