# SPDX-License-Identifier: Apache-2.0
"""The data of the benchmarks: which sequences belong to which set and split."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from spikeseg_ros.evaluation.benchmarks.errors import BenchmarkError
from spikeseg_ros.evaluation.benchmarks.judging import WINDOW, windows_of
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.nmnist import SCENE_KINDS, Dataset, random_sequence
from spikeseg_ros.simulation.recording import record
from spikeseg_ros.simulation.truth import GroundTruth
from spikeseg_ros.simulation.video import clip_files, clip_frames

if TYPE_CHECKING:
    from collections.abc import Sequence

SPLITS = ('train', 'test')
NOISE_HZ = (0.2, 2.0)
# Recordings and first seeds of the splits of the composed scenes.
IDS = {'train': range(1, 801), 'test': range(801, 1001)}
SEEDS = {'train': 100_000, 'test': 900_000}
DURATIONS = {'train': 300_000_000, 'test': 600_000_000}
DAVIS_SET = 'DAVIS events'
# Clips in alphabetical order go to the training and the test split in turn.
CLIPS = (
    'blackswan',
    'breakdance',
    'car-roundabout',
    'cows',
    'dance-twirl',
    'drift-chicane',
    'drift-straight',
    'horsejump-high',
    'kite-surf',
    'libby',
    'motocross-jump',
    'paragliding-launch',
    'scooter-black',
)
CLIP_SPLITS = {'train': CLIPS[0::2], 'test': CLIPS[1::2]}
CLIP_FPS = 24.0
CLIP_BETWEEN = 10
CLIP_NOISE_HZ = 0.1
# The camera counts as at rest where fewer pixels than this share see a background event in the
# median window.
REST_SHARE = 0.25


class Item(Protocol):
    """A sequence of a set; small and immutable, so that it can go to a worker process."""

    def __hash__(self) -> int:
        """Return a hash of the fields."""

    @property
    def set(self) -> str:
        """Set that it belongs to."""

    @property
    def name(self) -> str:
        """Its name within the set."""

    @property
    def windows(self) -> int:
        """About how many windows it has, for the progress bar."""

    def load(self) -> GroundTruth:
        """Return its events and truth."""


@dataclass(frozen=True)
class ComposedItem:
    """A sequence composed from N-MNIST recordings.

    Attributes:
        folder: Folder of the recordings.
        kind: Kind of the scene.
        noise_hz: Uniform noise [events/px/s].
        number: Number within the split, from 0.
        split: 'train' or 'test'.
    """

    folder: str
    kind: str
    noise_hz: float
    number: int
    split: str = 'test'

    @property
    def set(self) -> str:
        """Set that it belongs to."""
        return composed_set(self.kind, self.noise_hz)

    @property
    def name(self) -> str:
        """Its name within the set."""
        return f'{SEEDS[self.split] + self.number}'

    @property
    def windows(self) -> int:
        """Number of windows."""
        return DURATIONS[self.split] // WINDOW

    def load(self) -> GroundTruth:
        """Return its events and truth.

        Raises:
            SimulationError: A recording cannot be read.
        """
        return random_sequence(
            _dataset(self.folder),
            IDS[self.split],
            SEEDS[self.split] + self.number,
            self.kind,
            noise_hz=self.noise_hz,
            duration=DURATIONS[self.split],
        )


@dataclass(frozen=True)
class ClipItem:
    """Events of a video clip.

    Attributes:
        path: File with the events and the truth (`GroundTruth.save`).
        first: Judge this many windows at the beginning only; 0 = all.
    """

    path: str
    first: int = 0

    @property
    def set(self) -> str:
        """Set that it belongs to."""
        return DAVIS_SET

    @property
    def name(self) -> str:
        """Name of the clip."""
        return Path(self.path).stem

    @property
    def windows(self) -> int:
        """About how many windows it has."""
        return self.first or 55

    def load(self) -> GroundTruth:
        """Return its events and truth.

        Raises:
            SimulationError: The file cannot be read.
        """
        truth = GroundTruth.load(self.path)
        if not self.first:
            return truth
        end = int(np.searchsorted(truth.events.t, self.first * WINDOW))
        return replace(truth, events=truth.events.slice(0, end), instance=truth.instance[:end])


@lru_cache(maxsize=1)
def load_item(item: Item) -> GroundTruth:
    """Return the events and truth of a sequence; the last one is remembered."""
    return item.load()


def composed_set(kind: str, noise_hz: float) -> str:
    """Return the name of a set of composed scenes."""
    return f'{kind}, {noise_hz:g} Hz'


def composed_items(folder: str | Path, count: int, split: str = 'test') -> list[ComposedItem]:
    """Return the composed sequences of a split, set by set.

    Args:
        folder: Folder of N-MNIST recordings.
        count: Sequences of a set.
        split: 'train' or 'test'.

    Raises:
        BenchmarkError: Recordings of the split are missing.
        SimulationError: There is no index.
    """
    dataset = Dataset.open(folder)
    missing = [
        number
        for number in IDS[split]
        if number not in dataset.classes or not (dataset.folder / f'{number}.bs2').is_file()
    ]
    if missing:
        msg = (
            f'{str(folder)!r} lacks {len(missing)} of the recordings {IDS[split][0]} .. '
            f'{IDS[split][-1]}, for example {missing[0]}.bs2; give the folder that holds all.'
        )
        raise BenchmarkError(msg)
    return [
        ComposedItem(str(folder), kind, noise_hz, number, split)
        for kind in SCENE_KINDS
        for noise_hz in NOISE_HZ
        for number in range(count)
    ]


def check_clips(folder: str | Path, names: Sequence[str]) -> None:
    """Refuse a folder that lacks clips.

    Raises:
        BenchmarkError: Clips are missing.
        SimulationError: A clip is incomplete.
    """
    missing = [name for name in names if not (Path(folder) / name).is_dir()]
    if missing:
        msg = (
            f'{str(folder)!r} lacks the clips {", ".join(missing)}; give the folder that holds '
            '<clip>/images and <clip>/masks of DAVIS 2016 at 428 x 240 pixels.'
        )
        raise BenchmarkError(msg)
    for name in names:
        clip_files(Path(folder) / name)


def make_clip(folder: str | Path, name: str, cache: str | Path) -> Path:
    """Make the events of a clip, unless the cache holds them.

    Args:
        folder: Folder of the clips.
        name: One of CLIPS.
        cache: Folder in which the events are kept.

    Returns:
        The file.

    Raises:
        SimulationError: The clip cannot be read or has another size.
    """
    path = Path(cache) / f'{name}.npz'
    if path.is_file():
        return path
    sensor = SensorConfig(428, 240, noise_hz=CLIP_NOISE_HZ, seed=CLIPS.index(name))
    clip = Path(folder) / name
    truth = record(clip_frames(clip, CLIP_FPS, CLIP_BETWEEN), sensor, camera_hz=0).truth
    path.parent.mkdir(parents=True, exist_ok=True)
    # Whoever finds the file finds all of it.
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix='.npz', delete=False) as file:
        scratch = Path(file.name)
    try:
        truth.save(scratch)
        os.replace(scratch, path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    return path


def clip_share(item: ClipItem) -> float:
    """Return the background share of a clip; see `background_share`."""
    return background_share(load_item(item))


def background_share(truth: GroundTruth) -> float:
    """Return the share of pixels that see an event of the background, in the median window."""
    shares = []
    for window, labels in windows_of(truth):
        image = np.zeros((truth.height, truth.width), np.bool_)
        still = labels == 0
        image[window.events.y[still], window.events.x[still]] = True
        shares.append(image.mean())
    return float(np.median(shares))


@lru_cache(maxsize=2)
def _dataset(folder: str) -> Dataset:
    return Dataset.open(folder)
