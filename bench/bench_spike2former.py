# SPDX-License-Identifier: Apache-2.0
"""Latency of a frame of 512 x 512 through Spike2Former, on the CPU and, where there is one, a GPU.

``python -m bench spike2former [--quick]``. One image, random weights with a normalisation that
has seen noise.

* plain: the published evaluation: masks of all layers, unfolded, attention in the order
  (q k^T) v, neurons of separate torch operations, sampling by torch.
* ours: `Spike2Former.folded().logits`: the last masks only, normalisation and RepConv folded,
  attention in linear time, one pass of memory for each layer of neurons, sampling of points with
  spikes only, channels last. The tests hold both equal in float64.
* roofline: the time of the multiply-accumulates that remain, at the rate of a large matrix product
  measured in the same run. Real values throughout: it is no bound for hardware that skips zeros.

On the CPU one thread is measured by its own clock, so that other processes disturb little.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch
from torch import Tensor, nn

from spikeseg_ros.models.compiled import compiled
from spikeseg_ros.models.spike2former import Spike2Former, preset, semantic
from spikeseg_ros.models.spike2former.blocks import SpikeAttention
from spikeseg_ros.models.spike2former.neurons import Neuron
from spikeseg_ros.models.spike2former.sampling import DeformableSum, deformable_sum
from spikeseg_ros.spiking.energy import measure_energy

if TYPE_CHECKING:
    from collections.abc import Callable

FULL, QUICK = ('ade20k_v2', 'ade20k_v3', 'small'), ('small',)
SIZE = (512, 512)
CALIBRATION = (64, 96)


class PlainNeuron(nn.Module):
    """A neuron of separate torch operations."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def forward(self, x: Tensor, run: object) -> Tensor:
        """Return spikes."""
        del run
        v = torch.zeros_like(x) + x
        spikes = torch.round(torch.clamp(v, 0, self.levels))
        v = v - spikes
        return spikes / self.levels


class PlainAttention(nn.Module):
    """An attention that forms the matrix of all pairs of tokens."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return currents; see `SpikeAttention`."""
        pairs = query.transpose(-2, -1) @ key
        return ((pairs * self.scale) @ value.transpose(-2, -1)).transpose(-2, -1).contiguous()


class PlainSum(nn.Module):
    """Deformable sampling by torch."""

    def forward(self, value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        """Return sums; see `deformable_sum`."""
        return deformable_sum(value, offset, weight)


def plain_of(network: Spike2Former) -> Spike2Former:
    """Return a copy of plain modules."""
    result = copy.deepcopy(network)
    for module in list(result.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Neuron):
                setattr(module, name, PlainNeuron(child.levels))
            elif isinstance(child, SpikeAttention):
                setattr(module, name, PlainAttention(child.scale))
            elif isinstance(child, DeformableSum):
                setattr(module, name, PlainSum())
    return result


def plain_logits(network: Spike2Former, image: Tensor) -> Tensor:
    """Segment with the masks of all layers evaluated."""
    output = network(image)
    return semantic(output.class_logits[-1], output.mask_logits[-1], image.shape[2:])


def calibrated(name: str) -> Spike2Former:
    """Return a network of a preset whose normalisation has seen noise."""
    torch.manual_seed(1)
    network = Spike2Former(preset(name)).train()
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.momentum = 1.0
            nn.init.constant_(module.bias, 0.3)
    with torch.no_grad():
        network(torch.randn(2, 3, *CALIBRATION))
    return network.eval()


def medians(
    functions: list[Callable[[], object]], repetitions: int, clock: Callable[[], float]
) -> list[float]:
    """Return the median time of each function [s], called in turns after one to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for turn in range(repetitions + 1):
        for function, kept in zip(functions, times, strict=True):
            begin = clock()
            function()
            if turn:
                kept.append(clock() - begin)
    return [statistics.median(kept) for kept in times]


def gemm_rate(device: str, dtype: torch.dtype, clock: Callable[[], float]) -> float:
    """Return multiply-accumulates in a second of a large matrix product."""
    size = 8192 if device == 'cuda' else 1024
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    (seconds,) = medians([partial(torch.mm, a, b)], 7, clock)
    return float(size**3 / seconds)


def on_gpu(ours: Spike2Former, plain: Spike2Former, image: Tensor, macs: float) -> None:
    """Print the latency on the GPU: plain, and folded in half precision as one CUDA graph."""

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    plain, image = plain.cuda(), image.cuda()
    ready = compiled(ours, image, half=True)
    slow, fast = medians([partial(plain_logits, plain, image), partial(ready, image)], 20, clock)
    roof = macs / gemm_rate('cuda', torch.float16, clock)
    print(
        f'{"":<12} {torch.cuda.get_device_name()}: plain float32 {1e3 * slow:.1f} ms, '
        f'ours float16 {1e3 * fast:.1f} ms, gain {slow / fast:.1f}, roofline {1e3 * roof:.2f} ms'
    )


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rate = gemm_rate('cpu', torch.float32, time.thread_time)
    print(f'matrix product, one thread: {rate / 1e9:.1f} GMAC/s')
    print(f'{"preset":<12} {"plain":>9} {"ours":>9}  gain  {"GMAC":>6}  roofline')
    for name in QUICK if quick else FULL:
        network = calibrated(name)
        plain = plain_of(network)
        ours = network.folded().to(memory_format=torch.channels_last)
        image = torch.randn(1, 3, *SIZE)
        last = image.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            slow, fast = medians(
                [partial(plain_logits, plain, image), partial(ours.logits, last)],
                1 if quick else 3,
                time.thread_time,
            )
            report = measure_energy(ours, [last], ours.logits)
            macs = sum(layer.macs for layer in report.layers)
            print(
                f'{name:<12} {1e3 * slow:>6.0f} ms {1e3 * fast:>6.0f} ms {slow / fast:>5.2f} '
                f'{macs / 1e9:>7.1f} {1e3 * macs / rate:>6.0f} ms',
                flush=True,
            )
            if torch.cuda.is_available():
                on_gpu(ours, plain, last, macs)
