# SPDX-License-Identifier: Apache-2.0
"""Reference of all options as Markdown, made from their declarations."""

from __future__ import annotations

import argparse
import importlib
import sys
import textwrap
from typing import TYPE_CHECKING

from spikeseg_ros.perception.config import Option, PerceptionConfig, options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def parameter_file(
    title: str,
    perception: Mapping[str, object] | None = None,
    visualizer: Mapping[str, object] | None = None,
) -> str:
    """Return a commented YAML file with every parameter of perception_node and visualizer_node.

    Args:
        title: Comment at the top.
        perception: Values of perception_node that differ from the defaults, by dotted name.
        visualizer: Likewise for visualizer_node.

    Raises:
        ImportError: The nodes are not installed.
    """
    declared = importlib.import_module('spikeseg_ros.nodes.options')
    own = [*options(declared.PerceptionNodeConfig), *options()]
    lines = ['# SPDX-License-Identifier: Apache-2.0']
    lines += [f'# {line}'.rstrip() for line in title.splitlines()]
    lines += ['/**/perception_node:', '  ros__parameters:', *_block(own, perception or {})]
    drawn = list(options(declared.VisualizerConfig))
    lines += ['/**/visualizer_node:', '  ros__parameters:', *_block(drawn, visualizer or {})]
    return '\n'.join(lines) + '\n'


def _block(items: Sequence[Option], values: Mapping[str, object]) -> list[str]:
    """Return options as lines of YAML, each with its description as a comment."""
    lines: list[str] = []
    group = ''
    for item in items:
        indent = 4
        *prefix, name = item.name.split('.')
        if prefix:
            if prefix[0] != group:
                group = prefix[0]
                lines.append(f'    {group}:')
            indent = 6
        text = item.description
        if item.choices:
            text += f' One of: {", ".join(item.choices)}.'
        elif item.low is not None:
            text += f' Range {item.low:g}..{item.high:g}.'
        if item.dynamic:
            text += ' Can change while running.'
        lines += [f'{" " * indent}# {line}' for line in textwrap.wrap(text, 96 - indent)]
        value = values.get(item.name, item.default)
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        lines.append(f'{" " * indent}{name}: {shown}')
    return lines


def main(argv: Sequence[str]) -> int:
    """Print the reference, or a parameter file with all defaults."""
    known = argparse.ArgumentParser(prog='spikeseg options', description=__doc__)
    known.add_argument('--yaml', action='store_true', help='print a commented parameter file')
    if known.parse_args(list(argv)).yaml:
        sys.stdout.write(parameter_file('Parameters of the nodes; every value is the default.'))
    else:
        sys.stdout.write(document())
    return 0
