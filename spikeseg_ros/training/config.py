# SPDX-License-Identifier: Apache-2.0
"""Settings of the STDP training, declared once, with the defaults of the shipped weights."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spikeseg_ros.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class StdpConfig:
    """Settings of one training run.

    Attributes:
        preset: Preset the network starts from; conv1 keeps its fixed filters.
        features: Maps of conv2.
        seed: Seed of initial weights and of the order of samples.
        window_ms: Length of a sample [ms].
        steps: Time steps of a sample.
        canvas: Edge of a sample [px].
        first_id: First N-MNIST recording used.
        last_id: Last N-MNIST recording used.
        simulated: Share of simulated samples, 0 .. 1; 1 needs no N-MNIST.
        scenes: Number of simulated scenes.
        conv2_samples: Samples for conv2 at most; 0 leaves it untrained.
        conv3_samples: Samples for conv3 at most; 0 leaves it untrained.
        stop_c: A layer is done when C of its live maps falls below this.
        a_plus: Rate of potentiation.
        a_minus: Rate of depression.
        conv2_winners: Winners per sample in conv2.
        conv2_radius: Cells around a winner that may not win again.
        conv2_share: Threshold of conv2 while it learns, as a share of its weights.
        conv2_leak: Leak of conv2 while it learns, as a share of the threshold.
        homeostasis: Rate at which winning maps become harder to excite.
        homeostasis_range: A map's threshold is changed by at most this factor.
        conv2_threshold: Threshold of conv2 when it is used; its leak is a tenth of it.
        calibration_samples: Samples from which the threshold of conv3 is calibrated.
        conv3_quantile: Threshold of conv3 as a share of the median peak potential.
        conv3_relax: Factor on the threshold of conv3 after a sample without a spike.
    """

    preset: str = 'default'
    features: int = 36
    seed: int = 0
    window_ms: float = 50.0
    steps: int = 10
    canvas: int = 48
    first_id: int = 1
    last_id: int = 800
    simulated: float = 0.5
    scenes: int = 80
    conv2_samples: int = 3000
    conv3_samples: int = 1000
    stop_c: float = 0.01
    a_plus: float = 0.04
    a_minus: float = 0.03
    conv2_winners: int = 8
    conv2_radius: int = 1
    conv2_share: float = 0.1
    conv2_leak: float = 0.1
    homeostasis: float = 0.05
    homeostasis_range: float = 8.0
    conv2_threshold: float = 10.0
    calibration_samples: int = 300
    conv3_quantile: float = 0.2
    conv3_relax: float = 0.95

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            TrainingError: A value lies outside its range.
        """
        checks = {
            'features': 1 <= self.features <= 1024,
            'seed': self.seed >= 0,
            'window_ms': 1 <= self.window_ms <= 300,
            'steps': 1 <= self.steps <= 64,
            'canvas': 40 <= self.canvas <= 512,
            'first_id': self.first_id >= 1,
            'last_id': self.last_id >= self.first_id,
            'simulated': 0 <= self.simulated <= 1,
            'scenes': 1 <= self.scenes <= 10_000,
            'conv2_samples': self.conv2_samples >= 0,
            'conv3_samples': self.conv3_samples >= 0,
            'stop_c': 0 <= self.stop_c < 0.25,
            'a_plus': 0 <= self.a_plus <= 1,
            'a_minus': 0 <= self.a_minus <= 1,
            'conv2_winners': self.conv2_winners >= 1,
            'conv2_radius': self.conv2_radius >= 0,
            'conv2_share': 0 < self.conv2_share <= 1,
            'conv2_leak': 0 <= self.conv2_leak < 1,
            'homeostasis': 0 <= self.homeostasis < 1,
            'homeostasis_range': self.homeostasis_range >= 1,
            'conv2_threshold': 0 < self.conv2_threshold < math.inf,
            'calibration_samples': self.calibration_samples >= 1,
            'conv3_quantile': 0 < self.conv3_quantile < math.inf,
            'conv3_relax': 0 < self.conv3_relax <= 1,
        }
        for name, good in checks.items():
            if not good:
                msg = f'{name} is out of range: {getattr(self, name)!r}.'
                raise TrainingError(msg)


def from_values(values: Mapping[str, Any], base: StdpConfig | None = None) -> StdpConfig:
    """Return settings with some values replaced.

    Raises:
        TrainingError: A name is unknown, or a value has the wrong type or range.
    """
    base = base or StdpConfig()
    known = {item.name: type(getattr(base, item.name)) for item in dataclasses.fields(base)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            msg = f'Unknown training option {name!r}; known: {", ".join(known)}.'
            raise TrainingError(msg)
        kind = known[name]
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            msg = f'{name} must be of type {kind.__name__}, got {value!r}.'
            raise TrainingError(msg)
        checked[name] = value
    return dataclasses.replace(base, **checked)


def load_values(path: str | Path) -> dict[str, Any]:
    """Read options from a YAML file.

    Raises:
        TrainingError: The file cannot be read or holds no mapping.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding='utf-8')) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        msg = f'Cannot read the training options {str(path)!r}: {err}'
        raise TrainingError(msg) from None
    if not isinstance(tree, dict):
        msg = f'{str(path)!r} must hold a mapping of options, got {tree!r}.'
        raise TrainingError(msg)
    return {str(name): value for name, value in tree.items()}
