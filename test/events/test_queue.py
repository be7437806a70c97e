# SPDX-License-Identifier: Apache-2.0
"""Hand-over of packets between threads."""

from __future__ import annotations

import threading
from array import array
from typing import Any

import numpy as np
import pytest

from spikeseg_ros.events import EventError, Packet, PacketQueue
from spikeseg_ros.events.queue import OVERHEAD


def packet(seq: int, payload: Any = b'') -> Packet:
    return Packet(payload, 'evt3', 8, 8, seq=seq)


def take(queue: PacketQueue) -> tuple[list[int], int]:
    """Return the numbers of all waiting packets, and how many were dropped before them."""
    seqs, total = [], 0
    while (item := queue.pop()) is not None:
        seqs.append(item[0].seq)
        total += item[1]
    return seqs, total


def test_first_in_first_out() -> None:
    queue = PacketQueue(10_000)
    for seq in range(3):
        queue.push(packet(seq, b'ab'))
    assert take(queue) == ([0, 1, 2], 0)
    assert (queue.packets, queue.payload_bytes, len(queue)) == (3, 6, 0)
    assert queue.pop() is None


def test_the_oldest_are_dropped_when_full() -> None:
    queue = PacketQueue(3 * (100 + OVERHEAD))
    for seq in range(5):
        queue.push(packet(seq, bytes(100)))
    assert take(queue) == ([2, 3, 4], 2)
    assert queue.dropped == 2
    queue.push(packet(9))
    assert take(queue) == ([9], 0)


def test_a_packet_larger_than_the_queue_is_dropped_itself() -> None:
    queue = PacketQueue(1000)
    queue.push(packet(0))
    queue.push(packet(1, bytes(1000)))
    assert (take(queue), queue.dropped) == (([], 0), 2)
    queue.push(packet(2))
    assert take(queue) == ([2], 2)


def test_clear_forgets_packets_and_gap() -> None:
    queue = PacketQueue(1000)
    queue.push(packet(0))
    queue.push(packet(1, bytes(1000)))
    queue.push(packet(2))
    queue.clear()
    queue.push(packet(3, bytes(400)))
    assert take(queue) == ([3], 0)


def test_empty_packets_cannot_pile_up() -> None:
    queue = PacketQueue(100 * OVERHEAD)
    for seq in range(1000):
        queue.push(packet(seq))
    assert len(queue) == 100


@pytest.mark.parametrize(
    'payload',
    [bytes(80), bytearray(80), memoryview(bytes(80)), array('d', [0] * 10), np.zeros(10)],
)
def test_sizes_are_counted_in_bytes(payload: Any) -> None:
    queue = PacketQueue(10_000)
    queue.push(packet(0, payload))
    assert queue.payload_bytes == 80
    queue.push(packet(0, None))
    assert queue.payload_bytes == 80


def test_many_threads_lose_nothing() -> None:
    queue = PacketQueue(1 << 30)
    threads = [
        threading.Thread(target=lambda k=k: [queue.push(packet(k)) for _ in range(500)])
        for k in range(4)
    ]
    for thread in threads:
        thread.start()
    taken = 0
    while any(thread.is_alive() for thread in threads):
        taken += len(take(queue)[0])
    for thread in threads:
        thread.join()
    assert taken + len(take(queue)[0]) == queue.packets == 2000


def test_limit_is_checked() -> None:
    with pytest.raises(EventError, match='max_bytes'):
        PacketQueue(0)
