# SPDX-License-Identifier: Apache-2.0
"""What the encoder returns, and its conversion to the record that HULK reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from spikeseg_ros.spiking.pooling import flat_indices
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from spikeseg_ros.models.chain import ChainRecord, EncoderState

MAX_TRACE_STEPS = 255


class TraceError(ValueError):
    """A window cannot be recorded as a trace; the text says why and what to do."""


class PoolingIndices(NamedTuple):
    """Which spike passed each pooling window, step by step.

    Attributes:
        pool1_indices: y * W + x in the map in front of pool1, shape (T, B, C1, H1, W1), int64;
            -1 where the window is silent.
        pool2_indices: Likewise for pool2, shape (T, B, C2, H2, W2).
        pool1_output_size: (B, C1, H, W) of the map that pool1 is unpooled to.
        pool2_output_size: (B, C2, H1, W1) of the map that pool2 is unpooled to.
    """

    pool1_indices: Tensor
    pool2_indices: Tensor
    pool1_output_size: tuple[int, int, int, int]
    pool2_output_size: tuple[int, int, int, int]


@dataclass(frozen=True)
class EncoderOutput:
    """One window through the encoder. Fields beyond the record are computed when asked for.

    Attributes:
        record: Spikes, potentials and charge starts of every layer, compact.
        geometry: Sizes of the chain.
        class_threshold: Thresholds of the class maps, shape (n_classes,).
        input_spikes: The input, shape (T, B, C, H, W), float32.
    """

    record: ChainRecord
    geometry: ChainGeometry
    class_threshold: Tensor
    input_spikes: Tensor

    @property
    def state(self) -> EncoderState:
        """State after the window, to be passed on to the next window of a stream."""
        return self.record.state

    @cached_property
    def classification_spikes(self) -> Tensor:
        """Spikes of conv3, shape (T, B, n_classes, H2, W2), float32."""
        return self.record.conv3.spikes.float()

    @cached_property
    def layer_spikes(self) -> dict[str, Tensor]:
        """Spikes of conv1, pool1, conv2, pool2, conv3, each (T, B, C, H, W), float32."""
        return {
            'conv1': self.record.conv1.spikes.float(),
            'pool1': self.record.pool1.spikes.float(),
            'conv2': self.record.conv2.spikes.float(),
            'pool2': self.record.pool2.spikes.float(),
            'conv3': self.classification_spikes,
        }

    @cached_property
    def layer_spike_times(self) -> dict[str, Tensor]:
        """First step in which each neuron of a layer fired, (B, C, H, W), int64; -1 = never."""
        times = {}
        for name in ('conv1', 'pool1', 'conv2', 'pool2', 'conv3'):
            spikes = getattr(self.record, name).spikes
            first = spikes.to(torch.uint8).argmax(dim=0)
            times[name] = torch.where(spikes.any(dim=0), first, -1)
        return times

    @property
    def layer_membranes(self) -> dict[str, Tensor]:
        """Potentials before the reset of conv1, conv2, conv3, each (T, B, C, H, W), float32."""
        return {
            'conv1': self.record.conv1.potential,
            'conv2': self.record.conv2.potential,
            'conv3': self.record.conv3.potential,
        }

    @property
    def charge_start(self) -> dict[str, Tensor]:
        """First step whose charge a spike used, for pool1, pool2, conv3; (T, B, C, H, W), int16.

        Meaningless where there is no spike.
        """
        return {
            'pool1': self.record.pool1.since,
            'pool2': self.record.pool2.since,
            'conv3': self.record.conv3.since,
        }

    @cached_property
    def pooling_indices(self) -> PoolingIndices:
        """Winners of both pools, step by step."""
        geometry, batch = self.geometry, self.input_spikes.shape[1]
        sizes = ((geometry.height, geometry.width), geometry.pool1_size)
        first, second = (
            flat_indices(pool.offsets, kernel, stride, size[1])
            for pool, kernel, stride, size in zip(
                (self.record.pool1, self.record.pool2),
                geometry.pool_kernels,
                geometry.pool_strides,
                sizes,
                strict=True,
            )
        )
        return PoolingIndices(
            first,
            second,
            (batch, geometry.channels[1], *sizes[0]),
            (batch, geometry.channels[2], *sizes[1]),
        )

    @property
    def n_timesteps(self) -> int:
        """Number of steps T."""
        return int(self.input_spikes.shape[0])

    @cached_property
    def n_classification_spikes(self) -> int:
        """Number of class spikes in the window, over the whole batch."""
        return int(self.record.conv3.spikes.sum())

    @property
    def has_spikes(self) -> bool:
        """Whether any class spike occurred."""
        return self.n_classification_spikes > 0


def _channels_last(values: Tensor, batch: int) -> NDArray[np.uint8]:
    """Return (T, C, H, W) of one input as a contiguous (T, H, W, C) array of bytes."""
    moved = values[:, batch].permute(0, 2, 3, 1).to(torch.uint8)
    return np.ascontiguousarray(moved.cpu().numpy())


def trace_from_output(output: EncoderOutput, batch: int = 0) -> SpikeTrace:
    """Return the record of one input of a window.

    Args:
        output: Output of the encoder.
        batch: Which input of the batch.

    Raises:
        TraceError: No such input, or more than 255 steps (a trace counts steps in bytes).
    """
    record, steps = output.record, output.n_timesteps
    if not 0 <= batch < output.input_spikes.shape[1]:
        msg = f'No input {batch!r} in a batch of {output.input_spikes.shape[1]}.'
        raise TraceError(msg)
    if steps > MAX_TRACE_STEPS:
        msg = f'A trace holds at most {MAX_TRACE_STEPS} steps, got {steps!r}; use fewer steps.'
        raise TraceError(msg)
    fired = record.conv3.spikes[:, batch]
    where = fired.nonzero(as_tuple=True)
    potential = record.conv3.potential[:, batch] / output.class_threshold.view(1, -1, 1, 1)
    step, class_id, y, x = (axis.cpu().numpy().astype(np.int32) for axis in where)
    classes = ClassSpikes(
        step,
        class_id,
        y,
        x,
        potential[where].cpu().numpy(),
        record.conv3.since[:, batch][where].cpu().numpy().astype(np.int32),
    )
    return SpikeTrace(
        output.geometry,
        steps,
        _channels_last(output.input_spikes != 0, batch),
        _channels_last(record.pool1.offsets, batch),
        _channels_last(record.pool1.since, batch),
        _channels_last(record.pool2.offsets, batch),
        _channels_last(record.pool2.since, batch),
        classes,
        {
            'input': int((output.input_spikes[:, batch] != 0).sum()),
            'conv1': int(record.conv1.spikes[:, batch].sum()),
            'conv2': int(record.conv2.spikes[:, batch].sum()),
            'conv3': len(step),
        },
    )
