# SPDX-License-Identifier: Apache-2.0
"""What tests of training share."""

from __future__ import annotations

from typing import Any

import pytest
import torch


@pytest.fixture
def one_thread() -> Any:
    """Sums depend on the number of threads; equality needs one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
