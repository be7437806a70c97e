# SPDX-License-Identifier: Apache-2.0
"""windows.csv, timing.csv, timing.json and summary.json of a run."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.perception.info import describe
from spikeseg_ros.spiking.energy_report import AC_PICOJOULE
from spikeseg_ros.spiking.event_energy import spike_energy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikeseg_ros.evaluation.offline.windows import FinishedWindow
    from spikeseg_ros.perception.segmenter import ClassLabel

FORMAT = 'spikeseg_run/1'
DIGITS = 6
_SPIKES = ('input', 'conv1', 'conv2', 'class')
WINDOW_COLUMNS = (
    'index',
    'epoch',
    'stamp_ns',
    'duration_ns',
    'events',
    'on_events',
    'objects',
    'tracks',
    'object_events',
    'instances',
    *(f'spikes_{name}' for name in _SPIKES),
    'dropped',
)
TRUTH_COLUMNS = ('true_objects', 'matched', 'mean_iou')


@dataclass
class Totals:
    """What is added up over the windows of a run.

    Attributes:
        events: Events by window.
        objects: Objects by window.
        object_events: Events in objects.
        tracks: Track ids by epoch.
        spikes: Spikes by layer, summed over windows.
        scores: Mean score of the objects by window; None where there are none.
        pixels: Pixels by class id, of networks that give every pixel a class.
        seconds: Seconds by stage, one list entry per window.
    """

    events: list[int] = field(default_factory=list)
    objects: list[int] = field(default_factory=list)
    object_events: int = 0
    tracks: set[tuple[int, int]] = field(default_factory=set)
    spikes: dict[str, int] = field(default_factory=dict)
    scores: list[float | None] = field(default_factory=list)
    pixels: Counter[int] = field(default_factory=Counter)
    seconds: list[dict[str, float]] = field(default_factory=list)

    def add(self, window: FinishedWindow) -> None:
        """Take one window into account."""
        result = window.result
        self.events.append(result.n_events)
        self.objects.append(len(result.objects))
        self.object_events += sum(item.n_events for item in result.objects)
        self.tracks |= {(result.epoch, o.track_id) for o in result.objects if o.track_id}
        for name, count in window.spikes.items():
            self.spikes[name] = self.spikes.get(name, 0) + count
        scores = [item.score for item in result.objects]
        self.scores.append(float(np.mean(scores)) if scores else None)
        if result.class_ids is not None:
            counts = np.bincount(result.class_ids.ravel()).tolist()
            self.pixels.update(dict(enumerate(counts)))
        self.seconds.append(window.seconds)


def window_row(window: FinishedWindow) -> list[Any]:
    """Return the row of a window in windows.csv, without truth."""
    result = window.result
    return [
        window.index,
        result.epoch,
        result.stamp,
        result.duration,
        result.n_events,
        window.on_events,
        len(result.objects),
        sum(item.track_id > 0 for item in result.objects),
        sum(item.n_events for item in result.objects),
        window.n_instances,
        *(window.spikes.get(name, '') for name in _SPIKES),
        result.spikes.get('dropped', 0),
    ]


def counts_summary(totals: Totals) -> dict[str, Any]:
    """Return the part of the summary that is counted over windows."""
    windows = len(totals.events)
    return {
        'windows': windows,
        'windows_with_objects': sum(count > 0 for count in totals.objects),
        'objects': sum(totals.objects),
        'tracks': len(totals.tracks),
        'events_in_objects': totals.object_events,
        'events_per_window': _spread(totals.events),
        'objects_per_window': _spread(totals.objects),
        'spikes_per_window': {
            name: total / max(1, windows) for name, total in totals.spikes.items()
        },
    }


def class_shares(totals: Totals, labels: Sequence[ClassLabel]) -> dict[str, float]:
    """Return the share of all pixels by name of their class; empty where pixels have none."""
    whole = totals.pixels.total()
    if not whole:
        return {}
    shares: dict[str, float] = {}
    for label in labels:
        shares[label.name] = shares.get(label.name, 0.0) + totals.pixels[label.id] / whole
    return shares


def energy_summary(
    spikes_per_window: Mapping[str, float], fan_out: Mapping[str, int]
) -> dict[str, Any]:
    """Return the energy of the accumulations that the spikes cause.

    Args:
        spikes_per_window: Mean spikes by layer.
        fan_out: Accumulations that one spike of a layer causes.
    """
    operations = spike_energy(spikes_per_window, fan_out)['acs']
    return {
        'picojoule_per_window': operations * AC_PICOJOULE,
        'accumulations_per_window': operations,
        'constants': {
            'accumulate_pj': AC_PICOJOULE,
            'process': '45 nm, 32-bit float addition',
            'fan_out': dict(fan_out),
            'note': 'spikes x fan-out; spikes that pooling stops are counted too',
        },
    }


def write_summary(path: Path, tree: Mapping[str, Any]) -> None:
    """Write summary.json: sorted keys, six digits."""
    text = json.dumps(rounded(tree), indent=1, sort_keys=True, allow_nan=False)
    path.write_text(text + '\n', encoding='utf-8')


def read_summary(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a finished run, or None where there is none."""
    try:
        tree = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
    return tree if isinstance(tree, dict) and tree.get('format') == FORMAT else None


def write_timing(folder: Path, totals: Totals, device: str, started: str, seconds: float) -> None:
    """Write timing.csv and timing.json; wall-clock time, not reproducible.

    Args:
        folder: Where to.
        totals: Totals of the run.
        device: Device of the network.
        started: When the run started, ISO 8601.
        seconds: How long it took [s].
    """
    stages = list(dict.fromkeys(name for row in totals.seconds for name in row if name != 'total'))
    stages.append('total')
    with (folder / 'timing.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(['index', *stages])
        for index, row in enumerate(totals.seconds):
            writer.writerow([index, *(f'{row.get(name, 0.0):.6f}' for name in stages)])
    tree = {
        'format': FORMAT,
        'started': started,
        'seconds': seconds,
        'device': device,
        'host': describe(),
        'stages': {
            name: percentiles([row.get(name, 0.0) for row in totals.seconds]) for name in stages
        },
    }
    tree['total'] = tree['stages']['total']  # type: ignore[index]
    write_summary(folder / 'timing.json', tree)


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return mean and percentiles of seconds."""
    if not values:
        return {}
    found = np.percentile(values, [50, 90, 95, 99, 100])
    names = ('p50', 'p90', 'p95', 'p99', 'max')
    return {'mean': float(np.mean(values)), **dict(zip(names, found.tolist(), strict=True))}


def rounded(tree: Any) -> Any:
    """Return plain data with floats rounded to six digits; NaN and infinity become None."""
    if isinstance(tree, dict):
        return {key: rounded(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [rounded(value) for value in tree]
    if isinstance(tree, np.generic):
        tree = tree.item()
    if isinstance(tree, float):
        return round(tree, DIGITS) if np.isfinite(tree) else None
    return tree


def _spread(values: Sequence[int]) -> dict[str, float]:
    """Return mean, median and maximum."""
    if not values:
        return {'mean': 0.0, 'p50': 0.0, 'max': 0}
    return {
        'mean': float(np.mean(values)),
        'p50': float(np.percentile(values, 50)),
        'max': max(values),
    }
