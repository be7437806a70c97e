# SPDX-License-Identifier: Apache-2.0
"""perception_node over the real middleware: one running node, many situations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytest.importorskip('event_camera_msgs', reason='needs event_camera_msgs: make build')
pytestmark = pytest.mark.ros

from diagnostic_msgs.msg import DiagnosticArray  # noqa: E402
from event_camera_msgs.msg import EventPacket  # noqa: E402
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue  # noqa: E402
from rcl_interfaces.srv import DescribeParameters, SetParameters  # noqa: E402

from spikeseg_ros import msg  # noqa: E402
from spikeseg_ros.nodes import messages, qos  # noqa: E402
from spikeseg_ros.perception.config import options  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

NODE = '/spikeseg/perception_node'
WINDOW = 50_000_000


@pytest.fixture(scope='module', autouse=True)
def node(launch_module: Any) -> Iterator[Any]:
    """Run one node for all tests of the module; in the end it must still be there."""
    process = launch_module('stub')
    process.wait_for('Active')
    yield process
    assert process.popen.poll() is None, process.text()
    assert process.stop() == 0
    assert 'Traceback' not in process.text()


def double(name: str, value: float) -> Parameter:
    kind = ParameterType.PARAMETER_DOUBLE
    return Parameter(name=name, value=ParameterValue(type=kind, double_value=value))


def integer(name: str, value: int) -> Parameter:
    kind = ParameterType.PARAMETER_INTEGER
    return Parameter(name=name, value=ParameterValue(type=kind, integer_value=value))


def text(name: str, value: str) -> Parameter:
    kind = ParameterType.PARAMETER_STRING
    return Parameter(name=name, value=ParameterValue(type=kind, string_value=value))


def set_parameter(client: Any, parameter: Parameter) -> Any:
    request = SetParameters.Request(parameters=[parameter])
    return client.call(SetParameters, f'{NODE}/set_parameters', request).results[0]


def values_of(message: DiagnosticArray, name: str) -> tuple[Any, dict[str, str]]:
    for status in message.status:
        if status.name == f'spikeseg/perception_node: {name}':
            return status, {item.key: item.value for item in status.values}
    return None, {}


def after(arrays: list[Any], stamp: int) -> list[Any]:
    """Return the windows that hold nothing from before a time; earlier ones may come late."""
    return [
        array for array in arrays if messages.to_nanoseconds(array.header.stamp) >= stamp + WINDOW
    ]


def test_objects_are_published_for_every_window(client: Any, camera: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    source = camera(client.talk(EventPacket, '/event_camera/events'), stamp=2 * 10**18)

    def whole() -> list[Any]:
        return [array for array in after(arrays, source.start) if array.n_events == 250]

    source.until(client, lambda: len(whole()) >= 20, 'twenty windows with all their events')
    found = [array for array in after(arrays, source.start) if array.n_events]
    # Those at the beginning miss packets, and so do those during which the machine was held up.
    assert len(whole()) >= len(found) / 2
    stamps = [messages.to_nanoseconds(array.header.stamp) for array in found]
    assert stamps == sorted(set(stamps))
    for array in whole():
        assert array.header.frame_id == 'event_camera'
        assert (array.width, array.height, array.model) == (120, 90, 'blob')
        assert messages.to_nanoseconds(array.window_duration) == WINDOW
        start = messages.to_nanoseconds(array.window_start)
        assert start == messages.to_nanoseconds(array.header.stamp) - WINDOW
        (item,) = array.objects
        # The square of packet k covers the columns 20 + k .. 31 + k and the rows 30 .. 41.
        first = round((start - source.start) / source.period)
        assert (item.box.y, item.box.height) == (30, 12)
        assert abs(item.box.x - (20 + first % 50)) <= 1 or first % 50 > 45
        assert item.class_name == 'blob'
        assert messages.read_crop(item.mask).any()
    sequence = [array.sequence for array in arrays]
    assert sequence == list(range(sequence[0], sequence[0] + len(arrays)))


def test_everything_else_is_published_while_watched(client: Any, camera: Any) -> None:
    masks = client.listen(msg.SegmentationMask, '/spikeseg/mask')
    instances = client.listen(msg.InstanceArray, '/spikeseg/instances')
    labels = client.listen(msg.LabelMap, '/spikeseg/labels', qos.latched())
    source = camera(client.talk(EventPacket, '/event_camera/events'), stamp=201 * 10**16)
    client.until(lambda: labels, 'latched labels')
    assert [item.name for item in messages.from_label_map(labels[0])] == ['background', 'blob']

    def shown() -> list[Any]:
        return [item for item in masks if any(item.data)]

    source.until(client, lambda: len(shown()) > 3 and any(a.instances for a in instances), 'masks')
    pixels = messages.read_mask(shown()[-1])
    assert pixels.shape == (90, 120)
    assert set(np.unique(pixels)) == {0, 1}
    assert shown()[-1].labels_topic == '/spikeseg/labels'
    item = next(array.instances[0] for array in instances if array.instances)
    assert (item.ash_features, item.ash_steps, item.class_id) == (4, 10, 1)


def test_silence_gives_empty_arrays(client: Any, camera: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    source = camera(client.talk(EventPacket, '/event_camera/events'), stamp=202 * 10**16)
    source.until(client, lambda: any(array.objects for array in arrays), 'objects')
    silence = source.stamp + WINDOW
    client.until(lambda: len(after(arrays, silence)) >= 5, 'arrays on silence')
    for array in after(arrays, silence):
        assert not array.objects
        assert array.n_events == 0
        assert array.header.frame_id == 'event_camera'
    source.stamp += 10**9
    arrays.clear()
    source.until(client, lambda: any(array.objects for array in arrays), 'objects after silence')


def test_thresholds_change_while_running(client: Any, camera: Any, node: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    source = camera(client.talk(EventPacket, '/event_camera/events'), stamp=203 * 10**16)
    source.until(client, lambda: any(array.objects for array in arrays), 'objects')
    assert set_parameter(client, integer('objects.min_events', 100_000)).successful
    changed = source.stamp + WINDOW
    source.until(
        client, lambda: sum(array.n_events for array in after(arrays, changed)) > 500, 'windows'
    )
    assert not any(array.objects for array in after(arrays, changed))
    arrays.clear()
    assert set_parameter(client, integer('objects.min_events', 50)).successful
    source.until(client, lambda: any(array.objects for array in arrays), 'objects again')
    node.wait_for('objects.min_events is now 50')


def test_bad_and_fixed_parameters_are_refused(client: Any) -> None:
    for parameter, words in (
        (double('objects.smash_threshold', 1.5), 'smash_threshold'),
        (integer('objects.min_events', -1), 'objects.min_events'),
        (text('objects.linkage', 'magic'), 'threshold, average, argmax'),
        (text('objects.min_events', 'many'), 'Wrong parameter type'),
        (text('device', 'cuda'), 'read-only'),
        (text('weights', '/tmp/other'), 'read-only'),
        (text('model', 'spikeseg'), 'read-only'),
    ):
        result = set_parameter(client, parameter)
        assert not result.successful, parameter.name
        assert words in result.reason
    assert set_parameter(client, integer('objects.smash_threshold', 1)).successful
    assert set_parameter(client, double('objects.smash_threshold', 0.1)).successful


def test_every_option_is_described(client: Any) -> None:
    declared = list(options())
    request = DescribeParameters.Request(names=[item.name for item in declared])
    found = client.call(DescribeParameters, f'{NODE}/describe_parameters', request).descriptors
    for item, described in zip(declared, found, strict=True):
        assert described.description == item.description
        assert described.read_only is not item.dynamic
        if item.choices:
            assert item.choices[0] in described.additional_constraints
        elif item.low is not None:
            (span,) = [*described.floating_point_range, *described.integer_range]
            assert (span.from_value, span.to_value) == (item.low, item.high)


HOSTILE: dict[str, dict[str, Any]] = {
    'garbage': {'payload': bytes(range(256)) * 40},
    'odd': {'payload': b'\x00\x80\x01'},
    'empty': {'payload': b''},
    'unknown encoding': {'encoding': 'evt9'},
    'no geometry': {'width': 0, 'height': 0},
    'huge geometry': {'width': 2**32 - 1, 'height': 2**32 - 1},
    'other geometry': {'width': 64, 'height': 48},
    'other encoding': {'encoding': 'mono', 'payload': bytes(800)},
    'time backwards': {'stamp': 10**9},
    'time far ahead': {'stamp': 2 * 10**18 + 10**17},
    'odd frame': {'frame_id': 'a' * 10_000},
    'sequence': {'seq': 2**64 - 1},
}


def test_hostile_packets_do_no_lasting_harm(client: Any, camera: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    publisher = client.talk(EventPacket, '/event_camera/events')
    for number, (kind, changes) in enumerate(HOSTILE.items()):
        source = camera(publisher, stamp=(20 + 10 * number) * 10**16)
        source.run(client, 0.1)
        source.run(client, 0.03, **changes)
        arrays.clear()

        def good(source: Any = source) -> bool:
            source.run(client, 0.1)
            return any(
                array.n_events == 250 and array.objects and array.width == 120 for array in arrays
            )

        client.until(good, f'a good window after {kind}')


def test_failing_window_is_reported_and_left_behind(client: Any, camera: Any) -> None:
    arrays = client.listen(msg.SegmentedObjectArray, '/spikeseg/objects')
    reports = client.listen(DiagnosticArray, '/diagnostics')
    publisher = client.talk(EventPacket, '/event_camera/events')
    poison = camera(publisher, stamp=204 * 10**16, period=WINDOW, count=13)

    def error() -> Any:
        for report in reports:
            status, values = values_of(report, 'events processing')
            if status is not None and status.level == b'\x02':
                return status, values
        return None

    status, values = poison.until(client, error, 'an error in the diagnostics')
    assert 'RuntimeError: 13 events' in status.message
    assert int(values['windows failed']) > 0
    source = camera(publisher, stamp=205 * 10**16)
    arrays.clear()
    source.until(client, lambda: any(array.objects for array in arrays), 'objects after failures')


def test_diagnostics_tell_rates_and_latency(client: Any, camera: Any) -> None:
    reports = client.listen(DiagnosticArray, '/diagnostics')
    source = camera(client.talk(EventPacket, '/event_camera/events'), stamp=206 * 10**16)

    def settled() -> Any:
        """Return a report of a second in which neither this process nor the node was held up."""
        if not reports or len(reports[-1].status) != 3:
            return None
        status, values = values_of(reports[-1], 'events input')
        _, work = values_of(reports[-1], 'events processing')
        calm = (
            status.level == b'\x00'
            and 50 < float(values['messages per second']) < 150
            and 0.002 < float(values['million events per second']) < 0.01
            and 10 < float(work['windows per second']) < 30
        )
        return reports[-1] if calm else None

    message = source.until(client, settled, 'a report of 100 packets and 20 windows a second')
    status, values = values_of(message, 'events input')
    assert 40 < float(values['ON events'].split()[0]) < 60
    assert values['topic'] == '/event_camera/events'
    assert values['publishers'] == '1'
    assert status.level == b'\x00', status.message
    _, values = values_of(message, 'events processing')
    assert 0 < float(values['latency p50'].split()[0]) <= float(values['latency p99'].split()[0])
    assert values['window length'] == '50.0 ms'
    assert values['time blob'] == '1.00 ms'
    assert int(values['spikes conv1']) > 0
    _, values = values_of(message, 'process')
    assert values['device'] == 'cpu'
    assert values['state'] == 'active'
    assert float(values['memory'].split()[0]) > 10
    source.until(client, lambda: len(reports) > 2, 'further reports')
    stamps = [report.header.stamp.sec for report in reports]
    assert stamps == sorted(stamps)
    assert stamps[-1] - stamps[0] >= 1


def test_diagnostics_warn_without_input(client: Any) -> None:
    reports = client.listen(DiagnosticArray, '/diagnostics')

    def silent() -> Any:
        for report in reports:
            status, _ = values_of(report, 'events input')
            if status is not None and status.level == b'\x01' and 'nobody' in status.message:
                return status
        return None

    status = client.until(silent, 'a warning')
    assert '/event_camera/events' in status.message
