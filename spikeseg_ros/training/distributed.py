# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from spikeseg_ros.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


class Team(NamedTuple):
    """This process among those that train together.

    Attributes:
        rank: Number of this process, 0 .. size - 1; only number 0 writes files.
        size: Number of processes.
        local: Number of this process on its machine, which selects its GPU.
    """

    rank: int = 0
    size: int = 1
    local: int = 0


ALONE = Team()


@contextmanager
def team(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started; a process alone is a team of one.

    Args:
        device: 'cpu' (processes talk through gloo) or 'cuda' (through nccl).

    Raises:
        TrainingError: The variables that torchrun sets are wrong, or the others do not answer.
    """
    if 'RANK' not in os.environ or 'WORLD_SIZE' not in os.environ:
        yield ALONE
        return
    try:
        names = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
        found = Team(*(int(os.environ.get(name, '0')) for name in names))
        if device == 'cuda':
            torch.cuda.set_device(found.local)
        dist.init_process_group('nccl' if device == 'cuda' else 'gloo')
    except (ValueError, RuntimeError) as err:
        msg = f'Cannot join the other training processes: {err}; start them with torchrun.'
        raise TrainingError(msg) from None
    try:
        yield found
    finally:
        dist.destroy_process_group()


def parallel(network: nn.Module, mates: Team) -> nn.Module:
    """Return what to call instead of the network, so that gradients are means over the team."""
    if mates.size == 1:
        return network
    on_gpu = next(network.parameters()).is_cuda
    return DistributedDataParallel(network, device_ids=[mates.local] if on_gpu else None)


def sum_over_team(value: Tensor) -> Tensor:
    """Return the sum of a value over all processes; the value itself in a team of one."""
    if not dist.is_available() or not dist.is_initialized():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def mean_over_team(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes; the value itself in a team of one."""
    if not dist.is_available() or not dist.is_initialized():
        return value
    return sum_over_team(value) / dist.get_world_size()


def agree(flag: bool, device: torch.device | None = None) -> bool:
    """Return whether the flag is up in any process, so that all stop together."""
    return bool(sum_over_team(torch.tensor(float(flag), device=device)) > 0)
