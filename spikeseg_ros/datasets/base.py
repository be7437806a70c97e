# SPDX-License-Identifier: Apache-2.0
"""The interface that all data sets for segmentation share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from spikeseg_ros.datasets.event_frames import Framing

    Bytes = npt.NDArray[np.uint8]
    Array = npt.NDArray[np.uint8] | npt.NDArray[np.float32]


class DatasetError(ValueError):
    """A data set cannot be read; the text names the file and what to do."""


class Sample(NamedTuple):
    """One labelled input.

    Attributes:
        image: RGB image, shape (H, W, 3), uint8; or event frames, shape (T, C, H, W), float32.
        label: Class of each pixel, shape (H, W), uint8; the ignore value where unlabelled.
    """

    image: Array
    label: Bytes


def rgb_image(sample: Sample) -> Bytes:
    """Return the image of a sample.

    Raises:
        DatasetError: The sample holds event frames, or no RGB image.
    """
    image = sample.image
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[-1] != 3:
        msg = (
            f'Expected an RGB image of uint8, got {image.dtype} of shape {image.shape!r}; take a '
            'data set of images.'
        )
        raise DatasetError(msg)
    return np.asarray(image, dtype=np.uint8)


class SegmentationDataset(Protocol):
    """A split of a data set. Samples come in a fixed order.

    Attributes:
        classes: Names of the classes; the position is the value in the labels.
        colors: RGB colour of each class, 0 .. 255.
        ignore: Value of pixels that count nowhere.
    """

    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    ignore: int

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def name(self, index: int) -> str:
        """Return the name of a sample, unique within the split."""
        ...

    def sample(self, index: int) -> Sample:
        """Return a sample.

        Raises:
            IndexError: There is no such sample.
            DatasetError: The files are damaged.
        """
        ...


def open_dataset(
    path: str | Path,
    split: str,
    *,
    framing: Framing | None = None,
    cache: str | Path | None = None,
) -> SegmentationDataset:
    """Open a split of the data set in a folder, which is recognised by its layout.

    Args:
        path: Folder of the data set.
        split: Name of the split, for example 'train', 'val' or 'test'.
        framing: Steps and window of recordings of events; the usual ones where None.
        cache: Folder that keeps what takes long to make (simulated events), for the next time.

    Raises:
        DatasetError: No known data set lies there, or it has no such split.
    """
    root = Path(path)
    if not root.is_dir():
        msg = f'There is no folder {str(root)!r}; give the folder of a data set.'
        raise DatasetError(msg)
    # Imported here: only the data set at hand, and its optional packages, have to be there.
    if (root / split / 'images').is_dir() and (root / split / 'labels').is_dir():
        from spikeseg_ros.datasets.camvid import CamVid

        return CamVid(root, split)
    if (root / 'labels' / split).is_dir() and (root / 'events' / split).is_dir():
        from spikeseg_ros.datasets.ddd17 import Ddd17Images

        return Ddd17Images(root, split)
    if any(root.glob('dir*/segmentation_masks')):
        from spikeseg_ros.datasets.ddd17 import Ddd17Recordings

        return Ddd17Recordings(root, split, framing)
    if any((root / split).glob('*/events/left/events.h5')):
        from spikeseg_ros.datasets.dsec import DsecSemantic

        return DsecSemantic(root, split, framing=framing)
    if (root / 'leftImg8bit' / split).is_dir():
        from spikeseg_ros.datasets.cityscapes import Cityscapes

        return Cityscapes(root, split)
    from spikeseg_ros.datasets.ade20k import Ade20k, ade20k_folder
    from spikeseg_ros.datasets.voc import Voc2012, voc_folder

    if ade20k_folder(root):
        return Ade20k(root, split)
    if voc_folder(root):
        return Voc2012(root, split)
    if any(root.glob('*/masks')):
        from spikeseg_ros.datasets.clips import SimulatedClips

        return SimulatedClips(root, split, framing=framing, cache=cache)
    found = sorted(entry.name for entry in root.iterdir())[:8]
    msg = (
        f'{str(root)!r} holds no data set of a known layout with a split {split!r}: '
        f'{split}/images and {split}/labels (CamVid), labels/{split} and events/{split} or '
        f'dir*/segmentation_masks (DDD17), {split}/*/events/left/events.h5 (DSEC-Semantic), '
        f'leftImg8bit/{split} and gtFine/{split} (Cityscapes), annotations/training (ADE20K), '
        f'ImageSets/Segmentation and SegmentationClass (VOC 2012), '
        f'*/images and */masks (clips for simulated events); '
        f'found: {", ".join(found)}.'
    )
    raise DatasetError(msg)
