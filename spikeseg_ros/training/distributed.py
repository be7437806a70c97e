# SPDX-License-Identifier: Apache-2.0
"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.distributed as dist

from spikeseg_ros.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor


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


@contextmanager
def team(device: str) -> Iterator[Team]:
    """Join the processes that torchrun started; a process alone is a team of one.

    Args:
        device: 'cpu' (processes talk through gloo) or 'cuda' (through nccl).

    Raises:
        TrainingError: The variables that torchrun sets are wrong, or the others do not answer.
    """
    if 'RANK' not in os.environ or 'WORLD_SIZE' not in os.environ:
        yield Team()
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


def mean_over_team(value: Tensor) -> Tensor:
    """Return the mean of a value over all processes; the value itself in a team of one."""
    if not dist.is_available() or not dist.is_initialized():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def sum_over_team(value: Tensor) -> Tensor:
    """Return the sum of a value over all processes; the value itself in a team of one."""
    if not dist.is_available() or not dist.is_initialized():
        return value
    total = value.detach().clone()
    dist.all_reduce(total)
    return total


def agree(flag: bool) -> bool:
    """Return whether the flag is up in any process, so that all stop together."""
    return bool(sum_over_team(torch.tensor(float(flag))) > 0) if dist_active() else flag


def dist_active() -> bool:
    """Return whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
