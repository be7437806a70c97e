# SPDX-License-Identifier: Apache-2.0
"""Settings of the training of MFS-Seg style networks, declared once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.events.frames import Framing
from spikeseg_ros.training.event_augment import EventAugmentation
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
        event_steps: Recordings of events: frames T in front of a label.
        event_bins: Slices of the time of each frame, as channels.
        event_window_ms: Time that the frames cover together [ms].
        event_keep: Smallest share of the events that a view keeps.
        event_noise: Largest mean number of noise events, per pixel of a view and window.
        event_swap: Whether to exchange ON and OFF in half of the views.
        event_paste: Share of the views onto which objects of another sample are pasted.
        event_still: Share of the views that lose all events but those of the objects.
    """

    preset: str = 'base'
    network: dict[str, Any] = field(default_factory=dict)
    head_weights: tuple[float, ...] = (0.2, 0.3, 1.0)
    event_steps: int = 5
    event_bins: int = 1
    event_window_ms: float = 50.0
    event_keep: float = 1.0
    event_noise: float = 0.0
    event_swap: bool = False
    event_paste: float = 0.0
    event_still: float = 0.0

    def _checks(self) -> dict[str, bool]:
        return {
            **super()._checks(),
            'head_weights': len(self.head_weights) == 3 and min(self.head_weights) >= 0,
            'event_steps': 1 <= self.event_steps <= 255,
            'event_bins': 1 <= self.event_bins <= 64 and self.event_steps * self.event_bins <= 255,
            'event_window_ms': 0.1 <= self.event_window_ms <= 10_000,
            'event_keep': 0.001 <= self.event_keep <= 1,
            'event_noise': 0 <= self.event_noise <= 10,
            'event_paste': 0 <= self.event_paste <= 1,
            'event_still': 0 <= self.event_still <= 1,
        }

    @property
    def framing(self) -> Framing:
        """How events become frames."""
        return Framing(self.event_steps, round(self.event_window_ms * 1e6), self.event_bins)

    @property
    def event_augmentation(self) -> EventAugmentation:
        """Ranges of the random changes of event frames."""
        return EventAugmentation(
            self.event_keep,
            self.event_noise,
            self.event_swap,
            self.event_paste,
            self.event_still,
        )


def segmentation_config(
    values: Mapping[str, Any], base: SegmentationConfig | None = None
) -> SegmentationConfig:
    """Return settings with some values replaced.

    Raises:
        TrainingError: A name is unknown, or a value has the wrong type or range.
    """
    return replaced(base or SegmentationConfig(), values)
