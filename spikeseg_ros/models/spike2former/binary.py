# SPDX-License-Identifier: Apache-2.0
"""Spike counts as sub-steps of binary spikes: weights meet nothing but 0 and 1.

A count k of at most D is the sum of the D maps 1[k > d]. A layer is linear in its input, so that
it is the sum of itself over these maps, with a D-th of its weights: additions only, no product.
Products of two tensors of spikes (queries, keys and values) keep their counts, and the bilinear
samples stay real values; the documentation lists them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.neurons import sub_steps

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.network import Spike2Former


class BinaryLayer(nn.Module):
    """A convolution or linear layer that runs once for each binary map of its input.

    Args:
        layer: The layer.
        levels: Largest spike count of its input.
    """

    def __init__(self, layer: nn.Conv1d | nn.Conv2d | nn.Linear, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.first = copy.deepcopy(layer)
        with torch.no_grad():
            self.first.weight.div_(levels)
        # Shares the weights; the bias counts once.
        self.rest = copy.copy(self.first)
        self.rest._parameters = {**self.first._parameters, 'bias': None}

    def forward(self, x: Tensor) -> Tensor:
        """Return what the layer makes of spikes k / levels."""
        binary, *more = sub_steps(x, self.levels)
        total: Tensor = self.first(binary)
        for binary in more:
            total = total + self.rest(binary)
        return total


def binary(network: Spike2Former) -> Spike2Former:
    """Return a copy that runs in binary sub-steps; see `Spike2Former.binary`."""
    result = network.folded(dense=True)
    for name, layer, levels in result.energy_layers():
        if levels is not None:
            assert isinstance(layer, (nn.Conv1d, nn.Conv2d, nn.Linear))
            result.set_submodule(name, BinaryLayer(layer, levels))
    result.decode_head.binary = True
    return result
