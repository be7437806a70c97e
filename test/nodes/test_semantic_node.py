# SPDX-License-Identifier: Apache-2.0
"""perception_node with a segmentation network on an image topic, over the real middleware."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytestmark = pytest.mark.ros

import torch  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from spikeseg_ros import msg  # noqa: E402
from spikeseg_ros.images import compress  # noqa: E402
from spikeseg_ros.models.mfs_seg import MfsSeg  # noqa: E402
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig  # noqa: E402
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg  # noqa: E402
from spikeseg_ros.nodes import messages, qos  # noqa: E402
from spikeseg_ros.nodes.recent import Recent  # noqa: E402
from spikeseg_ros.perception.config import from_flat  # noqa: E402
from spikeseg_ros.perception.registry import create  # noqa: E402
from spikeseg_ros.perception.segmenter import ImageFrame  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TOPIC = '/camera/image_raw'
CLASSES, COLORS = ('road', 'car', 'person'), ((1, 2, 3), (200, 0, 0), (0, 200, 0))


def tiny(path: Path, **shape: Any) -> str:
    torch.manual_seed(4)
    values = {'classes': 3, 'widths': (4, 4, 8, 8), 'depths': (1, 1, 1, 1), **shape}
    network = MfsSeg(MfsSegConfig(**values)).eval()
    save_mfs_seg(path, network, CLASSES, COLORS, {'size': [48, 64]})
    return str(path)


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny(tmp_path_factory.mktemp('weights') / 'tiny.pt')


@pytest.fixture(scope='module', autouse=True)
def node(launch_module: Any, weights: str) -> Iterator[Any]:
    """Run one node for all tests of the module; in the end it must still be there."""
    process = launch_module(
        'perception_node', model='mfs_seg', weights=weights, image_topic=TOPIC,
        semantic__things='car, person, road', semantic__min_area=1, semantic__min_score=0.0,
    )  # fmt: skip
    process.wait_for('Active', 120.0)
    yield process
    assert process.popen.poll() is None, process.text()
    assert process.stop() == 0
    assert 'Traceback' not in process.text()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def publish_until(client: Any, publisher: Any, make: Callable[[], Any], done: Any) -> Any:
    """Publish a message again and again until something is true."""

    def once() -> Any:
        publisher.publish(make())
        client.spin(0.1)
        return done()

    return client.until(once, 'an answer')


class Stamps:
    """Stamps that count up."""

    def __init__(self) -> None:
        self.now = time.time_ns()

    def __call__(self) -> int:
        self.now += 100_000_000
        return self.now


@pytest.mark.parametrize('size', [(48, 64), (61, 83), (30, 140)])
def test_masks_objects_and_labels_of_an_image_topic(
    client: Any, weights: str, size: tuple[int, int]
) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    masks = client.listen(msg.SegmentationMask, '/spikeseg/mask')
    labels = client.listen(msg.LabelMap, '/spikeseg/labels', qos.latched())
    client.until(lambda: labels, 'latched labels')
    found = messages.from_label_map(labels[0])
    assert [(item.id, item.name, item.color) for item in found] == [
        (0, 'unknown', (0, 0, 0)),
        *((k + 1, *pair) for k, pair in enumerate(zip(CLASSES, COLORS, strict=True))),
    ]
    publisher = client.talk(Image, TOPIC, qos.best_effort(1))
    image, stamps = picture(*size), Stamps()

    def make() -> Image:
        return messages.to_image_message(image, stamps(), 'camera')

    publish_until(client, publisher, make, lambda: any((m.height, m.width) == size for m in masks))
    mask = next(m for m in masks if (m.height, m.width) == size)
    one = create(from_flat({'model': 'mfs_seg', 'weights': weights}))
    want, _ = one.segment(ImageFrame(image, 0), one.initial_state())
    np.testing.assert_array_equal(messages.read_mask(mask), want.class_mask())
    assert mask.content == msg.SegmentationMask.CLASS_IDS
    assert mask.labels_topic == '/spikeseg/labels'
    assert mask.header.frame_id == 'camera'
    stamp = messages.to_nanoseconds(mask.header.stamp)
    array = client.until(
        lambda: next(
            (a for a in arrays if messages.to_nanoseconds(a.header.stamp) == stamp), None
        ),
        'objects with the stamp of the mask',
    )
    assert (array.height, array.width, array.model) == (*size, 'mfs_seg')
    assert messages.to_nanoseconds(array.window_duration) == 0
    assert array.objects
    pixels = messages.read_mask(mask)
    for item in array.objects:
        box, crop = item.box, messages.read_crop(item.mask)
        inside = pixels[box.y : box.y + box.height, box.x : box.x + box.width][crop]
        assert (inside == item.class_id).all()
        assert item.class_name == found[item.class_id].name


def test_the_default_topic_of_events_is_left_alone(node: Any, client: Any) -> None:
    node.wait_for('/event_camera/events is not used')
    assert client.node.count_subscribers('/event_camera/events') == 0


HOSTILE: dict[str, dict[str, Any]] = {
    'unknown encoding': {'encoding': 'bayer_rggb8'},
    'cut off': {'data': b'\x01\x02'},
    'empty': {'height': 0, 'width': 0, 'step': 0, 'data': b''},
    'wrong step': {'step': 7},
    'huge': {'height': 2**31, 'width': 2**31},
}


def test_hostile_images_are_counted_and_do_no_harm(client: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    reports = client.listen(DiagnosticArray, '/diagnostics')
    publisher, stamps = client.talk(Image, TOPIC, qos.best_effort(1)), Stamps()

    def bad(report: DiagnosticArray) -> tuple[int, str]:
        for status in report.status:
            if status.name.endswith('images input'):
                values = {item.key: item.value for item in status.values}
                return int(values['messages bad']), status.message
        return 0, ''

    for number, changes in enumerate(HOSTILE.values()):
        before = max((bad(report)[0] for report in reports), default=0)

        def hostile(changes: dict[str, Any] = changes) -> Image:
            message = messages.to_image_message(picture(20, 30), stamps(), 'camera')
            for name, value in changes.items():
                setattr(message, name, value)
            return message

        publish_until(
            client, publisher, hostile,
            lambda before=before: any(bad(report)[0] > before for report in reports),
        )  # fmt: skip
        arrays.clear()
        shape = (20 + number, 30)

        def good(shape: tuple[int, int] = shape) -> Image:
            return messages.to_image_message(picture(*shape), stamps(), 'camera')

        publish_until(
            client, publisher, good,
            lambda shape=shape: any((a.height, a.width) == shape for a in arrays),
        )  # fmt: skip
    assert any('could not be decoded' in bad(report)[1] for report in reports)


def test_damaged_compressed_images_are_left_out(
    launch: Any, client: Any, weights: str, tmp_path: Path
) -> None:
    topic = '/front/image/compressed'
    process = launch(
        'perception_node', '--ros-args', '-r', '__ns:=/other', '--', model='mfs_seg',
        weights=weights, image_topic=topic, events_topic='',
    )  # fmt: skip
    process.wait_for('Active', 120.0)
    arrays = client.listen(msg.SegmentedObjectArray, '/other/objects')
    publisher, stamps = client.talk(CompressedImage, topic, qos.best_effort(1)), Stamps()
    data = compress(picture(33, 47), 'png')

    def packed(data: bytes) -> Callable[[], CompressedImage]:
        def make() -> CompressedImage:
            message = CompressedImage(format='png')
            message.header.stamp = messages.to_time(stamps())
            message.data.frombytes(data)
            return message

        return make

    publish_until(client, publisher, packed(data), lambda: arrays)
    for broken in (b'', data[:40], b'no image at all'):
        before = arrays[-1].dropped_packets

        def counted(broken: bytes = broken, before: int = before) -> bool:
            publisher.publish(packed(broken)())
            client.spin(0.1)
            return arrays[-1].dropped_packets > before

        publish_until(client, publisher, packed(data), counted)
    assert all((array.height, array.width) == (33, 47) for array in arrays)


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'model': 'mfs_seg'}, 'set image_topic'),
        ({'model': 'mfs_seg', 'image_topic': '/i', 'events_topic': '/mine'}, 'events_topic'),
        ({'model': 'mfs_seg', 'image_topic': '/i', 'semantic__things': 'tram'}, 'tram'),
        ({'model': 'mfs_seg', 'image_topic': '/i', 'weights': '/no/such.pt'}, '/no/such.pt'),
    ],
)
def test_what_cannot_work_is_said_at_the_start(
    launch: Any, parameters: dict[str, str], words: str
) -> None:
    process = launch('perception_node', **parameters)
    assert process.wait(120.0) == 1
    text = process.text()
    assert words in text
    assert 'Traceback' not in text


def test_the_visualizer_draws_the_mask_of_its_image(client: Any, launch: Any) -> None:
    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.perception.segmenter import ClassLabel

    launch(
        'visualizer_node', events_topic='', image_topic='/cam', objects_topic='/p/objects',
        mask_topic='/p/mask', labels_topic='/p/labels', overlay_topic='/p/overlay', always=True,
    )  # fmt: skip
    labels = (ClassLabel(0, 'unknown', (0, 0, 0)), ClassLabel(1, 'a', (255, 0, 0)))
    labels = (*labels, ClassLabel(2, 'b', (0, 0, 255)))
    talk = client.talk(msg.LabelMap, '/p/labels', qos.latched())
    talk.publish(messages.to_label_map(labels, 'mfs_seg', 0))
    cameras = client.talk(Image, '/cam', qos.best_effort(5))
    arrays = client.talk(msg.SegmentedObjectArray, '/p/objects', qos.reliable(5))
    masks = client.talk(msg.SegmentationMask, '/p/mask', qos.reliable(5))
    pictures = client.listen(Image, '/p/overlay')
    writer, stamps = messages.MaskWriter('auto'), Stamps()
    ids = np.ones((80, 80), np.uint8)
    ids[:, 40:] = 2

    def frame() -> bool:
        stamp = stamps()
        gray = np.full((80, 80, 3), 100, np.uint8)
        cameras.publish(messages.to_image_message(gray, stamp, 'cam'))
        # A newer image must not be the background of older objects.
        cameras.publish(messages.to_image_message(0 * gray, stamp + 1, 'cam'))
        result = Result(stamp, 0, 'cam', 80, 80, 'mfs_seg', class_ids=ids)
        masks.publish(writer.write(result))
        arrays.publish(messages.to_object_array(result))
        client.spin(0.2)
        if not pictures:
            return False
        drawn = messages.to_image_frame(pictures[-1]).image.astype(int)
        left, right = drawn[:40, 5:35].mean((0, 1)), drawn[:40, 45:75].mean((0, 1))
        # Not always: the topics are independent, and objects may come before their image.
        return left == pytest.approx((170, 55, 55), abs=3) and right == pytest.approx(
            (55, 55, 170), abs=3
        )

    client.until(frame, 'the colours of both classes on the image of their stamp')


def test_recent_messages_are_found_by_stamp_and_bounded() -> None:
    recent = Recent(max_items=3, max_bytes=10)
    for stamp in (10, 20, 30, 40):
        recent.push(stamp, f'm{stamp}', 3)
    assert len(recent) == 3
    assert recent.at(10) is None
    assert recent.at(30) == 'm30'
    assert recent.before(35) == 'm30'
    assert recent.before(5) == 'm40', 'rather the newest than none'
    recent.push(50, 'large', 100)
    assert len(recent) == 1
    recent.push(7, 'earlier', 1)
    assert (len(recent), recent.at(50)) == (1, None), 'time ran backwards'
    recent.clear()
    assert recent.before(7) is None
