# SPDX-License-Identifier: Apache-2.0
"""What data sets of labelled events share: windows of events as frames for a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]


class Framing(NamedTuple):
    """How the events in front of a label become frames.

    Attributes:
        steps: Number of frames T.
        window: Time that they cover, up to the label [ns].
    """

    steps: int = 5
    window: int = 50_000_000


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
    if not (1 <= framing.steps <= 255 and framing.steps <= framing.window <= 10**11):
        msg = f'Event frames need 1 .. 255 steps and a window up to 100 s, got {framing!r}.'
        raise DatasetError(msg)


def count_frames(
    x: npt.NDArray[np.integer],
    y: npt.NDArray[np.integer],
    p: npt.NDArray[np.integer],
    t: npt.NDArray[np.integer],
    end: int,
    size: tuple[int, int],
    framing: Framing,
) -> Floats:
    """Count the events of a window by step, polarity and pixel.

    Args:
        x: Columns, shape (N,); events outside of the size are left out.
        y: Rows, shape (N,).
        p: Polarities, shape (N,); above 0 is ON.
        t: Times [ns], shape (N,), not decreasing.
        end: Time of the label, the end of the window [ns].
        size: Height and width.
        framing: Steps and window.

    Returns:
        Counts up to 255, shape (T, 2, *size), channel 0 = OFF, 1 = ON.
    """
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    events = Events(
        x[inside].astype(np.uint16),
        y[inside].astype(np.uint16),
        (p[inside] > 0).astype(np.uint8),
        t[inside].astype(np.int64),
    )
    begin = end - framing.window
    volume = bin_events(events, begin, end, framing.steps, *size, mode='count')
    return np.ascontiguousarray(volume.transpose(0, 3, 1, 2), dtype=np.float32)


def resized_frames(frames: npt.NDArray[np.number], size: tuple[int, int]) -> Floats:
    """Return event frames at another size, shape (T, C, *size).

    Where several pixels become one their events are summed; where one becomes several its events
    are seen in all of them.

    Args:
        frames: Counts of events, shape (T, C, H, W).
        size: Height and width.
    """
    steps, channels, height, width = frames.shape
    if (height, width) == size:
        return frames.astype(np.float32, copy=False)
    flat = frames.reshape(steps * channels, height, width).astype(np.float32)
    ratio = max(height * width / (size[0] * size[1]), 1.0)
    how = cv2.INTER_AREA if ratio > 1 else cv2.INTER_NEAREST_EXACT
    shape = (size[1], size[0])
    small = [cv2.resize(item, shape, interpolation=how) for item in flat]
    counts = np.rint(np.stack(small) * np.float32(ratio)) if ratio > 1 else np.stack(small)
    return counts.reshape(steps, channels, *size).astype(np.float32)
