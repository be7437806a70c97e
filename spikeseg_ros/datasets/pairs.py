# SPDX-License-Identifier: Apache-2.0
"""Data sets of image files with a label file each, read when they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.datasets.indices import read_indices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

IGNORE = 255
# Marks label values that a data set does not have; more than any class.
_UNKNOWN = 256


class Pair(NamedTuple):
    """One labelled image.

    Attributes:
        name: Name, unique within the split.
        image: Image file.
        label: PNG of label values.
    """

    name: str
    image: Path
    label: Path


class ImagePairs:
    """Labelled images, of which only the one that is asked for is in memory.

    Args:
        pairs: The images, in order.
        classes: Names of the classes.
        colors: RGB colour of each class.
        values: Class, or `IGNORE`, of each value that labels may have.
    """

    ignore: int = IGNORE

    def __init__(
        self,
        pairs: Sequence[Pair],
        classes: tuple[str, ...],
        colors: tuple[tuple[int, int, int], ...],
        values: Mapping[int, int],
    ) -> None:
        self.classes, self.colors = classes, colors
        self._pairs = list(pairs)
        self._table = np.full(256, _UNKNOWN, dtype=np.int16)
        for value, number in values.items():
            self._table[value] = number

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._pairs)

    def name(self, index: int) -> str:
        """Return the name of an image."""
        return self._pairs[index].name

    def sample(self, index: int) -> Sample:
        """Read image and label.

        Raises:
            IndexError: There is no such image.
            DatasetError: A file is missing or damaged, or they do not fit each other.
        """
        pair = self._pairs[index]
        # Labels know nothing of an orientation in the notes of the image file.
        image = cv2.imread(str(pair.image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        if image is None:
            msg = f'Cannot read the image {str(pair.image)!r}; copy the data set again.'
            raise DatasetError(msg)
        values = read_indices(pair.label)
        if values.shape != image.shape[:2]:
            msg = (
                f'The label {str(pair.label)!r} has {values.shape[1]} x {values.shape[0]} pixels, '
                f'its image {image.shape[1]} x {image.shape[0]}; copy the data set again.'
            )
            raise DatasetError(msg)
        label = self._table[values]
        if int(label.max()) == _UNKNOWN:
            msg = (
                f'The label {str(pair.label)!r} holds the value '
                f'{int(values[label == _UNKNOWN].max())}, which this data set does not have; '
                'copy the data set again.'
            )
            raise DatasetError(msg)
        rgb: Bytes = np.ascontiguousarray(image[..., ::-1])
        return Sample(rgb, label.astype(np.uint8))


def rgb(code: str) -> tuple[int, int, int]:
    """Return the colour of six hexadecimal digits."""
    red, green, blue = bytes.fromhex(code)
    return red, green, blue
