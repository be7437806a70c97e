# SPDX-License-Identifier: Apache-2.0
"""Settings that all trainings of segmentation networks share."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from spikeseg_ros.training.augment import Augmentation
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.event_augment import EventAugmentation

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEDULES = ('poly', 'hold')
PRECISIONS = ('float32', 'bfloat16')
# What may change when a run is resumed: its length, and how it is validated.
RESUMABLE = ('iterations', 'validate_every', 'input_height', 'input_width')


@dataclass(frozen=True)
class RunConfig:
    """Settings of one training run, whatever the network.

    Attributes:
        height: Height of the training views [px].
        width: Width of the training views [px].
        input_height: Height at which the trained network sees whole images [px]; 0 = height. With
            views of many magnifications a larger one than that of the views may do better.
        input_width: Width at which the trained network sees whole images [px]; 0 = width.
        batch: Images of an iteration, in each process.
        iterations: Length of the run; on it depend schedule and relaxation.
        rate: Largest learning rate of AdamW.
        weight_decay: Decay of the weights of convolutions; nothing else decays.
        warmup: Iterations over which the rate rises from 0.
        schedule: 'poly' (falls from the start) or 'hold' (constant, then linearly to 0).
        hold: Share of the run after which 'hold' begins to fall.
        power: Exponent of 'poly'.
        clip: Largest norm of the gradient.
        ema: Share of the moving average of the weights that is kept in each iteration.
        class_offset: Classes of the share f of the pixels weigh 1 / ln(class_offset + f).
        relaxed: Share of the run in which integer neurons are not rounded.
        rounded: Share of the run from which on they are rounded fully; linear in between.
        scale_min: Smallest random magnification.
        scale_max: Largest random magnification.
        aspect: Largest random stretch.
        flip: Whether to mirror half of the views.
        color: Strength of random colour changes.
        paste: Share of the views of images onto which small things of another view are pasted.
        precision: Arithmetic of convolutions: 'float32' or 'bfloat16'.
        validate_every: Iterations between validations; 0 = only at the end.
        seed: Seed of weights, order and views.
    """

    height: int = 180
    width: int = 240
    input_height: int = 0
    input_width: int = 0
    batch: int = 8
    iterations: int = 20000
    rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: int = 200
    schedule: str = 'poly'
    hold: float = 0.6
    power: float = 0.9
    clip: float = 5.0
    ema: float = 0.999
    class_offset: float = 1.02
    relaxed: float = 0.0
    rounded: float = 0.0
    scale_min: float = 0.5
    scale_max: float = 2.0
    aspect: float = 0.1
    flip: bool = True
    color: float = 1.0
    paste: float = 0.0
    precision: str = 'float32'
    validate_every: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            TrainingError: A value lies outside its range.
        """
        for name, good in self._checks().items():
            if not good:
                msg = f'{name} is out of range: {getattr(self, name)!r}.'
                raise TrainingError(msg)

    def _checks(self) -> dict[str, bool]:
        """Return for each option whether its value is in range."""
        return {
            'height': 16 <= self.height <= 4096,
            'width': 16 <= self.width <= 4096,
            'input_height': self.input_height == 0 or 16 <= self.input_height <= 4096,
            'input_width': self.input_width == 0 or 16 <= self.input_width <= 4096,
            'batch': 1 <= self.batch <= 1024,
            'iterations': self.iterations >= 1,
            'rate': 0 < self.rate <= 1,
            'weight_decay': 0 <= self.weight_decay <= 1,
            'warmup': self.warmup >= 0,
            'schedule': self.schedule in SCHEDULES,
            'hold': 0 <= self.hold < 1,
            'power': 0 < self.power <= 10,
            'clip': self.clip > 0,
            'ema': 0 <= self.ema < 1,
            'class_offset': 1 < self.class_offset <= 10,
            'relaxed': 0 <= self.relaxed <= self.rounded,
            'rounded': self.rounded < 1,
            'scale_min': 0.1 <= self.scale_min <= self.scale_max,
            'scale_max': self.scale_max <= 10,
            'aspect': 0 <= self.aspect <= 1,
            'color': 0 <= self.color <= 2,
            'paste': 0 <= self.paste <= 1,
            'precision': self.precision in PRECISIONS,
            'validate_every': self.validate_every >= 0,
            'seed': self.seed >= 0,
        }

    def fixed(self) -> dict[str, Any]:
        """Return the options that a run keeps to its end."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if name not in RESUMABLE}

    def plain(self) -> dict[str, Any]:
        """Return all options as texts, numbers and lists of them."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self).items()
        }

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width at which the trained network sees whole images."""
        return self.input_height or self.height, self.input_width or self.width

    @property
    def augmentation(self) -> Augmentation:
        """Ranges of the random views."""
        return Augmentation(self.scale_min, self.scale_max, self.aspect, self.flip, self.color)

    @property
    def event_augmentation(self) -> EventAugmentation:
        """Ranges of the random changes of event frames."""
        return EventAugmentation()

    def rate_at(self, iteration: int) -> float:
        """Return the learning rate of an iteration, the first being 0."""
        progress = iteration / self.iterations
        if self.schedule == 'poly':
            factor = float(max(1 - progress, 0.0) ** self.power)
        else:
            factor = min(1.0, max(1 - progress, 0.0) / (1 - self.hold))
        return self.rate * factor * min(1.0, (iteration + 1) / max(self.warmup, 1))

    def rounding_at(self, iteration: int) -> float:
        """Return how far integer neurons are rounded, 0 .. 1."""
        progress = iteration / self.iterations
        if progress >= self.rounded:
            return 1.0
        if progress < self.relaxed:
            return 0.0
        return (progress - self.relaxed) / (self.rounded - self.relaxed)


Config = TypeVar('Config', bound=RunConfig)


def replaced(base: Config, values: Mapping[str, Any]) -> Config:
    """Return settings with some values replaced.

    Raises:
        TrainingError: A name is unknown, or a value has the wrong type or range.
    """
    known = {item.name: getattr(base, item.name) for item in dataclasses.fields(base)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            msg = f'Unknown training option {name!r}; known: {", ".join(known)}.'
            raise TrainingError(msg)
        kind = type(known[name])
        if kind is float and type(value) is int:
            value = float(value)
        if kind is tuple and isinstance(value, list):
            value = tuple(float(item) for item in value)
        if type(value) is not kind:
            msg = f'{name} must be of type {kind.__name__}, got {value!r}.'
            raise TrainingError(msg)
        checked[name] = value
    return dataclasses.replace(base, **checked)
