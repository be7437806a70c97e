# SPDX-License-Identifier: Apache-2.0
"""What data sets of labelled events share: windows of events as frames for a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikeseg_ros.datasets.base import DatasetError
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
