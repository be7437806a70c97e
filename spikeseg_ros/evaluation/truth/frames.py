# SPDX-License-Identifier: Apache-2.0
"""Labelled frames: class maps at certain times of a recording (DSEC-Semantic, DDD17, CamVid).

Labels of DSEC and DDD17 cover the upper rows of the sensor only; `LabelFrames.crop` cuts a
prediction to them, and a ConfusionMatrix compares both.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.datasets import DatasetError
from spikeseg_ros.datasets.camvid import CLASSES as CAMVID_CLASSES
from spikeseg_ros.datasets.camvid import IGNORE as CAMVID_IGNORE
from spikeseg_ros.datasets.indices import read_indices
from spikeseg_ros.evaluation.truth.base import TruthError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FRAME_KINDS = ('dsec', 'ddd17', 'camvid')
# Sun et al., "ESS: Learning event-based semantic segmentation from still images", ECCV 2022; the
# 19 classes are those of Cityscapes.
DSEC_CLASSES = {
    11: (
        'background', 'building', 'fence', 'person', 'pole', 'road', 'sidewalk', 'vegetation',
        'car', 'wall', 'traffic sign',
    ),
    19: (
        'road', 'sidewalk', 'building', 'wall', 'fence', 'pole', 'traffic light', 'traffic sign',
        'vegetation', 'terrain', 'sky', 'person', 'rider', 'car', 'truck', 'bus', 'train',
        'motorcycle', 'bicycle',
    ),
}  # fmt: skip
# Alonso and Murillo, "EV-SegNet: Semantic segmentation for event-based cameras", CVPRW 2019.
DDD17_CLASSES = ('flat', 'construction and sky', 'object', 'nature', 'human', 'vehicle')
IGNORE = 255


class LabelFrames:
    """Class maps of one recording, in the order of time.

    Args:
        path: Where they came from, for messages.
        files: Label images, K.
        times: Sensor times of the labels [ns], not decreasing, shape (K,); None where the data
            set does not say.
        classes: Names of the classes; the position is the value in the labels.
        ignore: Value of pixels that count nowhere.

    Raises:
        TruthError: There are no labels, or their times do not fit them.
    """

    def __init__(
        self,
        path: str,
        files: Sequence[Path],
        times: NDArray[np.int64] | None,
        classes: Sequence[str],
        ignore: int = IGNORE,
    ) -> None:
        if not files:
            msg = f'{path!r} holds no label images (*.png).'
            raise TruthError(msg)
        if times is not None and len(times) != len(files):
            msg = f'{path!r} holds {len(files)} label images, but {len(times)} times.'
            raise TruthError(msg)
        if times is not None and (np.diff(times) < 0).any():
            msg = f'The times of the labels of {path!r} run backwards.'
            raise TruthError(msg)
        self.path = path
        self.times = times
        self.classes = tuple(classes)
        self.ignore = ignore
        self._files = tuple(files)
        self.height, self.width = self._read(0).shape

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self._files)

    def name(self, index: int) -> str:
        """Return the file name of a label without its ending."""
        return self._files[index].stem

    def label(self, index: int) -> NDArray[np.uint8]:
        """Return a class map, shape (height, width), uint8.

        Raises:
            TruthError: It is damaged, of another size, or holds a value that is no class.
        """
        image = self._read(index)
        if image.shape != (self.height, self.width):
            msg = (
                f'The label {str(self._files[index])!r} has {image.shape[1]}x{image.shape[0]} '
                f'pixels, the first one {self.width}x{self.height}.'
            )
            raise TruthError(msg)
        odd = image[(image >= len(self.classes)) & (image != self.ignore)]
        if len(odd):
            msg = (
                f'The label {str(self._files[index])!r} holds the value {int(odd[0])}; classes '
                f'are 0 .. {len(self.classes) - 1} and {self.ignore} for unlabelled pixels.'
            )
            raise TruthError(msg)
        return image

    def nearest(self, time: int, tolerance: int) -> int | None:
        """Return the label nearest to a sensor time, None if none is within the tolerance [ns].

        Raises:
            TruthError: The data set does not say when its labels were taken.
        """
        if self.times is None:
            msg = f'The labels of {self.path!r} come without times; compare them by name.'
            raise TruthError(msg)
        index = int(np.argmin(np.abs(self.times - time)))
        return index if abs(int(self.times[index]) - time) <= tolerance else None

    def crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the part of a class map of the whole sensor that the labels cover.

        Raises:
            TruthError: The map is smaller than the labels, or of another width.
        """
        if image.ndim != 2 or image.shape[0] < self.height or image.shape[1] != self.width:
            msg = (
                f'A class map of shape {image.shape!r} does not cover the {self.width}x'
                f'{self.height} labels of {self.path!r}.'
            )
            raise TruthError(msg)
        return image[: self.height]

    def _read(self, index: int) -> NDArray[np.uint8]:
        """Return the pixels of a label image."""
        try:
            return read_indices(self._files[index])
        except DatasetError as err:
            raise TruthError(str(err)) from None


