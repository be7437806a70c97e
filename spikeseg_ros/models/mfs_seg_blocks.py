# SPDX-License-Identifier: Apache-2.0
"""Building blocks of fully spiking segmentation networks.

Every convolution lies in a `Unit`: neuron, convolution, batch normalisation, in this order. Sums
and concatenations are made of potentials, in front of the next neuron, so that a convolution
sees spikes only; the one unit of each scale that reads the image has no neuron.

Features of T steps travel as (T * B, C, H, W): a convolution sees time as batch, a neuron unfolds
it. All that changes between passes lies in the `Pass`, not in the modules.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.spiking.neurons import NeuronError
from spikeseg_ros.spiking.surrogate import SurrogateParams, spike_count, surrogate_scan_fused

if TYPE_CHECKING:
    from collections.abc import Sequence

# Gain of the last normalisation of a residual branch: blocks begin close to the identity.
BRANCH_GAIN = {'integer': 0.2, 'lif': 0.1}
# Gain in front of other neurons, so that a share of them fires from the start.
GAIN = {'integer': 1.0, 'lif': 0.5}


@dataclass
class Pass:
    """One run of a network over T steps.

    Attributes:
        steps: T.
        potentials: State of each neuron layer in front of the first step, by number; zeros
            where None.
        keep: Whether to keep the states after the last step in `carried`.
        rounding: 1 = spikes; below 1 integer neurons are relaxed (see `spike_count`).
        unrolled: Run each convolution once for each binary map of its spike counts.
        rates: Mean spike (0 .. 1) of each neuron layer, filled where a list is given.
        carried: States after the last step.
    """

    steps: int = 1
    potentials: Sequence[Tensor] | None = None
    keep: bool = False
    rounding: float = 1.0
    unrolled: bool = False
    rates: list[Tensor] | None = None
    carried: dict[int, Tensor] = field(default_factory=dict)


class Neurons(nn.Module):
    """A layer of neurons without weights.

    Args:
        params: Their parameters.

    Attributes:
        number: Position in the network's list of states; set by the network.
    """

    def __init__(self, params: SurrogateParams) -> None:
        super().__init__()
        self.params = params
        self.number = -1

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return spikes of currents.

        Args:
            x: Currents, shape (T * B, C, H, W).
            run: The pass.
        """
        memory = run.potentials is not None or run.keep
        if self.params.kind == 'integer' and run.steps == 1 and not memory:
            spikes = spike_count(x, self.params.levels, run.rounding)
        else:
            currents = x.view(run.steps, -1, *x.shape[1:])
            potential = None
            if run.potentials is not None:
                potential = run.potentials[self.number]
                if potential.shape != currents.shape[1:]:
                    msg = (
                        f'The state of neuron layer {self.number} has the shape '
                        f'{tuple(potential.shape)!r}, the input needs '
                        f'{tuple(currents.shape[1:])!r}; begin with a new state.'
                    )
                    raise NeuronError(msg)
            unfolded, after = surrogate_scan_fused(currents, potential, self.params)
            spikes = unfolded.flatten(0, 1)
            if run.keep:
                run.carried[self.number] = after
        if run.rates is not None:
            run.rates.append(spikes.detach().mean())
        return spikes


