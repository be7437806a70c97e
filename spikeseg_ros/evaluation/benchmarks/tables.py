# SPDX-License-Identifier: Apache-2.0
"""Results of a benchmark as JSON and as a Markdown table."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Columns of the table of a set: heading, key, digits.
_COLUMNS = (
    ('AP50', 'ap50', 3),
    ('AP', 'ap', 3),
    ('PQ', 'pq', 3),
    ('event IoU', 'event_iou', 3),
    ('count error', 'count_error', 2),
    ('HOTA', 'hota', 3),
    ('IDF1', 'idf1', 3),
    ('switches', 'id_switches', 0),
)
_PERSON = (
    ('union IoU', 'union_iou', 2),
    ('pieces / motion window', 'pieces', 2),
    ('stray / motion window', 'stray', 2),
    ('objects / quiet window', 'quiet_objects', 2),
)


def markdown(results: Mapping[str, Any]) -> str:
    """Return the tables of a benchmark: first all sets, then every set, then recordings.

    Args:
        results: What `results.json` holds.
    """
    titles: dict[str, str] = {name: m['title'] for name, m in results['methods'].items()}
    sets: dict[str, dict[str, dict[str, float]]] = results['sets']
    parts = [f'AP50 / HOTA, mean over the sets and set by set ({_amount(sets)}):', '']
    parts += _overview(sets, results.get('subsets', {}), titles)
    for name, rows in sets.items():
        parts += ['', f'### {name}', '']
        parts += _table(rows, titles, _COLUMNS, signed=('count_error',))
    recordings: dict[str, dict[str, dict[str, float]]] = results.get('recordings', {})
    for role, rows in recordings.items():
        one = next(iter(rows.values()))
        if role == 'person':
            parts += ['', f'### Recorded person ({one["motion"]:.0f} windows with motion, '
                      f'{one["quiet"]:.0f} quiet ones)', '']  # fmt: skip
            parts += _table(rows, titles, _PERSON)
        else:
            parts += ['', f'### Recorded noise ({one["windows"]:.0f} windows)', '']
            parts += _table(rows, titles, (('objects / window', 'objects_per_window', 2),))
    silent = [
        titles[name]
        for name in titles
        if all(rows[name]['predicted'] == 0 for rows in sets.values())
    ]
    if silent:
        parts += ['', f'Stayed silent, no object in any window: {"; ".join(silent)}.']
    return '\n'.join(parts) + '\n'


def _amount(sets: Mapping[str, Mapping[str, Mapping[str, float]]]) -> str:
    """Say how many windows the sets have."""
    counts = {next(iter(rows.values()))['windows'] for rows in sets.values()}
    text = ' or '.join(f'{count:.0f}' for count in sorted(counts))
    return f'{text} windows a set' if len(sets) > 1 else f'{text} windows'


def _overview(
    sets: Mapping[str, Mapping[str, Mapping[str, float]]],
    subsets: Mapping[str, Mapping[str, Mapping[str, float]]],
    titles: Mapping[str, str],
) -> list[str]:
    """Return the rows of the table over all sets; the best value of a column is bold."""
    shown: list[dict[str, tuple[float, float]]] = [
        {name: (rows[name]['ap50'], rows[name]['hota']) for name in titles}
        for rows in (*sets.values(), *subsets.values())
    ]
    headings = [*sets, *subsets]
    if len(sets) > 1:
        mean = {
            name: tuple(sum(column[name][k] for column in shown) / len(sets) for k in (0, 1))
            for name in titles
        }
        shown.insert(0, mean)  # type: ignore[arg-type]
        headings.insert(0, 'mean')
    lines = [f'| method | {" | ".join(headings)} |', '|---|' + '---|' * len(headings)]
    best = [[_best([column[n][k] for n in titles]) for k in (0, 1)] for column in shown]
    for name, title in titles.items():
        cells = []
        for column, tops in zip(shown, best, strict=True):
            pair = [
                f'**{_number(v, 3)}**' if _number(v, 3) == top else _number(v, 3)
                for v, top in zip(column[name], tops, strict=True)
            ]
            cells.append(' / '.join(pair))
        lines.append(f'| {title} | {" | ".join(cells)} |')
    return lines


def _table(
    rows: Mapping[str, Mapping[str, float]],
    titles: Mapping[str, str],
    columns: Sequence[tuple[str, str, int]],
    signed: Sequence[str] = (),
) -> list[str]:
    """Return a table with one row per method."""
    lines = [
        '| method | ' + ' | '.join(heading for heading, _, _ in columns) + ' |',
        '|---|' + '---|' * len(columns),
    ]
    for name, row in rows.items():
        cells = [_number(row[key], digits, key in signed) for _, key, digits in columns]
        lines.append(f'| {titles[name]} | {" | ".join(cells)} |')
    return lines


def _best(values: Sequence[float]) -> str:
    """Return the largest value as it stands in the table; empty where none is defined."""
    known = [value for value in values if not math.isnan(value)]
    return _number(max(known), 3) if known else ''


def _number(value: float, digits: int, signed: bool = False) -> str:
    if math.isnan(value):
        return 'n/a'
    return f'{value:{"+" if signed else ""}.{digits}f}'


def rounded(value: Any) -> Any:
    """Return a tree with numbers rounded to six digits, and None for what is not defined."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value


def write_results(folder: Path, results: Mapping[str, Any], timing: Mapping[str, Any]) -> None:
    """Write results.json, table.md and timing.json.

    timing.json holds wall-clock times and is not reproducible; the others are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in (('results.json', results), ('timing.json', timing)):
        text = json.dumps(rounded(content), indent=1, sort_keys=True) + '\n'
        (folder / name).write_text(text, encoding='utf-8')
    (folder / 'table.md').write_text(markdown(results), encoding='utf-8')
