# SPDX-License-Identifier: Apache-2.0
"""What every reader of an event file has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from spikeseg_ros.events.encoder import MAX_SIDE as MAX_EVT3_SIDE
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.layout import MAX_SIDE, MAX_TIME
from spikeseg_ros.events.types import Events, Packet, Triggers
from spikeseg_ros.recordings.bags import BagError
from spikeseg_ros.recordings.formats.packets import Packetizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Item = tuple[int, 'Packet | Frame']

TIME_UNITS = {'s': 1_000_000_000, 'ms': 1_000_000, 'us': 1_000, 'ns': 1}
# Known sensors [columns, rows]; the smallest that holds all events is taken for files that do
# not tell their geometry.
SENSORS: tuple[tuple[int, int], ...] = (
    (34, 34),
    (128, 128),
    (240, 180),
    (304, 240),
    (320, 320),
    (346, 260),
    (640, 480),
    (1280, 720),
)
_MAX_FRAMES_WAITING = 256


class FormatError(BagError):
    """An event file cannot be read or converted; the text names file, value and what to do."""


@dataclass(frozen=True)
class ReadOptions:
    """How event files are read; what a format does not need is ignored.

    Attributes:
        packet_ns: Sensor time per packet [ns].
        start_ns: ROS time of sensor time 0 [ns]; None = the file's own where it counts from an
            epoch, and the start of the simulated recordings otherwise.
        frame_id: Frame of the headers.
        kind: Format; empty = by the suffix.
        group: Group of an HDF5 file, or number of the event stream of an AEDAT4 file.
        time_unit: 's', 'ms', 'us', 'ns' or 'auto'.
        size: Geometry (columns, rows) where the file does not tell it.
    """

    packet_ns: int = 4_000_000
    start_ns: int | None = None
    frame_id: str = 'event_camera'
    kind: str = ''
    group: str = ''
    time_unit: str = 'auto'
    size: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise a FormatError that names the value where one is not usable."""
        if not 10_000 <= self.packet_ns <= 1_000_000_000:
            msg = f'Packets of {self.packet_ns / 1e6:g} ms are not in 0.01 .. 1000 ms.'
            raise FormatError(msg)
        if self.start_ns is not None and not 0 <= self.start_ns < (1 << 31) * TIME_UNITS['s']:
            msg = f'The start time {self.start_ns / 1e9:g} s is not in 0 .. 2^31 s.'
            raise FormatError(msg)
        if self.time_unit not in (*TIME_UNITS, 'auto'):
            msg = f'Unknown time unit {self.time_unit!r}; choose auto, {", ".join(TIME_UNITS)}.'
            raise FormatError(msg)
        if self.size is not None and not all(1 <= side <= MAX_SIDE for side in self.size):
            msg = f'The geometry {self.size[0]}x{self.size[1]} is not in 1 .. {MAX_SIDE} px.'
            raise FormatError(msg)


@dataclass(frozen=True)
class Frame:
    """A camera image beside the events.

    Attributes:
        image: Pixels, shape (H, W) or (H, W, 3), uint8 or uint16.
        stamp: Time [ns]; of the file's clock in a source, of ROS behind it.
        encoding: Encoding of sensor_msgs/msg/Image; empty = as shape and type say.
    """

    image: NDArray[Any]
    stamp: int
    encoding: str = ''


@dataclass
class Stats:
    """What a source has given so far.

    Attributes:
        events: Events inside the geometry.
        triggers: Trigger edges.
        images: Camera images.
        clipped: Events outside the geometry that decoders drop.
        first: Sensor time of the first event [ns]; -1 before.
        last: Sensor time of the last event [ns].
        origin: Time of the file that became sensor time 0 [ns].
    """

    events: int = 0
    triggers: int = 0
    images: int = 0
    clipped: int = 0
    first: int = -1
    last: int = -1
    origin: int = 0

    def count(self, events: Events) -> None:
        """Add events."""
        if len(events):
            self.first = int(events.t[0]) if self.first < 0 else self.first
            self.last = max(self.last, int(events.t[-1]))
            self.events += len(events)


