# SPDX-License-Identifier: Apache-2.0
"""Deformable sampling: a 3 x 3 neighbourhood whose points move, weighted by spikes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.blocks import wide
from spikeseg_ros.models.spike2former.sampling_kernels import sampled_sum, supports
from spikeseg_ros.spiking.energy import count_product

POINTS = 9  # of a 3 x 3 neighbourhood


class DeformableSum(nn.Module):
    """`deformable_sum`, in at least 32 bits.

    Args:
        levels: Largest spike count of the weights.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.label = ''

    def forward(self, value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
        """Return sums (B, C, h, w); see `deformable_sum`."""
        macs = POINTS * value.numel()
        count_product(f'{self.label}.bilinear', 'sampling', 4 * macs, None)
        count_product(f'{self.label}.weight', 'sampling', macs, weight, self.levels)
        with torch.autocast(value.device.type, enabled=False):
            value = wide(value)
            offset, weight = offset.to(value.dtype), weight.to(value.dtype)
            if supports(value, offset):
                return sampled_sum(value, offset, weight)
            return deformable_sum(value, offset, weight)


def deformable_sum(value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted sum of bilinear samples around each pixel.

    Point k of a pixel (x, y) lies at (x + k // 3 - 1 + ox, y + k % 3 - 1 + oy): x is the slow
    index. Outside of the map the value is 0.

    Args:
        value: Real-valued maps (B, C, h, w); group g has the maps g * C / G and following.
        offset: (ox, oy) in pixels, shape (B, h, w, G, 9, 2).
        weight: Spikes, shape (B, h, w, G, 9).

    Returns:
        Sums (B, C, h, w).
    """
    batch, channels, height, width = value.shape
    groups = weight.shape[3]
    grid = _positions(offset)
    # Filled on the device: a copy from the host cannot be recorded in a graph.
    size = torch.stack([offset.new_full((), side) for side in (width, height)])
    # Pixel centres at integers become the normalised positions of align_corners=False.
    grid = (2 * grid + 1) / size - 1
    grid = grid.permute(0, 3, 1, 2, 4, 5).reshape(batch * groups, height * width, POINTS, 2)
    parts = value.reshape(batch * groups, channels // groups, height, width)
    samples = F.grid_sample(parts, grid, mode='bilinear', align_corners=False)
    weights = weight.permute(0, 3, 1, 2, 4).reshape(batch * groups, 1, height * width, POINTS)
    return (samples * weights).sum(-1).reshape(batch, channels, height, width)


def _positions(offset: Tensor) -> Tensor:
    """Return the points in pixels, (x, y), in the shape of the offsets."""
    _, height, width, _, points, _ = offset.shape
    device, dtype = offset.device, offset.dtype
    k = torch.arange(points, device=device)
    x = torch.arange(width, device=device).view(1, width, 1, 1) + (k // 3 - 1)
    y = torch.arange(height, device=device).view(height, 1, 1, 1) + (k % 3 - 1)
    shape = (height, width, 1, points)
    return offset + torch.stack([x.expand(shape), y.expand(shape)], dim=-1).to(dtype)
