# SPDX-License-Identifier: Apache-2.0
"""Settings of the training of MFS-Seg style networks, declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.training.run_config import RunConfig, replaced

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class SegmentationConfig(RunConfig):
    """Settings of one training run, beyond those of every run.

    Attributes:
        preset: Preset of the network.
        network: Options of the network that differ from the preset.
        head_weights: Weight of the loss at each scale, the coarsest first.
    """

    preset: str = 'base'
    network: dict[str, Any] = field(default_factory=dict)
    head_weights: tuple[float, ...] = (0.2, 0.3, 1.0)

    def _checks(self) -> dict[str, bool]:
        good = len(self.head_weights) == 3 and min(self.head_weights) >= 0
        return {**super()._checks(), 'head_weights': good}


def segmentation_config(
    values: Mapping[str, Any], base: SegmentationConfig | None = None
) -> SegmentationConfig:
    """Return settings with some values replaced.

    Raises:
        TrainingError: A name is unknown, or a value has the wrong type or range.
    """
    return replaced(base or SegmentationConfig(), values)
