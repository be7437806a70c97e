# SPDX-License-Identifier: Apache-2.0
"""From a run directory to its report.html."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from spikeseg_ros.evaluation.report import live, plots, sections, settings
from spikeseg_ros.evaluation.report.facts import headline, metrics, sentence, speed
from spikeseg_ros.evaluation.report.page import (
    Markup,
    Section,
    code,
    html,
    join,
    page,
    paragraph,
    save,
    table,
    tiles,
    warning,
)
from spikeseg_ros.evaluation.report.run import load_runs, lookup
from spikeseg_ros.evaluation.report.text import (
    NONE,
    clean,
    escape,
    number,
    plural,
    seconds,
    short,
)
from spikeseg_ros.evaluation.report.volumes import volumes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeseg_ros.evaluation.report.run import Run

NAME = 'report.html'


def write_report(run_dir: str | Path) -> Path:
    """Write the report of a run directory; of several recordings, an overview and each report.

    Args:
        run_dir: Directory that `spikeseg evaluate bag` has written.

    Returns:
        Path of the page, `run_dir/report.html`.

    Raises:
        ReportError: The directory is no run, one of its files is broken, or the page cannot be
            written. Files that are missing are noted in the page instead.
    """
    folder = Path(run_dir)
    summary, runs = load_runs(folder)
    alone = len(runs) == 1 and runs[0].path == folder
    if alone:
        save(folder / NAME, render_run(runs[0]))
    else:
        failed = lookup(summary, 'failed', list, folder / 'summary.json') or []
        for run in runs:
            save(run.path / NAME, render_run(run))
        judged = volumes(summary, folder / 'summary.json')
        save(folder / NAME, render_overview(runs, failed, judged))
    return folder / NAME


def render_run(run: Run) -> str:
    """Return the page of one recording."""
    found = [
        sections.windows(run),
        sections.classes(run),
        sections.metrics_table(run),
        volumes(run.summary, run.path / 'summary.json'),
        sections.over_time(run),
        sections.track_table(run),
        sections.latency(run),
        live.live(run),
        sections.energy(run),
        settings.configuration(run),
        settings.environment(run),
        settings.reproduce(run),
        _notes(run),
    ]
    head = join(
        (
            paragraph(sentence(run), 'lead'),
            _source(run),
            warning(settings.damages(run)),
            tiles(headline(run)),
        )
    )
    kept = [section for section in found if section is not None]
    return page(run.name, 'Evaluation report', head, kept)


def _source(run: Run) -> Markup:
    """Return where the events or images come from."""
    parts = [code(run.get('bag.topic', str))] if run.get('bag.topic', str) else []
    width, height = run.get('bag.width'), run.get('bag.height')
    if width and height:
        parts.append(html(f'{number(width)} \u00d7 {number(height)} px'))
    if encoding := run.get('bag.encoding', str):
        parts.append(html(encoding))
    if weights := run.get('weights.name', str):
        parts.append(html(f'weights {clean(weights)}'))
    if device := run.timing.get('device'):
        parts.append(html(f'on {clean(device)}'))
    return paragraph(Markup(' · '.join(parts)), 'note')


def _notes(run: Run) -> Section | None:
    """Return what is missing in the run directory; None where nothing is."""
    if not run.notes:
        return None
    items = ''.join(f'<li>{escape(note)}</li>' for note in run.notes)
    text = 'This run is old or was not finished; the sections above say what they lack.'
    body = join((paragraph(text, 'note'), Markup(f'<ul>{items}</ul>')))
    return Section('notes', 'Missing files', body)


def render_overview(
    runs: Sequence[Run], failed: Sequence[object], judged: Section | None = None
) -> str:
    """Return the page over several recordings.

    Args:
        runs: Their runs.
        failed: Names of recordings without results.
        judged: Scores over all recordings.
    """
    known = {name for run in runs for name in _by_leaf(run)}
    names = [name for name in ('ap50', 'pq', 'hota', 'miou') if name in known]
    rows = []
    for place, run in enumerate(runs):
        values = _by_leaf(run)
        factor = speed(run)
        rows.append(
            (
                Markup(f'<a href="#bag-{place + 1}">{escape(run.name)}</a>'),
                seconds(run.recorded_seconds),
                number(run.n_windows),
                NONE if run.of_images else short(run.get('bag.events')),
                number(run.get('objects')),
                number(run.get('tracks')),
                f'{number(factor, 2)}\u00d7' if factor else number(None),
                *(values.get(name, number(None)) for name in names),
                'damaged' if settings.damages(run) else '',
            )
        )
    titles = [_title(runs, name) for name in names]
    word = runs[0].word if runs else 'window'
    headers = (
        'Recording',
        'Length',
        f'{word.capitalize()}s',
        'Events',
        'Objects',
        'Tracks',
        'Real time',
    )
    table_of_all = table((*headers, *titles, ''), rows, range(1, 7 + len(names)), full=True)
    body = [Section('overview', 'Recordings', table_of_all)]
    body += [judged] if judged is not None else []
    body += [_bag(place, run) for place, run in enumerate(runs, start=1)]
    if runs:
        body.append(settings.configuration(runs[0]))
    whole = sum(run.recorded_seconds or 0.0 for run in runs)
    text = (
        f'{plural(len(runs), "recording")}, {seconds(whole)} in all, '
        f'{plural(sum(run.n_windows for run in runs), word)}, '
        f'{plural(sum(int(run.get("objects") or 0) for run in runs), "object")}.'
    )
    lost = [f'No results of {clean(name)}: it could not be evaluated.' for name in failed]
    head = join((paragraph(text, 'lead'), warning(lost)))
    return page('Evaluation of several recordings', 'Evaluation report', head, body)


def _bag(place: int, run: Run) -> Section:
    """Return the section of one recording in the overview."""
    link = f'{quote(run.path.name)}/{NAME}'
    parts: list[object] = [
        paragraph(sentence(run)),
        paragraph(Markup(f'<a href="{escape(link)}">Full report of this recording</a>')),
        warning(settings.damages(run)),
        tiles(headline(run)),
    ]
    times = run.times()
    if times.size and 'objects' in run.windows:
        series = [('found', run.windows['objects'])]
        if 'true_objects' in run.windows:
            series.append(('in the ground truth', run.windows['true_objects']))
        parts.append(sections.drawn('', plots.objects_over_time, times, series, run.word))
    return Section(f'bag-{place}', run.name, join(parts))


def _by_leaf(run: Run) -> dict[str, str]:
    """Return the metrics of a run as text by short name."""
    return {item.leaf: item.shown for item in metrics(run)}


def _title(runs: Sequence[Run], name: str) -> str:
    """Return the title of a metric that one of the runs has."""
    return next(item.title for run in runs for item in metrics(run) if item.leaf == name)
