# SPDX-License-Identifier: Apache-2.0
"""Install the core without ROS with pip; colcon builds the whole package from CMakeLists.txt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent
manifest = ElementTree.parse(ROOT / 'package.xml')
# Bags are read and written with the message definitions, also where ROS is not installed.
messages = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob('msg/*.msg'))
setup(
    version=manifest.findtext('version'),
    data_files=[('share/spikeseg_ros/msg', messages)],
)
