# SPDX-License-Identifier: Apache-2.0
"""HULK, ms for N class spikes on one core: full-frame definition against ours.

``python -m bench hulk [--quick]``. Peers, with equal masks and hashes:

* full frame: the definition in torch; for every class spike transposed convolutions and
  unpooling over the whole frame. Mode 'weights': one pass through the decoder. Mode 'causal': one
  pass per step whose spikes can be causes (those in [since, step] of the class spike), batched
  over the steps, gated by what fired and by the charge starts.
* ours: HULKDecoder.instances_from_trace: masks, boxes and hashes of all N spikes.

The cost of the full frame per spike does not depend on N: it is the mean over some spikes of the
whole window (column 'spikes timed'), times N. All times are the better of two runs. Input: the
'active' window of bench_encoder through the default network with weights as sparse as after
learning (15% of the conv2 and 5% of the conv3 weights near 1) and class neurons that fire
repeatedly.
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import torch
from torch.nn.functional import conv_transpose2d

from bench.bench_encoder import SIZES, events
from spikeseg_ros.algorithms import ActiveSpikeHash, HULKDecoder
from spikeseg_ros.models.encoder import EncoderConfig, SpikeSEGEncoder
from spikeseg_ros.models.event_encoder import EventDrivenEncoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.spiking.trace import SpikeTrace

COUNTS = (10, 100, 1000)


def channels_first(values: NDArray[np.uint8]) -> torch.Tensor:
    """Return (T, H, W, C) as a contiguous tensor (T, C, H, W)."""
    return torch.from_numpy(values).permute(0, 3, 1, 2).contiguous()


class FullFrame:
    """The definition of HULK over whole frames."""

    def __init__(self, trace: SpikeTrace, weights: tuple[NDArray[np.float32], ...]) -> None:
        self.trace = trace
        self.weights = [torch.from_numpy(w) for w in weights]
        self.connected = [(w > 0.5).float() for w in self.weights]
        self.pads = [w.shape[-1] // 2 for w in self.weights]
        self.fired = [channels_first((v != 0).astype(np.uint8)).bool() for v in self._pools()]
        self.since = [channels_first(values) for values in (trace.pool1_since, trace.pool2_since)]
        sizes = ((trace.geometry.height, trace.geometry.width), trace.geometry.pool1_size)
        self.sizes = sizes
        self.index = [
            self._flat(channels_first(values), pool, sizes[pool][1])
            for pool, values in enumerate(self._pools()[1:])
        ]

    def _pools(self) -> tuple[NDArray[np.uint8], ...]:
        return self.trace.inputs, self.trace.pool1, self.trace.pool2

    def _flat(self, offsets: torch.Tensor, pool: int, width: int) -> torch.Tensor:
        """Return flat winner positions, (T, C, H', W'), of a silent window its first cell."""
        geometry = self.trace.geometry
        kernel, stride = geometry.pool_kernels[pool], geometry.pool_strides[pool]
        offset = (offsets.long() - 1).clamp(min=0)
        rows = torch.arange(offsets.shape[2]).view(-1, 1) * stride + offset // kernel
        columns = torch.arange(offsets.shape[3]) * stride + offset % kernel
        return rows * width + columns

    def _unpool(self, values: torch.Tensor, index: torch.Tensor, pool: int) -> torch.Tensor:
        """Write values to the winners' places; of several the largest stays."""
        height, width = self.sizes[pool]
        flat = torch.zeros(*values.shape[:2], height * width, dtype=values.dtype)
        flat.scatter_reduce_(2, index.flatten(2), values.flatten(2), 'amax')
        return flat.view(*values.shape[:2], height, width)

    def _one_hot(self, spike: int) -> tuple[torch.Tensor, int, int]:
        """Return the class map of one spike, its step and the first step of its charge."""
        classes, geometry = self.trace.classes, self.trace.geometry
        one = torch.zeros(1, geometry.channels[3], *geometry.pool2_size)
        one[0, classes.class_id[spike], classes.y[spike], classes.x[spike]] = 1
        return one, int(classes.step[spike]), int(classes.since[spike])

    def by_weights(self, spike: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mask (H, W) and hash (F, T) of a spike, through the weights alone."""
        one, step, _ = self._one_hot(spike)
        active2 = (conv_transpose2d(one, self.weights[2], padding=self.pads[2]) > 0.5).float()
        conv2 = self._unpool(active2, self.index[1][step : step + 1], 1)
        active1 = (conv_transpose2d(conv2, self.weights[1], padding=self.pads[1]) > 0.5).float()
        conv1 = self._unpool(active1, self.index[0][step : step + 1], 0)
        pixels = conv_transpose2d(conv1, self.weights[0], padding=self.pads[0]) > 0
        rows = [part.amax(dim=(2, 3))[0] > 0 for part in (conv1, conv2, one)]
        matrix = torch.zeros(sum(len(row) for row in rows), self.trace.steps, dtype=torch.bool)
        matrix[:, step] = torch.cat(rows)
        return pixels[0].any(dim=0), matrix

    def causal(self, spike: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mask (H, W) and hash (F, T) of a spike, from what fired."""
        one, last, first = self._one_hot(spike)
        reach = conv_transpose2d(one, self.connected[2], padding=self.pads[2]) > 0
        pool2 = reach & self.fired[2][first : last + 1]
        rows2 = pool2.amax(dim=(2, 3))
        pool1, begin1 = self._causes(pool2, first, 1)
        rows1 = pool1.amax(dim=(2, 3))
        pixels, _ = self._causes(pool1, begin1, 0)
        maps1, maps2 = rows1.shape[1], rows2.shape[1]
        matrix = torch.zeros(maps1 + maps2 + one.shape[1], self.trace.steps, dtype=torch.bool)
        matrix[:maps1, begin1 : begin1 + len(rows1)] = rows1.T
        matrix[maps1 : maps1 + maps2, first : last + 1] = rows2.T
        matrix[maps1 + maps2 + int(self.trace.classes.class_id[spike]), last] = True
        return pixels.any(dim=1).any(dim=0), matrix

    def _causes(self, spikes: torch.Tensor, begin: int, pool: int) -> tuple[torch.Tensor, int]:
        """Return the spikes in front of a layer that caused pooled spikes, and their first step.

        Args:
            spikes: Pooled spikes that count, (n, C, H', W'), of the steps begin .. begin + n - 1.
            begin: Their first step.
            pool: Which pool they passed.
        """
        steps = slice(begin, begin + len(spikes))
        # since + 1 where a spike counts, 0 elsewhere: the spike reaches back to step since.
        marks = torch.where(spikes, self.since[pool][steps] + 1, 0).to(torch.uint8)
        if not spikes.any():
            return torch.zeros_like(self.fired[pool][steps]), begin
        start = int(marks[marks > 0].min()) - 1
        unpooled = self._unpool(marks, self.index[pool][steps], pool)
        sources = torch.stack(
            [
                ((part := unpooled[max(0, t - begin) :]).bool() & (part <= t + 1)).any(dim=0)
                for t in range(start, begin + len(spikes))
            ]
        )
        reach = conv_transpose2d(sources.float(), self.connected[pool], padding=self.pads[pool])
        return (reach > 0) & self.fired[pool][start : begin + len(spikes)], start


def network() -> SpikeSEGEncoder:
    """Return the default network with sparse weights and class neurons that fire repeatedly."""
    config = EncoderConfig.from_paper('default')
    config = replace(config, conv3=replace(config.conv3, fire_once=False))
    encoder = SpikeSEGEncoder(config)
    rng = np.random.default_rng(1)
    for name, share in (('conv2', 0.15), ('conv3', 0.05)):
        ones = rng.random(tuple(getattr(encoder, name).weight.shape)) < share
        encoder.set_weights(**{name: np.where(ones, 0.95, 0.03)})
    encoder.set_threshold('conv2', 5.0, 0.5)
    encoder.set_threshold('conv3', 15.0)
    return encoder


def run(quick: bool = False) -> None:
    """Print the table."""
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    encoder = network()
    fast = EventDrivenEncoder.from_encoder(encoder)
    hulk = HULKDecoder.from_encoder(encoder)
    print(f'torch {torch.__version__}, numpy {np.__version__}, 1 thread')
    print(
        '| size | mode | N | spikes timed | full frame ms/spike | full frame ms | ours ms '
        '| ours us/spike | full frame / ours |'
    )
    print('|---|---|---|---|---|---|---|---|---|')
    for height, width, count in SIZES[: 1 if quick else 3]:
        trace, _ = fast.encode(events('active', height, width, count, seed=7))
        frame = FullFrame(trace, encoder.weights)
        for mode in ('causal', 'weights'):
            decode = frame.causal if mode == 'causal' else frame.by_weights
            timed = 3 if quick or (mode == 'causal' and height > 260) else 10
            whole = hulk.instances_from_trace(trace, mode=mode, keep_empty=True)
            # Spread over the window: late spikes have more steps of causes.
            chosen = np.linspace(0, len(whole) - 1, timed).astype(int)
            cost = 0.0
            for spike in chosen:
                times = []
                for _ in range(2):
                    begin = time.perf_counter()
                    mask, matrix = decode(int(spike))
                    times.append(time.perf_counter() - begin)
                cost += min(times)
                one = whole.select(np.array([spike]))
                assert np.array_equal(mask.numpy(), one.union_mask())
                ash = ActiveSpikeHash.from_words(one.words[0], one.n_features, one.steps)
                assert np.array_equal(matrix.numpy(), ash.matrix)
            each = 1e3 * cost / timed
            for number in COUNTS:
                assert len(whole) >= number
                times = []
                for _ in range(2):
                    begin = time.perf_counter()
                    batch = hulk.instances_from_trace(trace, number, mode=mode)
                    times.append(time.perf_counter() - begin)
                assert batch.n_spikes - batch.n_dropped == number
                ours = 1e3 * min(times)
                print(
                    f'| {width}x{height} | {mode} | {number} | {timed} | {each:.1f} '
                    f'| {each * number:.0f} | {ours:.2f} | {1e3 * ours / number:.0f} '
                    f'| {each * number / ours:.0f} |',
                    flush=True,
                )
