# SPDX-License-Identifier: Apache-2.0
"""Deformable sampling on the CPU for inference; equal to the definition in `sampling`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numba import njit
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


@njit(nogil=True, cache=True, error_model='numpy')
def _sum(value: Floats, offset: Floats, weight: Floats, out: Floats) -> None:
    batch, height, width, groups, points = weight.shape
    parts = value.shape[3] // groups
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for g in range(groups):
                    first = g * parts
                    for k in range(points):
                        w = weight[b, y, x, g, k]
                        if w == 0:
                            continue
                        px = offset[b, y, x, g, k, 0] + (x + k // 3 - 1)
                        py = offset[b, y, x, g, k, 1] + (y + k % 3 - 1)
                        if not (-1 < px < width and -1 < py < height):
                            continue
                        left, top = int(np.floor(px)), int(np.floor(py))
                        fx, fy = px - left, py - top
                        for corner in range(4):
                            cx, cy = left + corner % 2, top + corner // 2
                            if 0 <= cx < width and 0 <= cy < height:
                                share = w * (fx if corner % 2 else 1 - fx)
                                share *= fy if corner // 2 else 1 - fy
                                for c in range(first, first + parts):
                                    out[b, y, x, c] += share * value[b, cy, cx, c]


def supports(value: Tensor, offset: Tensor) -> bool:
    """Say whether the kernel takes tensors: on the CPU, with nothing to learn."""
    return (
        value.device.type == 'cpu'
        and value.dtype in (torch.float32, torch.float64)
        and not (torch.is_grad_enabled() and (value.requires_grad or offset.requires_grad))
        and not torch.compiler.is_compiling()
    )


def sampled_sum(value: Tensor, offset: Tensor, weight: Tensor) -> Tensor:
    """Do what `sampling.deformable_sum` does; points without spikes cost nothing.

    Args:
        value: Real-valued maps (B, C, h, w).
        offset: (ox, oy) in pixels, shape (B, h, w, G, 9, 2).
        weight: Spikes, shape (B, h, w, G, 9).

    Returns:
        Sums (B, C, h, w), in channels-last order.
    """
    rows = value.detach().permute(0, 2, 3, 1).contiguous()
    out = torch.zeros_like(rows)
    moved, spikes = offset.detach().contiguous(), weight.detach().contiguous()
    _sum(rows.numpy(), moved.numpy(), spikes.numpy(), out.numpy())
    return out.permute(0, 3, 1, 2)
