# SPDX-License-Identifier: Apache-2.0
"""Sections about how a run was made: configuration, reproduction, environment, notes."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any

import yaml

from spikeseg_ros.evaluation.report.page import (
    Markup,
    Section,
    code,
    fold,
    heading,
    join,
    paragraph,
    preformatted,
    table,
)
from spikeseg_ros.evaluation.report.text import NONE, clean, number, plural, seconds, short
from spikeseg_ros.perception.config import options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikeseg_ros.evaluation.report.run import Run

_UNKNOWN = object()
_FILES = (
    ('summary.json', 'the numbers of the whole run'),
    ('windows.csv', 'one line per window or image'),
    ('timing.csv, timing.json', 'seconds by stage; not reproducible'),
    ('objects.json', 'objects and tracks in the form of COCO'),
    ('output/', 'masks and objects as rosbag2 (MCAP), for RViz and Foxglove'),
    ('overlays/, overlay.gif', 'pictures of what was found'),
)


def changed_options(config: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return options that differ from the defaults: (value, default) by dotted name."""
    known = {item.name: item.default for item in options()}
    return {
        name: (value, known.get(name, _UNKNOWN))
        for name, value in config.items()
        if name not in known or known[name] != value
    }


def show_option(value: object) -> str:
    """Return the value of an option as it stands in YAML."""
    if value is _UNKNOWN:
        return 'unknown here'
    if value is None:
        return NONE
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (str, bool)) else str(value)


def configuration(run: Run) -> Section:
    """Return the options, those that differ from the defaults first and highlighted."""
    config = run.get('config', dict)
    if config is None:
        text = 'summary.json does not hold the configuration.'
        return Section('configuration', 'Configuration', paragraph(text, 'note'))
    changed = changed_options(config)
    about = {item.name: item.description for item in options()}
    if changed:
        rows = [
            (code(name), code(show_option(value)), code(show_option(default)), about.get(name, ''))
            for name, (value, default) in changed.items()
        ]
        headers = ('Option', 'Value', 'Default', 'Meaning')
        first = table(headers, rows, changed=range(len(rows)), full=True)
        text = f'{plural(len(changed), "option")} of {len(config)} differ from the defaults:'
        if len(changed) == 1:
            text = f'1 option of {len(config)} differs from the defaults:'
    else:
        first, text = Markup(''), f'All {len(config)} options have their default values.'
    marked = [place for place, name in enumerate(config) if name in changed]
    rows_all = [
        (code(name), code(show_option(value)), about.get(name, ''))
        for name, value in config.items()
    ]
    everything = table(('Option', 'Value', 'Meaning'), rows_all, changed=marked, full=True)
    body = join((paragraph(text), first, fold(f'All {len(config)} options', everything)))
    return Section('configuration', 'Configuration', body)


def reproduce(run: Run) -> Section:
    """Return the command and the file that make the run again."""
    name, topic = run.name, run.get('bag.topic', str)
    words = ['spikeseg', 'evaluate', 'bag', shlex.quote(clean(name))]
    if topic:
        words += ['--topic', shlex.quote(clean(topic))]
    config = run.get('config', dict) or {}
    changed = changed_options(config)
    if changed:
        words += ['--config', 'config.yaml']
    if run.get('metrics', dict):
        words += ['--truth', 'TRUTH']
    words += ['--output', 'DIR']
    parts: list[object] = [preformatted(' '.join(words))]
    if changed:
        parts += [paragraph('with this config.yaml:'), preformatted(_yaml(changed))]
    read = 'images' if run.of_images else 'events'
    sums = [(f'{read} of the recording', run.get('bag.sha256', str))]
    sums += [('weights', run.get('weights.sha256', str))]
    sums += [('ground truth', run.get('metrics.truth_sha256', str))]
    rows = [(label, code(value)) for label, value in sums if value]
    text = (
        'The same recording, weights and options give the same windows.csv, objects.json, output/ '
        'and overlays/, byte for byte.'
    )
    parts.append(paragraph(text))
    if rows:
        parts.append(table(('SHA-256 of', ''), rows))
    parts += [heading('Files of the run')]
    parts += [table((), [(code(path), about) for path, about in _FILES])]
    return Section('reproduce', 'Reproduce', join(parts))


def _yaml(changed: Mapping[str, tuple[Any, Any]]) -> str:
    """Return options as a nested YAML file."""
    tree: dict[str, Any] = {}
    for name, (value, _default) in changed.items():
        *outer, last = name.split('.')
        place = tree
        for word in outer:
            inner = place.setdefault(word, {})
            place = inner if isinstance(inner, dict) else {}
        place[last] = value
    return str(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)).rstrip('\n')


def environment(run: Run) -> Section:
    """Return recording, model, versions and device."""
    bag = run.get('bag', dict) or {}
    size = (
        f'{bag["width"]} \u00d7 {bag["height"]} px' if {'width', 'height'} <= bag.keys() else None
    )
    length = run.recorded_seconds
    facts = [
        ('Recording', bag.get('name')),
        ('Topic', bag.get('topic')),
        ('Type', bag.get('type')),
        ('Encoding', bag.get('encoding')),
        ('Size' if run.of_images else 'Sensor', size),
        ('Length', seconds(length) if length else None),
        ('Messages', number(bag.get('messages')) if 'messages' in bag else None),
        ('Events', short(bag['events']) if 'events' in bag and not run.of_images else None),
        ('Model', run.get('model', str)),
        ('Weights', run.get('weights.name', str)),
    ]
    recording = table((), [item for item in facts if item[1] is not None], full=True)
    versions = run.get('versions', dict) or {}
    machine = {name: value for name, value in run.timing.items() if _is_plain(value)}
    host = run.timing.get('host')
    rows = [('Device', machine['device'])] if 'device' in machine else []
    if 'started' in machine:
        rows.append(('Started', machine['started']))
    if isinstance(machine.get('seconds'), (int, float)):
        rows.append(('Duration of the run', seconds(float(machine['seconds']))))
    rows += versions.items()
    if isinstance(host, dict):
        rows += [pair for pair in host.items() if _is_plain(pair[1]) and pair[0] not in versions]
    elif host:
        rows.append(('Host', host))
    machine_table = table((), rows, full=True)
    if not run.timing:
        machine_table = join((machine_table, paragraph('timing.json is missing.', 'note')))
    left, right = join((heading('Recording'), recording)), join((heading('Run'), machine_table))
    body = Markup(f'<div class="pair"><div>{left}</div><div>{right}</div></div>')
    return Section('environment', 'Recording, versions, device', body)


def _is_plain(value: object) -> bool:
    """Return whether a value is a number or text."""
    return isinstance(value, (str, int, float))


def damages(run: Run) -> list[str]:
    """Return what is wrong with the recording or the run, one sentence each."""
    found = []
    damaged = run.get('bag.damaged', (str, bool))
    if damaged:
        found.append(f'The recording is damaged: {clean(damaged)}')
    errors = run.get('errors')
    if errors:
        found.append(f'{plural(int(errors), run.word)} could not be processed and are left out.')
    return found
