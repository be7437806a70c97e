# SPDX-License-Identifier: Apache-2.0
"""Opens ground truth of any known kind."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from spikeseg_ros.evaluation.truth.base import TruthError
from spikeseg_ros.evaluation.truth.clips import ClipTruth
from spikeseg_ros.evaluation.truth.ebssa import TrajectoryTruth
from spikeseg_ros.evaluation.truth.events import EventTruth, WindowsTruth

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.truth.base import TruthSource

KINDS = ('npz', 'coco', 'davis', 'ebssa')
_SUFFIXES = {'.npz': 'npz', '.json': 'coco', '.mat': 'ebssa'}


def load_truth(path: str | Path, kind: str = 'auto', *, fps: float = 24.0) -> TruthSource:
    """Open ground truth.

    Args:
        path: File or folder.
        kind: 'npz' (instance of every event, from GroundTruth.save), 'coco' (JSON by window),
            'davis' (folder of a clip with masks/), 'ebssa' (MATLAB file), or 'auto' to tell by
            the ending.
        fps: Rate of a clip's images [1/s].

    Raises:
        TruthError: There is nothing, it is of no known kind, damaged, or holds no object.
    """
    place = Path(path)
    if not place.exists():
        msg = f'There is no ground truth {str(path)!r}; give an existing file or folder.'
        raise TruthError(msg)
    if kind == 'auto':
        kind = _SUFFIXES.get(place.suffix.lower(), '')
        if (place / 'masks').is_dir():
            kind = 'davis'
    if kind == 'npz':
        return EventTruth.load(path)
    if kind == 'coco':
        return WindowsTruth.load(path)
    if kind == 'davis':
        return ClipTruth(path, fps)
    if kind == 'ebssa':
        return TrajectoryTruth.load(path)
    msg = (
        f'Cannot tell what kind of ground truth {str(path)!r} is, got {kind!r}: expected one of '
        f'{", ".join(KINDS)} (.npz, .json, a folder with masks/, .mat).'
    )
    raise TruthError(msg)
