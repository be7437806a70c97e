# SPDX-License-Identifier: Apache-2.0
"""Truncates and damages event files of every format and reads them.

Run ``scripts/run.sh python3 fuzz/fuzz_formats.py --files 2000``. Nothing but our own error may
come out, every file is read in bounded time, and the events read before the damage are events.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test' / 'recordings'))

import event_files as files

from spikeseg_ros.events import EventDecoder
from spikeseg_ros.recordings import BagError, BagReader, open_recording
from spikeseg_ros.recordings.convert import convert
from spikeseg_ros.recordings.formats.source import ReadOptions
from spikeseg_ros.simulation.truth import GroundTruth

MOST_SECONDS = 20.0
SMALL = (34, 34)


class FuzzError(AssertionError):
    """A reader did something it must not do."""


def _truth(path: Path, events: files.Events) -> None:
    instance = np.zeros(len(events), np.uint16)
    GroundTruth(files.WIDTH, files.HEIGHT, events, instance, {}, {}).save(path)


def _aedat4(path: Path, events: files.Events, compress: str | None) -> None:
    image = np.zeros((files.HEIGHT, files.WIDTH), np.uint8)
    files.write_aedat4(path, events, [(image, 8000)], [9000], compress, chunk=100)


def _hdf5(path: Path, events: files.Events, packed: bool) -> None:
    import h5py

    options = {'chunks': (100,), 'compression': 'gzip'} if packed else {}
    with h5py.File(path, 'w') as file:
        columns = {'x': events.x, 'y': events.y, 'p': events.p, 't': events.t // 1000}
        for name, column in columns.items():
            file.create_dataset(f'events/{name}', data=column, **options)


WRITERS = {
    'evt3.raw': files.write_evt3,
    'evt2.raw': files.write_evt2,
    'evt21.raw': files.write_evt21,
    'rpg.txt': files.write_text,
    'table.csv': files.write_csv,
    'truth.npz': _truth,
    'digit.bs2': files.write_nmnist,
    'plain.h5': lambda path, events: _hdf5(path, events, False),
    'packed.h5': lambda path, events: _hdf5(path, events, True),
    'plain.aedat4': lambda path, events: _aedat4(path, events, None),
    'zstd.aedat4': lambda path, events: _aedat4(path, events, 'zstd'),
    'own.mcap': files.write_bag,
    'own.db3': files.write_bag,
    'old.bag': files.write_ros1,
}
BAGS = ('mcap', 'db3', 'bag')


def damaged(rng: random.Random, good: bytes) -> bytes:
    """Return a file cut off, with flipped bytes, with a hole, or with foreign bytes in it."""
    data = bytearray(good)
    kind = rng.randrange(5)
    # The beginning of a file holds what the rest depends on.
    reach = len(data) if rng.randrange(2) else min(len(data), 400)
    if kind == 0:
        del data[rng.randrange(reach) :]
    elif kind == 1:
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(reach)] ^= 1 << rng.randrange(8)
    elif kind == 2:
        begin = rng.randrange(reach)
        del data[begin : begin + rng.randrange(1, 200)]
    elif kind == 3:
        begin = rng.randrange(reach)
        data[begin : begin + 8] = rng.choice((b'\xff' * 8, bytes(8), rng.randbytes(8)))
    else:
        begin = rng.randrange(reach)
        data[begin:begin] = rng.randbytes(rng.randrange(1, 40))
    return bytes(data)


def check(path: Path, options: ReadOptions) -> bool:
    """Read a file to its end; return whether it was refused or ended early.

    Raises:
        FuzzError: Events are impossible, or it took too long.
    """
    begin = time.monotonic()
    decoder: EventDecoder | None = None
    refused = False
    try:
        if path.suffix[1:] in BAGS:
            return check_copy(path, begin)
        with open_recording(path, options=options) as recording:
            for _, packet in recording.packets():
                if decoder is None:
                    decoder = EventDecoder(packet.encoding, packet.width, packet.height)
                events = decoder.decode(packet.payload, packet.time_base)
                if len(events) and not 0 <= int(events.t.min()) <= int(events.t.max()):
                    msg = 'an event before time 0'
                    raise FuzzError(msg)
                if time.monotonic() - begin > MOST_SECONDS:
                    msg = f'takes more than {MOST_SECONDS} s'
                    raise FuzzError(msg)
    except BagError as err:
        refused = True
        if path.name not in str(err) or '\n' in str(err):
            msg = f'not one line that names the file: {err}'
            raise FuzzError(msg) from err
    return refused


def check_copy(path: Path, begin: float) -> bool:
    """Convert a damaged bag; what comes out is a bag without damage."""
    result = convert(path, path.with_name('copy'), overwrite=True)
    with BagReader(path.with_name('copy')) as bag:
        messages = sum(1 for _ in bag.messages())
    if messages != result.messages or bag.notes or time.monotonic() - begin > MOST_SECONDS:
        msg = f'{messages} of {result.messages} messages came back, notes {bag.notes}'
        raise FuzzError(msg)
    return bool(result.problem)


def run(
    count: int, seed: int, names: tuple[str, ...] = (), report: bool = False
) -> dict[str, int]:
    """Read damaged files of every format in turn.

    Args:
        count: Files in all.
        seed: Seed of the random numbers.
        names: Formats, by the names of WRITERS; empty = all.
        report: Print each file before it is read, for failures that end the process.

    Returns:
        Number of files that were refused or ended early, by format.

    Raises:
        FuzzError: A check failed; the text says how to repeat it.
    """
    chosen = names or tuple(WRITERS)
    refused = dict.fromkeys(chosen, 0)
    with tempfile.TemporaryDirectory(prefix='fuzz_formats_') as folder:
        good = {}
        for name in chosen:
            size = SMALL if name.endswith('bs2') else (files.WIDTH, files.HEIGHT)
            path = Path(folder) / name
            WRITERS[name](path, files.random_events(300, 3, size=size))
            good[name] = path.read_bytes()
        for number in range(count):
            name = chosen[number % len(chosen)]
            rng = random.Random(f'{seed} {number} {name}')
            path = Path(folder) / name
            path.write_bytes(damaged(rng, good[name]))
            told = rng.randrange(2) and name.endswith(('txt', 'csv', 'h5'))
            options = ReadOptions(size=(files.WIDTH, files.HEIGHT) if told else None)
            if report:
                print(number, name, flush=True)
            try:
                refused[name] += check(path, options)
            except Exception as err:
                msg = f'{name}, file {number} of seed {seed}: {type(err).__name__}: {err}'
                raise FuzzError(msg) from err
    return refused


def main() -> int:
    """Run from the command line; the exit status is 1 where a check failed."""
    parser = argparse.ArgumentParser(description='Fuzz the readers of event files.')
    parser.add_argument('--files', type=int, default=2000)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--only', nargs='*', default=[], choices=list(WRITERS))
    parser.add_argument('--verbose', action='store_true', help='print each file before it is read')
    args = parser.parse_args()
    begin = time.monotonic()
    try:
        refused = run(args.files, args.seed, tuple(args.only), args.verbose)
    except FuzzError as err:
        print(f'FAILED {err}', file=sys.stderr)
        return 1
    print(f'{args.files} damaged files in {time.monotonic() - begin:.0f} s: no failure')
    print('refused or ended early: ' + ', '.join(f'{k} {v}' for k, v in refused.items()))
    return 0


if __name__ == '__main__':
    sys.exit(main())
