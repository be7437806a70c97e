# SPDX-License-Identifier: Apache-2.0
"""What is written without ROS is what the nodes publish, byte for byte."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.perception import wire
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel
from spikeseg_ros.recordings.serialization import deserialize, serialize

pytestmark = pytest.mark.ros
LABELS = (ClassLabel(0, 'background', (0, 0, 0)), ClassLabel(1, 'Ärmel', (255, 159, 28)))


def assert_same(kind: str, ours: bytes, theirs: bytes) -> None:
    """Compare messages; rclpy leaves whatever was in memory in the bytes that align fields."""
    assert len(ours) == len(theirs)
    assert ours == serialize(kind, deserialize(kind, theirs))
    assert all(a in (b, 0) for a, b in zip(ours, theirs, strict=True))


def result(count: int, seed: int = 0) -> Result:
    rng = np.random.default_rng(seed)
    objects = []
    for number in range(count):
        width, height = rng.integers(1, 40, 2).tolist()
        x, y = int(rng.integers(0, 300 - width)), int(rng.integers(0, 200 - height))
        mask = rng.random((height, width)) < 0.5
        mask[0, 0] = True
        objects.append(
            SegmentedObject(
                object_id=number,
                box=BoundingBox(x, y, x + width - 1, y + height - 1),
                mask=mask,
                class_id=1 + number % 3,
                class_name='moving object' if number % 2 else '',
                score=float(rng.random()),
                centroid=(float(rng.random() * 300), float(rng.random() * 200)),
                n_events=int(rng.integers(0, 10_000)),
                instance_ids=tuple(rng.integers(0, 400, number % 5).tolist()),
                track_id=number % 4,
                track_age=number,
                velocity=(float(rng.normal() * 100), float(rng.normal() * 100)),
            )
        )
    stamp = 1_675_956_550_368_678_998 + seed
    return Result(stamp, 50_000_000, 'camera', 300, 200, 'spikeseg', tuple(objects), n_events=777)


@pytest.mark.parametrize('count', [0, 1, 7, 300])
@pytest.mark.parametrize('masks', [True, False])
def test_object_arrays(count: int, masks: bool) -> None:
    from rclpy.serialization import serialize_message

    from spikeseg_ros.nodes.messages import to_object_array

    facts = {'sequence': 5, 'shed_windows': 2, 'dropped_packets': 3, 'lost_packets': 4}
    ours = wire.object_array_fields(result(count), masks=masks, **facts)
    theirs = to_object_array(result(count), masks=masks, **facts)
    kind = wire.OBJECTS_TYPE
    assert_same(kind, serialize(kind, ours), serialize_message(theirs))


@pytest.mark.parametrize('content', ['objects', 'classes'])
@pytest.mark.parametrize('compression', ['', 'zlib'])
def test_masks_of_one_writer(content: str, compression: str) -> None:
    from rclpy.serialization import serialize_message

    from spikeseg_ros.nodes.messages import MaskWriter

    writer = MaskWriter(content, compression, '/spikeseg/labels')
    for count in (3, 300, 0):  # 300 objects need 16 bits
        item = result(count, seed=count)
        ours = wire.mask_fields(
            item,
            objects=content == 'objects',
            compression=compression,
            labels_topic='/spikeseg/labels',
        )
        theirs = serialize_message(writer.write(item))
        assert_same(wire.MASK_TYPE, serialize(wire.MASK_TYPE, ours), theirs)


def test_label_maps() -> None:
    from rclpy.serialization import serialize_message

    from spikeseg_ros.nodes.messages import to_label_map

    stamp = -(2**40)  # held within what the message can say
    ours = serialize(wire.LABELS_TYPE, wire.label_map_fields(LABELS, 'spikeseg', stamp))
    theirs = serialize_message(to_label_map(LABELS, 'spikeseg', stamp))
    assert_same(wire.LABELS_TYPE, ours, theirs)
