# SPDX-License-Identifier: Apache-2.0
"""Chooses the package under test: the built one where it is sourced, otherwise the source tree."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# The same examples on every run, however slow the machine; new ones are looked for with
# HYPOTHESIS_PROFILE=explore.
settings.register_profile(
    'repeatable',
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile('explore', deadline=None)
settings.load_profile(os.environ.get('HYPOTHESIS_PROFILE', 'repeatable'))

ROOT = Path(__file__).resolve().parents[1]

# The source folder holds no generated messages, so it may not hide a built package. What make has
# built consists of links to the source files: edits are live.
sys.path[:] = [entry for entry in sys.path if Path(entry or os.getcwd()).resolve() != ROOT]
sys.path.append(str(ROOT))
# Processes that a test starts find the same package.
os.environ['PYTHONSAFEPATH'] = '1'
os.environ['PYTHONPATH'] = os.pathsep.join(
    [*(entry for entry in os.environ.get('PYTHONPATH', '').split(os.pathsep) if entry), str(ROOT)]
)


def _is_missing(module: str) -> bool:
    """Say whether a module or one of its parents is not found."""
    try:
        return importlib.util.find_spec(module) is None
    except ModuleNotFoundError:
        return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``ros`` where ROS 2 or the generated messages are missing."""
    missing = [name for name in ('rclpy', 'spikeseg_ros.msg') if _is_missing(name)]
    if not missing:
        return
    skip = pytest.mark.skip(reason=f'needs {" and ".join(missing)}: run make test')
    for item in items:
        if 'ros' in item.keywords:
            item.add_marker(skip)
