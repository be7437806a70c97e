# SPDX-License-Identifier: Apache-2.0
"""Judge weight files: composed N-MNIST, simulated scenes and real recordings, in one table.

Run ``spikeseg evaluate weights --help``. Scores are counted on events: an object
is the set of events inside its mask, a known object is found when one published object overlaps
it with an IoU of at least 0.5 (one-to-one); known objects with fewer than 50 events in a window
are not asked for. The row 'components' is a method without any network in the same table:
connected pixels of sufficient event density.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.agreement import Agreement
from spikeseg_ros.evaluation.benchmarks.baselines import component_image, counts_of
from spikeseg_ros.evaluation.metrics.sets import events_inside
from spikeseg_ros.events.stream import EventStream
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.perception.config import PerceptionConfig
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.result import SegmentedObject
from spikeseg_ros.perception.spikeseg import smallest_object
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.nmnist import Dataset, random_composition
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import random_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.perception.segmenter import Segmenter
    from spikeseg_ros.simulation.truth import GroundTruth

    Method = Callable[[EventWindow], Sequence[SegmentedObject]]

WINDOW = 50_000_000
# Seeds and recordings that training and calibration never see.
TEST_IDS = range(801, 1001)
TEST_SEED = 500_000
COMPOSED = ('apart', 'noisy', 'overlap')
SIMULATED = {'apart': 25.0, 'any': None}


def window_of(truth: GroundTruth, start: int) -> tuple[EventWindow, NDArray[np.uint16]]:
    """Return one window of a ground truth and the known object of each of its events."""
    events, labels = truth.labels(start, start + WINDOW)
    end = start + WINDOW
    return EventWindow(events, start, end, end, truth.width, truth.height), labels


def composed(folder: str | Path, kind: str, count: int) -> Iterator[GroundTruth]:
    """Yield test scenes composed from N-MNIST recordings 801 .. 1000, 240 x 180 px."""
    dataset = Dataset.open(folder)
    for k in range(count):
        yield random_composition(
            dataset,
            list(TEST_IDS),
            TEST_SEED + k,
            count=5 if kind == 'overlap' else 3 + k % 4,
            overlap=kind == 'overlap',
            noise_hz=2.0 if kind == 'noisy' else 0.2,
        )


def simulated(kind: str, count: int) -> Iterator[GroundTruth]:
    """Yield simulated test scenes of two windows, 346 x 260 px, objects of radius 10 .. 60 px."""
    for k in range(count):
        scene = random_scene(
            346,
            260,
            TEST_SEED + k,
            objects=3 + k % 3,
            sizes=(10.0, 60.0),
            speeds=(40.0, 250.0),
            seconds=0.1,
            gap=SIMULATED[kind],
        )
        sensor = SensorConfig(346, 260, noise_hz=0.3, seed=TEST_SEED + k)
        yield simulate_scene(scene, 0.1, sensor, camera_hz=0).truth


def network(segmenter: Segmenter) -> Method:
    """Return a method that segments every window from rest, without tracks."""

    def run(window: EventWindow) -> Sequence[SegmentedObject]:
        return segmenter.segment(window, segmenter.initial_state())[0].objects

    return run


def components(min_events: int, density: int = 6) -> Method:
    """Return the baseline: connected pixels with at least `density` events in 5 x 5 pixels.

    Args:
        min_events: Objects with fewer events are dropped; 0 = as many as the network asks for.
        density: Events in a square of 5 x 5 pixels from which its centre counts.
    """

    def run(window: EventWindow) -> list[SegmentedObject]:
        floor = min_events or smallest_object(window.height, window.width)
        counts = counts_of(window)
        image = component_image(counts, density)
        found: list[SegmentedObject] = []
        for k, place in enumerate(ndimage.find_objects(image), 1):
            mask = (image[place] == k) & (counts[place] > 0)
            total = int(counts[place][mask].sum())
            if total < floor:
                continue
            rows, columns = np.nonzero(mask)
            rows, columns = rows + place[0].start, columns + place[1].start
            box = BoundingBox(
                int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())
            )
            crop = np.zeros((box.height, box.width), np.bool_)
            crop[rows - box.y_min, columns - box.x_min] = True
            centre = (float(columns.mean()), float(rows.mean()))
            found.append(
                SegmentedObject(len(found), box, crop, 1, 'object', 1.0, centre, n_events=total)
            )
        return found

    return run


def agreement(method: Method, truths: Sequence[GroundTruth]) -> Agreement:
    """Return the agreement of a method with known scenes."""
    result = Agreement()
    for truth in truths:
        last = int(truth.events.t[-1]) if len(truth.events) else 0
        for start in range(0, max(1, last - WINDOW // 2), WINDOW):
            window, labels = window_of(truth, start)
            result.add(method(window), window.events, labels)
    return result


@dataclass(frozen=True)
class RealScore:
    """What a method does on a recording without labels.

    Attributes:
        motion: Windows with motion.
        hit: Of these, windows with an object that covers a fifth of the moving region's events.
        union_iou: Mean IoU of all objects together with the moving region, on events.
        pieces: Mean number of objects that lie mostly in the moving region.
        stray: Objects elsewhere, per motion window.
        quiet: Windows without motion.
        quiet_objects: Objects per quiet window.
    """

    motion: int
    hit: int
    union_iou: float
    pieces: float
    stray: float
    quiet: int
    quiet_objects: float


def recorded_windows(path: str | Path) -> list[EventWindow]:
    """Return all complete windows of a recording."""
    stream = EventStream(duration_ns=WINDOW, max_bytes=1 << 40)
    windows: list[EventWindow] = []
    with BagReader(path) as bag:
        for _, packet in bag.packets():
            stream.push(packet)
            windows += stream.poll(0)
    return windows


def _blocks(events: Events, height: int, width: int) -> NDArray[np.int64]:
    """Count the events in blocks of 8 x 8 pixels."""
    counts = np.zeros((-(-height // 8), -(-width // 8)), np.int64)
    np.add.at(counts, (events.y // 8, events.x // 8), 1)
    return counts


def real_score(
    method: Method, windows: Sequence[EventWindow], quiet: int, motion_events: int
) -> RealScore:
    """Judge a method without memory on a recording whose first windows are quiet.

    Args:
        method: What to judge.
        windows: The windows of the recording.
        quiet: Number of windows at the start in which nothing moves.
        motion_events: Windows with more events are motion windows.
    """
    members = [[events_inside(item, w.events) for item in method(w)] for w in windows]
    return score_recording(windows, members, quiet, motion_events)


def score_recording(
    windows: Sequence[EventWindow],
    members: Sequence[Sequence[NDArray[np.bool_]]],
    quiet: int,
    motion_events: int,
) -> RealScore:
    """Judge the objects found in a recording whose first windows are quiet.

    The moving region is found by a density rule, not by a person: blocks of 8 x 8 pixels with
    more than three times the quiet mean plus 6 events. It favours methods based on density.

    Args:
        windows: The windows of the recording.
        members: For every window, which of its events belong to each object.
        quiet: Number of windows at the start in which nothing moves.
        motion_events: Windows with more events are motion windows.
    """
    height, width = windows[0].height, windows[0].width
    mean = sum(_blocks(w.events, height, width) for w in windows[:quiet]) / max(1, quiet)
    quiet_objects = sum(len(items) for items in members[:quiet])
    hit, pieces, stray, unions = 0, 0, 0, []
    for window, items in zip(windows, members, strict=True):
        events = window.events
        if len(events) <= motion_events:
            continue
        dense = _blocks(events, height, width) > 3 * mean + 6
        reference = dense[events.y // 8, events.x // 8]
        covered = np.zeros(len(events), np.bool_)
        best = 0
        for inside in items:
            common = int((inside & reference).sum())
            best = max(best, common)
            mostly = 2 * common > int(inside.sum())
            pieces, stray = pieces + mostly, stray + (not mostly)
            covered |= inside
        hit += 5 * best >= int(reference.sum())
        unions.append((covered & reference).sum() / max(1, (covered | reference).sum()))
    count = max(1, len(unions))
    return RealScore(
        len(unions),
        hit,
        float(np.mean(unions)) if unions else float('nan'),
        pieces / count,
        stray / count,
        quiet,
        quiet_objects / max(1, quiet),
    )


def run(argv: Sequence[str]) -> int:
    """Print the table for the weight files of the command line.

    Returns:
        Exit status 0.
    """
    parser = argparse.ArgumentParser(
        prog='spikeseg evaluate weights',
        description='Judge weight files on scenes that training never saw.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('weights', nargs='*', help='weight files; none = the packaged ones')
    parser.add_argument('--nmnist', help='folder of N-MNIST recordings')
    parser.add_argument('--scenes', type=int, default=25, help='scenes of each kind')
    parser.add_argument('--person', help='recording: 14 quiet windows, then motion')
    parser.add_argument('--noise', help='recording of pure noise')
    parser.add_argument(
        '--min-events', type=int, default=0, help='smallest object [events]; 0 = by size'
    )
    parser.add_argument('--linkage', default='threshold', help='grouping rule')
    args = parser.parse_args(list(argv))
    base = PerceptionConfig(device='cpu')
    objects = replace(base.objects, min_events=args.min_events, linkage=args.linkage)
    base = replace(base, objects=objects)
    methods = {
        Path(name).name or 'packaged': network(create(replace(base, weights=name)))
        for name in args.weights or ['']
    }
    methods['components'] = components(args.min_events)
    write = sys.stdout.write
    write('| set | method | known | found | precision | mean IoU |\n|---|---|---|---|---|---|\n')
    sets: dict[str, list[GroundTruth]] = {}
    if args.nmnist:
        for kind in COMPOSED:
            sets[f'N-MNIST {kind}'] = list(composed(args.nmnist, kind, args.scenes))
    for kind in SIMULATED:
        sets[f'simulated {kind}'] = list(simulated(kind, args.scenes))
    for title, truths in sets.items():
        for name, method in methods.items():
            score = agreement(method, truths)
            write(
                f'| {title} | {name} | {score.true_objects} | {score.recall:.3f} | '
                f'{score.precision:.3f} | {score.mean_iou:.3f} |\n'
            )
    if args.person:
        windows = recorded_windows(args.person)
        write(
            '\n| person | hit | union IoU | pieces | stray / window | objects / quiet window |\n'
        )
        write('|---|---|---|---|---|---|\n')
        for name, method in methods.items():
            real = real_score(method, windows, 14, 7000)
            write(
                f'| {name} | {real.hit} / {real.motion} | {real.union_iou:.2f} | '
                f'{real.pieces:.1f} | {real.stray:.2f} | {real.quiet_objects:.2f} |\n'
            )
    if args.noise:
        windows = recorded_windows(args.noise)
        write('\n| noise | windows | objects |\n|---|---|---|\n')
        for name, method in methods.items():
            number = sum(len(method(window)) for window in windows)
            write(f'| {name} | {len(windows)} | {number} |\n')
    return 0
