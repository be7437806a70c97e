# SPDX-License-Identifier: Apache-2.0
"""Replay, recording and drawing over the real middleware."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytest.importorskip('event_camera_msgs', reason='needs event_camera_msgs: make build')
pytestmark = pytest.mark.ros

from event_camera_msgs.msg import EventPacket  # noqa: E402
from rclpy.serialization import deserialize_message, serialize_message  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from spikeseg_ros import msg  # noqa: E402
from spikeseg_ros.nodes import messages, qos  # noqa: E402
from spikeseg_ros.nodes.player_node import Pace, message_class  # noqa: E402
from spikeseg_ros.recordings.bags import BagReader, BagWriter  # noqa: E402

START = 10**18
EVENTS = '/event_camera/events'


@pytest.fixture
def bag(request: Any, tmp_path: Path, camera: Any) -> Path:
    """Write a recording of 1.2 s with events and a latched topic."""
    path = tmp_path / 'input'
    source = camera(None, stamp=START)
    with BagWriter(path, getattr(request, 'param', 'mcap')) as writer:
        writer.add_topic(EVENTS, 'event_camera_msgs/msg/EventPacket', 'best_effort')
        writer.add_topic('/spikeseg/labels', 'spikeseg_ros/msg/LabelMap', 'latched')
        labels = serialize_message(messages.to_label_map([], 'old', START))
        writer.write('/spikeseg/labels', START, labels)
        for number in range(120):
            time_ = START + number * 10_000_000
            writer.write(EVENTS, time_, serialize_message(source.packet()))
    return path


@pytest.mark.parametrize('bag', ['mcap', 'sqlite3'], indirect=True)
def test_messages_come_as_recorded_and_in_time(launch: Any, client: Any, bag: Path) -> None:
    process = launch(
        'player_node', str(bag), '--rate', '0.5',
        '--ros-args', '-r', '/spikeseg/labels:=/old/labels', wait_for_subscribers_s=60.0,
    )  # fmt: skip
    process.wait_for('Replaying')
    # It waits for a subscription of every topic: the replay begins after this moment.
    began = time.monotonic()
    received: list[tuple[float, EventPacket]] = []
    client.node.create_subscription(
        EventPacket, EVENTS, lambda m: received.append((time.monotonic(), m)), qos.best_effort(500)
    )
    labels: list[Any] = []
    client.node.create_subscription(msg.LabelMap, '/old/labels', labels.append, qos.latched())
    client.until(lambda: process.popen.poll() is not None, 'the end of the replay')
    client.until(lambda: labels, 'latched labels')
    client.spin(0.5)
    assert process.wait() == 0, process.text()
    assert labels[0].model == 'old'
    # Best effort: packets are lost while the two sides find each other, or on a machine held up.
    numbers = [item.seq for _, item in received]
    assert len(numbers) >= 60
    assert numbers == sorted(set(numbers))
    assert all(moment - began >= 0.01 * item.seq / 0.5 for moment, item in received)
    # Not byte by byte: the padding of a serialised message may hold anything.
    expected = [deserialize_message(raw, EventPacket) for raw in raws(bag, EVENTS)]
    assert all(item == expected[item.seq] for _, item in received)
    assert 'at its end' in process.text()


class Watch:
    """A clock that only moves when somebody waits; stands for the module time and for an event."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds

    def is_set(self) -> bool:
        return False


@pytest.mark.parametrize('rate', [0.5, 1.0, 4.0])
def test_the_pace_is_that_of_the_recording(monkeypatch: pytest.MonkeyPatch, rate: float) -> None:
    watch = Watch()
    monkeypatch.setattr('spikeseg_ros.nodes.player_node.time', watch)
    clock: list[tuple[float, int]] = []
    pace = Pace(rate, 100.0, lambda stamp: clock.append((watch.now, stamp)), watch)
    pace.begin(START)
    for number in (0, 1, 2, 50, 51):
        pace.wait_until(START + number * 30_000_000)
        assert watch.now == pytest.approx(1000 + number * 0.03 / rate)
    # The clock is published every 10 ms and says where in the recording that is.
    moments = np.array([moment for moment, _ in clock[1:]])
    np.testing.assert_allclose(np.diff(moments), 0.01, atol=1e-6)
    assert len(moments) == pytest.approx(51 * 3 / rate, abs=2)
    for moment, stamp in clock:
        assert stamp == pytest.approx(START + (moment - 1000) * rate * 1e9, abs=1e3)


