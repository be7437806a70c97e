# SPDX-License-Identifier: Apache-2.0
"""PASCAL VOC 2012 with background and 20 classes, in the original layout.

``JPEGImages/*.jpg``, ``SegmentationClass/*.png`` (palette images whose indices are the classes,
255 = void) and ``ImageSets/Segmentation/SPLIT.txt``. Data: Everingham et al.
"""

from __future__ import annotations

from pathlib import Path

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.datasets.pairs import IGNORE, ImagePairs, Pair

CLASSES = (
    'background', 'aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair',
    'cow', 'diningtable', 'dog', 'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa',
    'train', 'tvmonitor',
)  # fmt: skip
_VALUES = {IGNORE: IGNORE, **{number: number for number in range(len(CLASSES))}}
_LISTS = Path('ImageSets', 'Segmentation')


def _color(number: int) -> tuple[int, int, int]:
    """Return the colour of a class: its bits, dealt out to red, green and blue from the top."""
    red = green = blue = 0
    for place in range(7, -1, -1):
        red |= (number & 1) << place
        green |= (number >> 1 & 1) << place
        blue |= (number >> 2 & 1) << place
        number >>= 3
    return red, green, blue


COLORS = tuple(_color(number) for number in range(len(CLASSES)))


def voc_folder(root: Path) -> Path | None:
    """Return the folder of the data set, which is the given one or in it."""
    for folder in (root, root / 'VOC2012', root / 'VOCdevkit' / 'VOC2012'):
        if (folder / _LISTS).is_dir() and (folder / 'SegmentationClass').is_dir():
            return folder
    return None


class Voc2012(ImagePairs):
    """A split of VOC 2012.

    Args:
        root: Folder that holds ``JPEGImages``, or one of the two around it.
        split: 'train', 'val' or 'trainval'.

    Raises:
        DatasetError: The list of the split is missing, empty, or holds what is no name.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        folder = voc_folder(Path(root)) or Path(root)
        path = folder / _LISTS / f'{split}.txt'
        try:
            names = path.read_text(encoding='ascii').split()
        except (OSError, UnicodeDecodeError) as err:
            msg = f'Cannot read the list of images {str(path)!r}: {err}; check folder and split.'
            raise DatasetError(msg) from None
        odd = [name for name in names if not name.replace('_', '').isalnum()]
        if odd or not names:
            msg = f'{str(path)!r} must list names of images, found {odd[:1] or "none"!r}.'
            raise DatasetError(msg)
        images, labels = folder / 'JPEGImages', folder / 'SegmentationClass'
        pairs = [Pair(name, images / f'{name}.jpg', labels / f'{name}.png') for name in names]
        super().__init__(pairs, CLASSES, COLORS, _VALUES)
