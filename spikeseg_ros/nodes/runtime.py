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
    node = executor = None
    try:
        rclpy.init(args=None if args is None else list(args))
        node = make()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        start = getattr(node, 'start', None)
        if start is not None:
            start()
        done = getattr(node, 'done', None) or Future()
        executor.spin_until_future_complete(done)
        return int(done.result() or 0) if done.done() else 0
    except (KeyboardInterrupt, ExternalShutdownException):
        return 0
    except (ValueError, OSError, ImportError) as err:
        _report(node, str(err))
        return 1
    except Exception:
        # A signal in the middle of a call invalidates the context under its feet.
        if rclpy.ok():
            raise
        return 0
    finally:
        _ignore_signals()
        _finish(node, executor)


def _report(node: Any, text: str) -> None:
    """Print an error once, through the node's logger where there is one."""
    if node is not None and rclpy.ok():
        node.get_logger().error(text)
    else:
        sys.stderr.write(f'{text}\n')


def _ignore_signals() -> None:
    """Let a second Ctrl-C disturb neither the clean-up nor the end of the interpreter."""
    # rclpy would put the handlers back that it found, at the latest when it shuts down.
    uninstall_signal_handlers()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _finish(node: Any, executor: Any) -> None:
    """Release everything, whatever state it is in."""
    if node is not None:
        close = getattr(node, 'close', None)
        if close is not None:
            close()
        if executor is not None:
            executor.remove_node(node)
        node.destroy_node()
    if executor is not None:
        executor.shutdown(timeout_sec=1.0)
    rclpy.try_shutdown()
