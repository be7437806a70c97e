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


def _same(run: Run) -> str:
    """Return what makes the results of two windows or images the same."""
    if run.of_images:
        return (
            'Same objects as offline, of the images in both runs. With semantic.streaming an '
            'image also depends on those before it, so on dropped ones.'
        )
    return (
        'Same events and same objects as offline, of the windows in both runs. With '
        'objects.memory a window also depends on those before it, so on shed ones.'
    )


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

    word = run.word
    windows, matched, shed = get('windows'), get('matched'), get('shed_windows')
    identical, iou = get('identical'), get('event_iou')
    rows = (
        (
            'Latency, median',
            milliseconds('p50'),
            f'From the arrival of {"an image" if run.of_images else "events"} to the published '
            f'objects; of the last 512 {word}s.',
        ),
        ('Latency, p99', milliseconds('p99'), f'One {word} in a hundred took longer.'),
        (f'{word.capitalize()}s of the recording', number(windows), ''),
        (
            f'{word.capitalize()}s published',
            number(get('live_windows')),
            '' if run.of_images else 'The silence behind it included.',
        ),
        (f'{word.capitalize()}s that are in both runs', number(matched), 'By their time stamps.'),
        (f'{word.capitalize()}s shed', number(shed), 'Left out by the node to keep up.'),
        (
            f'{"Images" if run.of_images else "Packets"} dropped',
            number(get('dropped_packets')),
            'Left out by the node to keep up.',
        ),
        (
            f'{"Images" if run.of_images else "Packets"} lost',
            NONE if run.of_images else number(get('lost_packets')),
            'Images carry no number by which the node could know.'
            if run.of_images
            else 'Never arrived at the node.',
        ),
        (
            f'{word.capitalize()}s with the same result',
            f'{identical:.1%}' if identical is not None else NONE,
            _same(run),
        ),
        (
            'IoU of the object pixels',
            f'{iou:.3f}' if iou is not None else NONE,
            f'Mean over {word}s in both runs with objects.',
        ),
    )
    text = 'The recording was also played through the live node at its own speed.'
    lost = []
    if windows and matched is not None and matched < windows:
        missing = plural(int(windows - matched), word)
        lost.append(f'{missing} of the recording did not come out of the live node.')
    body = join((paragraph(text), warning(lost), table(('', 'Live', 'Meaning'), rows, (1,))))
    return Section('live', 'Live run', body)
