# SPDX-License-Identifier: Apache-2.0
"""What pip installs, and what the build says where a tool is missing."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_TOOLS = ('bash', 'cat', 'dirname', 'mkdir', 'rm', 'sed', 'sha256sum', 'tail', 'uname')


@pytest.fixture(scope='module')
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel from a copy of the sources, as an installation by pip does."""
    setuptools = pytest.importorskip('setuptools')
    version = tuple(int(part) for part in setuptools.__version__.split('.')[:2])
    if version < (70, 1) and importlib.util.find_spec('wheel') is None:
        pytest.skip(f'setuptools {setuptools.__version__} builds wheels only with package wheel')
    source = tmp_path_factory.mktemp('source')
    for name in ('package.xml', 'pyproject.toml', 'setup.cfg', 'setup.py', 'LICENSE'):
        shutil.copy(ROOT / name, source)
    (source / 'README.md').write_text('')
    shutil.copytree(
        ROOT / 'spikeseg_ros',
        source / 'spikeseg_ros',
        ignore=shutil.ignore_patterns('__pycache__'),
    )
    target = tmp_path_factory.mktemp('wheel')
    code = f'from setuptools.build_meta import build_wheel; build_wheel({str(target)!r})'
    done = subprocess.run(
        [sys.executable, '-c', code], cwd=source, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(target.glob('*.whl')))


def test_wheel_has_the_core_and_its_data(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    source = ROOT / 'spikeseg_ros'
    modules = [path for path in source.rglob('*.py') if source / 'nodes' not in path.parents]
    data = [path for path in source.glob('weights/*') if path.is_file()]
    expected = {path.relative_to(ROOT).as_posix() for path in [*modules, *data]}
    assert expected | {'spikeseg_ros/py.typed'} <= names
    assert not {name for name in names if name.startswith(('spikeseg_ros/nodes', 'test', 'bench'))}


def test_wheel_has_nothing_of_rclpy(wheel: zipfile.ZipFile) -> None:
    pattern = re.compile(rb'^\s*(?:import|from)\s+rclpy\b', re.M)
    assert not [name for name in wheel.namelist() if pattern.search(wheel.read(name))]


def test_wheel_has_the_command_and_the_licence(wheel: zipfile.ZipFile) -> None:
    (entries,) = (name for name in wheel.namelist() if name.endswith('entry_points.txt'))
    assert wheel.read(entries).decode().split() == [
        '[console_scripts]',
        'spikeseg',
        '=',
        'spikeseg_ros.cli:main',
    ]
    assert any(name.endswith('LICENSE') for name in wheel.namelist())


def build_without_tools(tmp_path: Path, tools: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the build of a bare copy with nothing but the given tools on the path."""
    project = tmp_path / 'project'
    for name in ('scripts', 'requirements'):
        shutil.copytree(ROOT / name, project / name)
    shutil.copy(ROOT / 'setup.cfg', project)
    binaries = tmp_path / 'bin'
    binaries.mkdir()
    for name, path in tools.items():
        (binaries / name).symlink_to(path)
    return subprocess.run(
        [str(shutil.which('bash')), str(project / 'scripts' / 'build.sh')],
        env={'PATH': str(binaries), 'HOME': str(tmp_path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def common_tools() -> dict[str, str]:
    """Return what the build script itself calls, and the running interpreter."""
    tools = {name: shutil.which(name) for name in BUILD_TOOLS}
    base = Path(sys.base_prefix) / 'bin' / f'python3.{sys.version_info.minor}'
    return {name: path for name, path in tools.items() if path} | {'python3': os.fspath(base)}


@pytest.mark.skipif(os.uname().machine != 'x86_64', reason='the wheels exist for x86_64 only')
def test_missing_tools_are_named_in_one_line(tmp_path: Path) -> None:
    done = build_without_tools(tmp_path, common_tools())
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    for word in ('C compiler', 'C++ compiler', 'cmake', 'sudo apt install', 'gcc g++ cmake'):
        assert word in line


@pytest.mark.skipif(os.uname().machine != 'x86_64', reason='the wheels exist for x86_64 only')
def test_missing_python_is_named_in_one_line(tmp_path: Path) -> None:
    done = build_without_tools(tmp_path, common_tools() | {'python3': '/bin/false'})
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert 'Python 3.10 to 3.13' in line
