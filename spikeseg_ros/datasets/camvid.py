# SPDX-License-Identifier: Apache-2.0
"""CamVid with 11 classes, in the layout ``SPLIT/images/*.{jpg,png}`` and ``SPLIT/labels/*.png``.

Labels are images of class indices (8-bit gray, or palette images whose indices are the classes).
Data: Brostow et al. 2009, 11 classes as in SegNet; research use only (CC BY-NC).
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample

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

_PNG = b'\x89PNG\r\n\x1a\n'
_GRAY, _PALETTE = 0, 3  # colour types in the header of a PNG


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
    label = _indices(label_path)
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


def _indices(path: Path) -> Bytes:
    """Return the class indices of a label image.

    Raises:
        DatasetError: The file is missing or no image of indices.
    """
    try:
        content = path.read_bytes()
    except OSError as err:
        msg = f'Cannot read the label {str(path)!r}: {err}; copy the data set again.'
        raise DatasetError(msg) from None
    if content[:8] != _PNG or content[12:16] != b'IHDR' or content[25] not in (_GRAY, _PALETTE):
        msg = f'The label {str(path)!r} is no PNG of class indices (palette or 8-bit gray).'
        raise DatasetError(msg)
    values = cv2.imdecode(np.frombuffer(_as_gray(content), np.uint8), cv2.IMREAD_GRAYSCALE)
    if values is None:
        msg = f'The label {str(path)!r} is damaged; copy the data set again.'
        raise DatasetError(msg)
    # Fewer bits than 8 come spread over 0 .. 255.
    spread = 255 // (2 ** min(content[24], 8) - 1)
    indices: Bytes = (values // spread).astype(np.uint8)
    return indices


def _as_gray(content: bytes) -> bytes:
    """Return a palette PNG as a gray one, because OpenCV would apply the palette."""
    header = content[12:25] + bytes([_GRAY]) + content[26:29]
    parts = [content[:12], header, zlib.crc32(header).to_bytes(4, 'big')]
    at = 33
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], 'big')
        if content[at + 4 : at + 8] in (b'IDAT', b'IEND'):
            parts.append(content[at:end])
        at = end
    return b''.join(parts)
