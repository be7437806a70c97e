# SPDX-License-Identifier: Apache-2.0
"""Weight files of MFS-Seg style networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import from_mapping
from spikeseg_ros.models.segmentation_weights import (
    SegmentationWeights,
    read_segmentation,
    write_segmentation,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence

FORMAT = 'spikeseg_ros mfs_seg'
VERSION = 1


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
        network: The network, not folded.
        classes: Names of the classes.
        colors: RGB colour of each class.
        metadata: Texts, numbers, and lists or mappings of them.
    """
    write_segmentation(path, FORMAT, VERSION, network, classes, colors, metadata)


def load_mfs_seg(path: str | os.PathLike[str]) -> SegmentationWeights[MfsSeg]:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_mfs_seg`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    return read_segmentation(
        path,
        FORMAT,
        VERSION,
        'spikeseg train mfs_seg',
        lambda config: MfsSeg(from_mapping(config)),
    )
