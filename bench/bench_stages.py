# SPDX-License-Identifier: Apache-2.0
"""One tick by stage: ours beside the plain definition of every stage, on the same window.

``python -m bench stages [--quick]``. A simulated scene on a DAVIS346-class sensor (346x260) whose
contrast thresholds are set so that it gives about 1 million events per second. One thread.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np

from spikeseg_ros.algorithms.smash import smash_matrix_pairs
from spikeseg_ros.events import EventDecoder, EventStream, bin_events, to_tensor
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.spikeseg import SpikeSegSegmenter
from spikeseg_ros.simulation import SensorConfig, demo_scene, simulate_scene
from spikeseg_ros.simulation.bag import packets
from spikeseg_ros.spiking.unravel import unravel_dense

if TYPE_CHECKING:
    from spikeseg_ros.events import EventWindow, Packet
    from spikeseg_ros.perception.result import Result

WIDTH, HEIGHT = 346, 260
WINDOW = 50_000_000
PACKET = 4_000_000


def stream(rate: float, seconds: float) -> tuple[list[Packet], float]:
    """Return packets of a moving scene with about `rate` events/s, and the rate reached."""
    scene = demo_scene(WIDTH, HEIGHT, seconds)
    sensor = SensorConfig(WIDTH, HEIGHT, noise_hz=1.0)
    for _ in range(6):
        recording = simulate_scene(scene, seconds, sensor, rate_hz=300, camera_hz=0)
        reached = len(recording.events) / seconds
        if abs(reached / rate - 1) < 0.1:
            break
        threshold = min(1.0, max(0.02, sensor.threshold_on * reached / rate))
        sensor = replace(sensor, threshold_on=threshold, threshold_off=threshold)
    return [packet for _, packet in packets(recording, 10**18, PACKET)], reached


def plain_stages(
    made: list[Packet], segmenter: SpikeSegSegmenter, window: EventWindow, result: Result
) -> dict[str, float]:
    """Return seconds by stage of the plain definitions on one window.

    HULK is timed on three spikes and SMASH on at most 60 instances, scaled to all of them.
    """
    seconds: dict[str, float] = {}
    decoder = EventDecoder('evt3', WIDTH, HEIGHT, reference=True)
    begin = time.perf_counter()
    for packet in made[-round(WINDOW / PACKET) :]:
        decoder.decode(packet.payload)
    seconds['decode, window'] = time.perf_counter() - begin
    begin = time.perf_counter()
    spikes = bin_events(
        window.events, window.t_start, window.t_end, 10, HEIGHT, WIDTH, reference=True
    )
    seconds['bin'] = time.perf_counter() - begin
    begin = time.perf_counter()
    segmenter.encoder(to_tensor(spikes), stepwise=True)
    seconds['encoder'] = time.perf_counter() - begin
    trace, _ = segmenter._encode(spikes, None, 0)
    some = range(min(3, len(trace.classes)))
    begin = time.perf_counter()
    for spike in some:
        unravel_dense(trace, segmenter.hulk.weights, [spike])
    seconds['hulk'] = (time.perf_counter() - begin) / max(1, len(some)) * len(result.instances)
    part = list(result.instances[:60])
    begin = time.perf_counter()
    smash_matrix_pairs(part)
    pairs = max(1, len(part) * (len(part) + 1) // 2)
    count = len(result.instances)
    seconds['objects'] = (time.perf_counter() - begin) / pairs * count * (count + 1) / 2
    return seconds


def run(quick: bool = False) -> None:
    """Print a table for the documented grouping rule, whose stages have peers, and for ours."""
    made, reached = stream(1e6, 2.0 if quick else 6.0)
    for linkage in ('threshold', 'coherence'):
        measure(made, reached, linkage)


def measure(made: list[Packet], reached: float, linkage: str) -> None:
    """Print the table of one grouping rule."""
    segmenter = SpikeSegSegmenter(from_flat({'device': 'cpu', 'objects.linkage': linkage}))
    segmenter.warm_up(WIDTH, HEIGHT)
    source = EventStream(duration_ns=WINDOW)
    state = segmenter.initial_state()
    costs: dict[str, list[float]] = {}
    waiting, last, spikes = 0.0, None, []
    for packet in made:
        begin = time.perf_counter()
        source.push(packet)
        ready = source.poll(0)
        waiting += time.perf_counter() - begin
        for window in ready:
            result, state = segmenter.segment(window, state)
            row = {'decode, window': waiting, **result.timings}
            row['total'] = sum(row.values())
            waiting = 0.0
            for name, value in row.items():
                costs.setdefault(name, []).append(value)
            spikes.append(result.spikes)
            last = window, result
    assert last is not None
    plain = {}
    if linkage == 'threshold':
        plain = plain_stages(made, segmenter, *last)
        plain['total'] = sum(plain.values())
    mean = {name: round(np.mean([row[name] for row in spikes])) for name in spikes[0]}
    size = f'{WIDTH}x{HEIGHT}, {reached / 1e6:.2f} Mev/s, {len(spikes)} windows of 50 ms'
    print(f'\nlinkage {linkage}, {size}')
    print(f'mean spikes of a window: {mean}\n')
    print('| stage | median ms | p90 ms | last window ms | plain definition ms | ratio |')
    print('|---|---|---|---|---|---|')
    for name, values in costs.items():
        middle, high = np.percentile(values, (50, 90))
        peer = plain.get(name)
        text = f'{1e3 * peer:.0f} | {peer / values[-1]:.0f}x' if peer else ' | '
        print(
            f'| {name} | {1e3 * middle:.2f} | {1e3 * high:.2f} | {1e3 * values[-1]:.2f} | {text} |'
        )
