# SPDX-License-Identifier: Apache-2.0
"""Training of MFS-Seg style networks: their input, loss and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.events.frames import framing_notes
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig, preset
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.training.distributed import ALONE, Team
from spikeseg_ros.training.labels import class_weights, nearest_labels
from spikeseg_ros.training.run_state import Group
from spikeseg_ros.training.trainer import NetworkTrainer

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.models.mfs_seg import MfsSegOutput
    from spikeseg_ros.training.segmentation_config import SegmentationConfig

FORMAT = 'spikeseg_ros segmentation checkpoint 1'


def multi_scale_loss(
    logits: Sequence[Tensor],
    labels: Tensor,
    head_weights: Sequence[float],
    weights: Tensor,
    ignore: int,
) -> Tensor:
    """Return the weighted sum of class-weighted cross-entropies of all scales.

    Args:
        logits: By scale, shape (B, classes, h, w).
        labels: Shape (B, H, W), int64.
        head_weights: Weight of each scale.
        weights: Weight of each class.
        ignore: Label that counts nowhere.
    """
    total = logits[0].new_zeros(())
    for item, factor in zip(logits, head_weights, strict=True):
        target = nearest_labels(labels, (item.shape[-2], item.shape[-1]))
        loss = F.cross_entropy(item, target, weights, ignore_index=ignore, reduction='sum')
        mass = weights[target[target != ignore]].sum()
        # Views without a labelled pixel weigh nothing, instead of dividing by nothing.
        total = total + factor * loss / mass.clamp(min=1e-6)
    return total


def network_config(config: SegmentationConfig, dataset: SegmentationDataset) -> MfsSegConfig:
    """Return the network for the classes and the kind of input of a data set.

    Raises:
        MfsSegConfigError: The options do not fit.
    """
    shape = dataset.sample(0).image.shape
    events: dict[str, Any] = {}
    if len(shape) == 4:
        events = {'events': True, 'input_channels': shape[1]}
    values = {'classes': len(dataset.classes), **events, **config.network}
    return preset(config.preset, **values)


class SegmentationTrainer(NetworkTrainer[MfsSeg]):
    """Trains one network.

    Args:
        config: Settings.
        dataset: Training images.
        network: Network to start from; a new one where None.
        device: Where to train.
        workers: Threads that prepare views; see `Views`.
        team: The processes that train together.
    """

    FORMAT = FORMAT
    config: SegmentationConfig

    def __init__(
        self,
        config: SegmentationConfig,
        dataset: SegmentationDataset,
        network: MfsSeg | None = None,
        device: str = 'cpu',
        workers: int = 0,
        team: Team = ALONE,
    ) -> None:
        if network is None:
            torch.manual_seed(config.seed)
            network = MfsSeg(network_config(config, dataset))
        network = network.to(torch.device(device))
        super().__init__(config, dataset, network, _groups(config, network), workers, team)
        self.weights = class_weights(dataset, config.class_offset).to(self.device)

    def inputs(self, views: Tensor) -> Tensor:
        """Return normalised images, or spikes of event frames."""
        network = self.state.network
        return network.spikes(views) if views.ndim == 5 else network.normalised(views)

    def loss(self, output: MfsSegOutput, labels: Tensor) -> Tensor:
        """Return the loss over all scales."""
        config = self.config
        return multi_scale_loss(
            output.logits, labels, config.head_weights, self.weights, self.dataset.ignore
        )

    def write_weights(self, path: str | os.PathLike[str], metadata: dict[str, Any]) -> None:
        """Write the averaged weights."""
        data, framing = self.dataset, getattr(self.dataset, 'framing', None)
        if framing is not None:
            metadata = {**metadata, 'framing': framing_notes(framing)}
        save_mfs_seg(path, self.state.average, data.classes, data.colors, metadata)


def _groups(config: SegmentationConfig, network: MfsSeg) -> list[Group]:
    """Return the weights of convolutions, which decay, and all else."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            conv = isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and name == 'weight'
            (decayed if conv else plain).append(parameter)
    return [Group(decayed, config.weight_decay), Group(plain, 0.0)]
