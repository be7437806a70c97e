# SPDX-License-Identifier: Apache-2.0
"""player_node: replays a recording by publishing its serialised messages.

Timing is that of the recording, divided by the rate. Messages are not decoded, so replay costs
little. With clock_hz the node is the source of /clock; nodes with use_sim_time follow it. Topics
are renamed as for every node: --ros-args -r /old:=/new.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from rclpy.utilities import remove_ros_args
from rosgraph_msgs.msg import Clock as ClockMessage

from spikeseg_ros.nodes.messages import to_time
from spikeseg_ros.nodes.options import PlayerConfig
from spikeseg_ros.nodes.parameters import Parameters
from spikeseg_ros.nodes.qos import best_effort, latched, reliable
from spikeseg_ros.nodes.runtime import NodeError, run
from spikeseg_ros.perception.config import options
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.definitions import EVENT_ARRAY, EVENT_PACKET

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikeseg_ros.recordings.bags import TopicInfo

# Pauses are cut into pieces so that an interrupted process ends at once.
_NAP = 0.2
_JOIN_SECONDS = 5.0
# At the end: for reliable subscribers at most, and for all of them.
_ACKNOWLEDGE_SECONDS = 4.0
_LINGER_SECONDS = 0.5


class PlayerNode(Node):
    """Publishes what a recording holds; done when it is at its end.

    Args:
        arguments: Arguments of rclpy's Node.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__('player_node', **arguments)
        self.done: Future = Future()
        declared = Parameters(self, options(PlayerConfig))
        self.config = PlayerConfig(**declared.values())
        self._player_outputs: dict[str, Any] = {}
        self._clock_output: Any = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, name='player', daemon=True)
        self._reader: BagReader | None = None

    def start(self) -> None:
        """Open the recording, create the publishers and begin.

        Raises:
            NodeError: No recording is named, or nothing of it can be published.
            BagError: The recording cannot be read.
        """
        if not self.config.bag:
            msg = 'No recording to replay; give its path or the parameter bag.'
            raise NodeError(msg)
        reader = BagReader(self.config.bag)
        reader.__enter__()
        self._reader = reader
        for note in reader.notes:
            self.get_logger().warning(note)
        if reader.ros1:
            msg = (
                f'{self.config.bag!r} is a ROS 1 recording; its messages are not in the format '
                'of ROS 2. Convert it with rosbags-convert first.'
            )
            raise NodeError(msg)
        self._create_publishers(reader)
        if self.config.clock_hz:
            self._clock_output = self.create_publisher(ClockMessage, '/clock', best_effort(1))
        topics = ', '.join(output.topic_name for output in self._player_outputs.values())
        self.get_logger().info(
            f'Replaying {reader.duration / 1e9:.1f} s of {self.config.bag} at rate '
            f'{self.config.rate:g}: {topics}.'
        )
        self._thread.start()

    def close(self) -> None:
        """End the replay."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(_JOIN_SECONDS)
        if self._reader is not None:
            self._reader.close()

    def _create_publishers(self, reader: BagReader) -> None:
        """Create a publisher for every topic whose type is installed."""
        wanted = _names(self.config.topics)
        if unknown := [name for name in wanted if name not in reader.topics]:
            msg = (
                f'{self.config.bag!r} has no topic {", ".join(unknown)}; it has '
                f'{", ".join(reader.topics)}.'
            )
            raise NodeError(msg)
        missing: dict[str, str] = {}
        for info in reader.topics.values():
            # The node's own /clock would fight with that of the recording.
            if (wanted and info.name not in wanted) or (
                self.config.clock_hz and info.name == '/clock'
            ):
                continue
            kind = message_class(info.type)
            if kind is None:
                missing[info.name] = info.type
                continue
            self._player_outputs[info.name] = self.create_publisher(
                kind, info.name, _profile(info)
            )
        if missing:
            lost = ', '.join(f'{name} ({kind})' for name, kind in missing.items())
            self.get_logger().warning(f'Left out, because their types are not installed: {lost}.')
        if not self._player_outputs:
            msg = f'Nothing of {self.config.bag!r} can be replayed.'
            raise NodeError(msg)

    def _guarded(self) -> None:
        """Replay in the thread and report how it ended."""
        status = 0
        try:
            self._wait_for_subscribers()
            first = True
            while first or (self.config.loop and not self._stop.is_set()):
                first = False
                self._play()
            self._linger()
        except Exception as err:
            if not self._stop.is_set():
                self.get_logger().error(f'Replay ended: {err}')
                status = 1
        if not self._stop.is_set():
            self.get_logger().info('The recording is at its end.')
        self.done.set_result(status)

    def _wait_for_subscribers(self) -> None:
        """Wait until every topic has its subscribers, or the time for it is over."""
        wanted = self.config.min_subscribers
        deadline = time.monotonic() + self.config.wait_for_subscribers_s
        while time.monotonic() < deadline and not self._stop.is_set():
            waiting = [
                output.topic_name
                for output in self._player_outputs.values()
                if output.get_subscription_count() < wanted
            ]
            if not waiting:
                return
            self._stop.wait(0.05)
        if self.config.wait_for_subscribers_s and not self._stop.is_set():
            few = 'Nobody listens' if wanted == 1 else f'Fewer than {wanted} nodes listen'
            self.get_logger().warning(f'{few} to {", ".join(waiting)}; beginning anyway.')

    def _play(self) -> None:
        """Publish the recording once."""
        config = self.config
        assert self._reader is not None
        start: int | None = None
        pace = Pace(config.rate, config.clock_hz, self._publish_clock, self._stop)
        for topic, _kind, stamp, raw in self._reader.messages(list(self._player_outputs)):
            if start is None:
                start = stamp + round(config.start_offset_s * 1e9)
                pace.begin(start)
            if config.duration_s and stamp > start + round(config.duration_s * 1e9):
                break
            if stamp < start:
                if self._skipped_latched(topic):
                    self._player_outputs[topic].publish(raw)
                continue
            pace.wait_until(stamp)
            if self._stop.is_set():
                return
            self._player_outputs[topic].publish(bytes(raw))

    def _linger(self) -> None:
        """Let subscribers take what was published last: it is lost with its publisher."""
        # In short pieces, because rclpy lets no other thread run meanwhile.
        moment = Duration(nanoseconds=10_000_000)
        waiting = list(self._player_outputs.values())
        deadline = time.monotonic() + _ACKNOWLEDGE_SECONDS
        while waiting and time.monotonic() < deadline and not self._stop.wait(0.02):
            waiting = [output for output in waiting if not output.wait_for_all_acked(moment)]
        self._stop.wait(_LINGER_SECONDS)

    def _skipped_latched(self, topic: str) -> bool:
        """Return whether messages before the start offset still matter."""
        assert self._reader is not None
        return self._reader.topics[topic].qos == 'latched'

    def _publish_clock(self, stamp: int) -> None:
        """Publish the time of the replay."""
        if self._clock_output is not None:
            self._clock_output.publish(ClockMessage(clock=to_time(stamp)))


class Pace:
    """Waits for the moments of a recording and publishes its clock meanwhile.

    Args:
        rate: Seconds of the recording in a second.
        clock_hz: How often to publish the clock; 0 = never needed.
        clock: Called with a time of the recording [ns].
        stop: Ends all waiting when set.
    """

    def __init__(
        self, rate: float, clock_hz: float, clock: Callable[[int], None], stop: threading.Event
    ) -> None:
        self._rate = rate
        self._period = 1.0 / clock_hz if clock_hz else _NAP
        self._clock = clock
        self._stop = stop
        self._begin = 0
        self._origin = 0.0
        self._next_clock = 0.0

    def begin(self, stamp: int) -> None:
        """Let a moment of the recording be now."""
        self._begin = stamp
        self._origin = self._next_clock = time.monotonic()
        self._clock(stamp)

    def wait_until(self, stamp: int) -> None:
        """Return when a moment of the recording has come, or the replay shall end."""
        due = self._origin + (stamp - self._begin) / 1e9 / self._rate
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= self._next_clock:
                elapsed = min(now, due) - self._origin
                self._clock(self._begin + round(elapsed * self._rate * 1e9))
                # A clock that fell behind goes on from now instead of catching up in a burst.
                self._next_clock = max(self._next_clock + self._period, now)
            if now >= due:
                return
            self._stop.wait(min(due - now, max(0.0, self._next_clock - now), _NAP))


def message_class(name: str) -> Any:
    """Return the message class of a type name, or None where it is not installed.

    Args:
        name: For example 'sensor_msgs/msg/Image'; the predecessor of EventPacket is published
            as EventPacket.
    """
    package, *_, kind = (EVENT_PACKET if name == EVENT_ARRAY else name).split('/')
    try:
        return getattr(importlib.import_module(f'{package}.msg'), kind)
    except (ImportError, AttributeError):
        return None


def _profile(info: TopicInfo) -> QoSProfile:
    """Return the QoS of a topic as recorded; events are always best effort with a deep queue."""
    if info.type in (EVENT_PACKET, EVENT_ARRAY):
        return best_effort(1000)
    if info.qos == 'latched':
        return latched()
    return best_effort(10) if info.qos == 'best_effort' else reliable(10)


def _names(text: str) -> list[str]:
    """Split a comma separated list."""
    return [name.strip() for name in text.split(',') if name.strip()]


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments that are not ROS arguments."""
    parser = argparse.ArgumentParser(
        prog='player_node', description='Replay a recording by publishing its messages.'
    )
    parser.add_argument('bag', nargs='?', help='recording: folder, .mcap or .db3 file')
    for item in options(PlayerConfig):
        if item.name == 'bag':
            continue
        flag = '--' + item.name.rsplit('_s', 1)[0].replace('_hz', '').replace('_', '-')
        note = f'{item.description} (default: {item.default!r})'
        if isinstance(item.default, bool):
            parser.add_argument(flag, dest=item.name, action='store_true', default=None, help=note)
        else:
            parser.add_argument(flag, dest=item.name, type=type(item.default), help=note)
    return parser


def main(args: Sequence[str] | None = None) -> int:
    """Run player_node; returns the exit status."""
    words = list(sys.argv if args is None else ['player_node', *args])
    given = vars(_parser().parse_args(remove_ros_args(words)[1:]))
    overrides = {name: value for name, value in given.items() if value is not None}
    return run(lambda: PlayerNode(**_overrides(overrides)), words)


def _overrides(values: dict[str, Any]) -> dict[str, Any]:
    """Return node arguments that set parameters."""
    from rclpy.parameter import Parameter

    return {
        'parameter_overrides': [Parameter(name, value=value) for name, value in values.items()]
    }


if __name__ == '__main__':
    sys.exit(main())
