# SPDX-License-Identifier: Apache-2.0
"""DDD17 with the semantic labels of Ev-SegNet, in the two layouts in which it is passed on.

`Ddd17Images` reads the layout of Ev-SegNet: ``labels/SPLIT/NAME.png`` beside
``events/SPLIT/NAME.npy``, an event image of shape (H, W, C) for each label. `Ddd17Recordings`
reads the layout of ESS: a folder ``dirN`` for each recording with ``segmentation_masks/*.png``,
``index/index_50ms.npy`` and the events of all of it in ``events.dat.t`` (int64, ns) and
``events.dat.xyp`` (int16).

Sources: Alonso and Murillo, CVPRW 2019 (labels); Sun et al., ECCV 2022 (recordings, splits).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.datasets.event_frames import (
    Framing,
    LabelledRecordings,
    check_framing,
    count_frames,
)
from spikeseg_ros.datasets.indices import read_indices
from spikeseg_ros.evaluation.truth.frames import (
    DDD17_CLASSES,
    IGNORE,
    LabelFrames,
    load_frames,
)

if TYPE_CHECKING:
    import numpy.typing as npt

COLORS = (
    (128, 64, 128), (70, 70, 70), (220, 220, 0), (107, 142, 35), (220, 20, 60), (0, 0, 142),
)  # fmt: skip
# Numbers of the recordings in the order of their names, as ESS splits them.
SPLITS = {'train': (0, 2, 3, 5, 6), 'val': (1,), 'test': (4,)}


class Ddd17Images:
    """A split in the layout of Ev-SegNet.

    Each sample is one frame, shape (1, C, H, W): the channels of the event image as they are.

    Args:
        root: Folder that holds labels/ and events/.
        split: 'train' or 'test'.

    Raises:
        DatasetError: There are no labels, or a label has no event image.
    """

    classes: tuple[str, ...] = DDD17_CLASSES
    colors: tuple[tuple[int, int, int], ...] = COLORS
    ignore: int = IGNORE

    def __init__(self, root: str | Path, split: str) -> None:
        folder = Path(root)
        self._labels = sorted((folder / 'labels' / split).glob('*.png'))
        if not self._labels:
            msg = f'{str(folder / "labels" / split)!r} holds no labels (*.png).'
            raise DatasetError(msg)
        self._events = [folder / 'events' / split / f'{item.stem}.npy' for item in self._labels]
        missing = next((path for path in self._events if not path.is_file()), None)
        if missing is not None:
            msg = f'The event image {str(missing)!r} of a label is missing; copy the data again.'
            raise DatasetError(msg)

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self._labels)

    def name(self, index: int) -> str:
        """Return the file name of a label without its ending."""
        return self._labels[index].stem

    def sample(self, index: int) -> Sample:
        """Return event image and label.

        Raises:
            DatasetError: One is damaged, or they do not fit each other.
        """
        label, path = read_indices(self._labels[index]), self._events[index]
        try:
            image = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as err:
            msg = f'Cannot read the event image {str(path)!r}: {err}'
            raise DatasetError(msg) from None
        if image.ndim != 3 or image.shape[:2] != label.shape or image.dtype.kind not in 'fiu':
            msg = (
                f'The event image {str(path)!r} must be numbers of shape (*{label.shape!r}, C) '
                f'like its label, got {image.dtype} of shape {image.shape!r}.'
            )
            raise DatasetError(msg)
        frame = np.ascontiguousarray(image.transpose(2, 0, 1)[None], dtype=np.float32)
        return Sample(frame, _checked(label, self._labels[index]))


class Ddd17Recordings(LabelledRecordings):
    """A split in the layout of ESS: frames of the events in front of each label.

    Each sample has the shape (T, 2, H, W): counts of OFF and ON events by step.

    Args:
        root: Folder that holds the recordings dir*.
        split: 'train', 'val' or 'test'.
        framing: Steps and window.

    Raises:
        DatasetError: A recording of the split or one of its files is missing or damaged.
    """

    classes: tuple[str, ...] = DDD17_CLASSES
    colors: tuple[tuple[int, int, int], ...] = COLORS
    ignore: int = IGNORE

    def __init__(self, root: str | Path, split: str, framing: Framing | None = None) -> None:
        self.framing = framing or Framing()
        check_framing(self.framing)
        folders = sorted(Path(root).glob('dir*'))
        if split not in SPLITS or len(folders) <= max(SPLITS[split]):
            msg = (
                f'{str(root)!r} holds {len(folders)} recordings dir*; the split {split!r} needs '
                f'those of the numbers {SPLITS.get(split, "(train, val, test are known)")}.'
            )
            raise DatasetError(msg)
        self._recordings = [_Recording(folders[number]) for number in SPLITS[split]]
        self._places = [
            (recording, index)
            for recording in self._recordings
            for index in range(len(recording.labels))
        ]


class _Recording:
    """One recording, its events on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.labels: LabelFrames = load_frames(folder, 'ddd17')
        except ValueError as err:
            raise DatasetError(str(err)) from None
        times, columns = folder / 'events.dat.t', folder / 'events.dat.xyp'
        try:
            count = times.stat().st_size // 8
            if count < 1 or columns.stat().st_size != 6 * count:
                msg = (
                    f'{str(columns)!r} does not hold x, y, p (int16) for each of the {count} '
                    f'times (int64) of {str(times)!r}; copy the data again.'
                )
                raise DatasetError(msg)
            self._times = np.memmap(times, np.int64, mode='r', shape=(count,))
            self._columns = np.memmap(columns, np.int16, mode='r', shape=(count, 3))
        except OSError as err:
            msg = f'Cannot read the events of {str(folder)!r}: {err}'
            raise DatasetError(msg) from None

    def frames(
        self, place: int, size: tuple[int, ...], framing: Framing
    ) -> npt.NDArray[np.float32]:
        """Return the frames in front of a label; the rows below it are left out."""
        assert self.labels.times is not None
        end = int(self.labels.times[place])
        first, last = np.searchsorted(self._times, [end - framing.window, end])
        x, y, p = np.asarray(self._columns[first:last]).T
        times = np.asarray(self._times[first:last])
        return count_frames(x, y, p, times, end, (size[0], size[1]), framing)


def _checked(label: npt.NDArray[np.uint8], path: Path) -> npt.NDArray[np.uint8]:
    """Return a label whose values are classes.

    Raises:
        DatasetError: One is not.
    """
    odd = label[(label >= len(DDD17_CLASSES)) & (label != IGNORE)]
    if len(odd):
        msg = (
            f'The label {str(path)!r} holds the value {int(odd[0])}; classes are '
            f'0 .. {len(DDD17_CLASSES) - 1} and {IGNORE} for unlabelled pixels.'
        )
        raise DatasetError(msg)
    return label