def test_a_replay_that_was_held_up_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    monkeypatch.setattr('spikeseg_ros.nodes.player_node.time', watch)
    clock: list[int] = []
    pace = Pace(2.0, 100.0, clock.append, watch)
    pace.begin(START)
    watch.now += 1.0
    before = len(clock)
    for number in range(20):
        pace.wait_until(START + number * 100_000_000)
        assert watch.now == 1001.0, 'two seconds of the recording are over'
    # One at the moment itself, one when the last is due: no burst for the second that is over.
    assert len(clock) <= before + 2
    pace.wait_until(START + 2_100_000_000)
    assert watch.now == pytest.approx(1001.05)
    assert clock == sorted(clock)


def test_the_replay_waits_for_all_its_subscribers(launch: Any, client: Any, bag: Path) -> None:
    first: list[EventPacket] = []
    second: list[EventPacket] = []
    client.node.create_subscription(EventPacket, EVENTS, first.append, qos.best_effort(500))
    process = launch(
        'player_node', bag=str(bag), topics=EVENTS, wait_for_subscribers_s=60.0, min_subscribers=2
    )
    process.wait_for('Replaying')
    client.spin(2.0)
    assert not first
    client.node.create_subscription(EventPacket, EVENTS, second.append, qos.best_effort(500))
    client.until(lambda: first and second, 'packets for both')
    client.until(lambda: process.popen.poll() is not None, 'the end of the replay')
    assert process.wait() == 0


def test_a_replay_without_listeners_begins_anyway(launch: Any, bag: Path) -> None:
    process = launch(
        'player_node', bag=str(bag), topics=EVENTS, wait_for_subscribers_s=0.5, min_subscribers=3
    )
    assert process.wait() == 0
    assert f'Fewer than 3 nodes listen to {EVENTS}' in process.text()


def test_a_subscriber_that_is_held_up_gets_the_last_messages(
    launch: Any, client: Any, tmp_path: Path
) -> None:
    source, topic = tmp_path / 'source', '/spikeseg/labels_seen'
    with BagWriter(source) as writer:
        writer.add_topic(topic, 'spikeseg_ros/msg/LabelMap', 'reliable')
        for number in range(8):
            time_ = START + number * 100_000_000
            label = serialize_message(messages.to_label_map([], f'm{number}', time_))
            writer.write(topic, time_, label)
    recorder = launch('recorder_node', bag=str(tmp_path / 'out'), topics=topic)
    heard: list[Any] = []
    client.node.create_subscription(msg.LabelMap, topic, heard.append, qos.reliable(20))
    player = launch('player_node', str(source), wait_for_subscribers_s=60.0, min_subscribers=2)
    client.until(lambda: heard, 'the first message')
    recorder.popen.send_signal(signal.SIGSTOP)
    client.until(lambda: heard[-1].model == 'm7', 'the last message')
    client.spin(1.0)
    assert player.popen.poll() is None, 'it waits for the other subscriber'
    recorder.popen.send_signal(signal.SIGCONT)
    assert player.wait() == 0
    client.spin(0.5)
    assert recorder.stop() == 0
    found = [deserialize_message(raw, msg.LabelMap) for raw in raws(tmp_path / 'out', topic)]
    assert [item.model for item in found][-7:] == [f'm{number}' for number in range(1, 8)]


def raws(path: Path, topic: str) -> list[bytes]:
    with BagReader(path) as reader:
        return [bytes(raw) for _, _, _, raw in reader.messages([topic])]


