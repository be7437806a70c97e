# SPDX-License-Identifier: Apache-2.0
"""How perception_node starts, changes state, fails and ends; time, overload and images."""

from __future__ import annotations

import signal
import time
from typing import Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytest.importorskip('event_camera_msgs', reason='needs event_camera_msgs: make build')
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from event_camera_msgs.msg import EventPacket  # noqa: E402
from lifecycle_msgs.msg import Transition  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rosgraph_msgs.msg import Clock  # noqa: E402
from sensor_msgs.msg import CompressedImage, Image  # noqa: E402

from spikeseg_ros import msg  # noqa: E402
from spikeseg_ros.images import compress  # noqa: E402
from spikeseg_ros.nodes import messages, qos  # noqa: E402

NODE = '/spikeseg/perception_node'


def change(client: Any, transition: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=transition))
    return client.call(ChangeState, f'{NODE}/change_state', request).success


def state(client: Any) -> str:
    return client.call(GetState, f'{NODE}/get_state', GetState.Request()).current_state.label


def test_lifecycle(launch: Any, client: Any, camera: Any) -> None:
    process = launch('stub', autostart=False)
    process.wait_for('Waiting for')
    assert state(client) == 'unconfigured'
    assert client.node.count_publishers('/spikeseg/objects') == 0
    for _ in range(2):
        assert change(client, Transition.TRANSITION_CONFIGURE)
        assert state(client) == 'inactive'
        arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
        source = camera(client.talk(EventPacket, '/event_camera/events', wait=False))
        source.run(client, 0.2)
        assert not arrays
        assert change(client, Transition.TRANSITION_ACTIVATE)
        assert state(client) == 'active'
        source.until(client, lambda found=arrays: any(a.objects for a in found), 'objects')
        assert change(client, Transition.TRANSITION_DEACTIVATE)
        # What was under way may still arrive; windows of what comes from now on may not.
        last = source.stamp + 100_000_000
        source.run(client, 0.4)
        assert not any(messages.to_nanoseconds(a.header.stamp) > last for a in arrays)
        arrays.clear()
        assert change(client, Transition.TRANSITION_ACTIVATE)
        source.until(client, lambda found=arrays: any(a.objects for a in found), 'objects again')
        assert change(client, Transition.TRANSITION_DEACTIVATE)
        assert change(client, Transition.TRANSITION_CLEANUP)
        assert state(client) == 'unconfigured'
    assert change(client, Transition.TRANSITION_CONFIGURE)
    assert change(client, Transition.TRANSITION_ACTIVATE)
    assert change(client, Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert process.wait() == 0
    assert 'Traceback' not in process.text()


def test_failed_configure_leaves_the_node_usable(launch: Any, client: Any) -> None:
    process = launch('stub', autostart=False, weights='/nowhere/weights.npz')
    process.wait_for('Waiting for')
    assert not change(client, Transition.TRANSITION_CONFIGURE)
    assert state(client) == 'unconfigured'
    assert process.text().count('/nowhere/weights.npz') == 1
    assert process.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize(
    ('parameters', 'words'),
    [
        ({'weights': '/nowhere/weights.npz'}, ["'/nowhere/weights.npz'"]),
        ({'events__window_ms': 0.5}, ['events.window_ms', '0.5']),
        ({'events__window_ms': 'long'}, ['events.window_ms', 'long']),
        ({'model': 'yolo'}, ['model', "'yolo'", 'spikeseg']),
        ({'events_topic': '', 'image_topic': ''}, ['events_topic', 'image_topic']),
        ({'events_topic': 'no spaces please'}, ['no spaces please']),
    ],
)
def test_start_that_fails_says_why(launch: Any, parameters: dict, words: list[str]) -> None:
    process = launch('perception_node' if 'weights' in parameters else 'stub', **parameters)
    assert process.wait() == 1
    text = process.text()
    for word in words:
        assert word in text
    assert 'Traceback' not in text


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_cleanly(launch: Any, client: Any, camera: Any, number: int) -> None:
    process = launch('stub', environment={'STUB_DELAY': '0.05'})
    process.wait_for('Active')
    source = camera(client.talk(EventPacket, '/event_camera/events'))
    source.run(client, 0.4)
    process.popen.send_signal(number)
    time.sleep(0.05)
    assert process.stop(number) == 0
    assert 'Traceback' not in process.text()


def test_each_note_of_the_segmenter_is_logged_once(launch: Any, client: Any, camera: Any) -> None:
    process = launch('stub')
    process.wait_for('Active')
    text = process.text()
    assert 0 <= text.find('noted: made') < text.find('noted: warm')
    source = camera(client.talk(EventPacket, '/event_camera/events'))
    source.until(client, lambda: 'noted: seen' in process.text(), 'a note about a window')
    source.run(client, 0.4)
    assert process.stop() == 0
    assert process.text().count('noted: ') == 3


def test_signal_during_configure_ends_it_cleanly(launch: Any) -> None:
    process = launch('stub', environment={'STUB_WARM_UP': '30'})
    process.wait_for('warming up')
    assert process.stop(signal.SIGINT) == 0
    assert 'Traceback' not in process.text()


def test_overload_sheds_windows_and_keeps_latency(launch: Any, client: Any, camera: Any) -> None:
    process = launch('stub', environment={'STUB_DELAY': '0.18'})
    process.wait_for('Active')
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    reports = client.listen(DiagnosticArray, '/diagnostics')
    source = camera(client.talk(EventPacket, '/event_camera/events'))
    lags = []

    def shed() -> bool:
        last = arrays[-1] if arrays else msg.SegmentedObjectArray()
        if arrays:
            lags.append(source.stamp - messages.to_nanoseconds(last.header.stamp))
            arrays.clear()
        return last.shed_windows > 30

    # Windows of 50 ms that take 180 ms each: two of three are shed, none waits for long.
    source.until(client, shed, '30 windows left out')
    assert np.median(lags[-9:]) < 1.5e9

    def overload() -> bool:
        return any('overload' in s.message for report in reports for s in report.status)

    source.until(client, overload, 'a warning of overload')


def test_simulated_time_that_loops(launch: Any, client: Any, camera: Any) -> None:
    process = launch('stub', use_sim_time=True)
    process.wait_for('Active')
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    clock = client.talk(Clock, '/clock', qos.best_effort(10))
    publisher = client.talk(EventPacket, '/event_camera/events')
    for loop in range(3):
        arrays.clear()
        source = camera(publisher, stamp=5 * 10**9)
        for _ in range(60):
            clock.publish(Clock(clock=messages.to_time(source.stamp)))
            source.run(client, 0.01)
        client.until(lambda: any(a.objects for a in arrays), f'objects in loop {loop}')
        stamps = [messages.to_nanoseconds(array.header.stamp) for array in arrays]
        assert any(5 * 10**9 < stamp < 6 * 10**9 for stamp in stamps)
    process.wait_for('Time ran backwards')
    assert process.stop() == 0


def test_qos_that_does_not_fit_is_explained_once(launch: Any, client: Any, camera: Any) -> None:
    process = launch(
        'stub', **{'qos_overrides./event_camera/events.subscription.reliability': 'reliable'}
    )
    process.wait_for('Active')
    publisher = client.talk(EventPacket, '/event_camera/events', wait=False)
    process.wait_for('does not fit')
    reports = client.listen(DiagnosticArray, '/diagnostics')
    camera(publisher).run(client, 0.2)

    def error() -> bool:
        return any(s.level == b'\x02' for report in reports for s in report.status)

    client.until(error, 'an error in the diagnostics')
    text = process.text()
    assert text.count('does not fit') == 1
    assert "qos_overrides.'/event_camera/events'.subscription.reliability" in text


@pytest.mark.parametrize('packed', [False, True])
def test_images(launch: Any, client: Any, packed: bool) -> None:
    topic = '/camera/image_raw' + ('/compressed' if packed else '')
    process = launch('stub', events_topic='', image_topic=topic, objects__min_events=10)
    process.wait_for('Active')
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    publisher = client.talk(CompressedImage if packed else Image, topic, qos.reliable(5))
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[8:16, 20:40] = 255

    stamps = [10**18]

    def publish(broken: bool) -> None:
        stamps.append(stamps[-1] + 10**8)
        if packed:
            message = CompressedImage(format='png')
            message.header.frame_id = 'camera'
            message.header.stamp = messages.to_time(stamps[-1])
            message.data.frombytes(compress(pixels, 'png'))
        else:
            message = messages.to_image_message(pixels, stamps[-1], 'camera')
        if broken:
            message.data = message.data[:20]
        publisher.publish(message)
        client.spin(0.1)

    def both() -> bool:
        # A busy machine may leave out images, also the damaged one.
        publish(broken=True)
        publish(broken=False)
        return bool(arrays) and arrays[-1].dropped_packets >= 1

    client.until(both, 'a result after a damaged image')
    assert {messages.to_nanoseconds(array.header.stamp) for array in arrays} <= set(stamps[2::2])
    array = arrays[-1]
    assert (array.width, array.height, array.header.frame_id) == (64, 48, 'camera')
    assert messages.to_nanoseconds(array.window_duration) == 0
    box = array.objects[0].box
    assert (box.x, box.y, box.width, box.height) == (20, 8, 20, 8)
    assert array.dropped_packets >= 1
    assert process.stop() == 0
