# SPDX-License-Identifier: Apache-2.0
"""CamVid with 11 classes, in the layout ``SPLIT/images/*.{jpg,png}`` and ``SPLIT/labels/*.png``.

Labels are images of class indices (8-bit gray, or palette images whose indices are the classes).
Data: Brostow et al. 2009, 11 classes as in SegNet; research use only (CC BY-NC).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.datasets.indices import read_indices

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

CLASSES = (
    'sky', 'building', 'pole', 'road', 'pavement', 'tree', 'signsymbol', 'fence', 'car',
    'pedestrian', 'bicyclist',
)  # fmt: skip
COLORS = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
IGNORE = 11


class CamVid:
    """A split of CamVid, decoded once into memory (0.7 MB an image at 480 x 360).

    Args:
        root: Folder that holds the splits.
        split: 'train', 'val' or 'test'.

    Raises:
        DatasetError: A folder, an image or a label is missing or damaged.
    """

    classes: tuple[str, ...] = CLASSES
    colors: tuple[tuple[int, int, int], ...] = COLORS
    ignore: int = IGNORE

    def __init__(self, root: str | Path, split: str) -> None:
        folder = Path(root) / split
        images = sorted(
            path
            for path in (folder / 'images').glob('*')
            if path.suffix.lower() in ('.jpg', '.jpeg', '.png')
        )
        if not images:
            msg = f'{str(folder / "images")!r} holds no images; check the folder of the data set.'
            raise DatasetError(msg)
        self._names = [path.stem for path in images]
        self._samples = [_read(path, folder / 'labels' / f'{path.stem}.png') for path in images]

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._samples)

    def name(self, index: int) -> str:
        """Return the file name of an image without its ending."""
        return self._names[index]

    def sample(self, index: int) -> Sample:
        """Return image and label; they are shared, do not write into them."""
        return self._samples[index]


def _read(image_path: Path, label_path: Path) -> Sample:
    """Read one pair.

    Raises:
        DatasetError: One is missing or damaged, or they do not fit each other.
    """
    image = cv2.imread(str(image_path), cv2.IMREAD_COLOR)
    if image is None:
        msg = f'Cannot read the image {str(image_path)!r}; copy the data set again.'
        raise DatasetError(msg)
    label = read_indices(label_path)
    if label.shape != image.shape[:2]:
        msg = (
            f'The label {str(label_path)!r} has {label.shape[1]} x {label.shape[0]} pixels, its '
            f'image {image.shape[1]} x {image.shape[0]}; copy the data set again.'
        )
        raise DatasetError(msg)
    if int(label.max()) > IGNORE:
        msg = (
            f'The label {str(label_path)!r} holds the value {int(label.max())}; classes are '
            f'0 .. {IGNORE - 1} and {IGNORE} for unlabelled pixels.'
        )
        raise DatasetError(msg)
    rgb: Bytes = np.ascontiguousarray(image[..., ::-1])
    return Sample(rgb, label)
