# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg compare``: two runs of the same recordings side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.report import plots_paired
from spikeseg_ros.evaluation.report.masks import draw_masks
from spikeseg_ros.evaluation.report.page import (
    Markup,
    Section,
    code,
    heading,
    html,
    join,
    page,
    paragraph,
    save,
    table,
)
from spikeseg_ros.evaluation.report.pairing import load_pairs, numbers
from spikeseg_ros.evaluation.report.pictures import caption, image, picture, recorded
from spikeseg_ros.evaluation.report.sections import NO_PLOTS, drawn, has_plots
from spikeseg_ros.evaluation.report.settings import show_option
from spikeseg_ros.evaluation.report.text import clean, number, plural
from spikeseg_ros.evaluation.report.tracks import objects_by_window

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeseg_ros.evaluation.report.pairing import Pair
    from spikeseg_ros.evaluation.report.run import Run

PICTURES = 6


def main(argv: Sequence[str]) -> int:
    """Compare two run directories: a page and a table on the terminal."""
    known = parser('compare', 'Put two runs of the same recordings side by side.')
    known.add_argument('first', metavar='A', help='directory of a run')
    known.add_argument('second', metavar='B', help='directory of another run')
    known.add_argument('--output', default='compare.html', help='page to write')
    args = known.parse_args(list(argv))
    pairs = load_pairs(args.first, args.second)
    names = labels(Path(args.first), Path(args.second))
    target = Path(args.output)
    target.parent.mkdir(parents=True, exist_ok=True)
    save(target, render(pairs, names))
    for pair in pairs:
        sys.stdout.write(terminal(pair, names))
    sys.stdout.write(f'{target}\n')
    return 0


def labels(first: Path, second: Path) -> tuple[str, str]:
    """Return short names that tell two directories apart."""
    one, other = first.resolve(), second.resolve()
    depth = 1
    while depth < 4 and one.parts[-depth:] == other.parts[-depth:]:
        depth += 1
    return '/'.join(one.parts[-depth:]), '/'.join(other.parts[-depth:])


