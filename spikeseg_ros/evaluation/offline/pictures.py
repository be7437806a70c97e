# SPDX-License-Identifier: Apache-2.0
"""overlays/ and overlay.gif: what the perception saw, for reports."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.images.classes import FEW_CLASSES
from spikeseg_ros.images.overlay import render_overlay
from spikeseg_ros.perception.segmenter import ImageFrame

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.offline.windows import FinishedWindow, Frame
    from spikeseg_ros.perception.segmenter import ClassLabel

MAX_PICTURES = 12
MAX_FRAMES = 80
_GIF_SIDE = 480
_GIF_COLORS = 64
_GIF_MS = 100


def overlay_png(
    window: FinishedWindow, frame: Frame, origin: int, labels: Sequence[ClassLabel]
) -> bytes:
    """Return the picture of a window or image as PNG.

    Args:
        window: What was found.
        frame: What it was found in.
        origin: Sensor time that the caption counts from [ns].
        labels: Classes of the masks.
    """
    result, seconds = window.result, (window.t_end - origin) / 1e9
    if isinstance(frame, ImageFrame):
        caption = f'image {window.index}  {seconds:.2f} s  {len(result.objects)} objects'
        classes = result.class_ids if len(labels) > FEW_CLASSES else None
        picture = render_overlay(result, None, frame.image, labels, caption, classes)
    else:
        caption = f'window {window.index}  {seconds:.2f} s  {result.n_events} events'
        picture = render_overlay(result, frame.events, caption=caption)
    ok, data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not ok:
        msg = f'OpenCV cannot write a PNG of {picture.shape!r}.'
        raise EvaluationError(msg)
    return bytes(data.tobytes())


def frame_numbers(windows: int) -> set[int]:
    """Return which windows the animation shows, evenly spread."""
    return set(np.linspace(0, windows - 1, min(MAX_FRAMES, windows)).round().astype(int).tolist())


def choose(
    events: Sequence[int], objects: Sequence[int], scores: Sequence[float | None]
) -> list[int]:
    """Return the windows worth a look: best, worst, busiest and ordinary ones.

    Args:
        events: Events by window.
        objects: Objects by window.
        scores: How good a window is (IoU with the truth, or mean score of its objects), None
            where nothing can be said.

    Returns:
        Indices in ascending order, at most 12.
    """
    ranked = _ranked(scores, events)
    busy = sorted(range(len(events)), key=lambda k: (-events[k], k))
    many = sorted(range(len(events)), key=lambda k: (-objects[k], -events[k], k))
    middle = busy[len(busy) // 2 :]
    # Events without any object are where something may have been missed.
    missed = [k for k in busy if not objects[k]]
    wanted = ranked[:3] + ranked[::-1][:3] + busy[:2] + many[:1] + middle[:1] + missed[:2]
    return sorted(set(wanted))[:MAX_PICTURES]


def choose_images(objects: Sequence[int], scores: Sequence[float | None]) -> list[int]:
    """Return the images worth a look: best, worst and busiest ones, and some of all times.

    Args:
        objects: Objects by image.
        scores: Mean score of the objects by image, None where there are none.

    Returns:
        Indices in ascending order, at most 12.
    """
    ranked = _ranked(scores, objects)
    busy = sorted((k for k, count in enumerate(objects) if count), key=lambda k: (-objects[k], k))
    missed = [k for k, count in enumerate(objects) if not count]
    spread = np.linspace(0, len(objects) - 1, 4).round().astype(int).tolist()
    wanted = ranked[:3] + ranked[::-1][:2] + busy[:2] + missed[:1] + spread
    return sorted(set(wanted))[:MAX_PICTURES]


def _ranked(scores: Sequence[float | None], weights: Sequence[int]) -> list[int]:
    """Return the indices that have a score, the best first; equal ones by weight."""
    judged = [k for k, score in enumerate(scores) if score is not None]
    return sorted(judged, key=lambda k: (-float(scores[k] or 0.0), -weights[k], k))


def write_pictures(folder: Path, pictures: Mapping[int, bytes]) -> None:
    """Write pictures by number of their window."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, data in sorted(pictures.items()):
        (folder / f'{index:06d}.png').write_bytes(data)


def has_gif() -> bool:
    """Return whether animations can be written here."""
    return importlib.util.find_spec('PIL') is not None


def write_gif(path: Path, pngs: Sequence[bytes]) -> bool:
    """Write an animation.

    Args:
        path: File to create.
        pngs: Pictures of one or more sizes; those that differ from the first are left out.

    Returns:
        Whether it was written: not without Pillow, which comes with spikeseg_ros[evaluate].
    """
    if not has_gif():
        return False
    image = importlib.import_module('PIL.Image')
    frames = list(map(_small, pngs))
    frames = [item for item in frames if item.shape == frames[0].shape]
    made = [
        image.fromarray(item).quantize(_GIF_COLORS, dither=image.Dither.NONE) for item in frames
    ]
    made[0].save(path, save_all=True, append_images=made[1:], duration=_GIF_MS, loop=0)
    return True


def _small(png: bytes) -> NDArray[np.uint8]:
    """Return a picture of at most 480 pixels a side, shape (H, W, 3), red-green-blue."""
    pixels: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    scale = _GIF_SIDE / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
