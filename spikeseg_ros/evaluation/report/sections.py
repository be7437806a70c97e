# SPDX-License-Identifier: Apache-2.0
"""The sections of a report, each made of the files of one run."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report import plots, svg
from spikeseg_ros.evaluation.report.facts import VOLUMES, energy_by_window, metrics
from spikeseg_ros.evaluation.report.page import (
    Markup,
    Section,
    code,
    fold,
    html,
    join,
    paragraph,
    plot,
    table,
)
from spikeseg_ros.evaluation.report.pictures import gallery
from spikeseg_ros.evaluation.report.text import number, picojoule, plural, seconds, short
from spikeseg_ros.evaluation.report.tracks import middle, tracks
from spikeseg_ros.images.colors import track_color

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.report.run import Run

MAX_TRACK_ROWS = 100
_EVENTS_CELL = 6
LAYER_NAMES = {'class': 'class layer'}
_CONSTANTS = {
    'accumulate_pj': 'Energy of one accumulation [pJ]',
    'fan_out': 'Accumulations per spike',
    'process': 'Process',
    'note': 'Note',
}
NO_PLOTS = "The plots need matplotlib: pip install 'spikeseg_ros[evaluate]', then report again."


def has_plots() -> bool:
    """Return whether plots can be drawn here."""
    return importlib.util.find_spec('matplotlib') is not None


def drawn(caption: object, draw: Any, *arguments: Any) -> Markup:
    """Return a plot in both widths; nothing where matplotlib is not installed."""
    return plot(svg.both(draw, *arguments), caption) if has_plots() else Markup('')


def over_time(run: Run) -> Section:
    """Return event rate, objects, tracks and spikes over time."""
    times = run.times()
    if not times.size:
        text = 'windows.csv is missing or empty, so nothing can be shown over time.'
        return Section('time', 'Over time', paragraph(text, 'note'))
    lengths = np.maximum(run.windows['duration_ns'], 1) / 1e9
    parts: list[object] = [paragraph(NO_PLOTS, 'note')] if not has_plots() else []
    events, on_events = run.column('events'), run.column('on_events')
    if events is not None and not run.of_images:
        rates = events / lengths
        on_rates = on_events / lengths if on_events is not None else None
        text = (
            f'Mean {short(float(events.sum() / lengths.sum()))} events/s, '
            f'peak {short(float(rates.max()))} events/s, measured per window.'
        )
        parts.append(drawn(text, plots.event_rate, times, rates, on_rates))
    known = (('found', 'objects'), ('in the ground truth', 'true_objects'), ('tracked', 'tracks'))
    series = [(label, run.windows[name]) for label, name in known if name in run.windows]
    if series:
        parts.append(drawn('', plots.objects_over_time, times, series, run.word))
    parts.append(_lanes(run, float((times + lengths / 2).max())))
    ious = run.column('mean_iou')
    if ious is not None and np.isfinite(ious).any():
        text = 'Mean IoU of the true objects of a window, counted on events.'
        parts.append(drawn(text, plots.iou_over_time, times, ious))
    layers = {
        LAYER_NAMES.get(name[7:], name[7:]): values
        for name, values in run.windows.items()
        if name.startswith('spikes_') and values.any()
    }
    if layers:
        text = 'Logarithmic above 1; 0 lies on the axis.' + _dropped(run)
        parts.append(drawn(text, plots.spikes_over_time, times, layers))
    return Section('time', 'Over time', join(parts))


def _dropped(run: Run) -> str:
    """Return how many class spikes were too many to be unravelled."""
    dropped = run.column('dropped')
    if dropped is None or not dropped.any():
        return ''
    return (
        f' Of the class spikes, {short(int(dropped.sum()))} in '
        f'{plural(int(np.count_nonzero(dropped)), "window")} exceeded the largest number per '
        'window and were not unravelled.'
    )


def _lanes(run: Run, end: float) -> Markup:
    """Return the lanes of the tracks."""
    found = tracks(run)
    if not found:
        text = f'No object was seen in enough {run.word}s to become a track.'
        return paragraph(text, 'note')
    text = 'A lane is filled while its track was seen; the thin line spans the time between.'
    if len(found) > plots.LANES:
        text += f' The {plots.LANES} longest of {len(found)} tracks are shown.'
    return drawn(text, plots.track_lanes, found, max(end, max(item.last for item in found)))


def latency(run: Run) -> Section:
    """Return how long the windows took, by stage."""
    stages = {
        name: values for name, values in run.stages.items() if name != 'index' and values.size
    }
    if not stages:
        text = 'timing.csv is missing or empty, so the latency of this run is not known.'
        return Section('latency', 'Latency', paragraph(text, 'note'))
    budget = run.window_seconds()
    rows = []
    for name, values in stages.items():
        known = values[np.isfinite(values)]
        if known.size:
            spread = np.percentile(known, (50, 90, 99, 100)).tolist()
            cells = (float(known.mean()), *spread)
            rows.append((name, *(seconds(value) for value in cells)))
    text = (
        f'Bars span the middle half of the {run.word}s, lines 1 % to 99 %, points mark the '
        'median. Wall-clock time of this machine: it differs from run to run.'
    )
    figures = [drawn(text, plots.latency_stages, stages, budget, run.word)]
    if 'total' in stages:
        over = ''
        if budget:
            late = int(np.count_nonzero(stages['total'] > budget))
            share = late / stages['total'].size
            there = 'between images' if run.of_images else 'they last'
            over = (
                f'{late} of {stages["total"].size} {run.word}s ({share:.1%}) took longer than the '
                f'{seconds(budget)} {there}. The last bar holds all longer ones.'
            )
        figures.append(drawn(over, plots.latency_histogram, stages['total'], budget, run.word))
    body = join(
        (
            Markup(f'<div class="pair">{join(_narrow(figure) for figure in figures)}</div>'),
            table(('Stage', 'Mean', 'Median', 'p90', 'p99', 'Max'), rows, range(1, 6)),
        )
    )
    return Section('latency', 'Latency', body)


def _narrow(figure: Markup) -> Markup:
    """Return a plot in its narrow form on every page; two of them stand side by side."""
    begin, end = figure.find('<div class="wide">'), figure.find('<div class="narrow">')
    if begin < 0 or end < 0:
        return figure
    return Markup(figure[:begin] + '<div>' + figure[end + len('<div class="narrow">') :])


def energy(run: Run) -> Section:
    """Return the energy estimate and what it rests on."""
    mean = run.get('energy.picojoule_per_window')
    if mean is None:
        text = 'This model states no operations per spike, so its energy cannot be estimated.'
        return Section('energy', 'Energy', paragraph(text, 'note'))
    parts: list[object] = []
    length = run.window_seconds()
    text = f'About {picojoule(mean)} per window'
    if length:
        text += f', or {picojoule(mean / length).rstrip("J")}W of mean power'
    parts.append(paragraph(text + '.'))
    constants = run.get('energy.constants', dict) or {}
    rows = [(_CONSTANTS.get(name, name), _flat(value)) for name, value in constants.items()]
    by_window = energy_by_window(run)
    if by_window is not None and run.times().size:
        parts.append(drawn('', plots.energy_over_time, run.times(), by_window))
    shares = _energy_shares(run, constants)
    if shares:
        headers = ('Layer', 'Spikes per window', 'Accumulations per spike', 'Energy', 'Share')
        parts.append(table(headers, shares, range(1, 5)))
    text = (
        'An estimate for a chip that only adds when a spike arrives; it is not the energy of the '
        'computer this run was made on, and memory access is left out. It rests on:'
    )
    parts += [paragraph(text, 'note'), table((), rows)]
    return Section('energy', 'Energy estimate', join(parts))


def _energy_shares(run: Run, constants: dict[str, Any]) -> list[tuple[object, ...]]:
    """Return energy by layer, where the constants tell it."""
    fan_out, cost = constants.get('fan_out'), constants.get('accumulate_pj')
    spikes = run.get('spikes_per_window', dict) or {}
    if not isinstance(fan_out, dict) or not isinstance(cost, (int, float)):
        return []
    known = {
        name: (float(spikes[name]), float(fan))
        for name, fan in fan_out.items()
        if isinstance(fan, (int, float)) and isinstance(spikes.get(name), (int, float))
    }
    whole = sum(count * fan for count, fan in known.values())
    return [
        (
            LAYER_NAMES.get(name, name),
            short(count),
            short(fan),
            picojoule(count * fan * cost),
            f'{count * fan / whole:.1%}' if whole else number(0),
        )
        for name, (count, fan) in known.items()
    ]


def windows(run: Run) -> Section:
    """Return the best and worst windows as pictures."""
    title = f'Best and worst {run.word}s'
    if not run.overlays:
        text = 'The run holds no pictures (overlays/ is missing or empty).'
        return Section('windows', title, paragraph(text, 'note'))
    return Section('windows', title, gallery(run))


def classes(run: Run) -> Section | None:
    """Return which share of the images each class has; None where pixels have no class."""
    shares = run.get('classes', dict)
    if not shares:
        return None
    known = [(name, value) for name, value in shares.items() if isinstance(value, (int, float))]
    known.sort(key=lambda item: (-item[1], item[0]))
    rows = [(name, f'{value:.1%}') for name, value in known]
    text = 'Share of all pixels of the images, by the class that the network gave them.'
    body = join((paragraph(text, 'note'), table(('Class', 'Share'), rows, (1,))))
    return Section('classes', 'Classes', body)


def track_table(run: Run) -> Section:
    """Return the table of tracks."""
    title = 'Tracks'
    if not run.objects:
        text = 'objects.json is missing, so the tracks are not known.'
        return Section('tracks', title, paragraph(text, 'note'))
    found = tracks(run)
    if not found:
        text = f'No object was seen in enough {run.word}s to become a track.'
        return Section('tracks', title, paragraph(text, 'note'))
    shown = sorted(found, key=lambda item: (-len(item.spans), item.number))[:MAX_TRACK_ROWS]
    rows = [
        [
            _chip(item.number),
            item.category,
            seconds(item.first),
            seconds(item.last),
            number(len(item.spans)),
            f'{item.share:.0%}',
            short(item.events),
            number(middle(item.areas)),
            number(middle(item.speeds), 2),
            number(middle(item.scores), 2),
        ]
        for item in shown
    ]
    text = f'Longest first; pixels, speed and score are medians over {run.word}s.'
    if len(found) > len(shown):
        text += f' The {len(shown)} longest of {len(found)} tracks are listed.'
    headers = ['Track', 'Class', 'First seen', 'Last seen', f'{run.word.capitalize()}s', 'Seen']
    headers += ['Events', 'Pixels', 'Speed [px/s]', 'Score']
    if run.of_images:
        for cells in (headers, *rows):
            del cells[_EVENTS_CELL]
    body = join((paragraph(text, 'note'), table(headers, rows, range(2, len(headers)), full=True)))
    return Section('tracks', title, body)


def _chip(track_id: int) -> Markup:
    """Return a track id with its colour."""
    color = '#{:02x}{:02x}{:02x}'.format(*track_color(track_id))
    chip = f'<span class="chip" style="background:{color}"></span>'
    return Markup(f'<span class="track">{chip}#{track_id}</span>')


def metrics_table(run: Run) -> Section | None:
    """Return the metrics against the ground truth; None without."""
    found = [item for item in metrics(run) if not item.key.startswith(VOLUMES)]
    if not found:
        return None
    rows = [(item.title, item.shown, item.meaning) for item in found if item.meaning]
    more = [(code(item.key), item.shown) for item in found if not item.meaning]
    parts: list[object] = []
    if rows:
        parts.append(table(('Metric', 'Value', 'Meaning'), rows, (1,)))
    if more:
        counts = table((), more, (1,))
        parts.append(fold('Counts and other values', counts) if rows else counts)
    return Section('metrics', 'Metrics', join(parts))


def _flat(value: object) -> Markup:
    """Return a value of a JSON file in one line."""
    if isinstance(value, dict):
        return html(', '.join(f'{key}: {_flat_text(item)}' for key, item in value.items()))
    return html(_flat_text(value))


def _flat_text(value: object) -> str:
    """Return a plain value."""
    return number(value) if isinstance(value, (int, float)) else str(value)
