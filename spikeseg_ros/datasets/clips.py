# SPDX-License-Identifier: Apache-2.0
"""Simulated events of video clips with object masks: segmentation of what moves on its own.

Layout: ``CLIP/images`` and ``CLIP/masks`` (DAVIS). Each clip is seen by the simulated sensor once,
when the data set is opened; a sample is the events in front of an image and that image's mask.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.datasets.base import DatasetError, Sample
from spikeseg_ros.datasets.event_frames import Framing, check_framing, count_frames
from spikeseg_ros.simulation.events import SECOND, SensorConfig, SimulationError
from spikeseg_ros.simulation.recording import record
from spikeseg_ros.simulation.video import clip_files, clip_frames

if TYPE_CHECKING:
    import numpy.typing as npt

    from spikeseg_ros.events.types import Events

CLASSES = ('background', 'object')
COLORS = ((0, 0, 0), (230, 25, 75))
IGNORE = 255
# Every fourth clip by name, beginning with the second, is kept out of training.
KEPT_OUT, KEPT_OUT_FIRST = 4, 1


class _Clip(NamedTuple):
    """A clip as the sensor saw it.

    Attributes:
        name: Name of its folder.
        events: Its events.
        masks: Masks of its images, shape (K, H, W), uint8, 0 or 1.
        times: Times of its images [ns].
    """

    name: str
    events: Events
    masks: npt.NDArray[np.uint8]
    times: npt.NDArray[np.int64]


class SimulatedClips:
    """Clips of a split, seen by a simulated event camera.

    Each sample has the shape (T, 2, H, W): counts of OFF and ON events by step.

    Args:
        root: Folder of the clips.
        split: 'train' or 'val' (every fourth clip by name).
        framing: Steps and window.
        fps: Rate of the images [1/s].
        between: Frames for the sensor per image of the clip.
        noise_hz: Background events per pixel and second.
        seed: Seed of the sensor; each clip gets one of its own.

    Raises:
        DatasetError: The split holds no clips, or one is damaged.
    """

    classes: tuple[str, ...] = CLASSES
    colors: tuple[tuple[int, int, int], ...] = COLORS
    ignore: int = IGNORE

    def __init__(
        self,
        root: str | Path,
        split: str,
        *,
        framing: Framing | None = None,
        fps: float = 24.0,
        between: int = 10,
        noise_hz: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.framing = framing or Framing()
        check_framing(self.framing)
        if split not in ('train', 'val'):
            msg = f'Clips have the splits train and val, got {split!r}.'
            raise DatasetError(msg)
        folders = sorted(path.parent for path in Path(root).glob('*/masks'))
        chosen = [
            (number, folder)
            for number, folder in enumerate(folders)
            if (number % KEPT_OUT == KEPT_OUT_FIRST) == (split == 'val')
        ]
        if not chosen:
            msg = f'{str(root)!r} holds {len(folders)} clips, none of them for {split!r}.'
            raise DatasetError(msg)
        try:
            clips = [
                _simulate(folder, fps, between, noise_hz, seed + number)
                for number, folder in chosen
            ]
        except (SimulationError, cv2.error) as err:
            raise DatasetError(str(err)) from None
        self._places = [
            (clip, index)
            for clip in clips
            for index in range(len(clip.masks))
            if clip.times[index] >= self.framing.window
        ]

    def __len__(self) -> int:
        """Return the number of images with a whole window of events in front of them."""
        return len(self._places)

    def name(self, index: int) -> str:
        """Return the clip and the number of the image."""
        clip, place = self._places[index]
        return f'{clip.name}/{place:05d}'

    def sample(self, index: int) -> Sample:
        """Return event frames and mask."""
        clip, place = self._places[index]
        end = int(clip.times[place])
        events, label = clip.events, clip.masks[place]
        first, last = np.searchsorted(events.t, [end - self.framing.window, end])
        part = events.slice(int(first), int(last))
        size = (label.shape[0], label.shape[1])
        frames = count_frames(part.x, part.y, part.p, part.t, end, size, self.framing)
        return Sample(frames, label)


def _simulate(folder: Path, fps: float, between: int, noise_hz: float, seed: int) -> _Clip:
    """Let the sensor see a clip.

    Raises:
        SimulationError: The clip is incomplete or damaged.
    """
    masks = []
    for path in clip_files(folder)[1]:
        mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if mask is None:
            msg = f'Cannot read the mask {str(path)!r}; copy the clip again.'
            raise SimulationError(msg)
        masks.append((np.asarray(mask) > 0).astype(np.uint8))
    height, width = masks[0].shape
    sensor = SensorConfig(width, height, noise_hz=noise_hz, seed=seed)
    seen = record(clip_frames(folder, fps, between), sensor, camera_hz=0, mask_hz=1)
    times = np.array([round(k / fps * SECOND) for k in range(len(masks))], np.int64)
    return _Clip(folder.name, seen.events, np.stack(masks), times)
