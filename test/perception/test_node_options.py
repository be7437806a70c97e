# SPDX-License-Identifier: Apache-2.0
"""The file of perception_node without ROS."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikeseg_ros.perception.config import ConfigError, PerceptionConfig
from spikeseg_ros.perception.node_options import load_node_config

CONFIG = Path(__file__).resolve().parents[2] / 'config'


@pytest.mark.parametrize('path', sorted(CONFIG.glob('*.yaml')), ids=lambda path: path.name)
def test_the_packaged_files_are_taken(path: Path) -> None:
    assert isinstance(load_node_config(path), PerceptionConfig)


def test_values_are_taken_and_the_node_s_own_are_skipped(tmp_path: Path) -> None:
    path = tmp_path / 'node.yaml'
    path.write_text('events_topic: /x\nsensor_width: 640\nobjects:\n  fill: 2\n')
    assert load_node_config(path).objects.fill == 2


def test_typing_errors_are_still_found(tmp_path: Path) -> None:
    path = tmp_path / 'node.yaml'
    path.write_text('event_topic: /x\n')
    with pytest.raises(ConfigError, match='event_topic'):
        load_node_config(path)
