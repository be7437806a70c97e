# SPDX-License-Identifier: Apache-2.0
"""The files over several recordings: one summary and one table of windows."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline.paths import over_recordings
from spikeseg_ros.evaluation.offline.tables import FORMAT, read_summary, write_summary

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_SUMS = ('windows', 'windows_with_objects', 'objects', 'tracks', 'events_in_objects', 'errors')


def write_together(output: Path, names: Sequence[str]) -> None:
    """Write summary.json and windows.csv over the finished recordings of a run.

    Args:
        output: Folder that holds one folder per recording.
        names: All recordings, in order; those without results are listed as failed.
    """
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        summary = read_summary(output / name)
        if summary is not None:
            found[name] = summary
    tree = {
        'format': FORMAT,
        'bags': list(found.values()),
        'failed': [name for name in names if name not in found],
        **{key: sum(item[key] for item in found.values()) for key in _SUMS},
    }
    volumes = [
        item['metrics']['volumes']
        for item in found.values()
        if item['metrics'] and 'volumes' in item['metrics']
    ]
    if volumes:
        tree['metrics'] = {'volumes': over_recordings(volumes)}
    write_summary(output / 'summary.json', tree)
    columns: list[str] = []
    for name in found:
        with (output / name / 'windows.csv').open(newline='', encoding='utf-8') as file:
            columns += [item for item in next(csv.reader(file)) if item not in columns]
    with (output / 'windows.csv').open('w', newline='', encoding='utf-8') as target:
        writer = csv.DictWriter(target, ['bag', *columns], restval='', lineterminator='\n')
        writer.writeheader()
        for name in found:
            with (output / name / 'windows.csv').open(newline='', encoding='utf-8') as file:
                writer.writerows({'bag': name, **row} for row in csv.DictReader(file))