def test_loop_clock_offset_and_filter(launch: Any, client: Any, bag: Path) -> None:
    clock = []
    client.node.create_subscription(
        Clock, '/clock', lambda m: clock.append(messages.to_nanoseconds(m.clock)),
        qos.best_effort(100),
    )  # fmt: skip
    packets: list[EventPacket] = []
    client.node.create_subscription(EventPacket, EVENTS, packets.append, qos.best_effort(500))
    process = launch(
        'player_node', bag=str(bag), loop=True, clock_hz=100.0, start_offset_s=0.9, topics=EVENTS,
        wait_for_subscribers_s=20.0,
    )  # fmt: skip
    client.until(lambda: clock != sorted(clock), 'a second loop')
    # A busy machine may miss the beginning of one loop.
    client.until(lambda: START + 900_000_000 in clock, 'the clock of the beginning')
    client.until(lambda: any(item.seq == 90 for item in packets), 'the first packet')
    assert process.stop(signal.SIGTERM) == 0
    assert min(clock) == START + 900_000_000
    assert max(clock) <= START + 1_200_000_000
    assert min(item.seq for item in packets) == 90
    assert client.node.count_publishers('/spikeseg/labels') == 0
    assert 'Traceback' not in process.text()


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ((), 'path'),
        (('/nowhere/at/all',), '/nowhere/at/all'),
        (('{bag}', '--topics', '/nothing'), '/nothing'),
        (('{bag}', '--rate', '0'), 'rate'),
    ],
)
def test_replay_that_cannot_begin_says_why(
    launch: Any, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    path = tmp_path / 'one'
    with BagWriter(path) as writer:
        writer.add_topic('/clock', 'rosgraph_msgs/msg/Clock')
        writer.write('/clock', 5, serialize_message(Clock()))
    process = launch('player_node', *(text.format(bag=path) for text in arguments))
    assert process.wait() == 1
    assert words in process.text()
    assert 'Traceback' not in process.text()


def test_old_type_name_and_unknown_types() -> None:
    assert message_class('event_array_msgs/msg/EventArray') is EventPacket
    assert message_class('sensor_msgs/msg/Image') is Image
    assert message_class('nobody_msgs/msg/Thing') is None
    assert message_class('sensor_msgs/msg/Nothing') is None


def test_player_perception_recorder(launch: Any, client: Any, bag: Path, tmp_path: Path) -> None:
    out = tmp_path / 'output'
    recorder = launch('recorder_node', bag=str(out), storage='mcap')
    perception = launch('stub')
    perception.wait_for('Active')
    recorder.wait_for('Recording to')
    watched = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    client.spin(1.0)
    # At half speed also a busy machine keeps up.
    player = launch(
        'player_node', str(bag), '--topics', EVENTS, wait_for_subscribers_s=20.0, rate=0.5
    )
    client.until(lambda: player.popen.poll() is not None, 'the end of the replay')
    client.spin(0.3)
    # What was published last has to reach the recorder, too, before it ends.
    assert perception.stop(signal.SIGINT) == 0
    client.spin(1.0)
    assert recorder.stop(signal.SIGINT) == 0
    assert player.wait() == 0
    assert 'Recorded' in recorder.text()
    with BagReader(out) as reader:
        kinds = {name: info.type for name, info in reader.topics.items()}
        assert kinds['/spikeseg/objects'] == 'spikeseg_ros/msg/SegmentedObjectArray'
        assert kinds['/diagnostics'] == 'diagnostic_msgs/msg/DiagnosticArray'
        assert reader.topics['/spikeseg/labels'].qos == 'latched'
        counts = {name: info.count for name, info in reader.topics.items()}
    assert counts['/spikeseg/labels'] == 1
    arrays = [
        deserialize_message(raw, msg.SegmentedObjectArray)
        for raw in raws(out, '/spikeseg/objects')
    ]
    stamps = {messages.to_nanoseconds(array.header.stamp) for array in arrays}
    seen = {messages.to_nanoseconds(array.header.stamp) for array in watched if array.objects}
    # A busy machine sheds windows, but what was seen was recorded.
    assert len(seen) >= 6
    assert seen <= stamps
    found = [messages.from_object_array(array) for array in arrays]
    assert any(item.track_id == 1 for result in found for item in result.objects)


def test_recording_that_cannot_begin_says_why(launch: Any, tmp_path: Path) -> None:
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'file').write_text('kept')
    process = launch('recorder_node', bag=str(tmp_path / 'taken'), overwrite=True)
    assert process.wait() == 1
    assert 'taken' in process.text()
    assert (tmp_path / 'taken' / 'file').read_text() == 'kept'
    process = launch('recorder_node', topics='')
    assert process.wait() == 1
    assert 'topics' in process.text()


