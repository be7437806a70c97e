# SPDX-License-Identifier: Apache-2.0
"""Random changes of event frames: sensors of other sensitivity, noise, other backgrounds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]


class EventAugmentation(NamedTuple):
    """Ranges of the random changes.

    Attributes:
        keep: Smallest share of the events that are kept; the share is drawn on a logarithmic
            scale.
        noise: Largest mean number of noise events, per pixel of the view and window.
        swap: Whether to exchange ON and OFF in half of the views.
        paste: Share of the views onto which the objects (all classes but 0) of another sample are
            pasted.
        still: Share of the views that lose all events but those of the objects, as in front of a
            camera at rest.
    """

    keep: float = 1.0
    noise: float = 0.0
    swap: bool = False
    paste: float = 0.0
    still: float = 0.0


def pasted(
    frames: Floats, label: Bytes, other: Floats, other_label: Bytes, ignore: int
) -> tuple[Floats, Bytes]:
    """Return a view with the objects of another one in front.

    Args:
        frames: Counts of events, shape (T, C, H, W).
        label: Classes, shape (H, W); 0 is background.
        other: View to take the objects from, same shape.
        other_label: Its classes.
        ignore: Label that counts nowhere.
    """
    objects = (other_label > 0) & (other_label != ignore)
    return np.where(_grown(objects), other, frames), np.where(objects, other_label, label)


def stilled(frames: Floats, label: Bytes, ignore: int) -> Floats:
    """Return a view without the events of the background.

    Args:
        frames: Counts of events, shape (T, C, H, W).
        label: Classes, shape (H, W); 0 is background.
        ignore: Label that counts nowhere.
    """
    near = _grown((label > 0) & (label != ignore))
    return np.where(near, frames, np.float32(0))


def _grown(objects: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return an area with its neighbours: events of an object lie up to a pixel outside of it."""
    return np.asarray(cv2.dilate(objects.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def disturbed(frames: Floats, settings: EventAugmentation, rng: np.random.Generator) -> Floats:
    """Return event frames with polarities exchanged, events dropped and added, as drawn.

    Args:
        frames: Counts of events, shape (T, C, H, W); channels are OFF and ON in turn.
        settings: Ranges of the changes.
        rng: Source of all random numbers.
    """
    if settings.swap and rng.random() < 0.5:
        pairs = frames.reshape(frames.shape[0], -1, 2, *frames.shape[2:])
        frames = pairs[:, :, ::-1].reshape(frames.shape)
    if settings.keep < 1:
        share = math.exp(rng.uniform(math.log(settings.keep), 0))
        frames = rng.binomial(frames.astype(np.int64), share).astype(np.float32)
    if settings.noise > 0:
        mean = rng.uniform(0, settings.noise) / (frames.shape[0] * frames.shape[1])
        frames = frames + rng.poisson(mean, frames.shape).astype(np.float32)
    return np.ascontiguousarray(frames, dtype=np.float32)
