# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of a training run: everything needed to go on as if nothing had happened."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from spikeseg_ros.training.config import StdpConfig, from_values
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.layers import LAYERS, TrainingState

if TYPE_CHECKING:
    from torch import Tensor

_FORMAT = 'spikeseg_ros stdp checkpoint 1'


def write_content(path: str | os.PathLike[str], content: dict[str, Any]) -> None:
    """Write a checkpoint of any training; an interrupted write leaves the previous one untouched.

    Raises:
        TrainingError: The file cannot be written.
    """
    target = Path(path)
    temporary = target.with_name(target.name + '.tmp')
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, temporary)
        os.replace(temporary, target)
    except (OSError, RuntimeError) as err:
        msg = f'Cannot write the checkpoint {str(target)!r}: {err}'
        raise TrainingError(msg) from None


def read_content(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """Return the content of a checkpoint of one format; nothing in it is executed.

    Raises:
        TrainingError: The file is missing, damaged, or of another format.
    """
    try:
        content: Any = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as err:
        # torch.load has no error class of its own for a damaged archive.
        reason = str(err).splitlines()[0] if str(err) else repr(err)
        msg = f'Cannot read the checkpoint {str(path)!r}: {reason}'
        raise TrainingError(msg) from None
    if not isinstance(content, dict) or content.get('format') != kind:
        msg = f'{str(path)!r} is no checkpoint of this version ({kind!r}).'
        raise TrainingError(msg)
    return content


def save_checkpoint(path: str | Path, config: StdpConfig, state: TrainingState) -> None:
    """Write a checkpoint; an interrupted write leaves the previous one untouched.

    Raises:
        TrainingError: The file cannot be written.
    """
    write_content(
        path,
        {'format': _FORMAT, 'config': dataclasses.asdict(config), 'state': state._asdict()},
    )


def load_checkpoint(path: str | Path) -> tuple[StdpConfig, TrainingState]:
    """Read a checkpoint.

    Raises:
        TrainingError: The file is missing, damaged, or no checkpoint of this version.
    """
    content = read_content(path, _FORMAT)
    try:
        config = from_values(content['config'])
        state = TrainingState(**content['state'])
    except (KeyError, TypeError) as err:
        msg = f'The checkpoint {str(path)!r} is incomplete: {err}'
        raise TrainingError(msg) from None
    _check(path, state)
    return config, state


def _check(path: str | Path, state: TrainingState) -> None:
    """Refuse states that no run can have."""
    tensors: tuple[Any, ...] = (state.conv2, state.conv3, state.factors, state.theta3)
    good = all(isinstance(item, torch.Tensor) and _finite(item) for item in tensors)
    good = good and state.conv2.ndim == 4 and state.conv3.ndim == 4
    good = good and state.factors.shape == state.conv2.shape[:1]
    if not good or not 0 <= state.layer < len(LAYERS):
        msg = f'The checkpoint {str(path)!r} holds damaged values; train again.'
        raise TrainingError(msg)


def _finite(values: Tensor) -> bool:
    return bool(torch.isfinite(values).all())
