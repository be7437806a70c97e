# SPDX-License-Identifier: Apache-2.0
"""Weight files of MFS-Seg style networks: configuration, tensors, classes and a note."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfigError, from_mapping
from spikeseg_ros.models.segmentation_weights import (
    class_list,
    fill,
    read_segmentation,
    write_segmentation,
)
from spikeseg_ros.models.weights import WeightsError
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
    write_segmentation(path, FORMAT, VERSION, network, classes, colors, metadata)


def load_mfs_seg(path: str | os.PathLike[str]) -> MfsSegWeights:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_mfs_seg`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    config, metadata, content = read_segmentation(path, FORMAT, VERSION, 'spikeseg train mfs_seg')
    try:
        network = MfsSeg(from_mapping(config))
    except (MfsSegConfigError, NeuronError) as err:
        msg = f'{path!s} holds no usable configuration: {err}'
        raise WeightsError(msg) from err
    fill(path, network, content.get('state'))
    classes, colors = class_list(path, content, network.config.classes)
    return MfsSegWeights(network.eval(), classes, colors, metadata)
