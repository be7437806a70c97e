# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg evaluate bag``."""

from __future__ import annotations

import shutil
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline.engine import ENGINES, run_units
from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.pictures import has_gif
from spikeseg_ros.evaluation.offline.realtime import evaluate_live, require_ros
from spikeseg_ros.evaluation.offline.scores import require_metrics
from spikeseg_ros.evaluation.offline.sources import replay_of
from spikeseg_ros.evaluation.offline.tables import read_summary
from spikeseg_ros.evaluation.offline.together import write_together
from spikeseg_ros.evaluation.offline.unit import Unit
from spikeseg_ros.evaluation.report import write_report
from spikeseg_ros.evaluation.report.sections import has_plots
from spikeseg_ros.evaluation.report.writer import NAME as REPORT
from spikeseg_ros.evaluation.truth import KINDS
from spikeseg_ros.perception.config import PerceptionConfig, from_flat, to_flat
from spikeseg_ros.perception.node_options import load_node_config
from spikeseg_ros.recordings.opening import recording_name

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    known = parser(
        'evaluate bag',
        'Run the perception on recordings, on recorded time, and keep the result. Networks that '
        'take events see the windows of the event topic, those that take camera images (mfs_seg '
        'and spike2former with such weights) see every image of the image topic.',
    )
    known.add_argument('bags', nargs='+', metavar='PATH', help='recording')
    known.add_argument('--output', required=True, metavar='DIR', help='folder of the results')
    known.add_argument('--config', default='', metavar='YAML', help='the file the node takes')
    known.add_argument(
        '--topic', default='', help='topic of events or images; empty = the one with most messages'
    )
    known.add_argument(
        '--truth',
        action='append',
        default=[],
        metavar='FILE',
        help='ground truth of events; once for every recording, in their order',
    )
    known.add_argument(
        '--truth-kind', choices=('auto', *KINDS), default='auto', help='kind of the ground truth'
    )
    known.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='option of the perception, for example objects.linkage=average',
    )
    known.add_argument('--workers', type=int, default=1, help='recordings at the same time')
    known.add_argument(
        '--engine', choices=ENGINES, default='process', help='where the workers run'
    )
    known.add_argument(
        '--realtime',
        action='store_true',
        help='also play the recordings through the live node and compare (needs ROS 2)',
    )
    before = known.add_mutually_exclusive_group()
    before.add_argument('--overwrite', action='store_true', help='replace results that exist')
    before.add_argument('--resume', action='store_true', help='go on where a run was cut off')
    known.add_argument('--no-report', action='store_true', help='leave report.html out')
    return known.parse_args(list(argv))


def main(argv: Sequence[str]) -> int:
    """Evaluate recordings.

    Returns:
        0 where every recording was evaluated to its end, else 1 with one line per recording.
    """
    args = _arguments(argv)
    if args.workers < 1:
        msg = f'--workers must be at least 1, got {args.workers!r}.'
        raise EvaluationError(msg)
    if args.realtime:
        require_ros()
    config = load_node_config(args.config) if args.config else PerceptionConfig()
    config = from_flat(_settings(args.set), config)
    output = Path(args.output)
    units = make_units(args.bags, output, to_flat(config), topic=args.topic, resume=args.resume)
    if args.truth:
        units = with_truth(units, args.truth, args.truth_kind)
    prepare_output(output, units, overwrite=args.overwrite, resume=args.resume)
    outcomes = run_units(units, args.workers, args.engine)
    for outcome in outcomes:
        if outcome.error:
            sys.stderr.write(f'spikeseg evaluate bag: {outcome.error}\n')
    live = [
        _play_live(unit)
        for unit, outcome in zip(units, outcomes, strict=True)
        if args.realtime and outcome.windows
    ]
    if not any(outcome.windows for outcome in outcomes):
        with suppress(OSError):  # not where something was left for --resume
            output.rmdir()
    elif len(units) > 1:
        write_together(output, [unit.name for unit in units])
    if any(outcome.windows for outcome in outcomes):
        if not args.no_report:
            write_report(output)
        _conclude(output, report=not args.no_report)
    return 1 if any(outcome.error for outcome in outcomes) or not all(live) else 0


