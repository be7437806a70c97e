# SPDX-License-Identifier: Apache-2.0
"""Simulated events of video clips with object masks: segmentation of what moves on its own.

Layout: ``CLIP/images`` and ``CLIP/masks`` (DAVIS). Each clip is seen by the simulated sensor once,
when the data set is opened; a sample is the events in front of an image and that image's mask.
A clip makes tens of millions of events, so only their counts are kept, one byte each.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
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

    Bytes = npt.NDArray[np.uint8]

CLASSES = ('background', 'object')
COLORS = ((0, 0, 0), (230, 25, 75))
IGNORE = 255
# Of the clips by name every fourth, from the second on, is kept for the test, and every eighth,
# from the fourth on, for choices.
SPLITS = {
    'train': lambda number: number % 4 != 1 and number % 8 != 3,
    'val': lambda number: number % 8 == 3,
    'trainval': lambda number: number % 4 != 1,
    'test': lambda number: number % 4 == 1,
}
# To be raised when the sensor or the frames change: what a cache holds is then made again.
_CACHE_VERSION = 1


class _Clip(NamedTuple):
    """A clip as the sensor saw it.

    Attributes:
        name: Name of its folder.
        first: Number of its first image with a whole window of events in front.
        frames: Counts of events in front of that image and all later ones, shape
            (K, T, C, H, W), uint8.
        masks: Masks of these images, shape (K, H, W), uint8, 0 or 1.
    """

    name: str
    first: int
    frames: Bytes
    masks: Bytes


class _Sensor(NamedTuple):
    """How clips are seen.

    Attributes:
        framing: Steps and window.
        fps: Rate of the images [1/s].
        between: Frames for the sensor per image of the clip.
        noise_hz: Background events per pixel and second.
        seed: Seed of the sensor.
    """

    framing: Framing
    fps: float
    between: int
    noise_hz: float
    seed: int


class SimulatedClips:
    """Clips of a split, seen by a simulated event camera.

    Each sample has the shape (T, 2 * bins, H, W): counts of events, see `count_frames`.

    Args:
        root: Folder of the clips.
        split: 'train', 'val' (every eighth clip by name, for choices), 'trainval' (both) or
            'test' (every fourth clip by name).
        framing: Steps and window.
        fps: Rate of the images [1/s].
        between: Frames for the sensor per image of the clip.
        noise_hz: Background events per pixel and second.
        seed: Seed of the sensor; each clip gets one of its own.
        cache: Folder that keeps the counts, because making them takes about 0.1 s an image.

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
        cache: str | Path | None = None,
    ) -> None:
        self.framing = framing or Framing()
        check_framing(self.framing)
        if split not in SPLITS:
            msg = f'Clips have the splits {", ".join(SPLITS)}, got {split!r}.'
            raise DatasetError(msg)
        folders = sorted(path.parent for path in Path(root).glob('*/masks'))
        chosen = [item for item in enumerate(folders) if SPLITS[split](item[0])]
        if not chosen:
            msg = f'{str(root)!r} holds {len(folders)} clips, none of them for {split!r}.'
            raise DatasetError(msg)
        clips = []
        for number, folder in chosen:
            sensor = _Sensor(self.framing, fps, between, noise_hz, seed + number)
            try:
                clips.append(_seen(folder, sensor, None if cache is None else Path(cache)))
            except (SimulationError, cv2.error) as err:
                raise DatasetError(str(err)) from None
        self._places = [(clip, index) for clip in clips for index in range(len(clip.masks))]

    def __len__(self) -> int:
        """Return the number of images with a whole window of events in front of them."""
        return len(self._places)

    def name(self, index: int) -> str:
        """Return the clip and the number of the image."""
        clip, place = self._places[index]
        return f'{clip.name}/{clip.first + place:05d}'

    def sample(self, index: int) -> Sample:
        """Return event frames and mask."""
        clip, place = self._places[index]
        return Sample(clip.frames[place].astype(np.float32), clip.masks[place])


def _seen(folder: Path, sensor: _Sensor, cache: Path | None) -> _Clip:
    """Return a clip from the cache, or let the sensor see it.

    Raises:
        SimulationError: The clip is incomplete or damaged.
        DatasetError: The cache is damaged.
    """
    if cache is None:
        return _simulate(folder, sensor)
    framing = sensor.framing
    slices = framing.steps * framing.bins
    # Slices may be dealt out to steps and channels in any way: the counts are the same.
    text = repr((_CACHE_VERSION, sensor._replace(framing=Framing(slices, framing.window))))
    for files in clip_files(folder):
        text += repr([(item.name, item.stat().st_size) for item in files])
    path = cache / f'{folder.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz'
    if path.is_file():
        try:
            with np.load(path, allow_pickle=False) as file:
                frames, masks = file['frames'], file['masks']
                shape = (len(masks), framing.steps, 2 * framing.bins, *masks.shape[1:])
                return _Clip(folder.name, int(file['first']), frames.reshape(shape), masks)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
            msg = f'The cached events {str(path)!r} are damaged ({err}); delete the file.'
            raise DatasetError(msg) from None
    clip = _simulate(folder, sensor)
    cache.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.stem}.{os.getpid()}.tmp.npz')
    np.savez_compressed(part, first=clip.first, frames=clip.frames, masks=clip.masks)
    # Another process may be making the same file.
    part.replace(path)
    return clip


def _simulate(folder: Path, sensor: _Sensor) -> _Clip:
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
    config = SensorConfig(width, height, noise_hz=sensor.noise_hz, seed=sensor.seed)
    seen = record(
        clip_frames(folder, sensor.fps, sensor.between), config, camera_hz=0, mask_hz=1
    ).events
    times = [round(k / sensor.fps * SECOND) for k in range(len(masks))]
    framing = sensor.framing
    first = sum(time < framing.window for time in times)
    frames = np.zeros(
        (len(masks) - first, framing.steps, 2 * framing.bins, height, width), np.uint8
    )
    for counts, end in zip(frames, times[first:], strict=True):
        begin, stop = np.searchsorted(seen.t, [end - framing.window, end])
        part = seen.slice(int(begin), int(stop))
        counts[:] = count_frames(part.x, part.y, part.p, part.t, end, (height, width), framing)
    return _Clip(folder.name, first, frames, np.stack(masks)[first:])
