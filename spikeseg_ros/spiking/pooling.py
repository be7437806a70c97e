# SPDX-License-Identifier: Apache-2.0
"""Pooling of spikes that remembers which spike passed, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

if TYPE_CHECKING:
    from torch import Tensor

    from spikeseg_ros.spiking.neurons import StepOutput


class Pooled(NamedTuple):
    """Spikes that passed a pool.

    Attributes:
        offsets: Shape (T, B, C, H', W'), uint8; 0 = silence, k > 0 = the spike at offset k - 1
            of the window (row-major: dy * kernel + dx).
        since: First step whose charge that spike used, same shape, int16; meaningless where
            silent.
    """

    offsets: Tensor
    since: Tensor

    @property
    def spikes(self) -> Tensor:
        """Whether a spike passed, shape (T, B, C, H', W'), bool."""
        return self.offsets > 0


def pool_spikes(layer: StepOutput, kernel: int, stride: int) -> Pooled:
    """Pass at most one spike of every window and step.

    The spike with the largest potential before the reset wins; ties: first in row-major order.
    There is no padding, and an incomplete last window is dropped.

    Args:
        layer: Spikes, potentials and charge starts, each of shape (T, B, C, H, W); thresholds
            are > 0, so the potential of a spike is > 0.
        kernel: Edge of the window, at most 15 (offsets are bytes).
        stride: Distance of neighbouring windows.
    """
    lead, width = layer.spikes.shape[:3], layer.spikes.shape[-1]
    strength = (layer.potential * layer.spikes).flatten(0, 1)
    best, index = F.max_pool2d(strength, kernel, stride, return_indices=True)
    rows = torch.arange(index.shape[-2], device=index.device).view(-1, 1) * stride
    columns = torch.arange(index.shape[-1], device=index.device) * stride
    offset = (index // width - rows) * kernel + (index % width - columns) + 1
    offset = (offset * (best > 0)).to(torch.uint8)
    since = layer.since.flatten(0, 1).flatten(2).gather(2, index.flatten(2)).view_as(index)
    size = (*lead, *index.shape[-2:])
    return Pooled(offset.view(size), since.view(size))


def flat_indices(offsets: Tensor, kernel: int, stride: int, width: int) -> Tensor:
    """Return where in the map in front of the pool each passed spike sits.

    Args:
        offsets: Shape (..., H', W'), as in `Pooled`.
        kernel: Edge of the pooling window.
        stride: Distance of neighbouring windows.
        width: Columns of the map in front of the pool.

    Returns:
        y * width + x, shape (..., H', W'), int64; -1 where the window is silent.
    """
    offset = offsets.long() - 1
    rows = torch.arange(offsets.shape[-2], device=offsets.device).view(-1, 1) * stride
    columns = torch.arange(offsets.shape[-1], device=offsets.device) * stride
    index = (rows + offset // kernel) * width + columns + offset % kernel
    return torch.where(offset >= 0, index, -1)


def offsets_from_indices(indices: Tensor, kernel: int, stride: int, width: int) -> Tensor:
    """Inverse of `flat_indices`: return window offsets as in `Pooled`."""
    rows = torch.arange(indices.shape[-2], device=indices.device).view(-1, 1) * stride
    columns = torch.arange(indices.shape[-1], device=indices.device) * stride
    offset = (indices // width - rows) * kernel + indices % width - columns + 1
    return torch.where(indices >= 0, offset, 0).to(torch.uint8)
