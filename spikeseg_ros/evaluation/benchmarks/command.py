# SPDX-License-Identifier: Apache-2.0
"""The commands ``spikeseg benchmark composed-nmnist``, ``davis-events`` and ``tune``."""

from __future__ import annotations

import copy
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.benchmarks.errors import BenchmarkError
from spikeseg_ros.evaluation.benchmarks.judging import Judgement
from spikeseg_ros.evaluation.benchmarks.rows import NAMES, choose_rows
from spikeseg_ros.evaluation.benchmarks.runs import (
    RecordedUnit,
    Unit,
    in_order,
    run_recorded,
    run_unit,
)
from spikeseg_ros.evaluation.benchmarks.sequences import (
    CLIP_SPLITS,
    REST_SHARE,
    ClipItem,
    check_clips,
    clip_share,
    composed_items,
    make_clip,
)
from spikeseg_ros.evaluation.benchmarks.tables import markdown, write_results
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from spikeseg_ros.evaluation.benchmarks.rows import Row
    from spikeseg_ros.evaluation.benchmarks.sequences import Item

FORMAT = 'spikeseg_benchmark/1'
COMPOSED_COUNT = 25
QUICK_COUNT = 3
QUICK_WINDOWS = 12
# The recorded person: windows at the start without motion, and events of a window with motion.
PERSON = {'quiet': 14, 'motion_events': 7000}


def composed_nmnist(argv: Sequence[str]) -> int:
    """Run the benchmark on scenes composed from N-MNIST.

    Returns:
        Exit status 0.
    """
    known = _parser('composed-nmnist', 'Judge methods on scenes composed from N-MNIST.')
    known.add_argument('--data', required=True, metavar='DIR', help='folder of N-MNIST')
    known.add_argument('--person', metavar='BAG', help='recording: 14 quiet windows, then motion')
    known.add_argument('--noise', metavar='BAG', help='recording of pure noise')
    args = known.parse_args(list(argv))
    rows = _prepared(args)
    items = composed_items(args.data, QUICK_COUNT if args.quick else COMPOSED_COUNT)
    results, timing = judge(items, rows, args.workers)
    recordings = {}
    general = [row for row in rows if row.settings('') is not None]
    for role, path in (('person', args.person), ('noise', args.noise)):
        if path:
            units = [
                RecordedUnit(path, row, **PERSON if role == 'person' else {}) for row in general
            ]
            found = in_order(run_recorded, units, args.workers, [1] * len(units), role)
            recordings[role] = dict(zip([row.name for row in general], found, strict=True))
    results['recordings'] = recordings
    _finish(args, 'composed-nmnist', results, timing)
    return 0


def davis_events(argv: Sequence[str]) -> int:
    """Run the benchmark on events of DAVIS clips.

    Returns:
        Exit status 0.
    """
    known = _parser('davis-events', 'Judge methods on DAVIS 2016 clips turned into events.')
    known.add_argument('--data', required=True, metavar='DIR', help='folder of the clips')
    known.add_argument('--cache', metavar='DIR', help='folder that keeps the events of the clips')
    args = known.parse_args(list(argv))
    rows = _prepared(args)
    names = CLIP_SPLITS['test']
    with tempfile.TemporaryDirectory() as scratch:
        paths = clip_events(args.data, names, args.cache or scratch, args.workers)
        items = [ClipItem(path, QUICK_WINDOWS if args.quick else 0) for path in paths]
        shares = in_order(clip_share, items, args.workers, [1] * len(items), 'camera')
        camera = {
            item.name: {
                'background_share': share,
                'camera': 'camera at rest' if share < REST_SHARE else 'camera moving',
            }
            for item, share in zip(items, shares, strict=True)
        }
        results, timing = judge(
            items, rows, args.workers, {k: v['camera'] for k, v in camera.items()}
        )
    results['clips'] = camera
    _finish(args, 'davis-events', results, timing)
    return 0


