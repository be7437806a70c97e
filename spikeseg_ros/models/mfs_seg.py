# SPDX-License-Identifier: Apache-2.0
"""MFS-Seg style network: fully spiking semantic segmentation of images and event frames."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg_blocks import Neurons, Pass, Unit
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig, MfsSegConfigError
from spikeseg_ros.models.mfs_seg_nets import Mimo, UShape

if TYPE_CHECKING:
    from collections.abc import Sequence


class MfsSegOutput(NamedTuple):
    """What a pass produced.

    Attributes:
        logits: Mean over the steps at each scale, the coarsest first, (B, classes, h, w).
        potentials: State of each neuron layer after the last step; empty unless asked for.
        rates: Mean spike (0 .. 1) of each neuron layer; empty unless asked for.
    """

    logits: list[Tensor]
    potentials: tuple[Tensor, ...]
    rates: tuple[Tensor, ...]


class MfsSeg(nn.Module):
    """A fully spiking segmentation network.

    Args:
        config: Shape and neurons.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: MfsSegConfig) -> None:
        super().__init__()
        self.config = config
        # Here, so that no frame waits for a copy to its device.
        for name, values in (('mean', config.mean), ('std', config.std)):
            self.register_buffer(name, torch.tensor(values).view(1, -1, 1, 1), persistent=False)
        self.net: UShape | Mimo = (
            UShape(config) if config.architecture == 'ushape' else Mimo(config)
        )
        for number, neurons in enumerate(self.neuron_layers()):
            neurons.number = number

    def neuron_layers(self) -> list[Neurons]:
        """Return the layers of neurons in the order of their states."""
        return [module for module in self.modules() if isinstance(module, Neurons)]

    def energy_layers(self) -> list[tuple[str, nn.Module, float | None]]:
        """Return name, convolution, and how many spikes an input of 1 stands for."""
        return [
            (name.removeprefix('net.'), module.conv, module.levels)
            for name, module in self.named_modules()
            if isinstance(module, Unit)
        ]

    @property
    def scales(self) -> tuple[int, ...]:
        """Divisor of the size of each output, the coarsest first."""
        return self.net.scales

    def parameter_count(self) -> int:
        """Return the number of trained values."""
        return sum(parameter.numel() for parameter in self.parameters())

    def normalised(self, images: Tensor) -> Tensor:
        """Return RGB images (B, C, H, W), uint8 or 0 .. 255, as the network wants them."""
        return (images.float() / 255 - self.mean.float()) / self.std.float()

    def spikes(self, frames: Tensor) -> Tensor:
        """Return counts of events as the spikes that a network for events wants, 0 .. 1."""
        levels = self.config.params.sub_steps
        return frames.clamp(0, levels) / levels

    def forward(
        self,
        x: Tensor,
        potentials: Sequence[Tensor] | None = None,
        *,
        keep: bool = False,
        rounding: float = 1.0,
        unrolled: bool = False,
        rates: bool = False,
    ) -> MfsSegOutput:
        """Segment images or event frames.

        Args:
            x: Normalised images (B, C, H, W), shown `config.steps` times; or event frames
                (T, B, C, H, W), one for each step.
            potentials: State to go on from; neurons at rest where None.
            keep: Return the state after the last step.
            rounding: See `Pass`; 1 outside of training.
            unrolled: Run binary sub-steps instead of spike counts.
            rates: Return mean spikes.

        Raises:
            MfsSegConfigError: The input does not fit the network.
        """
        self._check(x)
        image = x.ndim == 4
        steps = self.config.steps if image else x.shape[0]
        run = Pass(steps, potentials, keep, rounding, unrolled, [] if rates else None)
        seen = x if image else x.flatten(0, 1)
        folded = self.net(seen, run, steps if image else 1)
        logits = [
            item if steps == 1 else item.unflatten(0, (steps, -1)).mean(dim=0) for item in folded
        ]
        carried = tuple(run.carried[number] for number in sorted(run.carried))
        return MfsSegOutput(logits, carried, tuple(run.rates or ()))

    def _check(self, x: Tensor) -> None:
        channels, multiple = self.config.input_channels, self.net.multiple
        if x.ndim not in (4, 5) or x.shape[-3] != channels:
            msg = (
                f'The network takes (B, {channels}, H, W) or (T, B, {channels}, H, W), got '
                f'{tuple(x.shape)!r}.'
            )
            raise MfsSegConfigError(msg)
        if x.shape[-1] % multiple or x.shape[-2] % multiple:
            msg = (
                f'Height and width must be multiples of {multiple} for this architecture, got '
                f'{x.shape[-2]} x {x.shape[-1]}; resize the input.'
            )
            raise MfsSegConfigError(msg)

    def folded(self) -> MfsSeg:
        """Return a copy for inference, with each normalisation inside its convolution."""
        result = copy.deepcopy(self).eval()
        for module in result.modules():
            if isinstance(module, Unit):
                module.fold()
        for parameter in result.parameters():
            parameter.requires_grad_(False)
        return result
