# SPDX-License-Identifier: Apache-2.0
"""Energy of a network that runs from spike to spike: numbers computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.spikeseg import SpikeSegSegmenter
from spikeseg_ros.spiking.event_energy import spike_energy, spike_fan_out, trace_report
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

NONE = np.empty(0, np.int32)
NOBODY = ClassSpikes(NONE, NONE, NONE, NONE, np.empty(0, np.float32), NONE)


def trace_of(height: int, width: int, spikes: dict[str, int], passed: int) -> SpikeTrace:
    geometry = ChainGeometry(height, width, (2, 4, 36, 1))
    pool1 = np.zeros((3, *geometry.pool1_size, 4), np.uint8)
    pool1.reshape(-1)[:passed] = 4
    pool2 = np.zeros((3, *geometry.pool2_size, 36), np.uint8)
    inputs = np.zeros((3, height, width, 2), np.uint8)
    inputs.reshape(-1)[: spikes['input']] = 1
    return SpikeTrace(geometry, 3, inputs, pool1, pool1, pool2, pool2, NOBODY, spikes)


def test_spikes_times_fan_out() -> None:
    fan_out = spike_fan_out((5, 5, 7), (4, 36, 1))
    assert fan_out == {'input': 100, 'conv1': 900, 'conv2': 49}
    found = spike_energy({'input': 3, 'conv1': 2, 'conv3': 9, 'dropped': 5}, fan_out)
    assert found == {'macs': 0, 'acs': 2100, 'millijoule': pytest.approx(1890e-9)}


def test_layers_of_a_window_computed_by_hand() -> None:
    traces = [
        trace_of(16, 20, {'input': 30, 'conv1': 6, 'conv2': 2, 'conv3': 1}, passed=5),
        trace_of(8, 10, {'input': 10, 'conv1': 1, 'conv2': 0, 'conv3': 0}, passed=1),
    ]
    report = trace_report(traces)
    assert [layer.name for layer in report.layers] == ['conv1', 'conv2', 'conv3']
    # A dense layer: 3 steps of both scales; each output reads kernel ** 2 * channels in.
    conv1 = 3 * (16 * 20 + 8 * 10) * 4 * 2 * 25
    conv2 = 3 * (8 * 10 + 4 * 5) * 36 * 4 * 25
    conv3 = 3 * (4 * 5 + 2 * 2) * 1 * 36 * 49
    assert [layer.macs for layer in report.layers] == [conv1, conv2, conv3]
    assert [layer.acs for layer in report.layers] == pytest.approx([40 * 100, 7 * 900, 2 * 49])
    assert report.layers[1].active == pytest.approx(6 / (3 * (80 + 20) * 4))
    assert report.macs == 0
    assert report.millijoule == pytest.approx((4000 + 6300 + 98) * 0.9e-9)


def test_one_event_in_the_middle_reaches_the_kernel_of_every_map() -> None:
    values = {'device': 'cpu', 'spikeseg.scales': 1, 'events.egomotion': False}
    segmenter = SpikeSegSegmenter(from_flat(values))
    one = np.array([20])
    events = Events(
        one.astype(np.uint16), one.astype(np.uint16), np.ones(1, np.uint8), np.array([1000])
    )
    window = EventWindow(events, 0, 50_000_000, 50_000_000, 64, 48)
    report = trace_report(segmenter.prepare(window, None)[0].traces)
    # 5 x 5 weights of 4 maps; one spike is far from the threshold of 10.
    assert [layer.acs for layer in report.layers] == [pytest.approx(100), 0, 0]
    result, _ = segmenter.segment(window, segmenter.initial_state())
    assert spike_energy(result.spikes, segmenter.fan_out)['acs'] == 100
    assert report.layers[0].rate == pytest.approx(1 / (10 * 64 * 48 * 2))
