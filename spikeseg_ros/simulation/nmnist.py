# SPDX-License-Identifier: Apache-2.0
"""N-MNIST recordings, single and composed to scenes with several objects.

N-MNIST (Orchard et al., "Converting static image datasets to spiking neuromorphic datasets using
saccades", Frontiers in Neuroscience 9, 2015) are recordings of a real sensor (34x34 pixels).
Placed on a larger canvas they give real sensor events whose instance and class are known exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.events import SECOND, SimulationError
from spikeseg_ros.simulation.truth import GroundTruth

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SIZE = 34
DURATION = 300_000_000
# Times of the events that one event of a scaled recording becomes differ by up to this [ns].
_JITTER = 2_000_000
_INDEX = 'train1K.txt'


def read_recording(path: str | Path) -> Events:
    """Read one .bs2 file: five bytes an event, big-endian times in microseconds.

    Raises:
        SimulationError: The file cannot be read, is cut off, or has events off the sensor.
    """
    try:
        raw = np.fromfile(path, np.uint8)
    except OSError as err:
        msg = f'Cannot read the N-MNIST recording {str(path)!r}: {err}'
        raise SimulationError(msg) from None
    if len(raw) % 5:
        msg = f'{str(path)!r} has {len(raw)} bytes, no whole number of five-byte events.'
        raise SimulationError(msg)
    rows = raw.reshape(-1, 5)
    if len(rows) and int(rows[:, :2].max()) >= SIZE:
        msg = f'{str(path)!r} has events off the {SIZE}x{SIZE} sensor; is it N-MNIST?'
        raise SimulationError(msg)
    word = rows.astype(np.int64)
    micro = (word[:, 2] & 0x7F) << 16 | word[:, 3] << 8 | word[:, 4]
    return Events(
        rows[:, 0].astype(np.uint16),
        rows[:, 1].astype(np.uint16),
        (rows[:, 2] >> 7).astype(np.uint8),
        micro * 1000,
    )


@dataclass(frozen=True)
class Dataset:
    """A folder of N-MNIST recordings with its class index.

    Attributes:
        folder: Folder with <id>.bs2 files and train1K.txt.
        classes: Class 0 .. 9 by recording id.
    """

    folder: Path
    classes: dict[int, int]

    @staticmethod
    def open(folder: str | Path) -> Dataset:
        """Read the index of a folder.

        Raises:
            SimulationError: There is no index, or a line of it is damaged.
        """
        index = Path(folder) / _INDEX
        try:
            lines = index.read_text(encoding='ascii').splitlines()
            pairs = [line.split() for line in lines if line.strip() and line[0] != '#']
            classes = {int(name): int(label) for name, label in pairs}
        except (OSError, ValueError) as err:
            msg = (
                f'Cannot read the index {str(index)!r}: {err}. Give the folder that holds '
                f'{_INDEX} and the .bs2 files.'
            )
            raise SimulationError(msg) from None
        return Dataset(Path(folder), classes)

    def read(self, number: int) -> Events:
        """Return recording `number`.

        Raises:
            SimulationError: There is no such recording.
        """
        return read_recording(self.folder / f'{number}.bs2')


@dataclass(frozen=True)
class Placement:
    """One recording on the canvas.

    Attributes:
        events: Events of the recording.
        x: Column of its left edge at time 0 [px].
        y: Row of its top edge at time 0 [px].
        begin: Time within the recording that becomes time 0 of the scene [ns].
        class_id: Class id as it stands in masks, from 1.
        velocity: Motion (x, y) of the recording's frame [px/s].
        scale: Size of a pixel of the recording on the canvas [px]. Edges grow with the scale, so
            every event becomes `scale` events on average, at random places of its pixel and at
            times that differ by up to 2 ms. 1 keeps the recorded events.
        loop: Whether the recording begins again when it ends; its saccades end where they began.
    """

    events: Events
    x: float
    y: float
    begin: int = 0
    class_id: int = 1
    velocity: tuple[float, float] = (0.0, 0.0)
    scale: float = 1.0
    loop: bool = False

    @property
    def size(self) -> float:
        """Edge of the frame on the canvas [px]."""
        return SIZE * self.scale

    def at(self, seconds: float) -> tuple[float, float]:
        """Return the centre (x, y) of the frame at a time [px]."""
        half = self.size / 2
        return self.x + self.velocity[0] * seconds + half, self.y + self.velocity[
            1
        ] * seconds + half


def compose(
    placements: list[Placement],
    width: int,
    height: int,
    duration: int,
    noise_hz: float = 0.0,
    seed: int = 0,
) -> GroundTruth:
    """Place recordings on a canvas; placement k becomes instance k + 1.

    Args:
        placements: What goes where; events that fall off the canvas are dropped.
        width: Columns of the canvas [px].
        height: Rows of the canvas [px].
        duration: Length of the scene [ns].
        noise_hz: Uniform noise events per pixel and second (instance 0).
        seed: Seed of the noise.
    """
    rng = np.random.default_rng(seed)
    parts: list[tuple[NDArray[Any], ...]] = []
    for number, item in enumerate(placements, 1):
        across, down, p, t = _played(item, duration, rng)
        x = np.floor(across + np.floor(item.x + item.velocity[0] * t / SECOND)).astype(np.int64)
        y = np.floor(down + np.floor(item.y + item.velocity[1] * t / SECOND)).astype(np.int64)
        keep = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        parts.append((x[keep], y[keep], p[keep], t[keep], np.full(int(keep.sum()), number)))
    count = int(rng.poisson(noise_hz * width * height * duration / SECOND))
    noise = (
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        rng.integers(0, 2, count),
        rng.integers(0, max(1, duration // 1000), count) * 1000,
        np.zeros(count, np.int64),
    )
    parts.append(noise)
    x, y, p, t, instance = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(t, kind='stable')
    events = Events(
        x[order].astype(np.uint16),
        y[order].astype(np.uint16),
        p[order].astype(np.uint8),
        t[order].astype(np.int64),
    )
    classes = {k: item.class_id for k, item in enumerate(placements, 1)}
    names = {k: f'digit {number - 1}' for k, number in classes.items()}
    return GroundTruth(width, height, events, instance[order].astype(np.uint16), classes, names)


def _played(
    item: Placement, duration: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.uint8], NDArray[np.int64]]:
    """Return columns and rows in the frame [px], polarities and times of a recording's events."""
    parts, times = [], []
    last_round = (item.begin + duration - 1) // DURATION if item.loop else 0
    for number in range(last_round + 1):
        start, stop = item.begin - number * DURATION, item.begin + duration - number * DURATION
        if item.loop:
            start, stop = max(0, start), min(DURATION, stop)
        first, last = np.searchsorted(item.events.t, [start, stop])
        parts.append(item.events.slice(first, last))
        times.append(parts[-1].t + number * DURATION - item.begin)
    part, t = Events.concatenate(parts), np.concatenate(times)
    if item.scale == 1.0:
        return part.x.astype(np.float64), part.y.astype(np.float64), part.p, t
    copies = np.floor(item.scale + rng.random(len(t))).astype(np.int64)
    source = np.repeat(np.arange(len(t)), copies)
    count = len(source)
    x = (part.x[source] + rng.random(count)) * item.scale
    y = (part.y[source] + rng.random(count)) * item.scale
    jitter = rng.integers(-_JITTER // 1000, _JITTER // 1000 + 1, count) * 1000
    t = np.clip(t[source] + jitter, 0, duration - 1000)
    return x, y, part.p[source], t


def random_composition(
    dataset: Dataset,
    ids: list[int],
    seed: int,
    *,
    width: int = 240,
    height: int = 180,
    count: int = 4,
    overlap: bool = False,
    noise_hz: float = 0.2,
    duration: int = 50_000_000,
) -> GroundTruth:
    """Compose recordings at random places.

    Args:
        dataset: N-MNIST.
        ids: Recordings to draw from.
        seed: Seed; the same arguments always give the same scene.
        width: Columns of the canvas [px].
        height: Rows of the canvas [px].
        count: Number of recordings; fewer are placed where there is no room.
        overlap: Place every second recording 17 .. 28 px from its neighbour, so that their
            frames overlap; otherwise all frames are at least 4 px apart.
        noise_hz: Uniform noise [events/px/s].
        duration: Length of the scene [ns], at most that of a recording.

    Raises:
        SimulationError: A recording cannot be read or the duration is too long.
    """
    if not 0 < duration <= DURATION:
        msg = f'A composition lasts 1 .. {DURATION} ns, got {duration!r}.'
        raise SimulationError(msg)
    rng = np.random.default_rng(seed)
    placements: list[Placement] = []
    for k in range(count):
        place = _free_place(rng, placements, width, height, overlap and k % 2 == 1)
        if place is None:
            continue
        number = int(rng.choice(ids))
        begin = int(rng.integers(0, max(1, DURATION - duration) + 1) // 1000 * 1000)
        label = dataset.classes[number] + 1
        placements.append(Placement(dataset.read(number), place[0], place[1], begin, label))
    noise_seed = int(rng.integers(1 << 31))
    return compose(placements, width, height, duration, noise_hz, noise_seed)


def _free_place(
    rng: np.random.Generator, placed: list[Placement], width: int, height: int, beside: bool
) -> tuple[int, int] | None:
    """Return the left top corner of a place for one more recording."""
    for _ in range(200):
        if beside and placed:
            angle, distance = rng.uniform(0, 2 * np.pi), rng.uniform(17, 28)
            x = round(placed[-1].x + distance * np.cos(angle))
            y = round(placed[-1].y + distance * np.sin(angle))
            others = placed[:-1]
        else:
            x = int(rng.integers(0, width - SIZE + 1))
            y = int(rng.integers(0, height - SIZE + 1))
            others = placed
        inside = 0 <= x <= width - SIZE and 0 <= y <= height - SIZE
        apart = all(max(abs(x - o.x), abs(y - o.y)) >= SIZE + 4 for o in others)
        if inside and apart:
            return x, y
    return None


@dataclass(frozen=True)
class SceneKind:
    """How the scenes of a set are made.

    Attributes:
        width: Columns of the canvas [px].
        height: Rows of the canvas [px].
        count: Least and largest number of recordings.
        scales: Smallest and largest scale; drawn evenly on a logarithmic scale.
        beside: Probability that a recording is placed beside the one before, so that their
            frames overlap (centres 1/2 .. 5/6 of the mean frame apart).
        speed: Largest speed of a frame [px/s]; one beside another moves like it.
    """

    width: int = 240
    height: int = 180
    count: tuple[int, int] = (3, 5)
    scales: tuple[float, float] = (1.0, 1.0)
    beside: float = 0.0
    speed: float = 30.0


SCENE_KINDS = {
    'separate': SceneKind(),
    'overlapping': SceneKind(count=(4, 6), beside=0.5),
    'mixed': SceneKind(346, 260, (3, 5), (1.0, 6.0), 0.5),
}
# Frames that are not beside each other keep this distance at all times [px].
_GAP = 4.0


def random_sequence(
    dataset: Dataset,
    ids: Sequence[int],
    seed: int,
    kind: str,
    *,
    noise_hz: float = 0.2,
    duration: int = 1_000_000_000,
) -> GroundTruth:
    """Compose a sequence in which recordings move over a canvas and play again and again.

    Args:
        dataset: N-MNIST.
        ids: Recordings to draw from.
        seed: Seed; the same arguments always give the same sequence.
        kind: One of SCENE_KINDS.
        noise_hz: Uniform noise [events/px/s].
        duration: Length [ns].

    Raises:
        SimulationError: A recording cannot be read, or the kind is unknown.
    """
    if kind not in SCENE_KINDS:
        msg = f'Unknown kind of scene {kind!r}; choose one of {", ".join(SCENE_KINDS)}.'
        raise SimulationError(msg)
    how = SCENE_KINDS[kind]
    rng = np.random.default_rng(seed)
    seconds = duration / SECOND
    placed: list[Placement] = []
    for _ in range(int(rng.integers(how.count[0], how.count[1] + 1))):
        beside = bool(placed) and rng.random() < how.beside
        scale = float(np.exp(rng.uniform(*np.log(how.scales))))
        for _ in range(300):
            item = _draw(rng, how, scale, placed[-1] if beside else None)
            if _fits(item, placed[:-1] if beside else placed, how, seconds):
                number = int(rng.choice(ids))
                events = dataset.read(number)
                begin = int(rng.integers(0, DURATION // 1000)) * 1000
                label = dataset.classes[number] + 1
                placed.append(replace(item, events=events, begin=begin, class_id=label, loop=True))
                break
    noise_seed = int(rng.integers(1 << 31))
    return compose(placed, how.width, how.height, duration, noise_hz, noise_seed)


def _draw(
    rng: np.random.Generator, how: SceneKind, scale: float, other: Placement | None
) -> Placement:
    """Return a random placement without events, beside another one where it is given."""
    size = SIZE * scale
    angle, speed = rng.uniform(0, 2 * np.pi), rng.uniform(0, how.speed)
    velocity = (float(speed * np.cos(angle)), float(speed * np.sin(angle)))
    centre = rng.uniform(0, how.width), rng.uniform(0, how.height)
    if other is not None:
        velocity = other.velocity
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(1 / 2, 5 / 6)
        distance = share * (size + other.size) / 2
        x, y = other.at(0.0)
        centre = x + distance * np.cos(angle), y + distance * np.sin(angle)
    return Placement(
        Events.empty(),
        float(round(centre[0] - size / 2)),
        float(round(centre[1] - size / 2)),
        velocity=velocity,
        scale=scale,
    )


def _fits(item: Placement, others: list[Placement], how: SceneKind, seconds: float) -> bool:
    """Tell whether a frame stays on the canvas and away from others, all the time."""
    for time in np.linspace(0, seconds, 11).tolist():
        x, y = item.at(time)
        half = item.size / 2
        if not (half <= x <= how.width - half and half <= y <= how.height - half):
            return False
        for other in others:
            column, row = other.at(time)
            if max(abs(x - column), abs(y - row)) < half + other.size / 2 + _GAP:
                return False
    return True
