# SPDX-License-Identifier: Apache-2.0
"""The tables of small moving objects: volumes of space and time, and points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.report.facts import POINTS, RAW_EVENTS, show_value
from spikeseg_ros.evaluation.report.page import Section, heading, join, paragraph, table
from spikeseg_ros.evaluation.report.run import lookup
from spikeseg_ros.evaluation.report.text import NONE, clean, number

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spikeseg_ros.evaluation.report.page import Markup

_METHODS = ((RAW_EVENTS, 'raw events'), ('objects', 'events in objects'))
_VOLUMES = ('sensitivity', 'specificity', 'informedness')
_POINTS = ('precision', 'recall', 'f1')
_ABOUT = (
    'A true volume is what lies within so many pixels of a labelled object during a slice of '
    'time; it is found if it is denser than the mean of the recording. The rest of the sensor is '
    'tiled into volumes of the same size. The raw events are the recording itself, as if it were '
    'a detection.'
)
_ABOUT_POINTS = (
    'Centroids of the objects of a slice against labelled places, matched one to one within so '
    'many pixels.'
)


def volumes(summary: Mapping[str, Any], path: Path) -> Section | None:
    """Return the scores of volumes and points; None where the summary has none.

    Args:
        summary: Content of a summary.json, of one recording or of several.
        path: The file, for messages.

    Raises:
        ReportError: The scores are not as a run writes them.
    """
    tree = lookup(summary, 'metrics.volumes', dict, path)
    if tree is None:
        return None
    count = lookup(tree, 'recordings', int, path)
    lead = (
        f'Mean over {number(count)} whole recordings with the 95 % bootstrap interval. '
        if count is not None
        else f'The whole recording, in {number(lookup(tree, "slices", int, path))} slices of '
        f'{number(lookup(tree, "slice_ms", (int, float), path))} ms. '
    )
    found = {name: lookup(tree, name, dict, path) or {} for name, _ in _METHODS}
    radii = list(dict.fromkeys(radius for rows in found.values() for radius in rows))
    rows = [
        (f'{clean(radius, 10)} px', label, *_scores(found[name], radius, _VOLUMES, path))
        for radius in radii
        for name, label in _METHODS
    ]
    headers = ('Within', '', *(name.capitalize() for name in _VOLUMES))
    points = lookup(tree, POINTS, dict, path) or {}
    of_points = [
        (f'{clean(radius, 10)} px', *_scores(points, radius, _POINTS, path)) for radius in points
    ]
    body: list[Markup] = [paragraph(lead + _ABOUT), table(headers, rows, (2, 3, 4))]
    body += [heading('Objects as points'), paragraph(_ABOUT_POINTS)]
    body += [table(('Within', 'Precision', 'Recall', 'F1'), of_points, (1, 2, 3))]
    return Section('volumes', 'Volumes of space and time', join(body))


def _scores(
    table_of: Mapping[str, Any], radius: str, names: tuple[str, ...], path: Path
) -> list[str]:
    """Return the cells of one row: numbers, or means with their intervals."""
    scores = table_of.get(radius)
    # Of one recording a score is a number, of several an interval; null is not defined.
    tree = scores if isinstance(scores, dict) else {}
    return [_cell(lookup(tree, name, (int, float, dict), path)) for name in names]


def _cell(value: Any) -> str:
    """Return a score as text."""
    if isinstance(value, dict):
        mean, low, high = (_cell(value.get(name)) for name in ('mean', 'low', 'high'))
        return f'{mean} [{low}, {high}]' if mean != NONE else NONE
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    return show_value(float(value)) if known else NONE
