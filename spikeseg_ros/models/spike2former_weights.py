# SPDX-License-Identifier: Apache-2.0
"""Weight files of Spike2Former, and released checkpoints in the same form."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING, Any

from spikeseg_ros.images.colors import class_color
from spikeseg_ros.models.segmentation_weights import (
    SegmentationWeights,
    read_segmentation,
    write_segmentation,
)
from spikeseg_ros.models.spike2former import Spike2Former, Spike2FormerConfig
from spikeseg_ros.models.spike2former.checkpoints import load_released

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

FORMAT = 'spikeseg_ros spike2former'
VERSION = 1
# Every weight file of this package names itself so.
_OWN = b'spikeseg_ros '


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


def load_spike2former(path: str | os.PathLike[str]) -> SegmentationWeights[Spike2Former]:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_spike2former`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    return read_segmentation(
        path,
        FORMAT,
        VERSION,
        'spikeseg train spike2former',
        lambda config: Spike2Former(Spike2FormerConfig.from_mapping(config)),
    )


def open_spike2former(
    path: str | os.PathLike[str], levels: int = 0
) -> SegmentationWeights[Spike2Former]:
    """Read a weight file or a released checkpoint. Nothing in it is executed.

    Args:
        path: File written by `save_spike2former`, or a checkpoint of the published code.
        levels: D of a checkpoint, which such files do not hold; 0 = see `load_released`.

    Raises:
        WeightsError: It is neither, or damaged.
    """
    if not _is_checkpoint(path):
        return load_spike2former(path)
    released = load_released(path, levels=levels or None)
    count = released.network.config.classes
    names = released.classes or tuple(f'class {number + 1}' for number in range(count))
    colors = released.colors or tuple(class_color(number + 1) for number in range(count))
    notes = {'sha256': released.sha256, 'size': list(released.size)}
    return SegmentationWeights(released.network, names, colors, notes)


def _is_checkpoint(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file is an archive of tensors, but not one that this package wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            inner = [name for name in archive.namelist() if name.endswith('/data.pkl')]
            return bool(inner) and _OWN not in archive.read(inner[0])
    except (OSError, zipfile.BadZipFile):
        return False
