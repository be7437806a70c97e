# SPDX-License-Identifier: Apache-2.0
"""What is installed here: versions and devices, for bug reports."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = ('spikeseg_ros', 'torch', 'numpy', 'numba', 'scipy', 'opencv-python', 'rosbags')


def describe() -> dict[str, str]:
    """Return versions and devices by name."""
    facts = {'python': platform.python_version(), 'system': platform.platform()}
    for name in PACKAGES:
        for variant in (name, f'{name}-headless'):
            try:
                facts[name] = importlib.metadata.version(variant)
                break
            except importlib.metadata.PackageNotFoundError:
                facts[name] = 'not installed'
    facts['ROS 2'] = os.environ.get('ROS_DISTRO', 'not sourced')
    facts['CPU cores'] = str(os.cpu_count())
    try:
        import torch

        cuda = torch.cuda.is_available()
        facts['CUDA device'] = torch.cuda.get_device_name() if cuda else 'none'
    except ImportError:
        facts['CUDA device'] = 'unknown: torch is not installed'
    return facts


def main(argv: Sequence[str]) -> int:
    """Print versions and devices."""
    del argv
    for name, value in describe().items():
        sys.stdout.write(f'{name:<14}{value}\n')
    return 0
