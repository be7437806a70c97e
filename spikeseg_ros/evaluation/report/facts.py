# SPDX-License-Identifier: Apache-2.0
"""What a run amounts to: metrics by name, speed, energy, and the numbers of the headline."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.text import number, picojoule, plural, seconds, short

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.report.run import Run

# Key in summary.metrics: title, meaning, whether more is better.
_KNOWN: dict[str, tuple[str, str, bool]] = {
    'ap': ('AP', 'Average precision of masks, mean over IoU 0.50 to 0.95.', True),
    'ap50': ('AP50', 'Average precision of masks at IoU 0.50.', True),
    'ap75': ('AP75', 'Average precision of masks at IoU 0.75.', True),
    'pq': ('PQ', 'Panoptic quality: SQ times RQ.', True),
    'sq': ('SQ', 'Mean IoU of matched objects.', True),
    'rq': ('RQ', 'F1 score of matching objects at IoU 0.50.', True),
    'event_iou': ('Event IoU', 'Mean over true objects of the IoU with the best object.', True),
    'precision50': ('Precision', 'Objects that match a true one at IoU 0.50.', True),
    'recall50': ('Recall', 'True objects that are matched at IoU 0.50.', True),
    'f1': ('F1', 'Harmonic mean of precision and recall.', True),
    'hota': ('HOTA', 'Higher order tracking accuracy: detection and association.', True),
    'deta': ('DetA', 'Detection part of HOTA.', True),
    'assa': ('AssA', 'Association part of HOTA.', True),
    'mota': ('MOTA', 'Tracking accuracy: 1 minus misses, false objects and switches.', True),
    'motp': ('MOTP', 'Mean IoU of matched objects of tracks.', True),
    'idf1': ('IDF1', 'F1 score of events with the right identity.', True),
    'id_switches': ('Id switches', 'Times a true object changed its track id.', False),
    'miou': ('mIoU', 'Mean IoU over classes.', True),
    'pixel_accuracy': ('Pixel accuracy', 'Pixels with the right class.', True),
    'sensitivity': ('Sensitivity', 'True volumes that are found.', True),
    'specificity': ('Specificity', 'Empty volumes in which nothing is found.', True),
    'informedness': ('Informedness', 'Sensitivity plus specificity minus 1.', True),
    'precision': ('Point precision', 'Objects at a labelled place.', True),
    'recall': ('Point recall', 'Labelled places with an object.', True),
}
VOLUMES = 'volumes.'
RAW_EVENTS = 'raw_events'
POINTS = 'points'
_HEADLINE = ('ap50', 'pq', 'event_iou', 'hota', 'miou', 'volumes.objects.3.informedness')


@dataclass(frozen=True)
class Metric:
    """A value of summary.metrics.

    Attributes:
        key: Dotted name in the file.
        title: Name for people.
        meaning: One sentence, empty for metrics that are not known here.
        value: The number.
        more_is_better: Whether a larger value is a better one; None where that is not known.
    """

    key: str
    title: str
    meaning: str
    value: float
    more_is_better: bool | None

    @property
    def leaf(self) -> str:
        """Last word of the dotted name."""
        return self.key.rsplit('.', 1)[-1]

    @property
    def shown(self) -> str:
        """The value as text."""
        return show_value(self.value)


def show_value(value: float) -> str:
    """Return a metric as text: counts whole, ratios with three decimals."""
    if not math.isfinite(value):
        return number(value)
    if isinstance(value, int) or abs(value) > 10:
        return number(value)
    return f'{value:.3f}'.replace('-', '\u2212')


def metrics(run: Run) -> list[Metric]:
    """Return the metrics of a run in the order of their definition; empty without truth.

    Raises:
        ReportError: summary.metrics is no mapping.
    """
    tree = run.get('metrics', dict)
    found = []
    for key, value in _leaves(tree or {}):
        if key.startswith(VOLUMES) and key.count('.') < 3:
            continue  # how they were counted
        title, meaning, better = _KNOWN.get(key.rsplit('.', 1)[-1], (key, '', None))
        found.append(Metric(key, _of_volumes(key, title), meaning, value, better))
    order = {name: place for place, name in enumerate(_KNOWN)}
    found.sort(key=lambda item: order.get(item.leaf, len(order)))
    return found


def _of_volumes(key: str, title: str) -> str:
    """Return the title of a metric; of one of the volumes with its radius and method."""
    words = key.split('.')
    if not key.startswith(VOLUMES):
        return title
    method = ' of raw events' if words[1] == RAW_EVENTS else ''
    name = 'Point F1' if words[-1] == 'f1' else title
    return f'{name}{method}, {words[2]} px'


def _leaves(tree: dict[str, Any], prefix: str = '') -> Iterator[tuple[str, float]]:
    """Yield the numbers of nested mappings with dotted names."""
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f'{prefix}{name}.')
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield prefix + name, value


def energy_by_window(run: Run) -> NDArray[np.float64] | None:
    """Return the energy of every window [pJ], None where the run does not tell.

    Spikes of a layer times the accumulations that each causes times the energy of one.
    """
    constants = run.get('energy.constants', dict) or {}
    fan_out, cost = constants.get('fan_out'), constants.get('accumulate_pj')
    if not isinstance(fan_out, dict) or not isinstance(cost, (int, float)) or not run.windows:
        return None
    whole = np.zeros(run.n_windows)
    for name, fan in fan_out.items():
        spikes = run.column(f'spikes_{name}')
        if spikes is None or not isinstance(fan, (int, float)):
            return None
        whole += spikes * float(fan) * float(cost)
    return whole


def speed(run: Run) -> float | None:
    """Return recorded time / time spent on its windows; above 1 is faster than real time."""
    total, covered = run.stages.get('total'), run.covered_seconds
    if total is None or covered is None or total.size != run.n_windows:
        return None
    spent = float(np.nansum(total))
    return covered / spent if spent > 0 else None


def sentence(run: Run) -> str:
    """Return the run in one sentence."""
    filled, tracks = run.get('windows_with_objects'), run.get('tracks')
    text = f'{plural(run.n_windows, run.word)}'
    if length := run.recorded_seconds:
        text = f'In {seconds(length)} of recording ({text})'
    else:
        text = f'In {text}'
    text += f' {run.get("model", str) or "the model"} found objects'
    if filled is not None:
        text += f' in {plural(int(filled), run.word)}'
    if tracks is not None:
        text += f' and followed {plural(int(tracks), "track")}'
    factor = speed(run)
    if factor:
        text += f', at {number(factor, 2)} times the speed of the recording'
    return text + '.'


def headline(run: Run) -> list[tuple[str, str, str]]:
    """Return the large numbers of the head: label, value, what it means."""
    tiles = []
    length = run.window_seconds()
    about = f'{"one every" if run.of_images else "of"} {seconds(length)}' if length else ''
    if about and not run.of_images:
        about += ' each'
    tiles.append((f'{run.word.capitalize()}s', number(run.n_windows), about))
    events, recorded = run.get('bag.events'), run.recorded_seconds
    if events is not None and not run.of_images:
        rate = f'{short(events / recorded)} events/s on average' if recorded else ''
        tiles.append(('Events', short(events), rate))
    objects, filled = run.get('objects'), run.get('windows_with_objects')
    if objects is not None:
        about = ''
        if filled is not None and run.n_windows:
            about = f'in {filled / run.n_windows:.0%} of the {run.word}s'
        tiles.append(('Objects', number(objects), about))
    inside, spread = run.get('events_in_objects'), run.get('events_per_window.mean')
    if run.get('tracks') is not None:
        about = ''
        if inside is not None and spread and run.n_windows:
            about = f'objects hold {inside / (spread * run.n_windows):.0%} of the events'
        tiles.append(('Tracks', number(run.get('tracks')), about))
    factor = speed(run)
    if factor:
        late = f'p99 {seconds(float(np.nanpercentile(run.stages["total"], 99)))} per {run.word}'
        tiles.append(('Real time', f'{number(factor, 2)}\u00d7', late))
    mean = run.get('energy.picojoule_per_window')
    if mean is not None:
        tiles.append(('Energy', picojoule(mean), 'per window, estimated'))
    known = {item.leaf: item for item in metrics(run) if not item.key.startswith(VOLUMES)}
    known |= {item.key: item for item in metrics(run)}
    for name in _HEADLINE:
        if name in known:
            item = known[name]
            tiles.append((item.title, item.shown, item.meaning.rstrip('.')))
    return tiles
