# SPDX-License-Identifier: Apache-2.0
"""What every source of ground truth answers, and whether it fits a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.simulation.truth import WindowTruth


class TruthError(ValueError):
    """Ground truth cannot be read or does not fit; the text names the file and what to do."""


class TruthSource(Protocol):
    """Ground truth of one recording; times are sensor times [ns].

    Attributes:
        path: File or folder it was read from.
        width: Columns [px].
        height: Rows [px].
        t_start: First nanosecond it knows about.
        t_end: First nanosecond after that.
        classes: Class id (from 1) by instance id.
    """

    path: str
    width: int
    height: int
    t_start: int
    t_end: int
    classes: Mapping[int, int]

    def covers(self, t_start: int, t_end: int) -> bool:
        """Say whether the window is labelled; windows that are not say nothing about anyone."""
        ...

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return the true objects of the window [t_start, t_end); none where not labelled."""
        ...

    def labels(self, events: Events, t_start: int, t_end: int) -> NDArray[np.uint16]:
        """Return the instance of each event of a window, shape (N,); 0 = background or noise.

        Raises:
            TruthError: These are not the events that the truth is about.
        """
        ...


def check_truth(
    source: TruthSource, width: int, height: int, t_start: int, t_end: int
) -> TruthSource:
    """Return the source if it fits a recording.

    Args:
        source: Ground truth.
        width: Columns of the recording [px].
        height: Rows of the recording [px].
        t_start: Sensor time of its first event [ns].
        t_end: Sensor time of its last event [ns].

    Raises:
        TruthError: Another sensor size, or no common time.
    """
    if (source.width, source.height) != (width, height):
        msg = (
            f'The ground truth {source.path!r} is for {source.width}x{source.height} pixels, the '
            f'recording has {width}x{height}: give the truth of this recording.'
        )
        raise TruthError(msg)
    if t_end < source.t_start or t_start >= source.t_end:
        msg = (
            f'The ground truth {source.path!r} is about {_seconds(source.t_start)} .. '
            f'{_seconds(source.t_end)} s of sensor time, the recording about '
            f'{_seconds(t_start)} .. {_seconds(t_end)} s: give the truth of this recording, with '
            'times on the clock of the sensor.'
        )
        raise TruthError(msg)
    return source


def _seconds(time: int) -> str:
    """Return nanoseconds as seconds with six digits."""
    return f'{time / 1e9:.6f}'