def _play_live(unit: Unit) -> bool:
    """Play a recording live and say how it went; returns whether it worked."""
    try:
        found = evaluate_live(unit)
    except (ValueError, OSError) as err:
        text = ' '.join(str(err).split())
        sys.stderr.write(f'spikeseg evaluate bag: live run of {unit.bag!r}: {text}\n')
        return False
    summary = read_summary(Path(unit.output)) or {}
    word = replay_of(summary).word
    messages = 'packets' if word == 'window' else f'{word}s'
    sys.stdout.write(
        f'{unit.name} live: {found["matched"]} of {found["windows"]} {word}s, '
        f'{found["shed_windows"]} shed, {found["dropped_packets"]} {messages} dropped, '
        f'{found["identical"] or 0:.0%} of the {word}s as offline, latency '
        f'{found["latency"].get("p50_ms", "not reported")} ms (p50)\n'
    )
    return True


def make_units(
    bags: Sequence[str], output: Path, config: dict[str, Any], *, topic: str, resume: bool
) -> list[Unit]:
    """Return the work units of recordings, with unique names."""
    units: list[Unit] = []
    taken: set[str] = set()
    for bag in bags:
        base = recording_name(Path(bag))
        name, number = base, 1
        while name in taken:
            number += 1
            name = f'{base}-{number}'
        taken.add(name)
        folder = output if len(bags) == 1 else output / name
        units.append(Unit(bag, name, str(folder), topic, config, resume=resume))
    return units


def with_truth(units: Sequence[Unit], truths: Sequence[str], kind: str) -> list[Unit]:
    """Return the units with their ground truth.

    Raises:
        EvaluationError: There is not one ground truth per recording.
        MissingExtraError: The packages of the metrics are not installed.
    """
    if len(truths) != len(units):
        msg = f'Give --truth once per recording: got {len(truths)} for {len(units)} recordings.'
        raise EvaluationError(msg)
    require_metrics()
    pairs = zip(units, truths, strict=True)
    return [replace(unit, truth=truth, truth_kind=kind) for unit, truth in pairs]


def prepare_output(output: Path, units: Sequence[Unit], *, overwrite: bool, resume: bool) -> None:
    """Make the output folder, or say why that cannot be.

    Raises:
        EvaluationError: It exists and may not be replaced.
        OSError: It cannot be written.
    """
    if output.exists() and not output.is_dir():
        msg = f'The output {str(output)!r} is a file; choose another --output.'
        raise EvaluationError(msg)
    if output.exists() and any(output.iterdir()):
        ours = [
            folder
            for folder in {output, *(Path(unit.output) for unit in units)}
            if read_summary(folder) is not None or (folder / journal.NAME).is_file()
        ]
        if not ours and (overwrite or resume):
            msg = (
                f'The output {str(output)!r} exists and is no result of this command, so it is '
                'not replaced; choose another --output.'
            )
            raise EvaluationError(msg)
        if not (overwrite or resume):
            msg = (
                f'The output {str(output)!r} exists already; replace it with --overwrite, go on '
                'with --resume, or choose another --output.'
            )
            raise EvaluationError(msg)
        if overwrite:
            shutil.rmtree(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        msg = f'Cannot create the output {str(output)!r}: {err.strerror}; choose another --output.'
        raise EvaluationError(msg) from None


def _settings(items: Sequence[str]) -> dict[str, Any]:
    """Return the options of --set by dotted name."""
    found: dict[str, Any] = {}
    for item in items:
        name, sign, text = item.partition('=')
        if not sign or not name:
            msg = f'--set takes NAME=VALUE, got {item!r}.'
            raise EvaluationError(msg)
        try:
            found[name.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            found[name.strip()] = text
    return found


def _conclude(output: Path, *, report: bool) -> None:
    """Say what was left out for want of a package, what was found, and where it is."""
    found = read_summary(output)
    if found is None:
        return
    missing = [] if has_gif() else ['overlay.gif (needs Pillow)']
    if report and not has_plots():
        missing.append('the plots of report.html (need matplotlib)')
    if missing:
        sys.stderr.write(
            f'spikeseg evaluate bag: left out {" and ".join(missing)}: '
            "pip install 'spikeseg_ros[evaluate]'\n"
        )
    bags = found.get('bags')
    word = replay_of(bags[0] if bags else found).word
    of = f'{_plural(len(bags), "recording")}, ' if bags is not None else ''
    sys.stdout.write(
        f'{of}{_plural(found["windows"], word)}, {_plural(found["objects"], "object")}, '
        f'{_plural(found["tracks"], "track")}: '
        f'{output / (REPORT if report else "summary.json")}\n'
    )


def _plural(count: int, word: str) -> str:
    """Return a count with its word."""
    return f'{count} {word}{"" if count == 1 else "s"}'
