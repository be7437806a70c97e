# SPDX-License-Identifier: Apache-2.0
"""State of a training by gradients: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from spikeseg_ros.training.checkpoint import read_content, write_content
from spikeseg_ros.training.errors import TrainingError

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

# The average follows fast at first: after i iterations it keeps at most (1 + i) / (10 + i).
_EMA_LAG = 10

Network = TypeVar('Network', bound=nn.Module)


class Group(NamedTuple):
    """Parameters that are treated alike.

    Attributes:
        parameters: The parameters.
        decay: Their weight decay.
        scale: Their learning rate as a share of that of the run.
    """

    parameters: list[nn.Parameter]
    decay: float
    scale: float = 1.0


class RunState(Generic[Network]):
    """Network, moving average, optimiser and number of the next iteration.

    Order, views and seeds are functions of the iteration, so no random state has to be kept.

    Args:
        network: The network to train.
        groups: Its parameters, each in one group.
        rate: Largest learning rate.
    """

    def __init__(self, network: Network, groups: Sequence[Group], rate: float) -> None:
        self.network: Network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Network = copy.deepcopy(self.network).eval().requires_grad_(False)
        self.scales = [group.scale for group in groups]
        self.optimizer = torch.optim.AdamW(
            [{'params': group.parameters, 'weight_decay': group.decay} for group in groups],
            lr=rate,
        )
        self.iteration = 0

    def set_rate(self, rate: float) -> None:
        """Set the learning rate of the next step."""
        for group, scale in zip(self.optimizer.param_groups, self.scales, strict=True):
            group['lr'] = rate * scale

    def step(self, clip: float, keep: float) -> None:
        """Change the weights by their gradients, and let the average follow.

        Args:
            clip: Largest norm of the gradient.
            keep: Share of the average that is kept.
        """
        nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimizer.step()
        self.iteration += 1
        self.follow(keep)

    def follow(self, keep: float) -> None:
        """Move the average towards the network."""
        keep = min(keep, (1 + self.iteration) / (_EMA_LAG + self.iteration))
        mine, theirs = _floats(self.average), _floats(self.network)
        with torch.no_grad():
            torch._foreach_lerp_(mine, theirs, 1 - keep)

    def save(self, path: str | os.PathLike[str], kind: str, config: dict[str, Any]) -> None:
        """Write a checkpoint; an interrupted write leaves the previous one untouched.

        Args:
            path: File to write.
            kind: Name of the format.
            config: Options of the run.

        Raises:
            TrainingError: The file cannot be written.
        """
        content = {
            'format': kind,
            'config': config,
            'network': self.network.state_dict(),
            'average': self.average.state_dict(),
            'optimizer': self.optimizer.state_dict(),
            'iteration': self.iteration,
        }
        write_content(path, content)

    def restore(self, path: object, content: dict[str, Any]) -> None:
        """Take over the state of a checkpoint.

        Args:
            path: Where it came from, for messages.
            content: What `read_state` returned.

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


def read_state(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return options and content of a checkpoint; nothing in it is executed.

    Raises:
        TrainingError: The file is missing, damaged, or no checkpoint of this version.
    """
    content = read_content(path, kind)
    config = content.get('config')
    if not isinstance(config, dict):
        msg = f'The checkpoint {str(path)!r} lacks its options; train again.'
        raise TrainingError(msg)
    return config, content


def _floats(network: nn.Module) -> list[Tensor]:
    """Return parameters and running statistics, which the average follows."""
    return [value for value in network.state_dict().values() if value.is_floating_point()]