class EventSource(Protocol):
    """An open event file.

    Attributes:
        path: The file.
        width: Sensor columns [px].
        height: Sensor rows [px].
        encoding: Encoding of the packets.
        notes: What was odd about the file but could be worked around.
        stats: What has been given so far.
        total: Size of the file, in a unit of the source's own.
        done: How much of it has been read.
    """

    path: Path
    width: int
    height: int
    encoding: str
    notes: list[str]
    stats: Stats
    total: int
    done: int

    def items(self) -> Iterator[Item]:
        """Yield (time [ns], packet or camera image), roughly in order of time.

        Raises:
            FormatError: The file is damaged from here on; what came before is complete.
        """
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class TableSource(ABC):
    """An event file that gives its events as columns; they become packets here.

    A subclass sets width, height and total when it opens the file, and yields chunks.
    """

    def __init__(self, path: Path, options: ReadOptions) -> None:
        self.path = path
        self.options = options
        self.width = self.height = 0
        self.notes: list[str] = []
        self.stats = Stats()
        self.total = self.done = 0

    @property
    def encoding(self) -> str:
        """Encoding of the packets: 'evt3' where it can express the geometry."""
        return 'evt3' if max(self.width, self.height) <= MAX_EVT3_SIDE else 'mono'

    @abstractmethod
    def chunks(self) -> Iterator[Events | tuple[Events, Triggers] | Frame]:
        """Yield the content in order, with the file's own times in nanoseconds."""

    def close(self) -> None:  # noqa: B027 - not every format holds its file open
        """Close the file."""

    def items(self) -> Iterator[Item]:
        """Yield (time [ns], packet or camera image)."""
        packets = Packetizer(self)
        waiting: list[Frame] = []
        problem: FormatError | None = None
        chunks = iter(self.chunks())
        while True:
            try:
                chunk = next(chunks, None)
                if chunk is None:
                    break
                if isinstance(chunk, Frame):
                    waiting.append(chunk)
                else:
                    events, edges = chunk if isinstance(chunk, tuple) else (chunk, None)
                    yield from packets.push(events, edges)
            except FormatError as err:
                problem = err
                break
            except EventError as err:
                problem = FormatError(f'{str(self.path)!r} is damaged: {err}')
                break
            if packets.offset is not None:
                yield from self._frames(waiting, packets.offset)
            elif len(waiting) > _MAX_FRAMES_WAITING:
                del waiting[0]
        try:
            yield from packets.flush()
        except EventError as err:
            problem = problem or FormatError(f'{str(self.path)!r} is damaged: {err}')
        yield from self._frames(waiting, packets.offset or 0)
        self.notes += packets.notes()
        if problem is not None:
            raise problem

    def _frames(self, waiting: list[Frame], offset: int) -> Iterator[Item]:
        """Yield the images that wait, with times of ROS, and forget them."""
        while waiting:
            frame = waiting.pop(0)
            stamp = frame.stamp + offset
            if 0 <= stamp < (1 << 31) * TIME_UNITS['s']:
                self.stats.images += 1
                yield stamp, Frame(frame.image, stamp, frame.encoding)

    def fail(self, text: str) -> FormatError:
        """Return an error about this file."""
        return FormatError(f'{str(self.path)!r}: {text}')

    def take_size(
        self, told: tuple[int, int] | None, extent: Callable[[], tuple[int, int]]
    ) -> None:
        """Set the geometry.

        Args:
            told: What the file says; None where it says nothing.
            extent: Returns the highest column and row of all events; asked only where needed.

        Raises:
            FormatError: The file and --size contradict each other.
        """
        wanted = self.options.size
        if told is not None and wanted is not None and told != wanted:
            msg = (
                f'the file says {told[0]}x{told[1]}, --size says {wanted[0]}x{wanted[1]}; leave '
                '--size out.'
            )
            raise self.fail(msg)
        found = told or wanted
        if found is None:
            right, low = extent()
            fitting = [size for size in SENSORS if right < size[0] and low < size[1]]
            found = fitting[0] if fitting else (right + 1, low + 1)
            self.notes.append(
                f'the file tells no geometry; {found[0]}x{found[1]} holds all events (change it '
                'with --size)'
            )
        if not all(1 <= side <= MAX_SIDE for side in found):
            raise self.fail(f'the geometry {found[0]}x{found[1]} is not in 1 .. {MAX_SIDE} px.')
        self.width, self.height = int(found[0]), int(found[1])

    def columns(
        self,
        first: int,
        x: NDArray[Any],
        y: NDArray[Any],
        p: NDArray[Any],
        t: NDArray[np.int64],
    ) -> Iterator[Events]:
        """Yield the events of columns; up to the first bad one, where there is one.

        Args:
            first: Number of the first event in the file, for messages.
            x: Columns [px], shape (N,), any number type.
            y: Rows [px], shape (N,), any number type.
            p: Polarities, shape (N,): 0 or -1, and 1.
            t: Times [ns], shape (N,).

        Raises:
            FormatError: A value cannot be; raised behind the events before it.
        """
        with np.errstate(invalid='ignore'):
            place = (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
            if x.dtype.kind == 'f' or y.dtype.kind == 'f':
                place &= (x == np.floor(x)) & (y == np.floor(y))
            sign = (p == 0) | (p == 1) | (p == -1)
            time = (t >= 0) & (t <= MAX_TIME // 2)
            good = place & sign & time
        bad = -1 if bool(good.all()) else int(np.argmin(good))
        keep = slice(None) if bad < 0 else slice(0, bad)
        yield Events(
            x[keep].astype(np.uint16),
            y[keep].astype(np.uint16),
            (p[keep] > 0).astype(np.uint8),
            t[keep].astype(np.int64),
        )
        if bad < 0:
            return
        if not place[bad]:
            msg = (
                f'event {first + bad} at ({x[bad]:g}, {y[bad]:g}) is on no pixel of the '
                f'{self.width}x{self.height} sensor; give the right geometry with --size, or '
                'the file is damaged from there on.'
            )
        elif not sign[bad]:
            msg = (
                f'event {first + bad} has the polarity {p[bad]:g}, not 0, 1 or -1; the columns '
                'are in another order, or the file is damaged from there on.'
            )
        else:
            msg = (
                f'event {first + bad} has the time {int(t[bad]) / 1e9:g} s, which cannot be; give '
                'the right --time-unit, or the file is damaged from there on.'
            )
        raise self.fail(msg)
