# SPDX-License-Identifier: Apache-2.0
"""Encoder, ms for a window of 10 steps on one core: dense loops against the event-driven one.

``python -m bench encoder [--quick]``. Peers, all with the same weights and equal spikes:

* step loop: the shortest dense loop in torch (convolution, neuron, pool with indices for each
  step), without the record of charge starts that the others keep.
* folded: our dense path, time folded into the batch.
* event-driven: our kernel, from spike to spike.

Inputs: 'active' = moving textured blobs over noise; 'quiet' = sensor noise of the rate of a real
recording with nothing moving (0.25 Hz for each pixel); 'noise' = as many events as in 'active',
spread evenly. Weights as STDP leaves them: 15% of conv2 and 5% of conv3 near 1, the rest near 0.
"""

from __future__ import annotations

import ctypes
import dataclasses
import os
import sys
import time
import warnings
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')
if sys.platform == 'linux':
    # Keep freed memory: without it the dense peers lose a third of their time to page faults.
    libc = ctypes.CDLL(None)
    libc.mallopt(-3, 1 << 30)
    libc.mallopt(-1, (1 << 31) - 1)

import numpy as np
import torch
import torch.nn.functional as F

from spikeseg_ros.models.encoder import (
    EncoderConfig,
    LayerConfig,
    SpikeSEGEncoder,
    trace_from_output,
)
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.spiking.neurons import strongest_map

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

STEPS = 10
SIZES = ((260, 346, 40_000), (480, 640, 97_000), (720, 1280, 224_000))
QUIET_RATE = 0.25 * 0.05
CASES = (
    ('default', ('active', 'quiet', 'noise'), 3),
    ('no competition', ('active', 'noise'), 2),
    ('literal', ('noise',), 3),
)


