# SPDX-License-Identifier: Apache-2.0
"""Reference table of all options, made from their declarations."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from spikeseg_ros.perception.config import Option, options

if TYPE_CHECKING:
    from collections.abc import Sequence


def allowed(item: Option) -> str:
    """Return the allowed values of an option as text."""
    if item.choices:
        return ', '.join(item.choices)
    if item.low is not None or item.high is not None:
        return f'{item.low:g} .. {item.high:g}'
    return 'true, false' if isinstance(item.default, bool) else 'any'


def table() -> str:
    """Return every option as a Markdown table."""
    rows = ['| option | default | allowed | at run time | meaning |', '|---|---|---|---|---|']
    for item in options():
        default = f'`{item.default!r}`' if isinstance(item.default, str) else f'`{item.default}`'
        change = 'yes' if item.dynamic else 'no'
        rows.append(
            f'| `{item.name}` | {default} | {allowed(item)} | {change} | {item.description} |'
        )
    return '\n'.join(rows)


def main(argv: Sequence[str]) -> int:
    """Print the reference table."""
    del argv
    sys.stdout.write(table() + '\n')
    return 0
