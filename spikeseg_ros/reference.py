# SPDX-License-Identifier: Apache-2.0
"""Reference of all options as Markdown, made from their declarations."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from spikeseg_ros.perception.config import Option, PerceptionConfig, options

if TYPE_CHECKING:
    from collections.abc import Sequence

# Sections of the nodes: title, class in spikeseg_ros.nodes.options.
NODES = (
    ('perception_node', 'PerceptionNodeConfig'),
    ('visualizer_node', 'VisualizerConfig'),
    ('player_node', 'PlayerConfig'),
    ('recorder_node', 'RecorderConfig'),
)
INTRODUCTION = """# Parameters

Made by `spikeseg options` from the declarations in the code; the same declarations give the
parameter descriptors of the nodes (`ros2 param describe`) and check YAML files. In YAML, dots are
nesting. Options that cannot change at run time are read-only once the node is configured.
"""


def allowed(item: Option) -> str:
    """Return the allowed values of an option as text."""
    if item.choices:
        return ', '.join(item.choices)
    if item.low is not None or item.high is not None:
        return f'{item.low:g} .. {item.high:g}'
    return 'true, false' if isinstance(item.default, bool) else 'any'


def table(kind: type = PerceptionConfig) -> str:
    """Return every option of a configuration class as a Markdown table."""
    rows = ['| option | default | allowed | at run time | meaning |', '|---|---|---|---|---|']
    for item in options(kind):
        default = f'`{item.default!r}`' if isinstance(item.default, str) else f'`{item.default}`'
        change = 'yes' if item.dynamic else 'no'
        rows.append(
            f'| `{item.name}` | {default} | {allowed(item)} | {change} | {item.description} |'
        )
    return '\n'.join(rows)


def document() -> str:
    """Return the whole reference; the nodes' sections where the nodes are installed."""
    parts = [INTRODUCTION, '## Perception\n', table(), '']
    try:
        declared = importlib.import_module('spikeseg_ros.nodes.options')
    except ImportError:
        return '\n'.join(parts)
    for title, name in NODES:
        parts += [f'## {title}\n', table(getattr(declared, name)), '']
    return '\n'.join(parts)


def main(argv: Sequence[str]) -> int:
    """Print the reference."""
    del argv
    sys.stdout.write(document())
    return 0