def load_frames(
    path: str | Path, kind: str, *, classes: int = 11, fps: float = 15.0
) -> LabelFrames:
    """Open the labelled frames of a recording.

    Args:
        path: Folder. dsec: of a sequence, with 11classes/ and 19classes/ (of *.png or of data/)
            in it or below semantic/ or semantic/left/, and *timestamps.txt [us] beside or above
            them. ddd17: of a recording with segmentation_masks/*_NNNN.png and
            index/index_50ms.npy, or of a split labels/SPLIT of Ev-SegNet (no times). camvid: of
            a split with labels/*.png.
        kind: 'dsec', 'ddd17' or 'camvid'.
        classes: Label set of DSEC, 11 or 19.
        fps: Rate of the labels of CamVid [1/s]; 15 is that of its validation split.

    Raises:
        TruthError: The folder is not laid out like that, or a file is damaged.
    """
    root = Path(path)
    if not root.is_dir():
        msg = f'There is no folder {str(path)!r}; give the folder of labelled frames.'
        raise TruthError(msg)
    if kind == 'dsec':
        return _dsec(root, classes)
    if kind == 'ddd17':
        return _ddd17(root)
    if kind == 'camvid':
        files = sorted((root / 'labels').glob('*.png'))
        times = np.array([round(k / fps * 1e9) for k in range(len(files))], np.int64)
        return LabelFrames(str(root), files, times, CAMVID_CLASSES, CAMVID_IGNORE)
    msg = f'No kind of labelled frames is called {kind!r}; expected one of {FRAME_KINDS!r}.'
    raise TruthError(msg)


def _dsec(root: Path, classes: int) -> LabelFrames:
    """Return the labels of a sequence of DSEC-Semantic."""
    if classes not in DSEC_CLASSES:
        msg = f'DSEC-Semantic has 11 or 19 classes, got {classes!r}.'
        raise TruthError(msg)
    places = [root, root / 'semantic', root / 'semantic/left']
    folders = [place / f'{classes}classes' for place in places]
    folder = next((place for place in folders if place.is_dir()), None)
    lists = [file for place in places for file in sorted(place.glob('*timestamps.txt'))]
    if folder is None or not lists:
        what = 'timestamps.txt' if folder else f'{classes}classes/'
        msg = f'{str(root)!r} is no sequence of DSEC-Semantic: {what} is missing.'
        raise TruthError(msg)
    if (folder / 'data').is_dir():
        folder /= 'data'
    try:
        micro = np.loadtxt(lists[0], np.int64, ndmin=1)
    except (OSError, ValueError) as err:
        msg = f'Cannot read the times {str(lists[0])!r}: {err}'
        raise TruthError(msg) from None
    files = sorted(folder.glob('*.png'))
    return LabelFrames(str(root), files, micro * 1000, DSEC_CLASSES[classes])


def _ddd17(root: Path) -> LabelFrames:
    """Return the labels of DDD17, with times where the recording has an index."""
    if not (root / 'segmentation_masks').is_dir():
        return LabelFrames(str(root), sorted(root.glob('*.png')), None, DDD17_CLASSES)
    files = sorted((root / 'segmentation_masks').glob('*.png'), key=_number)
    index = root / 'index/index_50ms.npy'
    try:
        # Row j: time [ns] of image j + 1, number of its last event, number 50 ms before.
        table = np.load(index, allow_pickle=False)
        times = table[[_number(file) - 1 for file in files], 0].astype(np.int64)
    except (OSError, ValueError, IndexError, EOFError) as err:
        msg = f'Cannot read the times of the images {str(index)!r}: {err}'
        raise TruthError(msg) from None
    return LabelFrames(str(root), files, times, DDD17_CLASSES)


def _number(file: Path) -> int:
    """Return the number of the image at the end of a label's name, from 1."""
    found = re.search(r'_(\d+)$', file.stem)
    if not found or int(found[1]) < 1:
        msg = f'The label {str(file)!r} does not end in the number of its image (_00000001.png).'
        raise TruthError(msg)
    return int(found[1])