class Unit(nn.Module):
    """Neuron, convolution, batch normalisation.

    Args:
        inputs: Maps in.
        outputs: Maps out.
        kernel: Edge of the kernel.
        params: Parameters of the neurons; None for a unit that reads the image.
        stride: Stride of the convolution.
        dilation: Dilation of the convolution.
        groups: Groups of the convolution.
        gain: Initial gain of the normalisation; None = no normalisation, but a bias.
        transposed: Upsample by `stride` with a transposed convolution instead.

    Attributes:
        levels: Spike count that an input of 1 stands for; None where the input is real.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        params: SurrogateParams | None,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        gain: float | None = 1.0,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        self.neurons = None if params is None else Neurons(params)
        self.levels = None if params is None else params.sub_steps
        kind: type[nn.Conv2d | nn.ConvTranspose2d] = (
            nn.ConvTranspose2d if transposed else nn.Conv2d
        )
        padding = (kernel - stride) // 2 if transposed else dilation * (kernel // 2)
        self.conv: nn.Conv2d | nn.ConvTranspose2d = kind(
            inputs,
            outputs,
            kernel,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            bias=gain is None,
        )
        nn.init.kaiming_normal_(self.conv.weight, mode='fan_out', nonlinearity='relu')
        self.bn: nn.BatchNorm2d | None = None
        if gain is None:
            assert self.conv.bias is not None
            nn.init.zeros_(self.conv.bias)
        else:
            self.bn = nn.BatchNorm2d(outputs)
            nn.init.constant_(self.bn.weight, gain)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents (T * B, outputs, H', W') of potentials (T * B, inputs, H, W)."""
        if self.neurons is None:
            x = self.conv(x)
        else:
            spikes = self.neurons(x, run)
            unroll = run.unrolled and self.neurons.params.sub_steps > 1
            x = self._unrolled(spikes, self.neurons.params.levels) if unroll else self.conv(spikes)
        if x.dtype in (torch.bfloat16, torch.float16):
            # Sums of potentials and the rounding in neurons want more bits of mantissa.
            x = x.float()
        return x if self.bn is None else self.bn(x)

    def _unrolled(self, spikes: Tensor, levels: int) -> Tensor:
        """Convolve the binary maps of spike counts one after another; the bias counts once."""
        counts = torch.round(spikes * levels)
        bias, total = self.conv.bias, None
        for d in range(levels):
            binary = (counts > d).to(spikes.dtype)
            part = _linear(self.conv, binary, self.conv.weight / levels)
            total = part if total is None else total + part
        assert total is not None
        return total if bias is None else total + bias.view(1, -1, 1, 1)

    def fold(self) -> None:
        """Put the normalisation, as it is in evaluation, into the weights and a bias."""
        bn = self.bn
        if bn is None:
            return
        assert bn.running_var is not None
        assert bn.running_mean is not None
        with torch.no_grad():
            gain = bn.weight / torch.sqrt(bn.running_var + bn.eps)
            shape = (1, -1, 1, 1) if isinstance(self.conv, nn.ConvTranspose2d) else (-1, 1, 1, 1)
            self.conv.weight.mul_(gain.view(shape))
            self.conv.bias = nn.Parameter(bn.bias - bn.running_mean * gain)
        self.bn = None


def _linear(conv: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, weight: Tensor) -> Tensor:
    """Run a convolution without its bias, with other weights."""
    if isinstance(conv, nn.ConvTranspose2d):
        assert not isinstance(conv.padding, str)
        return F.conv_transpose2d(x, weight, None, conv.stride, conv.padding)
    return F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)


class RepBlock(nn.Module):
    """x + unit(unit(x)) with dense 3 x 3 convolutions.

    Args:
        channels: Maps.
        params: Parameters of the neurons.
        dilation: Dilation of both convolutions.
    """

    def __init__(self, channels: int, params: SurrogateParams, dilation: int = 1) -> None:
        super().__init__()
        self.units = nn.ModuleList(
            Unit(channels, channels, 3, params, dilation=dilation, gain=gain)
            for gain in (GAIN[params.kind], BRANCH_GAIN[params.kind])
        )

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x."""
        y = x
        for unit in self.units:
            y = unit(y, run)
        return x + y


class EfsResBlock(nn.Module):
    """Depthwise-separable fully spiking residual block: widen, depthwise 3 x 3, project.

    Args:
        channels: Maps.
        params: Parameters of the neurons.
        expansion: Widening.
        dilation: Dilation of the depthwise convolution.
    """

    def __init__(
        self, channels: int, params: SurrogateParams, expansion: int, dilation: int = 1
    ) -> None:
        super().__init__()
        wide, gain = expansion * channels, GAIN[params.kind]
        self.units = nn.ModuleList(
            [
                Unit(channels, wide, 1, params, gain=gain),
                Unit(wide, wide, 3, params, groups=wide, dilation=dilation, gain=gain),
                Unit(wide, channels, 1, params, gain=BRANCH_GAIN[params.kind]),
            ]
        )

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x."""
        y = x
        for unit in self.units:
            y = unit(y, run)
        return x + y
