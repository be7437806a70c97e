# SPDX-License-Identifier: Apache-2.0
"""Latency of a frame through MFS-Seg style networks, and what it costs in spikes and energy.

``python -m bench segmentation [--quick]``. One frame, one thread of torch; on a GPU where there is
one. Medians of runs that take turns, so that other load meets both.

* plain: the definition, step by step: modules with batch normalisation, neurons of separate
  torch operations, the whole network once for each time step.
* ours: `compiled`: folded, time in the batch, one pass of memory for each layer of neurons,
  channels last; on a GPU as a graph, also with convolutions in float16. The tests hold both equal
  in float64.

The packaged network sees CamVid where it lies beside the repository, else a drawn picture. Other
weights are random with a normalisation that has seen noise: speed does not depend on them, rates
and energy do. 'events' segments a window of 5 frames of events, with the potentials carried on.
"""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import torch
from torch import Tensor, nn

from spikeseg_ros.evaluation.segmentation import as_input
from spikeseg_ros.memory import keep_freed_memory
from spikeseg_ros.models.compiled import compiled
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_blocks import Pass, Unit
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg
from spikeseg_ros.models.weights import find_weights
from spikeseg_ros.spiking.energy import measure_energy
from spikeseg_ros.spiking.surrogate import SurrogateParams

if TYPE_CHECKING:
    from collections.abc import Callable

Size = tuple[int, int]
FULL: tuple[Size, ...] = ((360, 480), (480, 640))
CAMVID = Path(__file__).resolve().parents[2] / 'shared/data/camvid/test/images'
EVENTS: dict[str, Any] = {'events': True, 'input_channels': 2}
EVENT_STEPS = 5


class Case(NamedTuple):
    """A row for each of some sizes."""

    name: str
    preset: str
    changes: dict[str, Any]
    sizes: tuple[Size, ...]
    repetitions: int


# The published skeleton would take many seconds at full size.
CASES = (
    Case('packaged', '', {}, FULL, 15),
    Case('small', 'small', {}, FULL, 9),
    Case('base lif T=5', 'base', {'neuron': 'lif', 'steps': 5}, FULL[:1], 3),
    Case('events', 'base', EVENTS, ((260, 346),), 5),
    Case('literal_integer', 'literal_integer', {}, ((180, 240),), 3),
    Case('literal', 'literal', {}, ((180, 240),), 3),
)
CALIBRATION = (96, 128)
# The first passes get their memory from the system.
WARM_UP = 3


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


def step_loop(network: MfsSeg, x: Tensor) -> Tensor:
    """Run the network once for each time step, carrying the states; return the mean logits."""
    frames = list(x) if x.ndim == 5 else [x] * network.config.steps
    state, total = None, None
    for frame in frames:
        output = network(frame.unsqueeze(0), state, keep=len(frames) > 1)
        state = output.potentials or None
        total = output.logits[-1] if total is None else total + output.logits[-1]
    assert total is not None
    return total / len(frames)


def calibrated(name: str, **changes: Any) -> MfsSeg:
    """Return a network of a preset whose normalisation has seen noise."""
    torch.manual_seed(1)
    network = MfsSeg(preset(name, **changes)).train()
    noise = [noise_for(network, CALIBRATION, 2) for _ in range(4)]
    with torch.no_grad():
        network(noise[0])
        for module in network.modules():
            if isinstance(module, Unit) and module.bn is not None:
                module.bn.momentum = 0.5
        for x in noise[1:]:
            network(x)
    return network.eval()


def noise_for(network: MfsSeg, size: Size, batch: int = 1) -> Tensor:
    """Return noise as images, or a few events per hundred pixels as event frames."""
    config = network.config
    if not config.events:
        return torch.randn(batch, config.input_channels, *size)
    shape = (EVENT_STEPS, batch, config.input_channels, *size)
    return network.spikes(torch.poisson(torch.full(shape, 0.05)))


