# SPDX-License-Identifier: Apache-2.0
"""Windows of events as frames of counts, as networks for event frames see them.

Training and live perception make their frames here, so that both see the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    import numpy.typing as npt

    from spikeseg_ros.events.types import EventWindow

    Floats = npt.NDArray[np.float32]


class Framing(NamedTuple):
    """How the events in front of a label become frames.

    Attributes:
        steps: Number of frames T.
        window: Time that they cover, up to the label [ns].
        bins: Slices of the time of a frame, each with channels of its own.
    """

    steps: int = 5
    window: int = 50_000_000
    bins: int = 1


def framing_notes(framing: Framing) -> dict[str, int]:
    """Return a framing as the note 'framing' in the metadata of weights."""
    return framing._asdict()


def framing_from_notes(notes: object) -> Framing | None:
    """Return the framing that framing_notes wrote; None where there is none or it cannot be."""
    if not isinstance(notes, dict) or set(notes) != set(Framing._fields):
        return None
    if not all(type(value) is int and value > 0 for value in notes.values()):
        return None
    framing = Framing(**notes)
    return framing if framing.steps * framing.bins <= min(255, framing.window) else None


def count_frames(
    x: npt.NDArray[np.integer],
    y: npt.NDArray[np.integer],
    p: npt.NDArray[np.integer],
    t: npt.NDArray[np.integer],
    end: int,
    size: tuple[int, int],
    framing: Framing,
) -> Floats:
    """Count the events of a window by step, slice, polarity and pixel.

    Args:
        x: Columns, shape (N,); events outside of the size are left out.
        y: Rows, shape (N,).
        p: Polarities, shape (N,); above 0 is ON.
        t: Times [ns], shape (N,), not decreasing.
        end: Time of the label, the end of the window [ns].
        size: Height and width.
        framing: Steps and window.

    Returns:
        Counts up to 255, shape (T, 2 * bins, *size): OFF and ON of the first slice, then of the
        next.
    """
    inside = (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
    events = Events(
        x[inside].astype(np.uint16),
        y[inside].astype(np.uint16),
        (p[inside] > 0).astype(np.uint8),
        t[inside].astype(np.int64),
    )
    begin = end - framing.window
    slices = framing.steps * framing.bins
    volume = bin_events(events, begin, end, slices, *size, mode='count').transpose(0, 3, 1, 2)
    shape = (framing.steps, 2 * framing.bins, *size)
    return np.ascontiguousarray(volume, dtype=np.float32).reshape(shape)


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


def window_frames(window: EventWindow, steps: int, bins: int = 1) -> Floats:
    """Return a window as frames of counts, shape (T, 2 * bins, H, W); see `count_frames`.

    Args:
        window: The window; its own length is divided.
        steps: Number of frames T.
        bins: Slices of the time of a frame.
    """
    events = window.events
    framing = Framing(steps, window.duration, bins)
    size = (window.height, window.width)
    return count_frames(events.x, events.y, events.p, events.t, window.t_end, size, framing)
