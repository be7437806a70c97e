# SPDX-License-Identifier: Apache-2.0
"""What stands before the network: background motion left out, and the scales it looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spikeseg_ros.algorithms.egomotion import egomotion
from spikeseg_ros.events.background import background_density, bin_scaled, block_density
from spikeseg_ros.events.types import Events

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import EventWindow


class Foreground(NamedTuple):
    """Events of a window that may belong to objects.

    Attributes:
        events: The events; those of a moving background are left out.
        background: Events per pixel that the background still brings, one value per block.
        moving: Whether the camera moves.
    """

    events: Events
    background: NDArray[np.float64]
    moving: bool


def foreground(frame: EventWindow, compensate: bool) -> Foreground:
    """Return the events that may belong to objects.

    Args:
        frame: The window.
        compensate: Leave out what moves with the background when the camera moves.
    """
    events, height, width = frame.events, frame.height, frame.width
    density = block_density(events, height, width)
    motion = None
    if compensate:
        motion = egomotion(events, frame.t_start, frame.t_end, height, width, density)
    if motion is None:
        return Foreground(events, background_density(density), False)
    kept = np.flatnonzero(motion.foreground[events.y, events.x])
    chosen = Events(events.x[kept], events.y[kept], events.p[kept], events.t[kept])
    return Foreground(chosen, np.zeros_like(density), True)


def pyramid(
    frame: EventWindow, seen: Foreground, steps: int, scales: int, polarities: int
) -> tuple[NDArray[np.uint8], ...]:
    """Return the spikes of a window at every scale, each of shape (T, H, W, P), uint8.

    Args:
        frame: The window.
        seen: Its foreground.
        steps: Time steps T.
        scales: Number of scales; each has half the resolution of the one before.
        polarities: Channels P.
    """
    return tuple(
        bin_scaled(
            seen.events,
            frame.t_start,
            frame.t_end,
            steps,
            frame.height,
            frame.width,
            level,
            seen.background,
            polarities,
        )
        for level in range(scales)
    )
