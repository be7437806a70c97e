# SPDX-License-Identifier: Apache-2.0
"""Generated images for tests of trainings: bright squares on dark ground, an unlabelled border."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.datasets import Sample

if TYPE_CHECKING:
    from spikeseg_ros.training.trainer import NetworkTrainer

# A Spike2Former that trains within seconds on them.
SMALLEST: dict[str, Any] = {
    'dims': [8, 12, 16, 16],
    'backbone_heads': 2,
    'backbone_depths': [1, 1],
    'width': 16,
    'groups': 4,
    'heads': 2,
    'queries': 5,
    'encoder_layers': 1,
    'encoder_hidden': 16,
    'decoder_layers': 1,
    'decoder_hidden': 16,
}
QUICK: dict[str, Any] = {
    'preset': 'tiny',
    'network': SMALLEST,
    'height': 32,
    'width': 40,
    'batch': 4,
    'iterations': 12,
    'warmup': 3,
    'rate': 5e-3,
    'clip': 5.0,
    'short_max': 0,
    'validate_every': 0,
    'ema': 0.9,
}


class Squares:
    """Two classes and an unlabelled border: bright squares on dark ground."""

    classes = ('ground', 'square')
    colors = ((0, 0, 0), (255, 0, 0))
    ignore = 255

    def __init__(self, count: int = 8) -> None:
        self._samples = [self._draw(np.random.default_rng(number)) for number in range(count)]

    def __len__(self) -> int:
        return len(self._samples)

    def name(self, index: int) -> str:
        return str(index)

    def sample(self, index: int) -> Sample:
        return self._samples[index]

    @staticmethod
    def _draw(rng: np.random.Generator) -> Sample:
        image = rng.integers(20, 60, (48, 60, 3)).astype(np.uint8)
        label = np.zeros((48, 60), np.uint8)
        y, x = rng.integers(4, 24), rng.integers(4, 36)
        image[y : y + 16, x : x + 16] += 150
        label[y : y + 16, x : x + 16] = 1
        label[:2] = 255
        return Sample(image, label)


def tensors(trainer: NetworkTrainer[Any]) -> list[torch.Tensor]:
    """Return everything that a run changes."""
    moments = [
        value
        for entry in trainer.state.optimizer.state.values()
        for value in entry.values()
        if isinstance(value, torch.Tensor)
    ]
    network, average = trainer.state.network, trainer.state.average
    return [*network.state_dict().values(), *average.state_dict().values(), *moments]
