# SPDX-License-Identifier: Apache-2.0
"""The section about the recording as it was played through the live node."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.report.page import Section, join, paragraph, table, warning
from spikeseg_ros.evaluation.report.run import lookup
from spikeseg_ros.evaluation.report.text import NONE, number, plural, seconds

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.report.run import Run

_NUMBER = (int, float)


def live(run: Run) -> Section | None:
    """Return latency, losses and agreement of the live run; None where there was none.

    Raises:
        ReportError: timing.json does not hold them as a run writes them.
    """
    path = run.path / 'timing.json'
    tree = lookup(run.timing, 'realtime', dict, path)
    if tree is None:
        return None

    def get(name: str) -> Any:
        return lookup(tree, name, _NUMBER, path)

    def milliseconds(name: str) -> str:
        value = get(f'latency.{name}_ms')
        return seconds(value / 1e3) if value is not None else NONE

    windows, matched, shed = get('windows'), get('matched'), get('shed_windows')
    identical, iou = get('identical'), get('event_iou')
    rows = (
        (
            'Latency, median',
            milliseconds('p50'),
            'From the arrival of events to their published objects; of the last 512 windows.',
        ),
        ('Latency, p99', milliseconds('p99'), 'One window in a hundred took longer.'),
        ('Windows of the recording', number(windows), ''),
        ('Windows published', number(get('live_windows')), 'The silence behind it included.'),
        ('Windows that are in both runs', number(matched), 'By their time stamps.'),
        ('Windows shed', number(shed), 'Left out by the node to keep up.'),
        ('Packets dropped', number(get('dropped_packets')), 'Left out by the node to keep up.'),
        ('Packets lost', number(get('lost_packets')), 'Never arrived at the node.'),
        (
            'Windows with the same result',
            f'{identical:.1%}' if identical is not None else NONE,
            'Same events and same objects as offline, of the windows in both runs. With '
            'objects.memory a window also depends on those before it, so on shed ones.',
        ),
        (
            'IoU of the object pixels',
            f'{iou:.3f}' if iou is not None else NONE,
            'Mean over windows in both runs with objects.',
        ),
    )
    text = 'The recording was also played through the live node at its own speed.'
    lost = []
    if windows and matched is not None and matched < windows:
        missing = plural(int(windows - matched), 'window')
        lost.append(f'{missing} of the recording did not come out of the live node.')
    body = join((paragraph(text), warning(lost), table(('', 'Live', 'Meaning'), rows, (1,))))
    return Section('live', 'Live run', body)