def terminal(pair: Pair, names: tuple[str, str]) -> str:
    """Return the numbers of two runs as a table of plain text."""
    head = ('', f'A {clean(names[0], 24)}', f'B {clean(names[1], 24)}', 'B - A')
    rows = [head]
    rows += [
        (row.name, row.show(row.first), row.show(row.second), row.difference)
        for row in numbers(pair)
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [clean(pair.first.name)]
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append('  ' + '  '.join(cells).rstrip())
    changed = [
        f'  {name}: {show_option(values[0])} -> {show_option(values[1])}'
        for name, values in config_differences(pair).items()
    ]
    lines += ['  Options that differ:', *(f'  {line}' for line in changed)] if changed else []
    return '\n'.join(lines) + '\n'


def render(pairs: Sequence[Pair], names: tuple[str, str]) -> str:
    """Return the page that compares runs."""
    first = pairs[0]
    word = first.first.word
    sections = [_configuration(first)]
    if len(pairs) == 1:
        sections += [
            Section('numbers', 'Numbers', _numbers(first)),
            Section('time', 'Over time', _over_time(first)),
            Section('latency', 'Latency', _latency(first)),
            Section(
                'windows', f'{word.capitalize()}s that differ most', _windows(first, PICTURES)
            ),
        ]
    else:
        for place, pair in enumerate(pairs, start=1):
            body = join((_numbers(pair), _over_time(pair), _windows(pair, 2)))
            sections.append(Section(f'recording-{place}', clean(pair.first.name), body))
    lead = Markup(f'<b>A</b> is {code(names[0])}, <b>B</b> is {code(names[1])}. ')
    head = [paragraph(join((lead, _verdict(pairs))), 'lead')]
    head += [paragraph(NO_PLOTS, 'note')] if not has_plots() else []
    title = f'Two runs of {clean(first.first.name)}' if len(pairs) == 1 else 'Two runs compared'
    return page(title, 'Comparison', join(head), sections)


def _verdict(pairs: Sequence[Pair]) -> str:
    """Return how far the runs agree, in a sentence or two."""
    shared, word = sum(len(pair.rows) for pair in pairs), pairs[0].first.word
    if not shared:
        return 'Their windows are cut differently, so only totals are compared.'
    known = [pair.agreements for pair in pairs if pair.agreements is not None]
    if len(known) < len(pairs):
        return 'Not every run holds its objects.json, so their objects are not compared.'
    differing = sum(len(pair.by_difference()) for pair in pairs)
    if not differing:
        return f'Both found the same objects in all {plural(shared, word)}.'
    mean = sum(float(values.sum()) for values in known) / shared
    return (
        f'Their objects differ in {number(differing)} of {plural(shared, f"shared {word}")}; '
        f'the mean agreement is {mean:.0%}.'
    )


def config_differences(pair: Pair) -> dict[str, tuple[Any, Any]]:
    """Return what the runs were made with where it differs, by name."""
    tables = [_made_with(run) for run in (pair.first, pair.second)]
    names = [*tables[0], *(name for name in tables[1] if name not in tables[0])]
    return {
        name: (tables[0].get(name), tables[1].get(name))
        for name in names
        if tables[0].get(name) != tables[1].get(name)
    }


def _made_with(run: Run) -> dict[str, Any]:
    """Return options, weights, versions and device of a run."""
    found: dict[str, Any] = dict(run.get('config', dict) or {})
    found['SHA-256 of the weights'] = run.get('weights.sha256', str)
    versions = run.get('versions', dict) or {}
    found.update({f'version of {name}': value for name, value in versions.items()})
    found['device used'] = run.timing.get('device')
    return found


def _configuration(pair: Pair) -> Section:
    """Return the options that differ."""
    changed = config_differences(pair)
    title = 'What differs between the runs'
    if not changed:
        text = 'Options, weights, versions and device are the same.'
        return Section('configuration', title, paragraph(text))
    rows = [
        (code(name), code(show_option(one)), code(show_option(other)))
        for name, (one, other) in changed.items()
    ]
    return Section('configuration', title, table(('', 'A', 'B'), rows))


def _numbers(pair: Pair) -> Markup:
    """Return the numbers of both runs."""
    rows = []
    for row in numbers(pair):
        change = html(row.difference)
        if row.verdict:
            word = 'better' if row.verdict == 'good' else 'worse'
            change = Markup(f'<span class="{row.verdict}">{change}, {word}</span>')
        rows.append((row.name, row.show(row.first), row.show(row.second), change))
    return table(('', 'A', 'B', 'B \u2212 A'), rows, (1, 2, 3))


def _over_time(pair: Pair) -> Markup:
    """Return objects, agreement and IoU of both runs over time."""
    runs = (pair.first, pair.second)
    if any(not run.times().size for run in runs):
        return paragraph('windows.csv is missing or empty in one of the runs.', 'note')
    parts: list[object] = []
    for column, title, top in (
        ('objects', f'Objects per {pair.first.word}', None),
        ('mean_iou', 'Mean IoU with the ground truth', 1.0),
        ('instances', 'Instances per window', None),
    ):
        series = [(run.times(), run.windows[column]) for run in runs if column in run.windows]
        if len(series) == 2 and not np.array_equal(series[0][1], series[1][1], equal_nan=True):
            parts.append(drawn('', plots_paired.over_time, title, series, top))
    if len(pair.rows) and pair.agreements is not None:
        times = pair.first.times()[pair.rows[:, 0]]
        text = (
            'Agreement of A and B: objects are matched one to one by their masks, the sum of the '
            'IoUs is divided by the larger number of objects; 1 where neither has any.'
        )
        parts.append(drawn(text, plots_paired.agreement_over_time, times, pair.agreements))
    return join(parts)


def _latency(pair: Pair) -> Markup:
    """Return the median seconds of both runs by stage."""
    stages = [
        {name: values for name, values in run.stages.items() if name != 'index' and values.size}
        for run in (pair.first, pair.second)
    ]
    common = [name for name in stages[0] if name in stages[1]]
    if not common:
        return paragraph('timing.csv is missing in one of the runs.', 'note')
    text = f'Medians over {pair.first.word}s; wall-clock time, comparable only on one machine.'
    values = {name: (stages[0][name], stages[1][name]) for name in common}
    return drawn(text, plots_paired.stages, values)


def _windows(pair: Pair, count: int) -> Markup:
    """Return the windows that differ most, A beside B."""
    chosen = pair.by_difference()[:count]
    if not len(pair.rows):
        return paragraph(f'There are no shared {pair.first.word}s.', 'note')
    if pair.agreements is None:
        return paragraph('A run lacks its objects.json.', 'note')
    if not chosen:
        return paragraph(f'No shared {pair.first.word} differs.', 'note')
    runs = (pair.first, pair.second)
    indices = [
        [int(run.windows['index'][row]) for row in pair.rows[chosen, side]]
        for side, run in enumerate(runs)
    ]
    shown = [_pictures(run, wanted) for run, wanted in zip(runs, indices, strict=True)]
    parts: list[object] = []
    for rank, place in enumerate(chosen):
        parts.append(heading(f'Difference {rank + 1}: agreement {pair.agreements[place]:.0%}'))
        window = [side[rank] for side in indices]
        whole = all(index in side for index, side in zip(window, shown, strict=True))
        figures = ''
        for name, run, index, side in zip('AB', runs, window, shown, strict=True):
            look = side[index] if whole else _drawn(run, index)
            text = f'<b>{name}</b> {caption(run, index)}'
            figures += f'<figure>{look}<figcaption>{text}</figcaption></figure>'
        parts.append(Markup(f'<div class="sides">{figures}</div>'))
        if not whole:
            text = 'Drawn from the masks alone: a run holds no picture of this one.'
            parts.append(paragraph(text, 'note'))
    return join(parts)


def _pictures(run: Run, indices: Sequence[int]) -> dict[int, Markup]:
    """Return the pictures of windows that a run holds, by index."""
    found = {index: picture(run, index) for index in indices if index in run.overlays}
    return found | recorded(run, set(indices) - set(found))


def _drawn(run: Run, index: int) -> Markup:
    """Return the masks of a window as picture."""
    annotations = objects_by_window(run).get(index, [])
    width, height = int(run.get('bag.width') or 0), int(run.get('bag.height') or 0)
    data = draw_masks(annotations, width, height, run.path / 'objects.json')
    return image(data, 'png', width, height, f'Objects of {run.word} {index}')
