# SPDX-License-Identifier: Apache-2.0
"""Weight files of MFS-Seg style networks: configuration, tensors, classes and a note."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfigError, from_mapping
from spikeseg_ros.models.weights import WeightsError, read_format
from spikeseg_ros.spiking.neurons import NeuronError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

FORMAT = 'spikeseg_ros mfs_seg'
VERSION = 1


@dataclass(frozen=True)
class MfsSegWeights:
    """A trained network.

    Attributes:
        network: The network, in evaluation mode.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Notes: data, size of the images, options, figures.
    """

    network: MfsSeg
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def save_mfs_seg(
    path: str | os.PathLike[str],
    network: MfsSeg,
    classes: Sequence[str],
    colors: Sequence[Sequence[int]],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network.

    Args:
        path: File to write, usually ending in '.pt'.
        network: The network.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Texts, numbers, and lists or mappings of them.
    """
    state = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    content = {
        'format': FORMAT,
        'version': VERSION,
        'config': dataclasses.asdict(network.config),
        'state': state,
        'classes': list(classes),
        'colors': [[int(value) for value in color] for color in colors],
        'metadata': dict(metadata or {}),
    }
    torch.save(content, path)


def load_mfs_seg(path: str | os.PathLike[str]) -> MfsSegWeights:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_mfs_seg`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    content = read_format(path, FORMAT, VERSION, 'spikeseg train mfs_seg')
    config, metadata = content.get('config'), content.get('metadata')
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        msg = f'{path!s} lacks its configuration or notes; write it again.'
        raise WeightsError(msg)
    try:
        network = MfsSeg(from_mapping(config))
    except (MfsSegConfigError, NeuronError) as err:
        msg = f'{path!s} holds no usable configuration: {err}'
        raise WeightsError(msg) from err
    _fill(path, network, content.get('state'))
    classes, colors = _classes(path, content, network.config.classes)
    return MfsSegWeights(network.eval(), classes, colors, metadata)


def _fill(path: object, network: MfsSeg, state: Any) -> None:
    """Copy tensors into a network after checking each.

    Raises:
        WeightsError: One is missing, has another shape or type, or is not finite.
    """
    if not isinstance(state, dict):
        msg = f'{path!s} lacks its tensors; write it again.'
        raise WeightsError(msg)
    wanted = {
        name: value
        for name, value in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    if set(state) != set(wanted):
        odd = sorted(set(state) ^ set(wanted), key=str)[:3]
        msg = f'{path!s} does not fit its configuration; missing or unknown tensors: {odd!r}.'
        raise WeightsError(msg)
    for name, like in wanted.items():
        value = state[name]
        good = isinstance(value, Tensor) and value.shape == like.shape and not value.is_sparse
        if not good or not value.is_floating_point() or not bool(torch.isfinite(value).all()):
            msg = (
                f'{path!s}: {name!r} must be finite floats of the shape {tuple(like.shape)!r}; '
                'the file is damaged.'
            )
            raise WeightsError(msg)
        if name.endswith('running_var') and bool((value < 0).any()):
            msg = f'{path!s}: {name!r} holds negative variances; the file is damaged.'
            raise WeightsError(msg)
        like.copy_(value)


def _classes(
    path: object, content: dict[str, Any], count: int
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Return names and colours of the classes.

    Raises:
        WeightsError: There is not one of each for every class.
    """
    names, colors = content.get('classes'), content.get('colors')
    if (
        isinstance(names, list)
        and isinstance(colors, list)
        and len(names) == len(colors) == count
        and all(isinstance(name, str) for name in names)
        and all(_is_color(color) for color in colors)
    ):
        return tuple(names), tuple((color[0], color[1], color[2]) for color in colors)
    msg = f'{path!s} needs a name and an RGB colour for each of its {count} classes.'
    raise WeightsError(msg)


def _is_color(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 3
        and all(isinstance(part, int) and 0 <= part <= 255 for part in value)
    )
