# SPDX-License-Identifier: Apache-2.0
"""Winner-take-all: which neurons of a layer learn from a stimulus."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from spikeseg_ros.spiking.stdp import StdpError, spike_times

if TYPE_CHECKING:
    from torch import Tensor


class Winner(NamedTuple):
    """A neuron that may learn.

    Attributes:
        feature: Map.
        row: Row in the map.
        column: Column in the map.
        time: Step of its first spike.
    """

    feature: int
    row: int
    column: int
    time: int


def select_winners(times: Tensor, potentials: Tensor, k: int, radius: int) -> list[Winner]:
    """Choose up to k winners: earliest first, then the largest potential.

    Each winner takes its whole map out of the race, and in all maps the square of the given
    radius around it. Ties that remain go to the lowest map, row, column.

    Args:
        times: First-spike steps, shape (C, H, W); -1 or +inf = never.
        potentials: Potentials before the reset at those spikes, same shape.
        k: Number of winners at most.
        radius: Radius of the inhibited square [cells]; 0 inhibits only the winner's position.

    Returns:
        Winners in the order in which they won.

    Raises:
        StdpError: Shapes differ, k < 1 or radius < 0.

    Source: Kheradpisheh et al. 2018; order of selection as in SpykeTorch (k-winners).
    """
    if times.ndim != 3 or times.shape != potentials.shape:
        msg = (
            f'times and potentials must share one shape (C, H, W), got {tuple(times.shape)!r} '
            f'and {tuple(potentials.shape)!r}.'
        )
        raise StdpError(msg)
    if k < 1 or radius < 0:
        msg = f'k must be >= 1 and radius >= 0, got k={k!r} and radius={radius!r}.'
        raise StdpError(msg)
    _, height, width = times.shape
    left = spike_times(times)
    winners: list[Winner] = []
    for _ in range(min(k, times.shape[0])):
        earliest = left.min()
        if torch.isinf(earliest):
            break
        strength = torch.where(left == earliest, potentials.to(torch.float32), -torch.inf)
        index = int(strength.argmax())
        feature, cell = divmod(index, height * width)
        row, column = divmod(cell, width)
        winners.append(Winner(feature, row, column, int(earliest)))
        left[feature] = torch.inf
        rows = slice(max(0, row - radius), row + radius + 1)
        left[:, rows, max(0, column - radius) : column + radius + 1] = torch.inf
    return winners
