# SPDX-License-Identifier: Apache-2.0
"""Install the core without ROS with pip; colcon builds the whole package from CMakeLists.txt."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from setuptools import setup

manifest = ElementTree.parse(Path(__file__).parent / 'package.xml')
setup(version=manifest.findtext('version'))
