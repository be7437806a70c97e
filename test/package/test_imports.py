# SPDX-License-Identifier: Apache-2.0
"""What the modules import: the core stays free of ROS, and every foreign package is declared."""

from __future__ import annotations

import ast
import configparser
import re
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / 'spikeseg_ros'
MODULES = sorted(SOURCE.rglob('*.py'))
CORE = [path for path in MODULES if SOURCE / 'nodes' not in path.parents]
DISTRIBUTIONS = {'cv2': 'opencv-python-headless', 'yaml': 'PyYAML'}
ROSDEP_KEYS = {
    'cv2': 'python3-opencv',
    'rosbags': 'python3-rosbags-pip',
    'torch': 'python3-pytorch-pip',
}
# Guarded imports of what is used only where it is installed; zstd and lz4 come with rosbags.
OPTIONAL = {'backports', 'compression', 'lz4', 'cv_bridge', 'triton', 'vision_msgs'}


class _WithoutTypes(ast.NodeTransformer):
    """Drops what only a type checker reads."""

    def visit_If(self, node: ast.If) -> ast.AST | None:
        return None if ast.unparse(node.test) == 'TYPE_CHECKING' else node


def imported(path: Path) -> set[str]:
    """Return the dotted names that a module imports when it runs, at its top or later."""
    names: set[str] = set()
    tree = _WithoutTypes().visit(ast.parse(path.read_text(), str(path)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module)
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return names


def foreign(paths: list[Path]) -> set[str]:
    """Return the top-level packages that are neither ours nor in the standard library."""
    roots = {name.split('.')[0] for path in paths for name in imported(path)}
    return roots - set(sys.stdlib_module_names) - {'spikeseg_ros', '__future__'}


def declared_for_pip() -> set[str]:
    parser = configparser.ConfigParser()
    parser.read(ROOT / 'setup.cfg')
    return set(re.findall(r'^([\w-]+)', parser['options']['install_requires'], re.M))


@pytest.mark.parametrize('path', CORE, ids=lambda path: str(path.relative_to(SOURCE)))
def test_core_is_free_of_ros(path: Path) -> None:
    names = imported(path)
    roots = {name.split('.')[0] for name in names}
    assert not {name for name in roots if name in ('rclpy', 'launch') or name.endswith('_msgs')}
    private = ('spikeseg_ros.msg', 'spikeseg_ros.nodes')
    assert not {name for name in names if name.startswith(private)}


def test_pip_requirements_cover_the_core() -> None:
    names = {DISTRIBUTIONS.get(name, name) for name in foreign(CORE) - OPTIONAL}
    assert names <= declared_for_pip()


def test_rosdep_keys_cover_the_package() -> None:
    tags = ('depend', 'exec_depend')
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    declared = {element.text for tag in tags for element in manifest.iter(tag)}
    missing = {
        name
        for name in foreign(MODULES) - OPTIONAL
        if not declared & {name, f'python3-{name}', ROSDEP_KEYS.get(name, name)}
    }
    assert not missing


@pytest.mark.parametrize(
    'path', sorted(SOURCE.rglob('__init__.py')), ids=lambda path: str(path.relative_to(SOURCE))
)
def test_package_files_only_re_export(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    allowed = (ast.Import, ast.ImportFrom, ast.Assign)
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert all(isinstance(node, allowed) for node in body[1:])
    if path == SOURCE / '__init__.py':
        assert len(body) == 1, 'some releases of rosidl replace it by an empty file'
