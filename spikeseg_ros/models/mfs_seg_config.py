# SPDX-License-Identifier: Apache-2.0
"""Configuration and presets of the MFS-Seg style segmentation networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spikeseg_ros.models.config_values import typed_values
from spikeseg_ros.spiking.surrogate import SurrogateParams, check_surrogate

ARCHITECTURES = ('ushape', 'mimo')
BLOCKS = ('rep', 'dw')


class MfsSegConfigError(ValueError):
    """A network cannot be built with these values; the text says which and what to do."""


@dataclass(frozen=True)
class MfsSegConfig:
    """Shape and neurons of a network.

    Attributes:
        architecture: 'ushape' (levels at 1/2, 1/4, 1/8, 1/16; logits at 1/8, 1/4, 1/2) or
            'mimo' (three inputs and outputs at 1/4, 1/2, 1/1, as published for MFS-Seg).
        classes: Number of classes.
        input_channels: Channels of the image or of an event frame.
        events: Whether the input is event frames, which are spikes like those of the neurons.
        widths: Maps of each level, the finest first; 4 for 'ushape', 3 for 'mimo'.
        depths: Residual blocks of each level on the way down.
        block: 'rep' (two dense 3 x 3 convolutions) or 'dw' (EFS-Res, depthwise-separable).
        expansion: Widening inside 'dw'.
        dilations: Dilations of the blocks of the coarsest level of 'ushape', repeated as needed.
        neuron: 'integer' or 'lif'.
        levels: Largest spike count of 'integer' (D).
        steps: Time steps of an image (T); event input brings its own number.
        decay: Share of the potential that is left in the next step.
        threshold: Threshold of 'lif'.
        mean: Mean of each channel of an image on a scale of 0 .. 1; not used for events.
        std: Scale of each channel of an image; not used for events.
    """

    architecture: str = 'ushape'
    classes: int = 11
    input_channels: int = 3
    events: bool = False
    widths: tuple[int, ...] = (24, 48, 72, 80)
    depths: tuple[int, ...] = (1, 2, 3, 3)
    block: str = 'rep'
    expansion: int = 4
    dilations: tuple[int, ...] = (1, 2, 4)
    neuron: str = 'integer'
    levels: int = 4
    steps: int = 1
    decay: float = 0.25
    threshold: float = 0.5
    mean: tuple[float, ...] = (0.41, 0.42, 0.43)
    std: tuple[float, ...] = (0.30, 0.31, 0.31)

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            MfsSegConfigError: A value lies outside its range.
            NeuronError: A neuron cannot have these values.
        """
        count = {'ushape': 4, 'mimo': 3}.get(self.architecture, 0)
        checks = {
            'architecture': self.architecture in ARCHITECTURES,
            'classes': 2 <= self.classes <= 254,
            'input_channels': 1 <= self.input_channels <= 256,
            'widths': len(self.widths) == count and all(4 <= w <= 1024 for w in self.widths),
            'depths': len(self.depths) == count and all(1 <= n <= 16 for n in self.depths),
            'block': self.block in BLOCKS,
            'expansion': 1 <= self.expansion <= 16,
            'dilations': bool(self.dilations) and all(1 <= d <= 16 for d in self.dilations),
            'steps': 1 <= self.steps <= 64,
            'mean': self.events or len(self.mean) == self.input_channels,
            'std': self.events
            or (len(self.std) == self.input_channels and all(s > 0 for s in self.std)),
        }
        for name, good in checks.items():
            if not good:
                msg = f'{name} of the network is out of range: {getattr(self, name)!r}.'
                raise MfsSegConfigError(msg)
        if self.architecture == 'mimo' and any(width % 4 for width in self.widths):
            msg = f'widths of mimo must be multiples of 4, got {self.widths!r}.'
            raise MfsSegConfigError(msg)
        check_surrogate(self.params)

    @property
    def params(self) -> SurrogateParams:
        """Parameters of the neurons."""
        return SurrogateParams(self.neuron, self.decay, self.threshold, 0.5, self.levels)


PRESETS: dict[str, dict[str, Any]] = {
    'small': {'widths': (16, 28, 44, 56)},
    'base': {},
    'large': {'widths': (32, 56, 96, 136)},
    'base_dw': {'block': 'dw', 'widths': (32, 64, 96, 144), 'expansion': 3},
    'literal': {
        'architecture': 'mimo', 'block': 'dw', 'widths': (32, 64, 128), 'depths': (1, 1, 1),
        'neuron': 'lif', 'steps': 5,
    },
    'literal_integer': {
        'architecture': 'mimo', 'block': 'dw', 'widths': (32, 64, 128), 'depths': (1, 1, 1),
    },
}  # fmt: skip


def preset(name: str, **changes: Any) -> MfsSegConfig:
    """Return the configuration of a preset, with some values replaced.

    Args:
        name: 'small' (0.4 M parameters), 'base' (1.0 M), 'large' (2 M), 'base_dw' (1.0 M with
            depthwise-separable blocks), 'literal' (the published skeleton, 1.0 M, binary spikes
            in 5 steps) or 'literal_integer' (the same with spike counts in one step).
        changes: Values to replace.

    Raises:
        MfsSegConfigError: There is no such preset, no such option, or a value is out of range.
    """
    if name not in PRESETS:
        msg = f'Unknown preset {name!r}; there are {", ".join(PRESETS)}.'
        raise MfsSegConfigError(msg)
    return from_mapping({**PRESETS[name], **changes})


def from_mapping(values: dict[str, Any]) -> MfsSegConfig:
    """Build a configuration from a mapping, for example of a YAML or a weight file.

    Raises:
        MfsSegConfigError: An unknown name, or a value of the wrong type or range.
    """
    return MfsSegConfig(**typed_values(MfsSegConfig, values, MfsSegConfigError))
