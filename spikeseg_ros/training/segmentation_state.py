# SPDX-License-Identifier: Apache-2.0
"""State of a segmentation training: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from spikeseg_ros.training.checkpoint import read_content, write_content
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.segmentation_config import SegmentationConfig, segmentation_config

if TYPE_CHECKING:
    from pathlib import Path

    from spikeseg_ros.models.mfs_seg import MfsSeg

_FORMAT = 'spikeseg_ros segmentation checkpoint 1'
# The average follows fast at first: after i iterations it keeps at most (1 + i) / (10 + i).
_EMA_LAG = 10


class SegmentationState:
    """Network, moving average, optimiser and number of the next iteration.

    Order, views and seeds are functions of the iteration, so no random state has to be kept.

    Args:
        config: Settings.
        network: The network to train.
    """

    def __init__(self, config: SegmentationConfig, network: MfsSeg) -> None:
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: MfsSeg = copy.deepcopy(self.network).eval().requires_grad_(False)
        decayed: list[nn.Parameter] = []
        plain: list[nn.Parameter] = []
        for module in network.modules():
            for name, parameter in module.named_parameters(recurse=False):
                conv = isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and name == 'weight'
                (decayed if conv else plain).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [
                {'params': decayed, 'weight_decay': config.weight_decay},
                {'params': plain, 'weight_decay': 0.0},
            ],
            lr=config.rate,
        )
        self.iteration = 0

    def follow(self, keep: float) -> None:
        """Move the average towards the network."""
        keep = min(keep, (1 + self.iteration) / (_EMA_LAG + self.iteration))
        mine, theirs = _floats(self.average), _floats(self.network)
        with torch.no_grad():
            torch._foreach_lerp_(mine, theirs, 1 - keep)

    def save(self, path: str | Path, config: SegmentationConfig) -> None:
        """Write a checkpoint; an interrupted write leaves the previous one untouched.

        Raises:
            TrainingError: The file cannot be written.
        """
        content = {
            'format': _FORMAT,
            'config': dataclasses.asdict(config),
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'iteration': self.iteration,
        }
        write_content(path, content)

    def restore(self, path: str | Path, content: dict[str, Any]) -> None:
        """Take over the state of a checkpoint.

        Args:
            path: Where it came from, for messages.
            content: What `read_checkpoint` returned.

        Raises:
            TrainingError: It does not fit the network.
        """
        try:
            self.network.load_state_dict(content['network'])
            self.average.load_state_dict(content['average'])
            self.optimizer.load_state_dict(content['optimizer'])
            self.iteration = int(content['iteration'])
        except (KeyError, RuntimeError, TypeError, ValueError) as err:
            msg = f'The checkpoint {str(path)!r} does not fit: {str(err).splitlines()[0]}'
            raise TrainingError(msg) from None


def read_checkpoint(path: str | Path) -> tuple[SegmentationConfig, dict[str, Any]]:
    """Read a checkpoint; nothing in it is executed.

    Raises:
        TrainingError: The file is missing, damaged, or no checkpoint of this version.
    """
    content = read_content(path, _FORMAT)
    config = content.get('config')
    if not isinstance(config, dict):
        msg = f'The checkpoint {str(path)!r} lacks its options; train again.'
        raise TrainingError(msg)
    return segmentation_config(config), content


def _floats(network: MfsSeg) -> list[Tensor]:
    """Return parameters and running statistics, which the average follows."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]
