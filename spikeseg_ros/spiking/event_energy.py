# SPDX-License-Identifier: Apache-2.0
"""Energy of a network that runs from spike to spike: its spikes times what each of them causes.

All inputs are spikes, events included, so there are accumulates only. A spike of a convolution
is counted whether the pool behind it lets it pass or not, and weights beyond the border are
counted as if padded: the numbers are upper bounds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.spiking.energy_report import AC_PICOJOULE, EnergyReport, LayerEnergy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikeseg_ros.spiking.trace import SpikeTrace

SOURCES = ('input', 'conv1', 'conv2')
LAYERS = ('conv1', 'conv2', 'conv3')


def spike_fan_out(kernels: Sequence[int], channels: Sequence[int]) -> dict[str, int]:
    """Return the accumulates that one spike of a layer causes in the next one.

    Args:
        kernels: Kernel sizes of conv1, conv2, conv3.
        channels: Their channels out.
    """
    return {
        source: kernel**2 * count
        for source, kernel, count in zip(SOURCES, kernels, channels, strict=True)
    }


def spike_energy(spikes: Mapping[str, float], fan_out: Mapping[str, int]) -> dict[str, float]:
    """Return 'macs', 'acs' and 'millijoule' of a window.

    Args:
        spikes: Spikes by the layer that sent them.
        fan_out: Accumulates that one spike of a layer causes.
    """
    acs = float(sum(spikes.get(name, 0) * fan for name, fan in fan_out.items()))
    return {'macs': 0.0, 'acs': acs, 'millijoule': acs * AC_PICOJOULE * 1e-9}


def trace_report(traces: Sequence[SpikeTrace]) -> EnergyReport:
    """Return what each convolution did for one window.

    Args:
        traces: Records of the window, one for each scale; the scales are added up.
    """
    geometry = traces[0].geometry
    fan_out = spike_fan_out(geometry.conv_kernels, geometry.channels[1:])
    layers = []
    for number, (name, source) in enumerate(zip(LAYERS, SOURCES, strict=True)):
        seen = [(trace.inputs, trace.pool1, trace.pool2)[number] for trace in traces]
        size = sum(item.size for item in seen)
        spikes = sum(trace.counts[source] for trace in traces)
        active = sum(int(np.count_nonzero(item)) for item in seen)
        layers.append(
            LayerEnergy(
                name,
                float(size * fan_out[source]),
                spikes / size if size else 0.0,
                active / size if size else 0.0,
            )
        )
    return EnergyReport(tuple(layers))
