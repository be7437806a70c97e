# SPDX-License-Identifier: Apache-2.0
"""Core data to messages and back."""

from __future__ import annotations

from array import array

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytestmark = pytest.mark.ros

from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402

from spikeseg_ros import msg  # noqa: E402
from spikeseg_ros.algorithms import ActiveSpikeHash, BoundingBox, Instance  # noqa: E402
from spikeseg_ros.events.types import Packet  # noqa: E402
from spikeseg_ros.images import ImageError, compress  # noqa: E402
from spikeseg_ros.nodes import messages  # noqa: E402
from spikeseg_ros.perception.result import Result, SegmentedObject  # noqa: E402
from spikeseg_ros.perception.segmenter import ClassLabel  # noqa: E402

STAMP = 1_700_000_000_123_456_789


def over_the_wire(message):
    """Serialise and deserialise, as the middleware does."""
    return deserialize_message(serialize_message(message), type(message))


def segmented(number: int, box: BoundingBox, mask: np.ndarray | None = None) -> SegmentedObject:
    if mask is None:
        mask = np.random.default_rng(number).random((box.height, box.width)) < 0.5
        mask[0, 0] = True
    return SegmentedObject(
        number, box, mask, number % 3 + 1, 'disk', 0.5, (3.5, 4.25), 77, (number, 9), number, 4,
        (-1.5, 2.25),
    )  # fmt: skip


def result(objects=None, instances=(), **changes) -> Result:
    if objects is None:
        objects = [segmented(0, BoundingBox(1, 2, 9, 4)), segmented(1, BoundingBox(0, 0, 19, 14))]
    values = {
        'stamp': STAMP, 'duration': 50_000_000, 'frame_id': 'cam', 'width': 20, 'height': 15,
        'model': 'spikeseg', 'n_events': 123,
    }  # fmt: skip
    return Result(objects=tuple(objects), instances=tuple(instances), **(values | changes))


def test_objects_come_back() -> None:
    before = result()
    message = over_the_wire(
        messages.to_object_array(
            before, sequence=7, shed_windows=1, dropped_packets=2, lost_packets=3
        )
    )
    assert (message.sequence, message.shed_windows) == (7, 1)
    assert (message.dropped_packets, message.lost_packets) == (2, 3)
    assert message.header.frame_id == 'cam'
    assert messages.to_nanoseconds(message.header.stamp) == STAMP
    assert messages.to_nanoseconds(message.window_start) == STAMP - 50_000_000
    assert messages.to_nanoseconds(message.window_duration) == 50_000_000
    after = messages.from_object_array(message)
    assert (after.stamp, after.duration, after.n_events) == (STAMP, 50_000_000, 123)
    for old, new in zip(before.objects, after.objects, strict=True):
        np.testing.assert_array_equal(old.mask, new.mask)
        for name in ('object_id', 'box', 'class_id', 'class_name', 'score', 'centroid', 'n_events',
                     'instance_ids', 'track_id', 'track_age', 'velocity'):  # fmt: skip
            assert getattr(old, name) == getattr(new, name), name
    np.testing.assert_array_equal(before.class_mask(), after.class_mask())


def test_objects_without_masks_are_small() -> None:
    message = over_the_wire(messages.to_object_array(result(), masks=False))
    assert all(len(item.mask.data) == 0 for item in message.objects)
    assert not messages.from_object_array(message).objects[0].mask.any()