def test_recorder_without_messages_leaves_a_readable_recording(
    launch: Any, tmp_path: Path
) -> None:
    process = launch('recorder_node', bag=str(tmp_path / 'empty'))
    process.wait_for('Recording to')
    assert process.stop(signal.SIGTERM) == 0
    with BagReader(tmp_path / 'empty') as reader:
        assert list(reader.messages()) == []


def test_overlay_only_while_watched(launch: Any, client: Any, camera: Any) -> None:
    visualizer = launch('visualizer_node')
    events = client.talk(EventPacket, EVENTS, wait=False)
    objects = client.node.create_publisher(
        msg.SegmentedObjectArray, '/spikeseg/objects', qos.reliable(10)
    )
    client.until(lambda: client.node.count_publishers('/spikeseg/overlay'), 'the visualizer')
    client.spin(1.5)
    assert events.get_subscription_count() == 0
    pictures: list[Image] = []
    watcher = client.node.create_subscription(
        Image, '/spikeseg/overlay', pictures.append, qos.reliable(5)
    )
    client.until(events.get_subscription_count, 'a subscription of the visualizer')
    client.until(objects.get_subscription_count, 'a subscription of the visualizer')
    source = camera(events, stamp=START)

    def draw() -> None:
        source.run(client, 0.05)
        # Packets and objects come on topics of their own, in any order.
        client.spin(0.1)
        array = msg.SegmentedObjectArray(width=120, height=90)
        array.header.stamp = messages.to_time(source.stamp)
        array.header.frame_id = 'event_camera'
        array.window_duration = messages.to_duration(50_000_000)
        objects.publish(array)
        client.spin(0.1)

    def right(picture: Image) -> bool:
        end = (messages.to_nanoseconds(picture.header.stamp) - START) // 10_000_000
        drawn = messages.to_image_frame(picture).image
        rows, columns = np.nonzero(np.any(drawn[:70] != drawn[0, 119], axis=2))
        # Packets end - 5 .. end - 1 lie in the window; packet k covers columns 20 + k .. 31 + k.
        return (
            len(rows) > 50
            and (rows.min(), rows.max()) == (30, 41)
            and 20 + end - 6 <= columns.min() <= 20 + end - 4
            and 31 + end - 3 <= columns.max() <= 31 + end
        )

    def a_right_one() -> bool:
        draw()
        return bool(pictures) and right(pictures[-1])

    client.until(a_right_one, 'a picture of the last five packets')
    pictures.clear()
    bad = msg.SegmentedObjectArray(width=5, height=5)
    bad.objects = [msg.SegmentedObject()]
    objects.publish(bad)
    visualizer.wait_for('left out')
    client.until(a_right_one, 'a picture after a bad message')
    picture = pictures[-1]
    assert (picture.width, picture.height, picture.encoding) == (120, 90, 'rgb8')
    assert picture.header.frame_id == 'event_camera'
    client.node.destroy_subscription(watcher)
    client.until(lambda: events.get_subscription_count() == 0, 'unsubscription')
    assert visualizer.stop() == 0
    assert 'Traceback' not in visualizer.text()
