# SPDX-License-Identifier: Apache-2.0
"""The last messages of a topic by their stamp, for results that arrive later. Free of ROS."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

MAX_ITEMS = 64
MAX_BYTES = 128 << 20


class Recent:
    """Keeps the newest messages, bounded in number and bytes; not for several threads.

    Args:
        max_items: Messages kept at most.
        max_bytes: Bytes kept at most; the newest message always is.
    """

    def __init__(self, max_items: int = MAX_ITEMS, max_bytes: int = MAX_BYTES) -> None:
        self._max_items, self._max_bytes = max_items, max_bytes
        self._items: OrderedDict[int, tuple[Any, int]] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        """Return the number of messages kept."""
        return len(self._items)

    def push(self, stamp: int, item: Any, size: int) -> None:
        """Keep a message; one that is older than the newest begins anew.

        Args:
            stamp: Time of its header [ns].
            item: The message.
            size: Its bytes.
        """
        if self._items and stamp < next(reversed(self._items)):
            self.clear()
        if stamp in self._items:
            self._bytes -= self._items.pop(stamp)[1]
        self._items[stamp] = (item, size)
        self._bytes += size
        while len(self._items) > 1 and (
            len(self._items) > self._max_items or self._bytes > self._max_bytes
        ):
            self._bytes -= self._items.popitem(last=False)[1][1]

    def at(self, stamp: int) -> Any:
        """Return the message of a stamp, or None."""
        return self._items.get(stamp, (None, 0))[0]

    def before(self, stamp: int) -> Any:
        """Return the newest message that is not later than a stamp; else the newest, or None."""
        for known in reversed(self._items):
            if known <= stamp:
                return self._items[known][0]
        return self._items[next(reversed(self._items))][0] if self._items else None

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._bytes = 0
