# SPDX-License-Identifier: Apache-2.0
"""``spikeseg convert``: event files and old bags of any format to rosbag2."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from spikeseg_ros.cli import parser
from spikeseg_ros.events.types import Packet
from spikeseg_ros.recordings.bags import STORAGES, BagError, BagReader, BagWriter, is_bag_folder
from spikeseg_ros.recordings.copying import BagCopy
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.formats.source import TIME_UNITS, FormatError, ReadOptions, Stats
from spikeseg_ros.recordings.opening import (
    BAG,
    EVENTS_TOPIC,
    KINDS,
    kind_of,
    open_source,
    recording_name,
)
from spikeseg_ros.recordings.serialization import MessageError, image_message, packet_message

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from typing_extensions import Self

IMAGE_TOPIC = '/camera/image_raw'
IMAGE = 'sensor_msgs/msg/Image'


@dataclass
class Conversion:
    """What came out of one input.

    Attributes:
        output: The bag.
        stats: What it holds.
        size: Geometry as text, for example '640x480'.
        encoding: Encoding of the packets.
        messages: Messages written.
        problem: Why the input could not be read to its end; empty where it could.
        notes: What was odd about the input but could be worked around.
    """

    output: Path
    stats: Stats = field(default_factory=Stats)
    size: str = ''
    encoding: str = ''
    messages: int = 0
    problem: str = ''
    notes: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line that says what the bag holds."""
        stats = self.stats
        seconds = (stats.last - stats.first) / 1e9 if stats.events else 0.0
        parts = [f'{stats.events} events', f'{seconds:.3f} s', self.size, self.encoding]
        if stats.images:
            parts.append(f'{stats.images} images')
        if stats.triggers:
            parts.append(f'{stats.triggers} trigger edges')
        parts.append(f'{self.messages} messages')
        return f'{self.output}: ' + ', '.join(part for part in parts if part)


