# SPDX-License-Identifier: Apache-2.0
"""The MFS-Seg family: weights of mfs_seg behind the interface of the semantic families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.events.frames import Framing, framing_from_notes
from spikeseg_ros.models.compiled import Prepared
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg
from spikeseg_ros.models.weights import WeightsError, find_weights
from spikeseg_ros.perception.devices import choose_device, half_precision
from spikeseg_ros.perception.semantic import SemanticSegmenter
from spikeseg_ros.perception.weight_notes import trained_size

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from spikeseg_ros.perception.config import PerceptionConfig


class MfsSegNetwork:
    """A trained MFS-Seg style network, its normalisation folded; see `SemanticNetwork`.

    Args:
        config: Configuration.

    Raises:
        ConfigError: The device cannot be used, or not in this precision.
        WeightsError: The weights cannot be used.
    """

    family = 'mfs_seg'

    def __init__(self, config: PerceptionConfig) -> None:
        self.device = choose_device(config.device)
        half = half_precision(config.semantic.precision, self.device)
        path = find_weights(config.weights, self.family)
        weights = load_mfs_seg(path)
        self.classes, self.colors = weights.classes, weights.colors
        self.size = trained_size(weights.metadata)
        self._keep = config.semantic.streaming
        self._prepared = Prepared(weights.network, self.device, keep=self._keep, half=half)
        self.network: Any = self._prepared.network
        self.multiple = self.network.net.multiple
        shape = self.network.config
        self.framing: Framing | None = None
        self.fill = (0, 0, 0)
        if shape.events:
            self.framing = _framing(path, weights.metadata, shape.input_channels)
        elif shape.input_channels == 3:
            red, green, blue = (round(255 * value) for value in shape.mean)
            self.fill = (red, green, blue)
        else:
            msg = f'{path!s} takes images of {shape.input_channels} channels; RGB has 3.'
            raise WeightsError(msg)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the network runs."""
        return self._prepared.notes

    def logits(
        self, inputs: NDArray[Any], state: tuple[Tensor, ...] | None
    ) -> tuple[Tensor, tuple[Tensor, ...] | None]:
        """Return logits (1, classes, h, w) and, when streaming, the potentials."""
        x = torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)
        if self.framing is None:
            # A view whose channels lie last, which is the order the convolutions want.
            x = self.network.normalised(x.permute(2, 0, 1).unsqueeze(0))
        else:
            x = self.network.spikes(x.unsqueeze(1))
        scores, after = self._prepared(x, state)
        return scores, after if self._keep else None

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the softmax over the classes, shape (classes, N)."""
        return scores.softmax(dim=0)


class MfsSegSegmenter(SemanticSegmenter):
    """The family as the registry makes it."""

    def __init__(self, config: PerceptionConfig) -> None:
        """Load the network; raises as MfsSegNetwork and SemanticSegmenter."""
        super().__init__(config, MfsSegNetwork(config))


def _framing(path: object, metadata: dict[str, Any], channels: int) -> Framing:
    """Return how windows become frames; what older weights do not say is the default.

    Raises:
        WeightsError: The note contradicts the network.
    """
    notes = metadata.get('framing')
    framing = Framing(bins=max(1, channels // 2)) if notes is None else framing_from_notes(notes)
    if framing is None or 2 * framing.bins != channels:
        msg = (
            f'{path!s} takes event frames of {channels} channels, its note says {notes!r}; '
            'frames hold two channels for each slice. Write the weights again.'
        )
        raise WeightsError(msg)
    return framing
