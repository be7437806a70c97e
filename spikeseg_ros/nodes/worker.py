# SPDX-License-Identifier: Apache-2.0
"""One thread that works when it is told to; signals during work are one more round, not many."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Worker:
    """Calls a function in a thread of its own, once after one or more signals.

    Args:
        work: Function to call.
        failed: Called in the thread with an exception that work raised.
        name: Name of the thread.
    """

    def __init__(
        self, work: Callable[[], None], failed: Callable[[Exception], None], name: str = 'worker'
    ) -> None:
        self._work = work
        self._failed = failed
        self._name = name
        self._due = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is there and not asked to end."""
        return self._thread is not None and not self._stopping.is_set()

    @property
    def stopping(self) -> bool:
        """Whether the work should come to an end; to be asked in long loops."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread; does nothing where it runs already."""
        if self._thread is not None:
            return
        self._stopping.clear()
        self._due.clear()
        # A daemon, so that a driver call that never returns cannot keep the process alive.
        self._thread = threading.Thread(target=self._loop, name=self._name, daemon=True)
        self._thread.start()

    def signal(self) -> None:
        """Ask for a round of work; never blocks."""
        self._due.set()

    def stop(self, timeout: float = 10.0) -> bool:
        """Ask the thread to end and wait for it.

        Args:
            timeout: Seconds to wait.

        Returns:
            Whether it has ended.
        """
        thread, self._thread = self._thread, None
        self._stopping.set()
        self._due.set()
        if thread is None:
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _loop(self) -> None:
        """Work until asked to stop."""
        while True:
            self._due.wait()
            self._due.clear()
            if self._stopping.is_set():
                return
            try:
                self._work()
            except Exception as err:
                self._failed(err)
