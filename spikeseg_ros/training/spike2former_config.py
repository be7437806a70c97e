# SPDX-License-Identifier: Apache-2.0
"""Settings of the training of Spike2Former, declared once; the defaults are the published ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from spikeseg_ros.training.augment import Augmentation
from spikeseg_ros.training.mask_loss import MaskLossFactors
from spikeseg_ros.training.run_config import RunConfig

ASSIGNMENTS = ('hungarian', 'classes')


@dataclass(frozen=True)
class Spike2FormerTraining(RunConfig):
    """Settings of one training run, beyond those of every run.

    The defaults are those published for ADE20K with 8 processes.

    Attributes:
        preset: Preset of the network; its number of classes is that of the data set.
        network: Options of the network that differ from the preset.
        backbone_rate: Learning rate of the backbone as a share of that of the rest.
        short_min: Smallest short edge to which an image is resized in front of the cut [px].
        short_max: Largest short edge [px]; 0 = magnify by scale_min .. scale_max instead.
        cat_max: A cut is drawn again, at most ten times, while one class fills more of it.
        match_class: Weight of the class in the matching.
        class_loss: Weight of the cross-entropy of the queries' classes.
        mask_loss: Weight of the focal term, in loss and matching.
        dice_loss: Weight of the dice term, in loss and matching.
        no_object: Weight of queries without a segment in the cross-entropy.
        full_size: Whether masks are compared at the size of the views, as published, or at that
            of the mask logits, half of it, which is faster.
        semantic_loss: Weight of a cross-entropy of the semantic logits of all outputs, weighted by
            class; not published. It helps short trainings from random weights.
        assignment: Which query answers for which segment: 'hungarian', as published, or
            'classes' (query k for class k, which is learnt faster).
    """

    height: int = 512
    width: int = 512
    batch: int = 6
    iterations: int = 160_000
    rate: float = 1e-3
    weight_decay: float = 0.005
    warmup: int = 1500
    power: float = 1.0
    clip: float = 0.01
    ema: float = 0.0
    aspect: float = 0.0
    validate_every: int = 5000
    preset: str = 'ade20k_v2_repo'
    network: dict[str, Any] = field(default_factory=dict)
    backbone_rate: float = 1.0
    short_min: int = 320
    short_max: int = 1280
    cat_max: float = 0.75
    match_class: float = 1.0
    class_loss: float = 1.0
    mask_loss: float = 20.0
    dice_loss: float = 1.0
    no_object: float = 0.1
    full_size: bool = True
    semantic_loss: float = 0.0
    assignment: str = 'hungarian'

    def _checks(self) -> dict[str, bool]:
        factors = ('match_class', 'class_loss', 'mask_loss', 'dice_loss', 'semantic_loss')
        return {
            **super()._checks(),
            'backbone_rate': 0 <= self.backbone_rate <= 10,
            'short_min': self.short_max == 0 or 16 <= self.short_min <= self.short_max,
            'short_max': 0 <= self.short_max <= 8192,
            'cat_max': 0 < self.cat_max <= 1,
            'no_object': 0 < self.no_object <= 1,
            'assignment': self.assignment in ASSIGNMENTS,
            **{name: 0 <= getattr(self, name) <= 1000 for name in factors},
        }

    @property
    def augmentation(self) -> Augmentation:
        """Ranges of the random views."""
        return super().augmentation._replace(
            short_min=self.short_min, short_max=self.short_max, cat_max=self.cat_max
        )

    @property
    def factors(self) -> MaskLossFactors:
        """Weights of the terms of the loss."""
        return MaskLossFactors(
            self.match_class, self.class_loss, self.mask_loss, self.dice_loss, self.no_object
        )
