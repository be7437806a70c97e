# SPDX-License-Identifier: Apache-2.0
"""What diagnostics say, the history of events, and the worker; all without ROS."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.types import Events, Packet
from spikeseg_ros.nodes import health
from spikeseg_ros.nodes.history import EventHistory
from spikeseg_ros.nodes.worker import Worker
from spikeseg_ros.perception.result import Result

SECOND = 1_000_000_000


def pipeline(**counts: Any) -> Any:
    names = ('packets', 'bytes', 'resets', 'events')
    source = dict.fromkeys((*names, 'dropped_packets', 'bad_packets', 'lost_packets'), 0)
    own: dict[str, Any] = dict.fromkeys(
        ('processed', 'errors', 'events', 'on_events', 'objects', 'measured'), 0
    )
    own['energy'] = {}
    own['last_error'] = 'window: ValueError: odd'
    source |= {name: value for name, value in counts.items() if name in source}
    own |= {name: value for name, value in counts.items() if name in own}
    result = Result(9 * SECOND, 50_000_000, 'cam', 8, 6, 'blob', spikes={'conv1': 5})
    return SimpleNamespace(
        source=SimpleNamespace(counters=SimpleNamespace(**source, last_error='bad magic')),
        counters=SimpleNamespace(**own),
        shed=counts.get('shed', 0),
        last=SimpleNamespace(result=result),
        latency=lambda *percentiles: tuple(value / 1000 for value in percentiles),
    )


def check(before: Any, after: Any, **state: Any) -> list[health.Status]:
    monitor = health.Monitor('events', 2.0)
    values = {'topic': '/e', 'publishers': 1, 'last_message': 19 * SECOND, 'mismatch': ''}
    inputs = health.InputState(**(values | state))
    monitor.check(before, inputs, 18 * SECOND, 10 * SECOND)
    return monitor.check(after, inputs, 20 * SECOND, 10 * SECOND)


def test_rates_are_per_second() -> None:
    before = pipeline(packets=100, events=1_000_000)
    after = pipeline(
        packets=300,
        events=5_000_000,
        bytes=8_000_000,
        processed=40,
        objects=60,
        on_events=1_250_000,
    )
    arriving, processing = check(before, after)
    assert (arriving.level, processing.level) == (health.OK, health.OK)
    assert arriving.values['messages per second'] == '100.0'
    assert arriving.values['million events per second'] == '2.0000'
    assert arriving.values['MB per second'] == '4.000'
    assert arriving.values['ON events'] == '25.0 %'
    assert arriving.values['last message'] == '1.000 s ago'
    assert processing.values['windows per second'] == '20.0'
    assert processing.values['objects per window'] == '1.50'
    assert processing.values['latency p50'] == '50.0 ms'
    assert processing.values['window age'] == '1000.0 ms'
    assert processing.values['spikes conv1'] == '5'


def test_energy_is_the_mean_of_the_frames_of_a_period() -> None:
    before = pipeline(
        processed=10, measured=4, energy={'macs': 9e6, 'acs': 8e6, 'millijoule': 0.4}
    )
    after = pipeline(
        processed=20, measured=8, energy={'macs': 11e6, 'acs': 12e6, 'millijoule': 0.6}
    )
    values = check(before, after)[1].values
    assert values['MACs per frame'] == '0.500 M'
    assert values['ACs per frame'] == '1.000 M'
    assert values['energy per frame'] == '0.05000 mJ'
    assert values['energy constants'] == '4.6 pJ a MAC, 0.9 pJ an AC, 45 nm'
    # Switched off, or no frame since: nothing is said rather than 0.
    assert 'energy per frame' not in check(after, after)[1].values


@pytest.mark.parametrize(
    ('counts', 'state', 'place', 'level', 'words'),
    [
        ({'lost_packets': 7}, {}, 0, health.WARN, '7 messages lost'),
        ({'dropped_packets': 3}, {}, 0, health.WARN, '3 dropped'),
        ({'bad_packets': 2}, {}, 0, health.WARN, 'bad magic'),
        ({}, {'last_message': SECOND}, 0, health.WARN, 'no message on /e for 2 s'),
        ({}, {'last_message': 0, 'publishers': 0}, 0, health.WARN, 'nobody publishes /e'),
        ({}, {'last_message': 0, 'mismatch': 'set QoS'}, 0, health.ERROR, 'set QoS'),
        ({'shed': 4, 'processed': 9}, {}, 1, health.WARN, '4 windows shed, 9 processed'),
        ({'errors': 1}, {}, 1, health.ERROR, 'ValueError: odd'),
    ],
)
def test_trouble_is_named(counts: Any, state: Any, place: int, level: int, words: str) -> None:
    status = check(pipeline(), pipeline(**counts), **state)[place]
    assert status.level == level
    assert words in status.text


def test_old_trouble_is_over() -> None:
    arriving, processing = check(
        pipeline(lost_packets=7, shed=4, errors=2), pipeline(lost_packets=7, shed=4, errors=2)
    )
    assert (arriving.level, processing.level) == (health.OK, health.OK)


def test_process() -> None:
    status = health.process_status('cpu', 'active', 5)
    assert status.values['device'] == 'cpu'
    assert 'notes' not in status.values
    noted = health.process_status('cpu', 'active', 5, ('no graph', 'slow'))
    assert noted.values['notes'] == 'no graph slow'
    assert health.resident_bytes() > 1_000_000


def packet(encoder: Evt3Encoder, start_us: int, stamp: int, count: int = 10) -> Packet:
    times = (start_us + np.arange(count) * 100).astype(np.int64) * 1000
    columns = np.arange(count, dtype=np.uint16)
    events = Events(columns, columns, np.ones(count, np.uint8), times)
    return Packet(encoder.encode(events), 'evt3', 64, 48, stamp)


def test_history_gives_the_events_of_a_window() -> None:
    history = EventHistory(10 * SECOND)
    encoder = Evt3Encoder(64, 48)
    for number in range(20):
        history.push(packet(encoder, 5000 + number * 1000, 7 * SECOND + number * 1_000_000))
    found = history.between(7 * SECOND + 2_500_000, 7 * SECOND + 4_200_000)
    # Half of packet 2, all of packet 3 and the first two events of packet 4.
    assert found.x.tolist() == [5, 6, 7, 8, 9, *range(10), 0, 1]
    assert len(history.between(0, 7 * SECOND)) == 0
    assert len(history.between(0, 8 * SECOND)) == 200


def test_history_is_short_and_forgets_on_a_jump_back() -> None:
    history = EventHistory(3_000_000)
    encoder = Evt3Encoder(64, 48)
    for number in range(20):
        history.push(packet(encoder, 5000 + number * 1000, 7 * SECOND + number * 1_000_000))
    assert 30 <= len(history.between(0, 9 * SECOND)) <= 50
    history.push(packet(Evt3Encoder(64, 48), 100, 2 * SECOND))
    assert len(history.between(3 * SECOND, 9 * SECOND)) == 0
    assert len(history.between(0, 3 * SECOND)) == 10


def test_history_survives_nonsense() -> None:
    history = EventHistory(SECOND)
    encoder = Evt3Encoder(64, 48)
    history.push(Packet(b'\1\2\3', 'nonsense', 64, 48, 1))
    history.push(Packet(b'\1\2\3', 'evt3', 0, 0, 2))
    history.push(Packet(b'\1\2\3', 'evt3', 64, 48, 3))
    history.push(packet(encoder, 100, SECOND))
    assert len(history.between(0, 2 * SECOND)) == 10


def test_worker_joins_signals_and_survives_errors() -> None:
    rounds, errors = [], []
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        rounds.append(1)
        entered.set()
        leave.wait(60)
        if len(rounds) == 1:
            raise RuntimeError('once')

    worker = Worker(work, errors.append)
    worker.start()
    worker.start()
    worker.signal()
    assert entered.wait(60)
    for _ in range(10):
        worker.signal()
    entered.clear()
    leave.set()
    assert entered.wait(60)
    assert worker.stop(60)
    assert worker.stopping
    assert not worker.running
    assert len(rounds) == 2, 'ten signals during work are one more round'
    assert [str(error) for error in errors] == ['once']
    assert worker.stop(60)
    worker.start()
    worker.signal()
    assert worker.stop(60)
