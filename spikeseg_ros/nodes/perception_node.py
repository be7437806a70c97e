# SPDX-License-Identifier: Apache-2.0
"""perception_node: event packets and camera images in, segmented objects out.

A lifecycle node that starts itself unless told otherwise. Callbacks only queue and signal; one
worker thread decodes, segments and publishes, so that neither subscriptions nor parameters ever
wait for the network.
"""

from __future__ import annotations

import sys
import time
import traceback
from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from event_camera_msgs.msg import EventPacket
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.task import Future
from sensor_msgs.msg import CompressedImage, Image

from spikeseg_ros.nodes import health
from spikeseg_ros.nodes.messages import to_image_frame, to_packet, to_time
from spikeseg_ros.nodes.options import PerceptionNodeConfig
from spikeseg_ros.nodes.outputs import Outputs
from spikeseg_ros.nodes.parameters import Parameters, perception_config, perception_options
from spikeseg_ros.nodes.qos import best_effort, reliable, subscribe
from spikeseg_ros.nodes.runtime import NodeError, run, steady_clock
from spikeseg_ros.nodes.worker import Worker
from spikeseg_ros.perception.config import options
from spikeseg_ros.perception.image_stream import ImageStream
from spikeseg_ros.perception.inputs import chosen_topics, event_stream
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.perception.segmenter import Segmenter

    Factory = Callable[[PerceptionConfig], Segmenter]

LEVELS = {
    health.OK: DiagnosticStatus.OK,
    health.WARN: DiagnosticStatus.WARN,
    health.ERROR: DiagnosticStatus.ERROR,
    health.STALE: DiagnosticStatus.STALE,
}
SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
_JOIN_SECONDS = 10.0
# With Python's 5 ms, a busy worker would make 200 messages per second the most that is received.
_SWITCH_SECONDS = 0.0005


class _Input:
    """One subscribed stream with its pipeline."""

    def __init__(self, name: str, topic: str, pipeline: Pipeline, timeout: float) -> None:
        self.name = name
        self.topic = topic
        self.pipeline = pipeline
        self.monitor = health.Monitor(name, timeout)
        self.subscription: Any = None
        self.last_message = 0
        self.mismatch = ''


