# SPDX-License-Identifier: Apache-2.0
"""How a node process lives and ends: start, spin, signals, exit status."""

from __future__ import annotations

import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.clock import Clock
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.signals import uninstall_signal_handlers
from rclpy.task import Future

try:
    from rclpy.clock_type import ClockType
except ImportError:  # Humble
    from rclpy.clock import ClockType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class NodeError(ValueError):
    """A node cannot start or go on; the text says why and what to do."""


def steady_clock() -> Clock:
    """Return a clock that neither jumps nor follows /clock."""
    return Clock(clock_type=ClockType.STEADY_TIME)


def run(make: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """Run one node until it is done or interrupted.

    SIGINT and SIGTERM end it without a traceback; nothing of the process is left behind. The
    node may have a method start() called before spinning, a method close() called at the end,
    and an attribute done, a Future whose result is the exit status.

    Args:
        make: Creates the node.
        args: Command line with ROS arguments; that of the process where None.

    Returns:
        Exit status: 0 = ended as asked, 1 = could not start or failed.
    """
    life = _Life(make, args)
    signals = _Signals()
    try:
        try:
            signals.catch()
            status = life.live()
        finally:
            signals.ignore()
    except KeyboardInterrupt:  # comes once at most: from here on nothing is interrupted
        status = 0
        signals.ignore()
    finally:
        life.end()
    return status


class _Signals:
    """Lets the first SIGINT or SIGTERM interrupt what runs, and no later one.

    A Ctrl-C in a terminal often reaches a node twice, from the terminal and from ros2 launch. The
    second one may not hit the clean-up, which for example finishes a recording.
    """

    def __init__(self) -> None:
        self._armed = True

    def catch(self) -> None:
        """Let a signal raise KeyboardInterrupt, in addition to what rclpy does about it."""
        self._handle(self._interrupt)

    def _interrupt(self, *_: object) -> None:
        """Interrupt once."""
        if self._armed:
            self._armed = False
            raise KeyboardInterrupt

    def ignore(self) -> None:
        """Let signals disturb neither the clean-up nor the end of the interpreter."""
        self._armed = False
        # rclpy would put the handlers back that it found, at the latest when it shuts down.
        uninstall_signal_handlers()
        self._handle(signal.SIG_IGN)

    @staticmethod
    def _handle(handler: Any) -> None:
        """Set the handler of both signals; only the main thread can have one."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, handler)


class _Life:
    """One node and its executor, from start to end."""

    def __init__(self, make: Callable[[], Any], args: Sequence[str] | None) -> None:
        self._make = make
        self._args = args
        self._node: Any = None
        self._executor: SingleThreadedExecutor | None = None

    def live(self) -> int:
        """Run the node until it is done, and return the exit status.

        Raises:
            KeyboardInterrupt: A signal came.
        """
        try:
            rclpy.init(args=None if self._args is None else list(self._args))
            self._node = self._make()
            self._executor = SingleThreadedExecutor()
            self._executor.add_node(self._node)
            start = getattr(self._node, 'start', None)
            if start is not None:
                start()
            done = getattr(self._node, 'done', None) or Future()
            self._executor.spin_until_future_complete(done)
            return int(done.result() or 0) if done.done() else 0
        except ExternalShutdownException:
            return 0
        except (ValueError, OSError, ImportError) as err:
            _report(self._node, str(err))
            return 1
        except Exception:
            # A signal in the middle of a call invalidates the context under its feet.
            if rclpy.ok():
                raise
            return 0

    def end(self) -> None:
        """Release everything, whatever state it is in."""
        if self._node is not None:
            close = getattr(self._node, 'close', None)
            if close is not None:
                close()
            if self._executor is not None:
                self._executor.remove_node(self._node)
            self._node.destroy_node()
        if self._executor is not None:
            self._executor.shutdown(timeout_sec=1.0)
        rclpy.try_shutdown()


def _report(node: Any, text: str) -> None:
    """Print an error once, through the node's logger where there is one."""
    if node is not None and rclpy.ok():
        node.get_logger().error(text)
    else:
        sys.stderr.write(f'{text}\n')