@settings(max_examples=40)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_any_crop_comes_back(width: int, height: int, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < 0.5
    box = BoundingBox(3, 5, 2 + width, 4 + height)
    crop = (
        messages.to_object_array(result([segmented(0, box, mask)], width=50, height=50))
        .objects[0]
        .mask
    )
    np.testing.assert_array_equal(messages.read_crop(crop), mask)
    rows = np.asarray(crop.data).reshape(height, -1)
    assert rows.shape[1] == -(-width // 8)
    np.testing.assert_array_equal(np.unpackbits(rows, axis=1, count=width), mask)


@pytest.mark.parametrize(
    'damage',
    [
        lambda item: setattr(item.box, 'width', 0),
        lambda item: setattr(item.box, 'width', 2**32 - 1),
        lambda item: setattr(item.box, 'x', 18),
        lambda item: setattr(item.mask, 'data', array('B', [1])),
        lambda item: setattr(item.mask, 'height', 2**32 - 1),
        lambda item: setattr(item.mask, 'width', 1),
    ],
)
def test_damaged_objects_are_refused(damage) -> None:
    message = messages.to_object_array(result())
    damage(message.objects[0])
    with pytest.raises(messages.MessageError):
        messages.from_object_array(message)


def test_instances() -> None:
    matrix = np.zeros((76, 10), bool)
    matrix[[0, 40, 75], [9, 3, 0]] = True
    box = BoundingBox(2, 3, 6, 8)
    crop = np.eye(6, 5, dtype=bool)
    items = [
        Instance(4, ActiveSpikeHash(matrix), box, 2, None, (11, 12), step=4, score=1.5, crop=crop),
        Instance(6, ActiveSpikeHash(matrix), box, 0, None, (1, 0), step=9),
    ]
    message = over_the_wire(
        messages.to_instance_array(result(instances=items, object_of_instance={4: 1, 6: -1}))
    )
    first, second = message.instances
    assert (first.id, first.object_id, first.class_id, first.score) == (4, 1, 3, 1.5)
    assert (first.spike_x, first.spike_y, first.spike_step) == (11, 12, 4)
    assert messages.to_nanoseconds(first.spike_time) == STAMP - 25_000_000
    assert (first.box.x, first.box.y, first.box.width, first.box.height) == (2, 3, 5, 6)
    np.testing.assert_array_equal(messages.read_crop(first.mask), crop)
    assert (first.ash_features, first.ash_steps) == (76, 10)
    bits = np.unpackbits(np.asarray(first.ash).view(np.uint8), bitorder='little')[:760]
    np.testing.assert_array_equal(bits.reshape(76, 10).astype(bool), matrix)
    assert second.object_id == messages.NO_OBJECT
    assert len(second.mask.data) == 0
    assert messages.to_nanoseconds(second.spike_time) == STAMP


def test_mask_of_objects_and_classes() -> None:
    before = result()
    for content, wanted in (('objects', before.object_mask()), ('classes', before.class_mask())):
        for compression in ('', 'zlib'):
            writer = messages.MaskWriter(content, compression, '/spikeseg/labels')
            message = over_the_wire(writer.write(before))
            assert message.encoding == 'mono8'
            assert message.labels_topic == '/spikeseg/labels'
            np.testing.assert_array_equal(messages.read_mask(message), wanted)


def test_mask_message_is_used_again_for_other_sizes() -> None:
    writer = messages.MaskWriter('objects')
    small = result([segmented(0, BoundingBox(0, 0, 3, 3))], width=8, height=8)
    for item in (result(), result(), small, result([]), small):
        np.testing.assert_array_equal(
            messages.read_mask(over_the_wire(writer.write(item))), item.object_mask()
        )


def test_many_objects_take_sixteen_bits() -> None:
    full = np.ones((1, 1), bool)
    objects = [
        segmented(number, BoundingBox(number % 20, number // 20, number % 20, number // 20), full)
        for number in range(260)
    ]
    message = messages.MaskWriter('objects').write(result(objects))
    assert message.encoding == 'mono16'
    assert messages.read_mask(message).max() == 260


@pytest.mark.parametrize(
    'changes',
    [
        {'encoding': 'rgb8'},
        {'compression': 'lzma'},
        {'height': 16},
        {'compression': 'zlib'},
    ],
)
def test_damaged_masks_are_refused(changes: dict) -> None:
    message = messages.MaskWriter('objects').write(result())
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(messages.MessageError):
        messages.read_mask(message)


def test_packed_mask_cannot_grow_without_bound() -> None:
    bomb = result([], width=4000, height=4000)
    message = messages.MaskWriter('objects', 'zlib').write(bomb)
    message.height = message.width = 10
    with pytest.raises(messages.MessageError, match='100 bytes, got 101'):
        messages.read_mask(message)


def test_unknown_mask_kind_is_named() -> None:
    with pytest.raises(messages.MessageError, match="'depth'"):
        messages.MaskWriter('depth')


def test_labels_come_back() -> None:
    labels = (ClassLabel(0, 'background', (0, 0, 0)), ClassLabel(1, 'disk', (255, 128, 1)))
    message = over_the_wire(messages.to_label_map(labels, 'spikeseg', STAMP))
    assert message.model == 'spikeseg'
    assert messages.from_label_map(message) == labels
    message.names = ['one']
    with pytest.raises(messages.MessageError):
        messages.from_label_map(message)


def test_packet_comes_back() -> None:
    pytest.importorskip('event_camera_msgs')
    packet = Packet(b'\x01\x02\x03\xff', 'evt3', 640, 480, STAMP, 2**63, 5, 'cam', 99)
    message = over_the_wire(messages.to_packet_message(packet))
    assert (message.width, message.height) == (640, 480)
    after = messages.to_packet(message, 99)
    assert bytes(after.payload) == bytes(packet.payload)
    for name in ('encoding', 'stamp', 'seq', 'time_base', 'frame_id', 'arrival'):
        assert getattr(after, name) == getattr(packet, name), name


def test_images() -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (6, 4, 3), np.uint8)
    message = over_the_wire(messages.to_image_message(rgb, STAMP, 'cam'))
    frame = messages.to_image_frame(message, 5)
    assert (frame.stamp, frame.frame_id, frame.arrival) == (STAMP, 'cam', 5)
    np.testing.assert_array_equal(frame.image, rgb)
    packed = CompressedImage(format='png')
    packed.data.frombytes(compress(rgb, 'png'))
    np.testing.assert_array_equal(messages.to_image_frame(packed).image, rgb)
    with pytest.raises(ImageError):
        messages.to_image_frame(CompressedImage(format='png'))


@pytest.mark.parametrize('stamp', [0, 1, -1, 999_999_999, -(2**40), 2**62, -(2**62)])
def test_times_never_raise(stamp: int) -> None:
    back = messages.to_nanoseconds(messages.to_time(stamp))
    assert back == stamp or abs(stamp) > 2**31 * 10**9
    assert serialize_message(msg.SegmentedObjectArray(window_start=messages.to_time(stamp)))


def test_detections() -> None:
    pytest.importorskip('vision_msgs', reason='needs vision_msgs')
    from spikeseg_ros.nodes import vision

    array_ = over_the_wire(vision.to_detections(result()))
    first, second = array_.detections
    assert (first.id, second.id) == ('', '1')
    assert (first.bbox.size_x, first.bbox.size_y) == (9.0, 3.0)
    assert (first.bbox.center.position.x, first.bbox.center.position.y) == (5.5, 3.5)
    assert first.results[0].hypothesis.class_id == '1'
    assert first.header == array_.header
    info = vision.to_label_info([ClassLabel(1, 'disk', (1, 2, 3))], STAMP)
    assert (info.class_map[0].class_id, info.class_map[0].class_name) == (1, 'disk')
