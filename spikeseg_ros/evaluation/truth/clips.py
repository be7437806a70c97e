# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a video clip with one instance mask per image (DAVIS)."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.evaluation.truth.base import TruthError
from spikeseg_ros.simulation.events import SECOND, SimulationError
from spikeseg_ros.simulation.truth import MaskCrop, ObjectTruth, WindowTruth
from spikeseg_ros.simulation.video import clip_files, instance_ids

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events


class ClipTruth:
    """Masks of a clip laid out as <clip>/images and <clip>/masks; image k is seen at k / fps.

    An event belongs to the instance of the mask nearest in time, grown by one pixel because
    edges are blurred over about that much. Exact labels of simulated events come from the .npz
    that the simulation writes.

    Args:
        folder: Folder of the clip.
        fps: Rate of the images [1/s].

    Raises:
        TruthError: The clip is incomplete, a mask cannot be read, or no mask holds an object.
    """

    def __init__(self, folder: str | Path, fps: float = 24.0) -> None:
        self.path = str(folder)
        if not fps > 0:
            msg = (
                f'The masks of {self.path!r} need a positive rate, got {fps!r} images per second.'
            )
            raise TruthError(msg)
        try:
            self._files = clip_files(folder)[1]
        except SimulationError as err:
            raise TruthError(str(err)) from None
        self._times = np.array(
            [round(k / fps * SECOND) for k in range(len(self._files))], np.int64
        )
        self.t_start, self.t_end = 0, round(len(self._files) / fps * SECOND)
        self.height, self.width = self._read(0).shape
        self._mask = functools.lru_cache(maxsize=4)(self._checked)
        names = set()
        for index in range(len(self._files)):
            names |= set(np.unique(self._checked(index)).tolist()) - {0}
        if not names:
            msg = f'The masks of the clip {self.path!r} hold no object.'
            raise TruthError(msg)
        self.classes: Mapping[int, int] = dict.fromkeys(sorted(names), 1)

    def covers(self, t_start: int, t_end: int) -> bool:
        """Say whether the window shares time with the clip."""
        return t_end > self.t_start and t_start < self.t_end

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return the objects of the last mask that is not later than the window's end."""
        if not self.covers(t_start, t_end):
            return WindowTruth(t_start, t_end, ())
        ids = self._mask(max(0, int(np.searchsorted(self._times, t_end, 'right')) - 1))
        objects = []
        for number in np.unique(ids[ids > 0]).tolist():
            crop = MaskCrop.of(ids == number)
            objects.append(ObjectTruth(number, 1, 'object', crop, crop, 0))
        return WindowTruth(t_start, t_end, tuple(objects))

    def labels(self, events: Events, t_start: int, t_end: int) -> NDArray[np.uint16]:
        """Return the instance of each event, shape (N,)."""
        result = np.zeros(len(events), np.uint16)
        if not self.covers(t_start, t_end):
            return result
        middles = (self._times[:-1] + self._times[1:]) // 2
        nearest = np.searchsorted(middles, events.t, 'right')
        for index in np.unique(nearest).tolist():
            mine = nearest == index
            grown = cv2.dilate(self._mask(index), np.ones((3, 3), np.uint8))
            result[mine] = grown[events.y[mine], events.x[mine]]
        return result

    def _checked(self, index: int) -> NDArray[np.uint16]:
        """Return the instance ids of a mask, shape (height, width)."""
        mask = self._read(index)
        if mask.shape != (self.height, self.width):
            msg = (
                f'The mask {str(self._files[index])!r} has {mask.shape[1]}x{mask.shape[0]} '
                f'pixels, the first one {self.width}x{self.height}.'
            )
            raise TruthError(msg)
        return instance_ids(mask)

    def _read(self, index: int) -> NDArray[np.uint8]:
        """Return the gray values of a mask."""
        image = cv2.imread(str(self._files[index]), cv2.IMREAD_GRAYSCALE)
        if image is None:
            msg = f'Cannot read the mask {str(self._files[index])!r}; copy the clip again.'
            raise TruthError(msg)
        return np.asarray(image, np.uint8)
