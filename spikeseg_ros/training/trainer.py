# SPDX-License-Identifier: Apache-2.0
"""One iteration of a training with gradients, whatever the network and its loss."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from spikeseg_ros.training.distributed import Team, parallel
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.run_state import Group, RunState
from spikeseg_ros.training.views import Views

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.training.run_config import RunConfig

Network = TypeVar('Network', bound=nn.Module)


class NetworkTrainer(Generic[Network]):
    """Trains one network; a family says what its input, its loss and its weight file are.

    Args:
        config: Settings.
        dataset: Training images.
        network: Network to start from, on its device.
        groups: Its parameters.
        workers: Threads that prepare views; see `Views`.
        team: The processes that train together.

    Attributes:
        FORMAT: Name of the family's checkpoints.
        state: Network, average, optimiser, number of the next iteration.
        terms: Parts of the loss of the last step, by name; always the same names.
    """

    FORMAT = ''
    config: RunConfig

    def __init__(
        self,
        config: RunConfig,
        dataset: SegmentationDataset,
        network: Network,
        groups: Sequence[Group],
        workers: int,
        team: Team,
    ) -> None:
        self.config = config
        self.dataset = dataset
        self.team = team
        self.device = next(network.parameters()).device
        self.terms: dict[str, float] = {}
        self.state = RunState(network, list(groups), config.rate)
        self.forward = parallel(self.state.network, team)
        self.views = Views(config, dataset, workers, team)

    def inputs(self, views: Tensor) -> Tensor:
        """Return the network's input of views on its device."""
        raise NotImplementedError

    def loss(self, output: Any, labels: Tensor) -> Tensor:
        """Return the loss of what the network made of a batch, with labels (B, H, W)."""
        raise NotImplementedError

    def write_weights(self, path: str | os.PathLike[str], metadata: dict[str, Any]) -> None:
        """Write the averaged weights."""
        raise NotImplementedError

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the network's input and labels (B, H, W) of an iteration."""
        views, labels = self.views.batch(iteration)
        return self.inputs(views.to(self.device)), labels.to(self.device).long()

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
        loss = self.loss(output, labels)
        value = finite(float(loss.detach()), state.iteration, config.rate)
        state.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        state.step(config.clip, config.ema)
        return value

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a checkpoint."""
        self.state.save(path, self.FORMAT, dataclasses.asdict(self.config))


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
