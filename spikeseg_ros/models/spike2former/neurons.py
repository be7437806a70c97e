# SPDX-License-Identifier: Apache-2.0
"""NI-LIF neurons: integer spikes, divided by their largest count.

    v <- v + x,   k = round(clamp(v, 0, D)),   v <- v - k,   output k / D

No leak; the gradient of k with respect to v is 1 inside [0, D] and 0 outside. A frame without a
past begins at v = 0, so that the neuron is k / D of its input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spikeseg_ros.spiking.neurons import NeuronError
from spikeseg_ros.spiking.surrogate import spike_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def sub_steps(spikes: Tensor, levels: int) -> Iterator[Tensor]:
    """Yield the binary maps 1[k > d] of spikes k / levels, d = 0 .. levels - 1."""
    counts = torch.round(spikes * levels)
    for d in range(levels):
        yield (counts > d).to(spikes.dtype)


@dataclass
class Pass:
    """One frame's way through the network.

    Attributes:
        state: v of each neuron layer in front of the frame, by number; zeros where None.
        keep: Whether to keep v behind the frame in `carried`.
        carried: v behind the frame.
        rounding: How far counts are rounded; below 1 only at the start of a training.
    """

    state: Sequence[Tensor] | None = None
    keep: bool = False
    carried: dict[int, Tensor] = field(default_factory=dict)
    rounding: float = 1.0


class Neuron(nn.Module):
    """A layer of neurons without weights.

    Args:
        levels: Largest spike count D.

    Attributes:
        number: Position in the network's list of states; set by the network.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels
        self.number = -1

    def extra_repr(self) -> str:
        """Say the largest spike count."""
        return f'levels={self.levels}'

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return spikes k / D of currents of any shape.

        Raises:
            NeuronError: The state is of another shape than the currents.
        """
        if run.state is not None:
            before = run.state[self.number]
            if before.shape != x.shape:
                msg = (
                    f'The state of neuron layer {self.number} has the shape '
                    f'{tuple(before.shape)!r}, the frame needs {tuple(x.shape)!r}; begin with a '
                    f'new state where the size or number of images changes.'
                )
                raise NeuronError(msg)
            x = x + before
        spikes = spike_count(x, self.levels, run.rounding)
        if run.keep:
            self._keep(x, spikes, run)
        return spikes

    def _keep(self, x: Tensor, spikes: Tensor, run: Pass) -> None:
        run.carried[self.number] = x - (spikes.detach() * self.levels).round()
