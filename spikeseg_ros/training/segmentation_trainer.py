# SPDX-License-Identifier: Apache-2.0
"""One iteration of a supervised training of segmentation networks, and what it is made of."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.events.frames import framing_notes
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig, preset
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.training.distributed import ALONE, Team, parallel
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.run_state import Group, RunState
from spikeseg_ros.training.views import Views

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.training.segmentation_config import SegmentationConfig

FORMAT = 'spikeseg_ros segmentation checkpoint 1'


def finite(loss: float, iteration: int, rate: float) -> float:
    """Return a loss.

    Raises:
        TrainingError: It is not finite.
    """
    if np.isfinite(loss):
        return loss
    msg = (
        f'The loss is {loss} at iteration {iteration}; lower rate (now {rate:g}) and resume from '
        'the last checkpoint.'
    )
    raise TrainingError(msg)


def class_weights(dataset: SegmentationDataset, offset: float) -> Tensor:
    """Return 1 / ln(offset + share of the pixels) of each class, with a mean of 1."""
    counts = np.zeros(256, dtype=np.int64)
    for number in range(len(dataset)):
        counts += np.bincount(dataset.sample(number).label.ravel(), minlength=256)
    counts[dataset.ignore] = 0
    share = counts[: len(dataset.classes)] / counts.sum()
    weights = 1 / np.log(offset + share)
    return torch.from_numpy(weights / weights.mean()).float()


def nearest_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return labels (B, H, W) at another size; each is the one nearest to the cell's centre."""
    rows, columns = (
        ((torch.arange(new, dtype=torch.float64, device=labels.device) + 0.5) * old / new).long()
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows][:, :, columns]


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


class SegmentationTrainer:
    """Trains one network.

    Args:
        config: Settings.
        dataset: Training images.
        network: Network to start from; a new one where None.
        device: Where to train.
        workers: Threads that prepare views; see `Views`.
        team: The processes that train together.
    """

    def __init__(
        self,
        config: SegmentationConfig,
        dataset: SegmentationDataset,
        network: MfsSeg | None = None,
        device: str = 'cpu',
        workers: int = 0,
        team: Team = ALONE,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.team = team
        self.device = torch.device(device)
        self.terms: dict[str, float] = {}
        if network is None:
            torch.manual_seed(config.seed)
            network = MfsSeg(network_config(config, dataset))
        network = network.to(self.device)
        self.state = RunState(network, _groups(config, network), config.rate)
        self.forward = parallel(self.state.network, team)
        self.weights = class_weights(dataset, config.class_offset).to(self.device)
        self.views = Views(config, dataset, workers, team)

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the network's input and labels (B, H, W) of an iteration."""
        views, labels = self.views.batch(iteration)
        views, network = views.to(self.device), self.state.network
        inputs = network.spikes(views) if views.ndim == 5 else network.normalised(views)
        return inputs, labels.to(self.device).long()

    def step(self) -> float:
        """Run one iteration and return its loss.

        Raises:
            TrainingError: The loss is not finite.
        """
        config, state = self.config, self.state
        images, labels = self.batch(state.iteration)
        state.set_rate(config.rate_at(state.iteration))
        state.network.train()
        half = config.precision == 'bfloat16'
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            output = self.forward(images, rounding=config.rounding_at(state.iteration))
        loss = multi_scale_loss(
            output.logits, labels, config.head_weights, self.weights, self.dataset.ignore
        )
        value = finite(float(loss.detach()), state.iteration, config.rate)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.step(config.clip, config.ema)
        return value

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint."""
        self.state.save(path, FORMAT, dataclasses.asdict(self.config))

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