def events(kind: str, height: int, width: int, count: int, seed: int) -> NDArray[np.uint8]:
    """Return input spikes of shape (T, H, W, 2)."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((STEPS, height, width, 2), np.uint8)
    uniform = {'active': count // 4, 'noise': count, 'quiet': int(QUIET_RATE * height * width)}
    index = rng.integers(0, frames.size, uniform[kind])
    frames.reshape(-1)[index] = 1
    if kind == 'active':
        _add_blobs(frames, count - uniform[kind], rng)
    return frames


def _add_blobs(frames: NDArray[np.uint8], count: int, rng: np.random.Generator) -> None:
    """Add events on the edges of moving discs, one polarity in front, the other behind."""
    _, height, width, _ = frames.shape
    blobs = max(4, height * width // 15_000)
    centres = rng.uniform((20, 20), (height - 20, width - 20), (blobs, 2))
    speeds = rng.normal(0, 0.8, (blobs, 2))
    each = count // (blobs * STEPS)
    for t in range(STEPS):
        for centre, speed in zip(centres, speeds, strict=True):
            angle = rng.uniform(0, 2 * np.pi, each)
            radius = 14 + rng.normal(0, 1.0, each)
            edge = np.stack((np.sin(angle), np.cos(angle)), 1)
            y, x = (centre + speed * t + radius[:, None] * edge).astype(int).T
            ahead = (edge @ speed > 0).astype(int)
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            frames[t, y[inside], x[inside], ahead[inside]] = 1


def network(kind: str) -> SpikeSEGEncoder:
    """Return a network with weights as sparse as after learning.

    Args:
        kind: 'default' (with competition in conv2), 'no competition', or 'literal' (the numbers
            of the encoder document, on which conv1 stays silent).
    """
    config = EncoderConfig.from_paper('default')
    if kind == 'no competition':
        config = dataclasses.replace(config, conv2=LayerConfig(36, 5, 20.0, 2.0))
    if kind == 'literal':
        config = EncoderConfig.from_paper('igarss2023', input_channels=2)
    encoder = SpikeSEGEncoder(config)
    generator = torch.Generator().manual_seed(1)
    for name, share in (('conv2', 0.15), ('conv3', 0.05)):
        shape = getattr(encoder, name).weight.shape
        ones = torch.rand(shape, generator=generator) < share
        encoder.set_weights(**{name: torch.where(ones, 0.95, 0.03)})
    if kind == 'default':
        encoder.set_threshold('conv2', 5.0, 0.5)
    if kind != 'literal':
        encoder.set_threshold('conv3', 15.0)
    return encoder


def step_loop(x: torch.Tensor, encoder: SpikeSEGEncoder) -> list[int]:
    """Run the shortest dense loop; return the number of spikes of each layer."""
    params = encoder.params()
    geometry = encoder.geometry(*x.shape[-2:])
    sizes = ((geometry.height, geometry.width), geometry.pool1_size, geometry.pool2_size)
    state = [
        torch.zeros(1, channels, *size)
        for channels, size in zip(geometry.channels[1:], sizes, strict=True)
    ]
    fired = torch.zeros_like(state[2], dtype=torch.bool)
    counts = [0, 0, 0]
    kept = []
    for frame in x:
        spikes = frame
        for number, weight in enumerate(params.weights):
            neurons = params.neurons[number]
            theta = neurons.threshold.view(1, -1, 1, 1)
            leak = neurons.leak.view(1, -1, 1, 1)
            current = F.conv2d(spikes, weight, padding=weight.shape[-1] // 2)
            v = state[number].add_(current).sub_(leak).clamp_(min=0)
            fires = v >= theta
            reset = fires
            if neurons.competition:
                fires = strongest_map(fires, v, neurons.threshold)
                reset = fires.any(dim=1, keepdim=True)
            if neurons.fire_once:
                fires = fires & ~fired
                fired |= fires
            strength = v * fires
            v.masked_fill_(reset, 0)
            counts[number] += int(fires.sum())
            if number < 2:
                kernel, stride = params.pool_kernels[number], params.pool_strides[number]
                pooled, index = F.max_pool2d(strength, kernel, stride, return_indices=True)
                kept.append(index)
                spikes = (pooled > 0).float()
    return counts


def best_ms(call: Callable[[], object], repeats: int) -> float:
    """Return the shortest of several runs [ms]."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return 1e3 * min(times)


def run(quick: bool = False) -> None:
    """Print the table."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    repeats = 2 if quick else 3
    print(f'torch {torch.__version__}, numpy {np.__version__}, 1 thread, best of {repeats}')
    print(
        '| network | size | input | spikes input / conv1 / conv2 / conv3 | step loop ms '
        '| folded ms | event-driven ms | step loop / event-driven |'
    )
    print('|---|---|---|---|---|---|---|---|')
    for kind, inputs, sizes in CASES:
        encoder = network(kind)
        fast = EventDrivenEncoder.from_encoder(encoder)
        for height, width, count in SIZES[: 1 if quick else sizes]:
            for name in inputs:
                row = measure(encoder, fast, events(name, height, width, count, seed=7), repeats)
                print(f'| {kind} | {width}x{height} | {name} | {row}', flush=True)


def measure(
    encoder: SpikeSEGEncoder,
    fast: EventDrivenEncoder,
    frames: NDArray[np.uint8],
    repeats: int,
) -> str:
    """Check that all peers agree, time them and return the cells of one row."""
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).unsqueeze(1).float().contiguous()
    trace, _ = fast.encode(frames)
    found = list(trace.counts.values())
    assert step_loop(x, encoder) == found[1:]
    assert np.array_equal(trace_from_output(encoder(x)).pool2, trace.pool2)
    loop = best_ms(lambda: step_loop(x, encoder), repeats)
    dense = best_ms(lambda: encoder(x), repeats)
    ours = best_ms(lambda: fast.encode(frames), repeats + 3)
    spikes = ' / '.join(str(number) for number in found)
    return f'{spikes} | {loop:.0f} | {dense:.0f} | {ours:.1f} | {loop / ours:.1f} |'
