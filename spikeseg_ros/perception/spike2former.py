# SPDX-License-Identifier: Apache-2.0
"""The Spike2Former family: its weights behind the interface of the semantic families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.models.compiled import Prepared
from spikeseg_ros.models.spike2former_weights import open_spike2former
from spikeseg_ros.models.weights import find_weights
from spikeseg_ros.perception.devices import choose_device, half_precision
from spikeseg_ros.perception.semantic import SemanticSegmenter
from spikeseg_ros.perception.weight_notes import trained_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from spikeseg_ros.events.frames import Framing
    from spikeseg_ros.perception.config import PerceptionConfig


class Spike2FormerNetwork:
    """A trained Spike2Former, folded for inference; see `SemanticNetwork`.

    Args:
        config: Configuration.

    Raises:
        ConfigError: The device cannot be used, or not in this precision.
        WeightsError: There are no weights, or they cannot be used.
    """

    family = 'spike2former'
    multiple = 1
    framing: Framing | None = None

    def __init__(self, config: PerceptionConfig) -> None:
        self.device = choose_device(config.device)
        half = half_precision(config.semantic.precision, self.device)
        path = find_weights(config.weights, self.family)
        weights = open_spike2former(path, config.semantic.levels)
        self.classes, self.colors = weights.classes, weights.colors
        self.size = trained_size(weights.metadata)
        self._keep = config.semantic.streaming
        self._prepared = Prepared(weights.network, self.device, keep=self._keep, half=half)
        self.network: Any = self._prepared.network
        red, green, blue = (round(value) for value in weights.network.config.mean)
        self.fill = (red, green, blue)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the network runs."""
        return self._prepared.notes

    def logits(
        self, inputs: NDArray[Any], state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Return class scores (1, classes, H, W) and, when streaming, the potentials."""
        x = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        x = self.network.normalised(x.permute(2, 0, 1).unsqueeze(0))
        scores, after = self._prepared(x, state)
        return scores, after if self._keep else None

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the share of each class in the scores of all queries, shape (classes, N)."""
        return scores / scores.sum(dim=0).clamp(min=1e-6)


class Spike2FormerSegmenter(SemanticSegmenter):
    """The family as the registry makes it."""

    def __init__(self, config: PerceptionConfig) -> None:
        """Load the network; raises as Spike2FormerNetwork and SemanticSegmenter."""
        super().__init__(config, Spike2FormerNetwork(config))