def picture(size: Size) -> np.ndarray:
    """Return a street of CamVid, or a drawn one: sky, walls, road, a few boxes."""
    import cv2

    files = sorted(CAMVID.glob('*.[jp][pn]g'))
    if files:
        return np.ascontiguousarray(cv2.imread(str(files[0]))[..., ::-1])
    rng = np.random.default_rng(5)
    image = np.full((*size, 3), (150, 180, 220), np.uint8)
    height, width = size
    image[height // 3 :] = (110, 90, 80)
    image[height * 2 // 3 :] = (90, 90, 95)
    for _ in range(12):
        y, x = rng.integers(height // 3, height), rng.integers(0, width)
        image[y : y + height // 8, x : x + width // 10] = rng.integers(0, 256, 3)
    noisy = image + rng.normal(0, 6, image.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8)


def in_turns(functions: list[Callable[[], object]], repetitions: int) -> list[float]:
    """Return the median time of each function [ms], after some calls to warm up."""
    times: list[list[float]] = [[] for _ in functions]
    for number in range(repetitions + WARM_UP):
        for function, found in zip(functions, times, strict=True):
            begin = time.perf_counter()
            function()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if number >= WARM_UP:
                found.append(time.perf_counter() - begin)
    return [1000 * median(found) for found in times]


def spikes_of(network: MfsSeg, x: Tensor) -> float:
    """Return the spikes of all neurons for a frame; a count of k is k spikes."""
    total = 0.0

    def count(layer: nn.Module, _: object, spikes: Tensor) -> None:
        nonlocal total
        assert isinstance(layer.params, SurrogateParams)
        total += float(spikes.sum(dtype=torch.float64)) * layer.params.sub_steps

    handles = [layer.register_forward_hook(count) for layer in network.neuron_layers()]
    network(x)
    for handle in handles:
        handle.remove()
    return total


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    gpu = torch.cuda.is_available()
    device = torch.device('cuda' if gpu else 'cpu')
    more = f' {"float16":>9}  gain' if gpu else ''
    print(
        f'{"network":<16} {"size":>9} {"plain":>9} {"ours":>9}  gain{more} {"M spikes":>9} '
        f'{"M MAC":>7} {"M AC":>7} {"mJ":>6}   ({device.type})'
    )
    for case in CASES[:2] if quick else CASES:
        if case.preset:
            network = calibrated(case.preset, **case.changes)
        else:
            network = load_mfs_seg(find_weights('', 'mfs_seg')).network
        for size in case.sizes[:1] if quick else case.sizes:
            row(
                case, network.to(device), size, device, max(1, case.repetitions // (1 + 2 * quick))
            )


def row(case: Case, network: MfsSeg, size: Size, device: torch.device, repetitions: int) -> None:
    """Print one row."""
    gpu, events = device.type == 'cuda', network.config.events
    with torch.inference_mode():
        x = as_input(network, picture(size), size) if not case.preset else noise_for(network, size)
        x = x.to(device)
        plain = plain_of(network)
        ready = compiled(network, x, keep=events)
        state = ready(x).state or None
        functions: list[Callable[[], object]] = [
            lambda: step_loop(plain, x),
            lambda: ready(x, state),
        ]
        if gpu:
            half = compiled(network, x, keep=events, half=True)
            functions.append(lambda: half(x, state))
        slow, *fast = in_turns(functions, repetitions)
        spikes = spikes_of(ready.network, x)
    energy = measure_energy(ready.network, [x])
    times = ' '.join(f'{item:>6.1f} ms {slow / item:>5.2f}' for item in fast)
    print(
        f'{case.name:<16} {size[0]:>4}x{size[1]:<4} {slow:>6.1f} ms {times} {spikes / 1e6:>9.2f} '
        f'{energy.macs / 1e6:>7.1f} {energy.acs / 1e6:>7.0f} {energy.millijoule:>6.2f}',
        flush=True,
    )
