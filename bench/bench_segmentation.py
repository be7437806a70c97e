# SPDX-License-Identifier: Apache-2.0
"""Latency of a frame through MFS-Seg style networks, and what it costs in spikes and energy.

``python -m bench segmentation [--quick]``. One image, one thread of torch.

* plain: the definition, step by step: modules with batch normalisation, neurons of separate
  torch operations, the whole network once for each time step.
* ours: `MfsSeg.folded`, time in the batch, one pass of memory for each layer of neurons,
  channels last. The tests hold both equal in float64.

Weights are random with a normalisation that has seen noise: speed does not depend on them, rates
and energy do; ``spikeseg energy`` measures those of trained weights on real images.
"""

from __future__ import annotations

import copy
import os
import time
from functools import partial
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_blocks import Pass, Unit
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.spiking.energy import measure_energy
from spikeseg_ros.spiking.surrogate import SurrogateParams

if TYPE_CHECKING:
    from collections.abc import Callable

FULL = ((360, 480), (480, 640))
# Preset, sizes and repetitions; the published skeleton would take many seconds at full size.
CASES = (
    ('small', FULL, 15),
    ('base', FULL, 15),
    ('literal_integer', ((180, 240),), 3),
    ('literal', ((180, 240),), 2),
)
CALIBRATION = (96, 128)


class PlainNeurons(nn.Module):
    """Neurons of one step as separate torch operations, with the state in the pass."""

    def __init__(self, params: SurrogateParams, number: int) -> None:
        super().__init__()
        self.params, self.number = params, number

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return the spikes of one step."""
        params = self.params
        before = torch.zeros_like(x) if run.potentials is None else run.potentials[self.number]
        potential = params.decay * before + x
        if params.kind == 'lif':
            spikes = (potential > params.threshold).to(x.dtype)
            run.carried[self.number] = potential * (1 - spikes)
            return spikes
        counts = potential.clamp(0, params.levels).round()
        run.carried[self.number] = potential - counts
        return counts / params.levels


def plain_of(network: MfsSeg) -> MfsSeg:
    """Return a copy whose neurons are plain modules."""
    result = copy.deepcopy(network)
    numbers = {id(layer): layer.number for layer in result.neuron_layers()}
    for module in result.modules():
        for name, child in list(module.named_children()):
            if id(child) in numbers:
                setattr(module, name, PlainNeurons(child.params, numbers[id(child)]))
    return result


def step_loop(network: MfsSeg, image: Tensor) -> Tensor:
    """Run the network once for each time step, carrying the states; return the mean logits."""
    state, total = None, None
    for _ in range(network.config.steps):
        output = network(image.unsqueeze(0), state, keep=network.config.steps > 1)
        state = output.potentials or None
        total = output.logits[-1] if total is None else total + output.logits[-1]
    assert total is not None
    return total / network.config.steps


def calibrated(name: str) -> MfsSeg:
    """Return a network of a preset whose normalisation has seen noise."""
    torch.manual_seed(1)
    network = MfsSeg(preset(name)).train()
    with torch.no_grad():
        network(torch.randn(2, 3, *CALIBRATION))
        for module in network.modules():
            if isinstance(module, Unit) and module.bn is not None:
                module.bn.momentum = 0.5
        for _ in range(3):
            network(torch.randn(2, 3, *CALIBRATION))
    return network.eval()


def best(function: Callable[[], object], repetitions: int) -> float:
    """Return the shortest time of a call [ms] after one to warm up."""
    function()
    times = []
    for _ in range(repetitions):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return 1000 * min(times)


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    print(f'{"preset":<16} {"size":>9} {"plain":>9} {"ours":>9}  gain   M MAC   M AC    mJ')
    for name, sizes, repetitions in CASES[:2] if quick else CASES:
        network = calibrated(name)
        plain = plain_of(network)
        ours = network.folded().to(memory_format=torch.channels_last)
        for size in sizes[:1] if quick else sizes:
            image = torch.randn(1, 3, *size)
            last = image.contiguous(memory_format=torch.channels_last)
            with torch.inference_mode():
                count = max(1, repetitions // 3) if quick else repetitions
                slow = best(partial(step_loop, plain, image), count)
                fast = best(partial(ours, last), count)
            energy = measure_energy(ours, [last])
            print(
                f'{name:<16} {size[0]:>4}x{size[1]:<4} {slow:>6.0f} ms {fast:>6.0f} ms '
                f'{slow / fast:>5.2f} '
                f'{energy.macs / 1e6:>7.1f} {energy.acs / 1e6:>6.0f} {energy.millijoule:>5.2f}',
                flush=True,
            )
