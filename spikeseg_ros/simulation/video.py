# SPDX-License-Identifier: Apache-2.0
"""Video clips with object masks as frames for the simulated sensor.

Between two images of a clip things move by several pixels. Blending them would let objects fade
instead of move, so in-between frames are made by warping both neighbours along the optical flow.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from spikeseg_ros.simulation.events import SECOND, SimulationError
from spikeseg_ros.simulation.recording import Frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

_SUFFIXES = ('.png', '.jpg', '.jpeg')


def clip_files(folder: str | Path) -> tuple[list[Path], list[Path]]:
    """Return (images, masks) of a clip laid out as <clip>/images and <clip>/masks.

    Raises:
        SimulationError: A folder is missing or empty, or their numbers differ.
    """
    found = []
    for name in ('images', 'masks'):
        place = Path(folder) / name
        files = sorted(place.iterdir()) if place.is_dir() else []
        found.append([path for path in files if path.suffix.lower() in _SUFFIXES])
    if not found[0] or len(found[0]) != len(found[1]):
        msg = (
            f'{str(folder)!r} is no clip: expected equally many files in images/ and masks/, '
            f'found {len(found[0])} and {len(found[1])}.'
        )
        raise SimulationError(msg)
    return found[0], found[1]


def clip_frames(folder: str | Path, fps: float = 24.0, between: int = 10) -> Iterator[Frame]:
    """Yield the frames of a clip on disk; see `video_frames`.

    Raises:
        SimulationError: The clip is incomplete or an image cannot be read.
    """
    images, masks = clip_files(folder)

    def read(path: Path, flags: int) -> NDArray[np.uint8]:
        image = cv2.imread(str(path), flags)
        if image is None:
            msg = f'Cannot read the image {str(path)!r}.'
            raise SimulationError(msg)
        return np.asarray(image, np.uint8)

    yield from video_frames(
        [read(path, cv2.IMREAD_COLOR)[..., ::-1] for path in images],
        [read(path, cv2.IMREAD_GRAYSCALE) for path in masks],
        fps,
        between,
    )


def instance_ids(mask: NDArray[np.uint8]) -> NDArray[np.uint16]:
    """Return instance ids of a mask: 0 / 255 masks hold one instance, others hold ids."""
    values = np.unique(mask)
    if set(values.tolist()) <= {0, 255}:
        return (mask > 0).astype(np.uint16)
    return mask.astype(np.uint16)


def video_frames(
    images: Sequence[NDArray[np.uint8]],
    masks: Sequence[NDArray[np.uint8]],
    fps: float = 24.0,
    between: int = 10,
) -> Iterator[Frame]:
    """Yield the images of a clip and frames in between.

    Args:
        images: Images, each of shape (H, W, 3), uint8 RGB, gamma 2.2.
        masks: One mask per image, shape (H, W), uint8: 0 / 255, or ids with a higher id nearer.
        fps: Rate of the images [1/s].
        between: Frames per image after interpolation; 1 = none in between.

    Raises:
        SimulationError: Numbers, shapes or rates do not fit.
    """
    if len(images) != len(masks) or not images or fps <= 0 or between < 1:
        msg = (
            f'Expected as many masks as images and positive rates, got {len(images)} images, '
            f'{len(masks)} masks, fps {fps!r}, between {between!r}.'
        )
        raise SimulationError(msg)
    for image, mask in zip(images, masks, strict=True):
        if image.shape != (*mask.shape, 3) or image.shape != images[0].shape:
            msg = f'Expected images of one shape, got {image.shape!r} with mask {mask.shape!r}.'
            raise SimulationError(msg)
    for k in range(len(images) - 1):
        start, stop = k / fps, (k + 1) / fps
        pair = _Pair(images[k], images[k + 1], instance_ids(masks[k]), instance_ids(masks[k + 1]))
        for part in range(between):
            share = part / between
            yield pair.frame(round((start + (stop - start) * share) * SECOND), share)
    last = _Pair(images[-1], images[-1], instance_ids(masks[-1]), instance_ids(masks[-1]))
    yield last.frame(round((len(images) - 1) / fps * SECOND), 0.0)


class _Pair:
    """Two neighbouring images and the flow between them."""

    def __init__(
        self,
        first: NDArray[np.uint8],
        second: NDArray[np.uint8],
        first_ids: NDArray[np.uint16],
        second_ids: NDArray[np.uint16],
    ) -> None:
        self.images = first, second
        self.ids = first_ids, second_ids
        height, width = first_ids.shape
        self.grid = np.mgrid[0:height, 0:width].astype(np.float32)[::-1].transpose(1, 2, 0)
        self.flows: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None

    def frame(self, time: int, share: float) -> Frame:
        """Return the frame at a share 0 .. 1 of the way from the first to the second image."""
        if share == 0.0:
            rgb, ids = self.images[0], self.ids[0]
        else:
            if self.flows is None:
                vision: Any = cv2  # its stubs lack the optical flow
                gray = [
                    cv2.cvtColor(np.ascontiguousarray(i), cv2.COLOR_RGB2GRAY) for i in self.images
                ]
                method = vision.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
                self.flows = (
                    np.asarray(method.calc(gray[0], gray[1], None), np.float32),
                    np.asarray(method.calc(gray[1], gray[0], None), np.float32),
                )
            first = self.grid - np.float32(share) * self.flows[0]
            second = self.grid - np.float32(1 - share) * self.flows[1]
            blend = _warp(self.images[0], first).astype(np.float32) * np.float32(1 - share)
            blend += _warp(self.images[1], second) * np.float32(share)
            nearest = (self.ids[0], first) if share < 0.5 else (self.ids[1], second)
            ids = np.asarray(_warp(*nearest, cv2.INTER_NEAREST), np.uint16)
            rgb = np.asarray(np.round(blend), np.uint8)
            return Frame(time, intensity(blend), ids, _touch(ids), functools.partial(_same, rgb))
        return Frame(time, intensity(rgb), ids, _touch(ids), functools.partial(_same, rgb))


def _same(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return image


def _warp(image: Any, places: NDArray[np.float32], method: int = cv2.INTER_LINEAR) -> Any:
    """Return the image with each pixel fetched from its place (x, y), shape (H, W, 2)."""
    second_map: Any = None
    return cv2.remap(image, places, second_map, method, borderMode=cv2.BORDER_REPLICATE)


def intensity(rgb: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the linear intensity, shape (H, W), 0 .. 1, of a picture with gamma 2.2."""
    luma = rgb.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32) / 255
    return np.asarray(np.maximum(luma, 0) ** np.float32(2.2), np.float32)


def _touch(ids: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """Return ids grown by one pixel, because edges are blurred over about that much."""
    return np.asarray(cv2.dilate(ids, np.ones((3, 3), np.uint8)), np.uint16)
