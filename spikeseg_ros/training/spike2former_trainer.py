# SPDX-License-Identifier: Apache-2.0
"""Training of Spike2Former: its losses and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeseg_ros.models.spike2former import Spike2Former, Spike2FormerConfig, preset
from spikeseg_ros.models.spike2former_weights import save_spike2former
from spikeseg_ros.training.distributed import ALONE, Team
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.labels import class_weights, nearest_labels
from spikeseg_ros.training.mask_loss import by_class, mask_losses, segments, semantic_loss
from spikeseg_ros.training.run_state import Group
from spikeseg_ros.training.trainer import NetworkTrainer

if TYPE_CHECKING:
    import os

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.models.spike2former import Spike2FormerOutput
    from spikeseg_ros.training.spike2former_config import Spike2FormerTraining

FORMAT = 'spikeseg_ros spike2former checkpoint 1'
_EMBEDDINGS = ('query_embed.', 'query_feat.', 'level_embed.')


def network_config(
    config: Spike2FormerTraining, dataset: SegmentationDataset
) -> Spike2FormerConfig:
    """Return the network for the classes of a data set.

    Raises:
        Spike2FormerConfigError: The options do not fit.
        TrainingError: There are fewer queries than the assignment needs.
    """
    values = {'classes': len(dataset.classes), **config.network}
    network = preset(config.preset, **values)
    if config.assignment == 'classes' and network.queries < network.classes:
        msg = (
            f"assignment 'classes' needs a query for each of the {network.classes} classes, there "
            f"are {network.queries}; give network more queries, or take 'hungarian'."
        )
        raise TrainingError(msg)
    return network


def parameter_groups(config: Spike2FormerTraining, network: nn.Module) -> list[Group]:
    """Return weights that decay and all else, each for the backbone and for the rest.

    Biases, normalisations, layer scales and embeddings do not decay.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        embedding = any(part in name for part in _EMBEDDINGS)
        key = name.startswith('backbone.'), parameter.ndim > 1 and not embedding
        groups.setdefault(key, []).append(parameter)
    return [
        Group(
            parameters,
            config.weight_decay if decays else 0.0,
            config.backbone_rate if backbone else 1.0,
        )
        for (backbone, decays), parameters in sorted(groups.items(), key=lambda item: item[0])
    ]


class Spike2FormerTrainer(NetworkTrainer[Spike2Former]):
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
    config: Spike2FormerTraining

    def __init__(
        self,
        config: Spike2FormerTraining,
        dataset: SegmentationDataset,
        network: Spike2Former | None = None,
        device: str = 'cpu',
        workers: int = 0,
        team: Team = ALONE,
    ) -> None:
        if network is None:
            torch.manual_seed(config.seed)
            network = Spike2Former(network_config(config, dataset))
        network = network.to(torch.device(device))
        groups = parameter_groups(config, network)
        super().__init__(config, dataset, network, groups, workers, team)
        self.terms = dict.fromkeys(('classes', 'mask', 'dice', 'semantic'), 0.0)
        self.weights: Tensor | None = None
        if config.semantic_loss:
            self.weights = class_weights(dataset, config.class_offset).to(self.device)

    def inputs(self, views: Tensor) -> Tensor:
        """Return normalised images."""
        return self.state.network.normalised(views)

    def loss(self, output: Spike2FormerOutput, labels: Tensor) -> Tensor:
        """Return the sum of the terms."""
        terms = self.losses(output, labels)
        self.terms = {name: float(term.detach()) for name, term in terms.items()}
        return torch.stack(list(terms.values())).sum()

    def losses(self, output: Spike2FormerOutput, labels: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss, each summed over all outputs."""
        config, ignore = self.config, self.dataset.ignore
        classes, masks = output.class_logits.float(), output.mask_logits.float()
        small = nearest_labels(labels, (masks.shape[-2], masks.shape[-1]))
        wanted = [segments(item, ignore) for item in (labels if config.full_size else small)]
        matches = None
        if config.assignment == 'classes':
            matches = [[by_class(item) for item in wanted]] * len(classes)
        found = mask_losses(classes, masks, wanted, config.factors, matches=matches)
        terms = {
            name: torch.stack([found[key] for key in found if key.endswith(ending)]).sum()
            for name, ending in (('classes', 'cls'), ('mask', 'mask'), ('dice', 'dice'))
        }
        terms['semantic'] = classes.new_zeros(())
        if self.weights is not None:
            for one, other in zip(classes, masks, strict=True):
                term = semantic_loss(one, other, small, self.weights, ignore)
                terms['semantic'] = terms['semantic'] + config.semantic_loss * term
        return terms

    def write_weights(self, path: str | os.PathLike[str], metadata: dict[str, Any]) -> None:
        """Write the averaged weights."""
        data = self.dataset
        save_spike2former(path, self.state.average, data.classes, data.colors, metadata)
