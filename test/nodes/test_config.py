# SPDX-License-Identifier: Apache-2.0
"""The YAML files of the package: complete, valid and commented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from spikeseg_ros.nodes.options import (
    ROS_OPTIONS,
    PerceptionNodeConfig,
    PlayerConfig,
    RecorderConfig,
    VisualizerConfig,
)
from spikeseg_ros.perception.config import flatten, load_config, options

FOLDER = Path(__file__).resolve().parents[2] / 'config'
NODES = {
    '/**/perception_node': [*options(PerceptionNodeConfig), *options()],
    '/**/visualizer_node': list(options(VisualizerConfig)),
}
FILES = sorted(FOLDER.glob('*.yaml'))


def test_the_files_are_there() -> None:
    assert {path.stem for path in FILES} >= {'demo', 'evk4', 'davis346', 'camera', 'spike2former'}


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_option_is_there_and_valid(path: Path) -> None:
    tree: dict[str, Any] = yaml.safe_load(path.read_text())
    assert set(tree) == set(NODES)
    for node, declared in NODES.items():
        values = flatten(tree[node]['ros__parameters'])
        assert set(values) == {item.name for item in declared}
        for item in declared:
            item.check(values[item.name])


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_every_option_is_explained(path: Path) -> None:
    described = {
        item.name.rsplit('.', 1)[-1]: item.description
        for declared in NODES.values()
        for item in declared
    }
    comment = ''
    for line in path.read_text().splitlines():
        text = line.strip()
        assert len(line) <= 99
        if text.startswith('#'):
            comment += ' ' + text.lstrip('# ')
            continue
        name, _, value = text.partition(':')
        if value:
            assert name in described
            assert len(comment.split()) >= 3, f'{name} has no comment'
        comment = ''


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.stem)
def test_the_core_reads_them_too(path: Path) -> None:
    own = tuple(item.name for item in options(PerceptionNodeConfig))
    config = load_config(path, ignore=(*own, *ROS_OPTIONS))
    assert config.model == {'camera': 'mfs_seg', 'spike2former': 'spike2former'}.get(
        path.stem, 'spikeseg'
    )


@pytest.mark.parametrize(
    'kind', [PerceptionNodeConfig, VisualizerConfig, PlayerConfig, RecorderConfig]
)
def test_defaults_are_allowed(kind: type) -> None:
    for item in options(kind):
        assert item.check(item.default) == item.default
        assert item.description.endswith(('.', ']'))
