# SPDX-License-Identifier: Apache-2.0
"""Cityscapes with its 19 classes, in the original layout.

``leftImg8bit/SPLIT/CITY/*_leftImg8bit.png`` and ``gtFine/SPLIT/CITY/*_gtFine_labelIds.png``, or
``..._labelTrainIds.png`` where the former is missing. Data: Cordts et al. 2016.
"""

from __future__ import annotations

from pathlib import Path

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.datasets.pairs import IGNORE, ImagePairs, Pair, rgb

# Class, id in the label files, colour. All other ids count nowhere.
_TABLE = (
    ('road', 7, '804080'), ('sidewalk', 8, 'f423e8'), ('building', 11, '464646'),
    ('wall', 12, '66669c'), ('fence', 13, 'be9999'), ('pole', 17, '999999'),
    ('traffic light', 19, 'faaa1e'), ('traffic sign', 20, 'dcdc00'), ('vegetation', 21, '6b8e23'),
    ('terrain', 22, '98fb98'), ('sky', 23, '4682b4'), ('person', 24, 'dc143c'),
    ('rider', 25, 'ff0000'), ('car', 26, '00008e'), ('truck', 27, '000046'),
    ('bus', 28, '003c64'), ('train', 31, '005064'), ('motorcycle', 32, '0000e6'),
    ('bicycle', 33, '770b20'),
)  # fmt: skip
CLASSES = tuple(name for name, _, _ in _TABLE)
COLORS = tuple(rgb(color) for _, _, color in _TABLE)
_LAST_ID = 33
_IDS = {
    IGNORE: IGNORE,
    **dict.fromkeys(range(_LAST_ID + 1), IGNORE),
    **{value: number for number, (_, value, _) in enumerate(_TABLE)},
}
_TRAIN_IDS = {IGNORE: IGNORE, **{number: number for number in range(len(CLASSES))}}
_IMAGE = '_leftImg8bit.png'


class Cityscapes(ImagePairs):
    """A split of Cityscapes.

    Args:
        root: Folder that holds ``leftImg8bit`` and ``gtFine``.
        split: 'train', 'val' or 'test' (whose labels are not public: all of it is unlabelled).

    Raises:
        DatasetError: There are no images, or their labels are of two kinds or missing.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        folder, labels = Path(root) / 'leftImg8bit' / split, Path(root) / 'gtFine' / split
        images = sorted(folder.glob(f'*/*{_IMAGE}'))
        if not images:
            msg = f'{str(folder)!r} holds no CITY/*{_IMAGE}; check folder and split.'
            raise DatasetError(msg)
        for ending, values in (('labelIds', _IDS), ('labelTrainIds', _TRAIN_IDS)):
            pairs = []
            for image in images:
                name = image.name.removesuffix(_IMAGE)
                label = labels / image.parent.name / f'{name}_gtFine_{ending}.png'
                pairs.append(Pair(name, image, label))
            # The first label decides; one that is missing later is named when it is read.
            if pairs[0].label.is_file():
                super().__init__(pairs, CLASSES, COLORS, values)
                return
        msg = (
            f'{str(labels / images[0].parent.name)!r} holds neither labelIds nor labelTrainIds of '
            f'{images[0].name!r}; unpack gtFine beside leftImg8bit.'
        )
        raise DatasetError(msg)
