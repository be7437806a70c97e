# SPDX-License-Identifier: Apache-2.0
"""The launch file: arguments and the nodes they give, with stand-ins for the launch system."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spikeseg_ros.nodes.options import PerceptionNodeConfig, VisualizerConfig
from spikeseg_ros.perception.config import MODELS, options

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """Stands in for any class of the launch system and keeps its arguments."""

    def __init__(self, *positional: Any, **named: Any) -> None:
        self.positional, self.named = positional, named

    def perform(self, context: dict[str, str]) -> str:
        return context.get(self.positional[0], str(ROOT))


@pytest.fixture
def launch_file(monkeypatch: pytest.MonkeyPatch) -> Any:
    names = {
        'launch': ('LaunchDescription',),
        'launch.actions': ('DeclareLaunchArgument', 'OpaqueFunction', 'Shutdown'),
        'launch.conditions': ('IfCondition',),
        'launch.substitutions': ('LaunchConfiguration',),
        'launch_ros': (),
        'launch_ros.actions': ('Node',),
        'launch_ros.substitutions': ('FindPackageShare',),
    }
    for name, classes in names.items():
        module = ModuleType(name)
        for item in classes:
            setattr(module, item, Recorded)
        monkeypatch.setitem(sys.modules, name, module)
    path = ROOT / 'launch/perception.launch.py'
    spec = importlib.util.spec_from_file_location('perception_launch', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def nodes(launch_file: Any, **chosen: str) -> dict[str, dict[str, Any]]:
    """Return the parameters that each node gets beside its files."""
    context = {name: default for name, default, *_ in launch_file.ARGUMENTS} | chosen
    made = launch_file._nodes(context)
    return {item.named['executable']: item.named['parameters'][-1] for item in made}


def test_every_argument_is_explained_and_models_are_the_families(launch_file: Any) -> None:
    arguments = {
        name: (default, text, choices) for name, default, text, choices in launch_file.ARGUMENTS
    }
    assert all(len(text) > 20 for _, text, _ in arguments.values())
    assert arguments['model'][2] == ['', *MODELS]
    for path in (ROOT / 'config').glob('*.yaml'):
        assert path.stem in arguments['params_file'][1]
    description = launch_file.generate_launch_description()
    assert len(description.positional[0]) == len(arguments) + 1


def test_a_camera_needs_only_model_and_topic(launch_file: Any) -> None:
    made = nodes(launch_file, model='mfs_seg', image_topic='/camera/image_raw')
    assert made['perception_node']['model'] == 'mfs_seg'
    for parameters in made.values():
        assert parameters['image_topic'] == '/camera/image_raw'
        assert 'events_topic' not in parameters, 'the default is left to the node'


def test_arguments_become_parameters_that_the_nodes_have(launch_file: Any) -> None:
    chosen = {'events_topic': 'none', 'image_topic': '/i', 'weights': '/w.pt', 'device': 'cpu'}
    made = nodes(launch_file, model='spike2former', **chosen)
    known = {
        item.name for kind in (PerceptionNodeConfig, VisualizerConfig) for item in options(kind)
    }
    known |= {item.name for item in options()} | {'use_sim_time'}
    for parameters in made.values():
        assert set(parameters) <= known
        assert parameters['events_topic'] == ''


def test_a_preset_is_found_by_name_and_a_missing_one_is_named(launch_file: Any) -> None:
    context = {name: default for name, default, *_ in launch_file.ARGUMENTS}
    made = launch_file._nodes({**context, 'params_file': 'camera'})
    assert made[0].named['parameters'][0] == str(ROOT / 'config/camera.yaml')
    with pytest.raises(FileNotFoundError, match='camera, davis346, demo'):
        launch_file._nodes({**context, 'params_file': 'kamera'})
