# SPDX-License-Identifier: Apache-2.0
"""DSEC-Semantic: HDF5 events with a rectification map, labels of 11 or 19 classes.

Layout of a sequence: ``SPLIT/NAME/events/left/events.h5`` (events/{x,y,p,t} with t in us,
ms_to_idx, t_offset), ``events/left/rectify_map.h5`` and the labels as `load_frames` finds them
(``semantic/left/11classes/data/*.png`` and timestamps.txt). The labels lie in the rectified
view and cover its upper 440 rows.

Sources: Gehrig et al., RA-L 2021 (events); Sun et al., ECCV 2022 (labels).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.datasets.event_frames import (
    Framing,
    LabelledRecordings,
    check_framing,
    count_frames,
)
from spikeseg_ros.evaluation.truth.frames import DSEC_CLASSES, IGNORE, LabelFrames, load_frames
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    import numpy.typing as npt

COLORS = {
    11: (
        (0, 0, 0), (70, 70, 70), (190, 153, 153), (220, 20, 60), (153, 153, 153),
        (128, 64, 128), (244, 35, 232), (107, 142, 35), (0, 0, 142), (102, 102, 156),
        (220, 220, 0),
    ),
    19: (
        (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153),
        (153, 153, 153), (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152),
        (70, 130, 180), (220, 20, 60), (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100),
        (0, 80, 100), (0, 0, 230), (119, 11, 32),
    ),
}  # fmt: skip


class DsecSemantic(LabelledRecordings):
    """All labelled sequences of a split.

    Each sample has the shape (T, 2, H, W): counts of OFF and ON events by step, in the rectified
    view. Labels without a whole window of events in front of them are left out.

    Args:
        root: Folder that holds the splits.
        split: 'train' or 'test'.
        classes: Label set, 11 or 19.
        framing: Steps and window.

    Raises:
        DatasetError: There is no labelled sequence, or a file of one is missing or damaged.
        MissingExtraError: h5py or hdf5plugin is not installed.
    """

    ignore: int = IGNORE

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        classes: int = 11,
        framing: Framing | None = None,
    ) -> None:
        if classes not in DSEC_CLASSES:
            msg = f'DSEC-Semantic has 11 or 19 classes, got {classes!r}.'
            raise DatasetError(msg)
        self.framing = framing or Framing()
        check_framing(self.framing)
        self.classes: tuple[str, ...] = DSEC_CLASSES[classes]
        self.colors: tuple[tuple[int, int, int], ...] = COLORS[classes]
        folders = sequences(Path(root) / split)
        if not folders:
            msg = f'{str(Path(root) / split)!r} holds no labelled sequence of DSEC.'
            raise DatasetError(msg)
        self._places = []
        for folder in folders:
            sequence = _Sequence(folder, classes)
            self._places += [(sequence, k) for k in sequence.covered(self.framing)]
        if not self._places:
            msg = f'No label of {str(Path(root) / split)!r} has a window of events before it.'
            raise DatasetError(msg)


def sequences(folder: Path) -> list[Path]:
    """Return the sequences with events and labels below a folder, by name."""
    found = (path.parents[2] for path in folder.glob('*/events/left/events.h5'))
    return sorted(
        path
        for path in found
        if any(
            (path / place / f'{count}classes').is_dir()
            for place in ('.', 'semantic', 'semantic/left')
            for count in DSEC_CLASSES
        )
    )


class _Sequence:
    """One sequence; its file of events is open only while it is read."""

    def __init__(self, folder: Path, classes: int) -> None:
        self.folder = folder
        self._path = folder / 'events/left/events.h5'
        self._h5py = require('h5py', 'formats')
        # Registers the codec of the events.
        require('hdf5plugin', 'formats')
        try:
            self.labels: LabelFrames = load_frames(folder, 'dsec', classes=classes)
        except ValueError as err:
            raise DatasetError(str(err)) from None
        path = folder / 'events/left/rectify_map.h5'
        try:
            with self._h5py.File(path, 'r') as file:
                self._rectified: npt.NDArray[np.float32] = np.asarray(file['rectify_map'])
        except Exception as err:
            raise _damaged(path, err) from None
        if self._rectified.ndim != 3 or self._rectified.shape[2] != 2:
            msg = (
                f'The map of {str(path)!r} has the shape {self._rectified.shape!r}, not (H, W, 2).'
            )
            raise DatasetError(msg)
        try:
            with self._h5py.File(self._path, 'r') as file:
                self._index: npt.NDArray[np.int64] = np.asarray(file['ms_to_idx'], np.int64)
                self._offset = int(file['t_offset'][()]) if 't_offset' in file else 0
                self._count = len(file['events/t'])
                self._end = self._offset + int(file['events/t'][-1]) if self._count else 0
        except Exception as err:
            raise _damaged(self._path, err) from None

    def covered(self, framing: Framing) -> list[int]:
        """Return the labels whose window lies within the recording."""
        assert self.labels.times is not None
        begins = self.labels.times - framing.window >= self._offset * 1000
        ends = self.labels.times <= self._end * 1000
        return [int(k) for k in np.flatnonzero(begins & ends)]

    def frames(
        self, place: int, size: tuple[int, ...], framing: Framing
    ) -> npt.NDArray[np.float32]:
        """Return the frames in front of a label, in the rectified view."""
        assert self.labels.times is not None
        end = int(self.labels.times[place]) - self._offset * 1000
        begin = end - framing.window
        first, last = (
            int(self._index[ms]) if ms < len(self._index) else self._count
            for ms in (begin // 1_000_000, -(-end // 1_000_000))
        )
        try:
            with self._h5py.File(self._path, 'r') as file:
                group: Any = file['events']
                x, y, p, t = (np.asarray(group[key][first:last]) for key in 'xypt')
        except Exception as err:
            raise _damaged(self._path, err) from None
        height, width = self._rectified.shape[:2]
        if len(x) and (int(x.max()) >= width or int(y.max()) >= height):
            msg = (
                f'{str(self._path)!r} holds an event outside of the {width} x {height} pixels of '
                'its rectification map; copy the data again.'
            )
            raise DatasetError(msg)
        seen = np.floor(self._rectified[y, x] + 0.5).astype(np.int64)
        times = t.astype(np.int64) * 1000
        return count_frames(seen[:, 0], seen[:, 1], p, times, end, (size[0], size[1]), framing)


def _damaged(path: Path, err: Exception) -> DatasetError:
    # h5py raises OSError, KeyError and RuntimeError, depending on what is broken.
    return DatasetError(f'Cannot read {str(path)!r}: {type(err).__name__}: {err}')