class PerceptionNode(LifecycleNode):
    """The lifecycle node; see the module's docstring.

    Args:
        factory: Makes the segmenter from the configuration at configure; the registry's where
            None.
        arguments: Further arguments of rclpy's Node.
    """

    def __init__(self, factory: Factory | None = None, **arguments: Any) -> None:
        arguments.setdefault('namespace', 'spikeseg')
        super().__init__('perception_node', **arguments)
        self.done: Future = Future()
        self._factory = factory
        self._pending_config: PerceptionConfig | None = None
        self._segmenter: Segmenter | None = None
        self._noted = 0
        self._outputs: Outputs | None = None
        self._inputs: list[_Input] = []
        self._label = 'unconfigured'
        self._timer: Any = None
        self._jumps: Any = None
        self._worker = Worker(self._work, self._work_failed, 'perception')
        self._declared = Parameters(self, perception_options(), self._on_parameters)
        self._own = self._read_own()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', reliable(10))
        self._diagnostics_timer = self.create_timer(
            self._own.diagnostics_period_s, self._publish_diagnostics, clock=steady_clock()
        )

    def start(self) -> None:
        """Configure and activate, unless autostart is off.

        Raises:
            NodeError: A transition failed; the reason was logged before.
        """
        if not self._own.autostart:
            self.get_logger().info('Waiting for the lifecycle transition configure.')
            return
        for name, trigger in (
            ('configure', self.trigger_configure),
            ('activate', self.trigger_activate),
        ):
            if trigger() != SUCCESS:
                msg = f'Giving up: the transition {name} failed, see the error above.'
                raise NodeError(msg)

    def close(self) -> None:
        """Stop the worker and release the device, whatever the state."""
        self._stop_inputs()
        self._release()

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model, warm it up and create streams and publishers."""
        try:
            self._configure()
        except (ValueError, OSError, RuntimeError, ImportError) as err:
            self._release()
            self.get_logger().error(f'Cannot configure: {err}')
            return FAILURE
        except Exception:
            # rclpy would swallow it, and nobody would know why the node does not start.
            self._release()
            self.get_logger().error(f'Cannot configure, by a fault:\n{traceback.format_exc()}')
            return FAILURE
        self._label = 'inactive'
        return super().on_configure(state)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        if super().on_activate(state) != SUCCESS:
            return FAILURE
        assert self._outputs is not None
        assert self._segmenter is not None
        segmenter = self._segmenter
        stamp = self.get_clock().now().nanoseconds
        self._outputs.publish_labels(tuple(segmenter.labels), segmenter.family, stamp)
        self._worker.start()
        for item in self._inputs:
            item.pipeline.request_reset()
            self._subscribe(item)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(
                min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False
            ),
            post_callback=self._on_time_jump,
        )
        self._timer = self.create_timer(1.0 / self._tick_rate(), self._worker.signal)
        topics = ' and '.join(item.topic for item in self._inputs)
        self._label = 'active'
        self.get_logger().info(f'Active: {segmenter.family} on {segmenter.device}, {topics}.')
        return SUCCESS

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop the worker and unsubscribe."""
        self._label = 'inactive'
        self._stop_inputs()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free model, device memory and publishers."""
        result = super().on_cleanup(state)
        self._release()
        return result

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop everything and end the process."""
        self._stop_inputs()
        result = super().on_shutdown(state)
        self._release()
        self.done.set_result(0)
        return result

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything; the node can be configured again."""
        self.get_logger().error('A transition failed; the node is unconfigured again.')
        self.close()
        return super().on_error(state)

    def _configure(self) -> None:
        """Do the work of on_configure."""
        values = self._declared.values()
        self._own = self._read_own()
        own, config = self._own, perception_config(values)
        segmenter = self._factory(config) if self._factory else _create(config)
        topics = chosen_topics(segmenter, own.events_topic, own.image_topic)
        if own.events_topic and EVENTS not in topics:
            self.get_logger().info(
                f'{segmenter.family} sees camera images; the topic {own.events_topic} is not used.'
            )
        self._noted = 0
        self._log_notes(segmenter)
        _limit_threads(config.threads)
        segmenter.warm_up(own.sensor_width, own.sensor_height)
        self._log_notes(segmenter)
        self._segmenter = segmenter
        self._outputs = Outputs(self, own)
        if EVENTS in topics:
            # Here, because it brings the compiled decoders along.
            from spikeseg_ros.nodes.history import warm_up_decoders

            warm_up_decoders()
            stream = event_stream(config)
            self._inputs.append(self._input(EVENTS, topics[EVENTS], segmenter, stream))
        if IMAGES in topics:
            topic = topics[IMAGES]
            if own.image_transport == 'compressed' and not topic.endswith('/compressed'):
                topic += '/compressed'
            self._inputs.append(self._input(IMAGES, topic, segmenter, ImageStream(to_image_frame)))

    def _input(self, name: str, topic: str, segmenter: Segmenter, source: Any) -> _Input:
        """Return an input with a pipeline of its own."""
        try:
            topic = self.resolve_topic_name(topic)
        except Exception as err:
            msg = f'{topic!r} is no topic name for the {name}: {err}'
            raise NodeError(msg) from None
        return _Input(name, topic, Pipeline(segmenter, source), self._own.input_timeout_s)

    def _subscribe(self, item: _Input) -> None:
        """Subscribe to an input's topic."""
        source: Any = item.pipeline.source

        def mismatch(text: str) -> None:
            if not item.mismatch:
                self.get_logger().warning(text)
            item.mismatch = text

        def on_events(message: EventPacket) -> None:
            item.last_message = time.monotonic_ns()
            source.push(to_packet(message, item.last_message))

        def on_image(message: Any) -> None:
            item.last_message = time.monotonic_ns()
            source.push(message, item.last_message, len(message.data))
            self._worker.signal()

        item.last_message, item.mismatch = 0, ''
        if item.name == EVENTS:
            profile = best_effort(1000)
            kind, callback = EventPacket, on_events
        else:
            compressed = self._own.image_transport == 'compressed' or (
                self._own.image_transport == 'auto' and item.topic.endswith('/compressed')
            )
            profile = best_effort(1)
            kind, callback = (CompressedImage if compressed else Image), on_image
        item.subscription = subscribe(self, kind, item.topic, callback, profile, mismatch)

    def _stop_inputs(self) -> None:
        """Stop timer, subscriptions and worker, in this order."""
        if self._timer is not None:
            self.destroy_timer(self._timer)
            self._timer = None
        if self._jumps is not None:
            self._jumps.unregister()
            self._jumps = None
        for item in self._inputs:
            if item.subscription is not None:
                self.destroy_subscription(item.subscription)
                item.subscription = None
        if not self._worker.stop(_JOIN_SECONDS):
            self.get_logger().error(
                f'The worker did not end within {_JOIN_SECONDS:g} s; its window is given up.'
            )

    def _release(self) -> None:
        """Free what configure made."""
        self._label = 'unconfigured'
        self._inputs = []
        if self._outputs is not None:
            self._outputs.destroy()
        self._outputs = None
        self._segmenter = None
        torch = sys.modules.get('torch')
        if torch is not None and torch.cuda.is_available():
            torch.cuda.empty_cache()

    # Callbacks

    def _on_parameters(self, changes: dict[str, Any]) -> None:
        """Hand changed thresholds to the worker, which applies them between two windows."""
        if self._segmenter is not None:
            self._pending_config = perception_config(self._declared.values() | changes)
        for name, value in changes.items():
            self.get_logger().info(f'{name} is now {value!r}.')

    def _on_time_jump(self, jump: Any) -> None:
        """Begin anew when ROS time runs backwards, as it does when a recording loops."""
        del jump
        for item in self._inputs:
            item.pipeline.request_reset()
        self.get_logger().info('Time ran backwards: streams and tracks begin anew.')

    # Worker

    def _work(self) -> None:
        """Process and publish what is due."""
        config, self._pending_config = self._pending_config, None
        segmenter, outputs = self._segmenter, self._outputs
        if segmenter is None or outputs is None:
            return
        if config is not None:
            segmenter.reconfigure(config)
        for item in self._inputs:
            pipeline = item.pipeline
            errors = pipeline.counters.errors
            while not self._worker.stopping and (tick := pipeline.tick()) is not None:
                outputs.publish(tick.result, pipeline)
                pipeline.published(tick)
            if pipeline.counters.errors > errors:
                self.get_logger().error(
                    f'A window failed and was left out; {pipeline.counters.last_error}',
                    throttle_duration_sec=5.0,
                )
        self._log_notes(segmenter)

    def _work_failed(self, err: Exception) -> None:
        """Report an error outside of a window; the next round starts afresh."""
        for item in self._inputs:
            item.pipeline.counters.errors += 1
            item.pipeline.counters.last_error = f'publishing: {type(err).__name__}: {err}'
            item.pipeline.request_reset()
        self.get_logger().error(
            f'Publishing failed: {type(err).__name__}: {err}', throttle_duration_sec=5.0
        )

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        """Publish the state of inputs, processing and process."""
        now = time.monotonic_ns()
        ros_now = self.get_clock().now().nanoseconds
        segmenter, outputs = self._segmenter, self._outputs
        sequence = outputs.sequence if outputs else 0
        device = segmenter.device if segmenter else ''
        notes = getattr(segmenter, 'notes', ())
        found = [health.process_status(device, self._label, sequence, notes)]
        for item in self._inputs:
            if item.subscription is None:
                continue
            count = self.count_publishers(item.topic)
            state = health.InputState(item.topic, count, item.last_message, item.mismatch)
            found += item.monitor.check(item.pipeline, state, now, ros_now)
        message = DiagnosticArray()
        message.header.stamp = to_time(ros_now)
        prefix = self.get_fully_qualified_name().strip('/')
        for status in found:
            message.status.append(
                DiagnosticStatus(
                    level=LEVELS[status.level],
                    name=f'{prefix}: {status.name}',
                    message=status.text,
                    hardware_id=device,
                    values=[KeyValue(key=k, value=v) for k, v in status.values.items()],
                )
            )
        self._diagnostics.publish(message)

    # Small things

    def _log_notes(self, segmenter: Segmenter) -> None:
        """Log what the segmenter has noted since it was asked before."""
        notes = getattr(segmenter, 'notes', ())
        for note in notes[self._noted :]:
            self.get_logger().warning(note)
        self._noted = len(notes)

    def _read_own(self) -> PerceptionNodeConfig:
        """Return the node's own options."""
        values = self._declared.values()
        names = [item.name for item in options(PerceptionNodeConfig)]
        return PerceptionNodeConfig(**{name: values[name] for name in names})

    def _tick_rate(self) -> float:
        """Return the rate of the timer [Hz]."""
        if self._own.tick_rate_hz:
            return self._own.tick_rate_hz
        window_ms = float(self._declared.values()['events.window_ms'])
        return min(200.0, 4e3 / window_ms)


def _create(config: PerceptionConfig) -> Segmenter:
    """Make the segmenter that the configuration names."""
    from spikeseg_ros.perception.registry import create

    return create(config)


def _limit_threads(threads: int) -> None:
    """Set the number of CPU threads of a network that uses torch."""
    torch = sys.modules.get('torch')
    if torch is not None:
        torch.set_num_threads(threads)


def main(args: Sequence[str] | None = None, factory: Factory | None = None) -> int:
    """Run perception_node; returns the exit status."""
    sys.setswitchinterval(_SWITCH_SECONDS)
    return run(lambda: PerceptionNode(factory), args)


if __name__ == '__main__':
    sys.exit(main())
