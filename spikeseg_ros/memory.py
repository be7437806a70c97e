# SPDX-License-Identifier: Apache-2.0
"""Settings of the C library's allocator that spare networks the cost of fresh pages."""

from __future__ import annotations

import ctypes
import platform

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_PAD = 64 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Let glibc reuse large freed blocks instead of returning them to the system.

    Returns:
        Whether it could be set; other C libraries are left as they are.
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    libc = ctypes.CDLL(None)
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, 2**31 - 1), (_M_TOP_PAD, _PAD))
    done = [libc.mallopt(name, value) == 1 for name, value in settings]
    return all(done)