class _Target:
    """A bag that takes its place only once it is finished.

    It is written to OUTPUT.part/NAME. When the input ends, or is damaged from some place on, the
    bag is closed and renamed. When the work is interrupted, the bag is closed and left there.
    """

    def __init__(self, output: Path, storage: str, overwrite: bool) -> None:
        self.output = output
        self.overwrite = overwrite
        if output.exists() and not (overwrite and is_bag_folder(output)):
            hint = 'choose another name or give --overwrite'
            if not is_bag_folder(output):
                hint = 'it is no recording, so it is not replaced; choose another name'
            msg = f'{str(output)!r} exists already; {hint}.'
            raise BagError(msg)
        self.part = output.with_name(output.name + '.part')
        self.folder = self.part / output.name
        if self.part.exists() and not (is_bag_folder(self.folder) or not any(self.part.iterdir())):
            msg = f'{str(self.part)!r} is in the way and holds no recording; remove it.'
            raise BagError(msg)
        shutil.rmtree(self.part, ignore_errors=True)
        self.bag = BagWriter(self.folder, storage)
        self.written = 0

    def __enter__(self) -> Self:
        """Create the bag."""
        self.bag.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the bag; what was written before an error or an interruption stays."""
        self.bag.close()
        if kind is not None and not self.written:
            self.discard()

    def write(self, topic: str, time: int, raw: bytes) -> None:
        """Write one message.

        Raises:
            BagError: The disk refuses; the text says where the bag is.
        """
        try:
            self.bag.write(topic, time, raw)
        except BagError as err:
            msg = f'{err} What was converted so far is in {str(self.folder)!r}.'
            raise BagError(msg) from None
        self.written += 1

    def finish(self) -> None:
        """Close the bag and give it its name."""
        self.bag.close()
        if self.output.exists():
            shutil.rmtree(self.output)
        self.folder.rename(self.output)
        self.part.rmdir()

    def discard(self) -> None:
        """Close the bag and remove it."""
        self.bag.close()
        shutil.rmtree(self.part, ignore_errors=True)


def convert(
    path: str | Path,
    output: str | Path,
    *,
    topic: str = EVENTS_TOPIC,
    image_topic: str = IMAGE_TOPIC,
    storage: str = 'mcap',
    options: ReadOptions | None = None,
    overwrite: bool = False,
    progress: bool = False,
) -> Conversion:
    """Convert an event file or a bag to a rosbag2.

    Args:
        path: The input.
        output: Folder of the new bag.
        topic: Topic of the events of a file that is no bag; a bag keeps its topics.
        image_topic: Topic of its camera images.
        storage: 'mcap' or 'sqlite3'.
        options: How the input is read.
        overwrite: Replace a recording that is there.
        progress: Show a progress bar on a terminal.

    Returns:
        What was written. Where the input is damaged from some place on, `problem` says so, and
        the bag holds everything before.

    Raises:
        BagError: Nothing could be read, or the bag cannot be written. No bag is left.
    """
    source, target = Path(path), Path(output)
    options = options or ReadOptions()
    options.check()
    if not source.exists():
        msg = f'Recording {str(source)!r} does not exist.'
        raise BagError(msg)
    kind = kind_of(source, options.kind)
    if source.resolve() == target.resolve() or target.resolve() in source.resolve().parents:
        msg = f'The output {str(target)!r} is or holds the input; choose another name.'
        raise BagError(msg)
    if kind == BAG:
        return _convert_bag(source, _Target(target, storage, overwrite), progress)
    return _convert_file(
        source, _Target(target, storage, overwrite), (topic, image_topic), options, progress
    )


def _convert_file(
    path: Path,
    target: _Target,
    topics: tuple[str, str],
    options: ReadOptions,
    progress: bool,
) -> Conversion:
    """Convert an event file."""
    source = open_source(path, options)
    result = Conversion(target.output)
    try:
        with target:
            target.bag.add_topic(topics[0], EVENT_PACKET, 'best_effort')
            items = source.items()
            with _bar(path, source.total, 'B', progress) as bar:
                while True:
                    try:
                        found = next(items, None)
                    except FormatError as err:
                        result.problem = str(err)
                        break
                    if found is None:
                        break
                    time, item = found
                    if isinstance(item, Packet):
                        target.write(topics[0], time, packet_message(item))
                    else:
                        if source.stats.images == 1:
                            target.bag.add_topic(topics[1], IMAGE)
                        image = image_message(
                            item.image, item.stamp, options.frame_id, item.encoding
                        )
                        target.write(topics[1], time, image)
                    bar.update(source.done - bar.n)
    finally:
        source.close()
    result.stats, result.notes = source.stats, source.notes
    result.messages = target.written
    result.size, result.encoding = f'{source.width}x{source.height}', source.encoding
    return _settle(path, target, result, not result.stats.events)


def _convert_bag(path: Path, target: _Target, progress: bool) -> Conversion:
    """Copy a bag."""
    result = Conversion(target.output)
    with BagReader(path) as source, target:
        copy = BagCopy(source, target.bag)
        items = copy.items()
        with _bar(path, copy.total, ' messages', progress) as bar:
            while True:
                try:
                    found = next(items, None)
                except (BagError, MessageError) as err:
                    result.problem = str(err)
                    break
                if found is None:
                    break
                target.write(*found)
                bar.update()
        notes = source.notes + copy.notes
    result.stats, result.notes, result.messages = copy.stats, notes, copy.messages
    result.size = ' and '.join(f'{w}x{h}' for w, h in sorted(copy.sizes))
    result.encoding = ' and '.join(sorted(copy.encodings))
    return _settle(path, target, result, not result.messages)


def _settle(path: Path, target: _Target, result: Conversion, empty: bool) -> Conversion:
    """Keep the bag where it holds something, or remove it and say why there is none."""
    if empty:
        target.discard()
        msg = result.problem or f'{str(path)!r} holds no events; nothing was written.'
        raise FormatError(msg)
    target.finish()
    return result


def _bar(path: Path, total: int, unit: str, progress: bool) -> tqdm[None]:
    """Return a progress bar with the time left; silent where the output is no terminal."""
    return tqdm(
        total=total or None,
        desc=path.name,
        unit=unit,
        unit_scale=unit == 'B',
        disable=None if progress else True,
    )


def _names(paths: Sequence[Path]) -> list[str]:
    """Return one name per input; equal ones get -2, -3 and so on."""
    names: list[str] = []
    for path in paths:
        name = base = recording_name(path)
        number = 1
        while name in names:
            number += 1
            name = f'{base}-{number}'
        names.append(name)
    return names


def _size(text: str) -> tuple[int, int]:
    """Return 'WxH' as numbers."""
    width, _, height = text.lower().partition('x')
    if not (width.isdecimal() and height.isdecimal() and len(text) < 12):
        msg = f'--size {text!r} is no geometry such as 640x480.'
        raise FormatError(msg)
    return int(width), int(height)


def run(argv: Sequence[str]) -> int:
    """Run ``spikeseg convert``.

    Returns:
        0, or 1 where an input could not be read to its end.
    """
    arguments = parser('convert', 'Convert event files and old bags to rosbag2.')
    add = arguments.add_argument
    add('inputs', nargs='+', metavar='INPUT', help='event file or bag')
    add(
        '--output',
        required=True,
        metavar='BAG',
        help='folder to create; several inputs: one in it each',
    )
    add(
        '--from',
        dest='kind',
        default='',
        choices=('', BAG, *KINDS),
        help='format; empty: by suffix',
    )
    add('--topic', default=EVENTS_TOPIC, help='topic of the events; bags keep their topics')
    add('--image-topic', default=IMAGE_TOPIC, help='topic of camera images of AEDAT4 files')
    add('--frame-id', default='event_camera', help='frame of the headers')
    add('--storage', default='mcap', choices=STORAGES, help='storage of the bag')
    add('--packet-ms', type=float, default=4.0, help='sensor time per packet [ms]')
    add('--start-time', type=float, help='ROS time of sensor time 0 [s]')
    add(
        '--time-unit',
        default='auto',
        choices=('auto', *TIME_UNITS),
        help='unit of times in HDF5 and text',
    )
    add('--size', default='', metavar='WxH', help='geometry where the file tells none')
    add('--group', default='', help='group of an HDF5 file, or event stream of an AEDAT4 file')
    add('--overwrite', action='store_true', help='replace a recording that is there')
    add('--quiet', action='store_true', help='show no progress bar')
    args = arguments.parse_args(argv)
    start = args.start_time
    options = ReadOptions(
        packet_ns=_nanoseconds(args.packet_ms, 1e6, '--packet-ms'),
        start_ns=None if start is None else _nanoseconds(start, 1e9, '--start-time'),
        frame_id=args.frame_id,
        kind=args.kind,
        group=args.group,
        time_unit=args.time_unit,
        size=_size(args.size) if args.size else None,
    )
    inputs = [Path(text) for text in args.inputs]
    output = Path(args.output)
    outputs = [output] if len(inputs) == 1 else [output / name for name in _names(inputs)]
    failed = 0
    for source, target in zip(inputs, outputs, strict=True):
        try:
            result = convert(
                source,
                target,
                topic=args.topic,
                image_topic=args.image_topic,
                storage=args.storage,
                options=options,
                overwrite=args.overwrite,
                progress=not args.quiet,
            )
        except KeyboardInterrupt:
            part = target.with_name(target.name + '.part') / target.name
            kept = (
                f'what was converted is in {str(part)!r}' if part.exists() else 'nothing is left'
            )
            sys.stderr.write(f'spikeseg convert: interrupted; {kept}\n')
            raise
        except (ValueError, OSError) as err:
            sys.stderr.write(f'spikeseg convert: {err}\n')
            failed += 1
            continue
        sys.stdout.write(result.summary() + '\n')
        for note in result.notes:
            sys.stdout.write(f'  note: {note}\n')
        if result.problem:
            sys.stderr.write(
                f'spikeseg convert: {result.problem} {str(target)!r} is complete up to there.\n'
            )
            failed += 1
    return 1 if failed else 0


def _nanoseconds(value: float, factor: float, name: str) -> int:
    """Return a number of the command line in nanoseconds."""
    if not 0 <= value * factor < 1 << 62:
        msg = f'{name} {value!r} cannot be.'
        raise FormatError(msg)
    return round(value * factor)
