# SPDX-License-Identifier: Apache-2.0
"""Weight files of Spike2Former: configuration, tensors, classes and a note."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from spikeseg_ros.models.segmentation_weights import (
    class_list,
    fill,
    read_segmentation,
    write_segmentation,
)
from spikeseg_ros.models.spike2former import (
    Spike2Former,
    Spike2FormerConfig,
    Spike2FormerConfigError,
)
from spikeseg_ros.models.weights import WeightsError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

FORMAT = 'spikeseg_ros spike2former'
VERSION = 1


@dataclass(frozen=True)
class Spike2FormerWeights:
    """A trained network.

    Attributes:
        network: The network, in evaluation mode.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Notes: data, size of the images, options, figures.
    """

    network: Spike2Former
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    metadata: dict[str, Any] = field(default_factory=dict)


def save_spike2former(
    path: str | os.PathLike[str],
    network: Spike2Former,
    classes: Sequence[str],
    colors: Sequence[Sequence[int]],
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write a network.

    Args:
        path: File to write, usually ending in '.pt'.
        network: The network, not folded.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Texts, numbers, and lists or mappings of them.
    """
    write_segmentation(path, FORMAT, VERSION, network, classes, colors, metadata)


def load_spike2former(path: str | os.PathLike[str]) -> Spike2FormerWeights:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_spike2former`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    config, metadata, content = read_segmentation(
        path, FORMAT, VERSION, 'spikeseg train spike2former'
    )
    try:
        network = Spike2Former(Spike2FormerConfig.from_mapping(config))
    except Spike2FormerConfigError as err:
        msg = f'{path!s} holds no usable configuration: {err}'
        raise WeightsError(msg) from err
    fill(path, network, content.get('state'))
    classes, colors = class_list(path, content, network.config.classes)
    return Spike2FormerWeights(network.eval(), classes, colors, metadata)
