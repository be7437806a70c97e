# SPDX-License-Identifier: Apache-2.0
"""What the README shows must run."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _blocks() -> list[str]:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    return re.findall(r'```python\n(.*?)```', text, re.DOTALL)


def test_every_python_example_is_valid() -> None:
    assert len(_blocks()) >= 2
    for block in _blocks():
        ast.parse(block)


def test_the_example_without_ros_runs_and_finds_objects(
    capsys: pytest.CaptureFixture[str],
) -> None:
    example = next(block for block in _blocks() if 'HULKDecoder.from_encoder' in block)
    scope: dict[str, object] = {}
    exec(compile(example, 'README.md', 'exec'), scope)
    objects = scope['objects']
    assert isinstance(objects, list)
    assert objects
    assert len(capsys.readouterr().out.splitlines()) == len(objects)


def test_every_file_the_readme_links_to_exists() -> None:
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    for target in re.findall(r'\]\(([^)#]+)\)', text):
        if '://' not in target:
            assert (ROOT / target).exists(), target


def test_parameter_reference_is_up_to_date() -> None:
    from spikeseg_ros.reference import document

    text = (ROOT / 'docs' / 'parameters.md').read_text(encoding='utf-8')
    assert text == document(), 'run: spikeseg options > docs/parameters.md'


def test_configuration_files_are_up_to_date() -> None:
    path = ROOT / 'scripts' / 'config_files.py'
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_file_location('config_files', path)
    )
    module.__spec__.loader.exec_module(module)
    for file, text in module.contents().items():
        assert file.read_text(encoding='utf-8') == text, 'run: python3 scripts/config_files.py'
