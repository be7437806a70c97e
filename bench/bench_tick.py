# SPDX-License-Identifier: Apache-2.0
"""From event packet to published objects: cost of a window and latency of the running node.

``python -m bench tick [--quick]``. A stream of moving discs (three quarters of the events) and
noise, EVT3 in packets of 4 ms, windows of 50 ms, one thread per network.

* core: decode, window and segment without ROS, as fast as it goes: ms per window, and how many
  times faster than real time.
* node: perception_node in a process of its own, packets published over the middleware at real
  speed; latency from publishing the packet that completes a window to receiving its objects, in
  the first and in the second half of the run; windows shed, packets lost, CPU cores taken.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np

from spikeseg_ros.events import Events, EventStream, Evt3Encoder, Packet
from spikeseg_ros.perception.config import PerceptionConfig
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.registry import create

CASES = ((346, 260, 1.0, True), (640, 480, 1.0, True), (1280, 720, 1.0, False))
PACKET_NS = 4_000_000
WINDOW_NS = 50_000_000
START = 1_700_000_000_000_000_000


def packets(width: int, height: int, mega_events: float, seconds: float) -> list[Packet]:
    """Return a stream of moving discs and noise as EVT3 packets."""
    rng = np.random.default_rng(3)
    count = round(mega_events * PACKET_NS / 1000)
    discs = 6
    centre = rng.uniform((60, 60), (width - 60, height - 60), (discs, 2))
    radius = rng.uniform(12, 26, discs)
    speed = rng.uniform(0.5, 1.5, discs)
    encoder = Evt3Encoder(width, height)
    stream = []
    for seq in range(round(seconds * 1e9 / PACKET_NS)):
        t = np.sort(rng.integers(0, PACKET_NS // 1000, count)) * 1000 + seq * PACKET_NS
        disc, angle = rng.integers(0, discs, count), rng.uniform(0, 2 * np.pi, count)
        place = 2 * np.pi * speed[disc] * t / 4e9
        x = centre[disc, 0] + 30 * np.cos(place) + radius[disc] * np.cos(angle)
        y = centre[disc, 1] + 30 * np.sin(place) + radius[disc] * np.sin(angle)
        polarity = (np.cos(angle - place) > 0).astype(np.uint8)
        noise = rng.random(count) < 0.25
        x = np.where(noise, rng.integers(0, width, count), np.clip(x, 0, width - 1))
        y = np.where(noise, rng.integers(0, height, count), np.clip(y, 0, height - 1))
        events = Events(x.astype(np.uint16), y.astype(np.uint16), polarity, t)
        payload = encoder.encode(events)
        stamp = START + seq * PACKET_NS
        stream.append(Packet(payload, 'evt3', width, height, stamp, seq, 0, 'camera'))
    return stream


def core(stream: list[Packet]) -> str:
    """Return the row of the core alone."""
    segmenter = create(PerceptionConfig())
    segmenter.warm_up(stream[0].width, stream[0].height)
    source = EventStream(duration_ns=WINDOW_NS)
    pipeline = Pipeline(segmenter, source)
    costs, objects = [], 0
    last = time.perf_counter()
    for packet in stream:
        source.push(packet)
        for tick in pipeline.run(0):
            objects += len(tick.result.objects)
            now = time.perf_counter()
            costs.append(1e3 * (now - last))
            last = now
    costs = costs[2:]
    p50, p99 = np.percentile(costs, (50, 99))
    speed = WINDOW_NS / 1e6 / np.mean(costs)
    return f'{p50:.1f} | {p99:.1f} | {speed:.2f}x | {objects / len(costs):.1f}'


def node(stream: list[Packet]) -> str:
    """Return the row of the running node, or why there is none."""
    try:
        import rclpy
        from event_camera_msgs.msg import EventPacket

        from spikeseg_ros import msg
        from spikeseg_ros.nodes import messages, qos
    except ImportError as err:
        return f'not measured: {err}'
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / 'node.log'
        process = _start(stream[0], log)
        rclpy.init()
        client = rclpy.create_node('bench')
        try:
            received: list[tuple[int, Any]] = []
            client.create_subscription(
                msg.SegmentedObjectArray,
                '/spikeseg/objects',
                lambda array: received.append((time.monotonic_ns(), array)),
                qos.reliable(100),
            )
            publisher = client.create_publisher(EventPacket, '/bench/events', qos.best_effort(100))
            deadline = time.monotonic() + 120
            while publisher.get_subscription_count() == 0:
                if process.poll() is not None or time.monotonic() > deadline:
                    return f'not measured: {log.read_text()[-300:]}'
                rclpy.spin_once(client, timeout_sec=0.1)
            before, begin = _cpu_seconds(process.pid), time.monotonic()
            sent = _publish(client, publisher, [messages.to_packet_message(p) for p in stream])
            cores = (_cpu_seconds(process.pid) - before) / (time.monotonic() - begin)
            for _ in range(20):
                rclpy.spin_once(client, timeout_sec=0.05)
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(20)
            client.destroy_node()
            rclpy.try_shutdown()
    lags = []
    for arrival, array in received:
        # The first packet that begins at or after the end of a window completes it.
        end = messages.to_nanoseconds(array.header.stamp) - START
        index = min(len(sent) - 1, -(-end // PACKET_NS))
        if array.n_events:
            lags.append((arrival - sent[index]) / 1e6)
    if not lags:
        return 'no objects arrived'
    half = len(lags) // 2
    early, late = np.percentile(lags[2:half], (50, 99)), np.percentile(lags[half:], (50, 99))
    last = received[-1][1]
    windows = len(lags) + last.shed_windows
    return (
        f'{early[0]:.0f} / {early[1]:.0f} | {late[0]:.0f} / {late[1]:.0f} | '
        f'{last.shed_windows} of {windows} | {last.lost_packets} of {len(stream)} | {cores:.2f}'
    )


def _start(first: Packet, log: Path) -> subprocess.Popen[bytes]:
    """Start perception_node."""
    command = [sys.executable, '-m', 'spikeseg_ros.nodes.perception_node', '--ros-args']
    for name, value in (
        ('events_topic', '/bench/events'),
        ('sensor_width', first.width),
        ('sensor_height', first.height),
    ):
        command += ['-p', f'{name}:={value}']
    with log.open('wb') as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)


def _publish(client: Any, publisher: Any, prepared: list[Any]) -> list[int]:
    """Publish at real speed and return the steady-clock times [ns]."""
    import rclpy

    sent = []
    due = time.monotonic_ns()
    for message in prepared:
        while (left := due - time.monotonic_ns()) > 0:
            rclpy.spin_once(client, timeout_sec=left / 1e9)
        sent.append(time.monotonic_ns())
        publisher.publish(message)
        due += PACKET_NS
    return sent


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process [s]."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def run(quick: bool = False) -> None:
    """Print the tables."""
    seconds = 4.0 if quick else 20.0
    streams = {}
    print('| sensor | Mev/s | core ms p50 | p99 | real time | objects |')
    print('|---|---|---|---|---|---|')
    for width, height, rate, live in CASES[: 1 if quick else None]:
        stream = packets(width, height, rate, seconds)
        streams[width, height, rate] = stream if live else None
        print(f'| {width}x{height} | {rate:g} | {core(stream)} |', flush=True)
    print('\n| sensor | node ms p50 / p99, first half | second half | shed | lost | cores |')
    print('|---|---|---|---|---|---|')
    for (width, height, _), stream in streams.items():
        if stream is not None:
            print(f'| {width}x{height} | {node(stream)} |', flush=True)
