# SPDX-License-Identifier: Apache-2.0
"""Weight files of segmentation networks: configuration, tensors, classes and notes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from spikeseg_ros.models.weights import WeightsError, read_format

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping, Sequence

Network = TypeVar('Network', bound=nn.Module)


@dataclass(frozen=True)
class SegmentationWeights(Generic[Network]):
    """A trained network.

    Attributes:
        network: The network, in evaluation mode.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Notes: data, size of the images, options, figures.
    """

    network: Network
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def write_segmentation(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    network: nn.Module,
    classes: Sequence[str],
    colors: Sequence[Sequence[int]],
    metadata: Mapping[str, Any] | None,
) -> None:
    """Write a network, whose `config` is a dataclass.

    Args:
        path: File to write, usually ending in '.pt'.
        kind: Name of the format.
        version: Version of the format.
        network: The network.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Texts, numbers, and lists or mappings of them.
    """
    config: Any = network.config
    state = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in network.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    content = {
        'format': kind,
        'version': version,
        'config': dataclasses.asdict(config),
        'state': state,
        'classes': list(classes),
        'colors': [[int(value) for value in color] for color in colors],
        'metadata': dict(metadata or {}),
    }
    torch.save(content, path)


def read_segmentation(
    path: str | os.PathLike[str],
    kind: str,
    version: int,
    maker: str,
    build: Callable[[dict[str, Any]], Network],
) -> SegmentationWeights[Network]:
    """Return the network of a file; nothing in it is executed.

    Args:
        path: The file.
        kind: Name of the format.
        version: Version of the format.
        maker: Command that writes such files, for messages.
        build: Makes a network from a configuration, or raises ValueError.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    content = read_format(path, kind, version, maker)
    config, metadata = content.get('config'), content.get('metadata')
    if not isinstance(config, dict) or not isinstance(metadata, dict):
        msg = f'{path!s} lacks its configuration or notes; write it again.'
        raise WeightsError(msg)
    try:
        network = build(config)
    except ValueError as err:
        msg = f'{path!s} holds no usable configuration: {err}'
        raise WeightsError(msg) from err
    _fill(path, network, content.get('state'))
    count: int = network.config.classes  # type: ignore[union-attr,assignment]
    classes, colors = _class_list(path, content, count)
    return SegmentationWeights(network.eval(), classes, colors, metadata)


def _fill(path: object, network: nn.Module, state: Any) -> None:
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


def _class_list(
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
