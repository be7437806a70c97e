# SPDX-License-Identifier: Apache-2.0
"""Makes the helper module of these tests importable, and the data folders that they share."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parent))

from benchmark_scenes import write_nmnist


@pytest.fixture(scope='session')
def nmnist(tmp_path_factory):
    """Folder of tiny recordings with the ids of the test split."""
    return write_nmnist(tmp_path_factory.mktemp('data') / 'nmnist', range(801, 1001))