def clip_events(folder: str, names: Sequence[str], cache: str, workers: int) -> list[str]:
    """Make the events of clips that the cache lacks; returns their files."""
    kept = [Path(cache) / f'{name}.npz' for name in names]
    lacking = [name for name, path in zip(names, kept, strict=True) if not path.is_file()]
    check_clips(folder, lacking)
    work = partial(make_clip, folder, cache=cache)
    for _ in in_order(work, lacking, workers, [1] * len(lacking), 'events of clips'):
        pass
    return [str(path) for path in kept]


def judge(
    items: Sequence[Item],
    rows: Sequence[Row],
    workers: int,
    groups: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run methods over sequences.

    Args:
        items: The sequences.
        rows: The methods.
        workers: Processes.
        groups: Subset by name of the sequence. Where they are given, each subset and each
            sequence is judged on its own too.

    Returns:
        Results (methods, sets, subsets, sequences), and times.
    """
    units = [Unit(item, row) for item in items for row in rows]
    outcomes = in_order(run_unit, units, workers, [unit.weight for unit in units], 'methods')
    sums: dict[tuple[str, str, str], Judgement] = {}
    seconds: dict[str, list[float]] = {}
    for unit, outcome in zip(units, outcomes, strict=True):
        item, row = unit.item, unit.row
        seconds.setdefault(f'{row.name}: {item.set}', []).extend(outcome.seconds)
        keys = [('sets', item.set, row.name)]
        if groups:
            keys.append(('subsets', groups[item.name], row.name))
            keys.append(('sequences', item.name, row.name))
        for key in keys:
            if key in sums:
                sums[key].merge(outcome.judgement)
            else:
                sums[key] = copy.deepcopy(outcome.judgement)
    names = sorted({item.set for item in items})
    results: dict[str, Any] = {
        'methods': {
            row.name: {
                'title': row.title,
                'settings': {name: row.settings(name) for name in names},
            }
            for row in rows
        },
        'sets': {},
        'subsets': {},
        'sequences': {},
    }
    for (part, name, row_name), judgement in sums.items():
        results[part].setdefault(name, {})[row_name] = judgement.result()
    timing = {
        name: {'median_ms': 1e3 * float(np.median(values)), 'windows': len(values)}
        for name, values in seconds.items()
    }
    return results, timing


def _parser(name: str, description: str) -> argparse.ArgumentParser:
    known = parser(f'benchmark {name}', description)
    known.add_argument('--output', metavar='DIR', help='folder for results.json and table.md')
    known.add_argument('--quick', action='store_true', help='a few sequences only')
    known.add_argument('--workers', type=int, default=1, help='processes')
    known.add_argument(
        '--methods',
        nargs='+',
        default=[],
        metavar='NAME',
        help=f'rows of the table ({", ".join(NAMES)}); all but the ablations if left out',
    )
    return known


def require_metrics() -> None:
    """Refuse early what would fail late.

    Raises:
        MissingExtraError: The packages of the metrics are not installed.
    """
    for module in ('pycocotools.cocoeval', 'motmetrics'):
        require(module, 'evaluate')


def _prepared(args: argparse.Namespace) -> list[Row]:
    """Return the methods, and refuse early what would fail late."""
    require_metrics()
    if args.workers < 1:
        msg = f'--workers must be at least 1, got {args.workers!r}.'
        raise BenchmarkError(msg)
    if args.output and Path(args.output).exists() and not Path(args.output).is_dir():
        msg = f'The output {args.output!r} is a file; choose another --output.'
        raise BenchmarkError(msg)
    return choose_rows(args.methods)


def _finish(
    args: argparse.Namespace, name: str, results: dict[str, Any], timing: dict[str, Any]
) -> None:
    """Print the table, and write the files where they are asked for."""
    results = {'format': FORMAT, 'benchmark': name, 'quick': args.quick, **results}
    if args.output:
        write_results(Path(args.output), results, timing)
    sys.stdout.write(markdown(results))
