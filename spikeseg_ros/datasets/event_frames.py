# SPDX-License-Identifier: Apache-2.0
"""What data sets of labelled events share."""

from __future__ import annotations

from typing import Any

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.events.frames import Framing, count_frames, resized_frames

__all__ = ['Framing', 'LabelledRecordings', 'check_framing', 'count_frames', 'resized_frames']


class LabelledRecordings:
    """The labels of several recordings, one after the other.

    Attributes:
        framing: Steps and window.
    """

    framing: Framing
    _places: list[tuple[Any, int]]

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self._places)

    def name(self, index: int) -> str:
        """Return the recording and the file name of a label."""
        recording, place = self._places[index]
        return f'{recording.folder.name}/{recording.labels.name(place)}'

    def sample(self, index: int) -> Sample:
        """Return event frames and label.

        Raises:
            DatasetError: A file is damaged.
        """
        recording, place = self._places[index]
        try:
            label = recording.labels.label(place)
        except ValueError as err:
            raise DatasetError(str(err)) from None
        return Sample(recording.frames(place, label.shape, self.framing), label)


def check_framing(framing: Framing) -> None:
    """Refuse a framing that cannot be.

    Raises:
        DatasetError: A value lies outside its range.
    """
    slices = framing.steps * framing.bins
    good = 1 <= framing.steps <= 255 and 1 <= framing.bins <= 64
    if not (good and slices <= framing.window <= 10**11):
        msg = (
            f'Event frames need 1 .. 255 steps, 1 .. 64 bins and a window up to 100 s, got '
            f'{framing!r}.'
        )
        raise DatasetError(msg)
