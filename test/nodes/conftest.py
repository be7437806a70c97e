# SPDX-License-Identifier: Apache-2.0
"""Real nodes in processes of their own, and a client that talks to them over the middleware."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikeseg_ros.nodes.domains import own_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).parent
# Tests wait for what shall happen, however slow the machine is; only a failure takes this long.
PATIENCE = 90.0


class Process:
    """A node in a process of its own."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        self.log = log
        with log.open('wb') as stream:
            self.popen = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env={**os.environ, 'PYTHONUNBUFFERED': '1', **environment},
                cwd=log.parent,
                start_new_session=True,
            )

    def text(self) -> str:
        """Return what it has said so far."""
        return self.log.read_text(errors='replace')

    def wait(self, timeout: float = PATIENCE) -> int:
        """Return its exit status."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f'{self.popen.args} does not end:\n{self.text()}')

    def wait_for(self, words: str, timeout: float = PATIENCE) -> None:
        """Wait until it has said something."""
        deadline = time.monotonic() + timeout
        while words not in self.text():
            if time.monotonic() > deadline or self.popen.poll() is not None:
                pytest.fail(f'{words!r} was not said:\n{self.text()}')
            time.sleep(0.05)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal and return the exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.wait()

    def kill(self) -> None:
        """End it in any case."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


class Launcher:
    """Starts processes and ends all of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[Process] = []

    def __call__(
        self,
        name: str,
        *arguments: str,
        environment: dict[str, str] | None = None,
        **parameters: Any,
    ) -> Process:
        """Start a node.

        Args:
            name: Module in spikeseg_ros.nodes, or 'stub' for perception_node without a network.
            arguments: Command line before --ros-args.
            environment: Further environment variables.
            parameters: ROS parameters; two underscores stand for a dot.
        """
        target = (
            [str(HERE / 'stub_node.py')]
            if name == 'stub'
            else ['-m', f'spikeseg_ros.nodes.{name}']
        )
        command = [sys.executable, *target, *arguments, '--ros-args']
        for key, value in parameters.items():
            text = str(value).lower() if isinstance(value, bool) else value
            quoted = f"'{text}'" if isinstance(value, str) else text
            command += ['-p', f'{key.replace("__", ".")}:={quoted}']
        log = self._folder / f'{len(self._running)}_{name}.log'
        process = Process(command, log, environment or {})
        self._running.append(process)
        return process

    def close(self) -> None:
        """End everything."""
        for process in self._running:
            process.kill()


@pytest.fixture(scope='session', autouse=True)
def domain() -> None:
    """Keep the test's nodes to this machine and to a domain of their own."""
    os.environ.update(own_environment())
    os.environ['RCUTILS_COLORIZED_OUTPUT'] = '0'


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    """Start nodes that end with the test."""
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.close()


@pytest.fixture(scope='module')
def launch_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    """Start nodes that end with the module."""
    launcher = Launcher(tmp_path_factory.mktemp('nodes'))
    yield launcher
    launcher.close()


class Client:
    """The other side of the nodes under test."""

    def __init__(self) -> None:
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node('client', context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def close(self) -> None:
        """Leave the graph."""
        self.executor.shutdown(1.0)
        self.node.destroy_node()
        self.context.try_shutdown()

    def spin(self, seconds: float) -> None:
        """Receive for some time."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)

    def until(self, done: Callable[[], Any], what: str, timeout: float = PATIENCE) -> Any:
        """Receive until something is true, and return it."""
        deadline = time.monotonic() + timeout
        while not (value := done()):
            if time.monotonic() > deadline:
                pytest.fail(f'{what} did not happen within {timeout:g} s')
            self.executor.spin_once(timeout_sec=0.05)
        return value

    def listen(self, kind: Any, topic: str, profile: Any = None) -> list[Any]:
        """Subscribe, wait for the publisher and return the growing list of messages."""
        from spikeseg_ros.nodes import qos

        seen: list[Any] = []
        self.node.create_subscription(kind, topic, seen.append, profile or qos.reliable(100))
        self.until(lambda: self.node.count_publishers(topic), f'a publisher of {topic}')
        return seen

    def talk(self, kind: Any, topic: str, profile: Any = None, wait: bool = True) -> Any:
        """Return a publisher that has a subscriber."""
        from spikeseg_ros.nodes import qos

        publisher = self.node.create_publisher(kind, topic, profile or qos.best_effort(1000))
        if wait:
            self.until(publisher.get_subscription_count, f'a subscriber of {topic}')
        return publisher

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """Call a service and return the response."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f'service {name}')
        future = client.call_async(request)
        self.until(future.done, f'a response of {name}')
        self.node.destroy_client(client)
        return future.result()


@pytest.fixture
def client() -> Iterator[Client]:
    """Give a client to one test."""
    client = Client()
    yield client
    client.close()


def evt3(x: np.ndarray, y: np.ndarray, p: np.ndarray, t_us: np.ndarray) -> bytes:
    """Encode events as plain EVT3 words, everything spelled out for every event."""
    words = np.empty((len(t_us), 4), '<u2')
    words[:, 0] = 0x8000 | (t_us >> 12 & 0xFFF)
    words[:, 1] = 0x6000 | (t_us & 0xFFF)
    words[:, 2] = y
    words[:, 3] = 0x2000 | p << 11 | x
    return words.tobytes()


class Camera:
    """A simulated event camera: one square of events that moves to the right.

    Args:
        publisher: Publisher of EventPacket.
        stamp: ROS time of the first packet [ns].
        period: Time between packets [ns].
        count: Events per packet.
    """

    def __init__(
        self, publisher: Any, stamp: int = 10**18, period: int = 10_000_000, count: int = 50
    ) -> None:
        self.publisher = publisher
        self.stamp = self.start = stamp
        self.period = period
        self.count = count
        self.seq = 0

    def packet(self, **changes: Any) -> Any:
        """Return the next packet as message."""
        from spikeseg_ros.events.types import Packet
        from spikeseg_ros.nodes.messages import to_packet_message

        rng = np.random.default_rng(self.seq)
        t = np.linspace(0, self.period // 1000 - 1, self.count).astype(int)
        t += (self.stamp - self.start) // 1000
        x = 20 + (self.seq % 50) + rng.integers(0, 12, self.count)
        y = 30 + rng.integers(0, 12, self.count)
        payload = evt3(x, y, rng.integers(0, 2, self.count), t)
        values = {
            'payload': payload, 'encoding': 'evt3', 'width': 120, 'height': 90,
            'stamp': self.stamp, 'seq': self.seq, 'frame_id': 'event_camera',
        }  # fmt: skip
        self.stamp += self.period
        self.seq += 1
        return to_packet_message(Packet(**(values | changes)))

    def run(self, client: Client, seconds: float, **changes: Any) -> None:
        """Publish for some time, at real speed."""
        due = time.monotonic()
        for _ in range(round(seconds * 1e9 / self.period)):
            self.publisher.publish(self.packet(**changes))
            due += self.period / 1e9
            client.spin(max(0.0, due - time.monotonic()))

    def until(self, client: Client, done: Callable[[], Any], what: str) -> Any:
        """Publish at real speed until something is true, and return it."""

        def more() -> Any:
            self.run(client, 0.1)
            return done()

        return client.until(more, what)


@pytest.fixture
def camera() -> type[Camera]:
    """Give the simulated camera's class."""
    return Camera
