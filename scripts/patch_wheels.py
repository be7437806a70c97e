# SPDX-License-Identifier: Apache-2.0
"""Correct the CMake export files of the ROS 2 wheels in the running virtual environment.

They hold the include folders of the machine that built the wheels, which CMake refuses.
"""

from __future__ import annotations

import re
import sys
import sysconfig
from pathlib import Path

import numpy

_PREFIX = r'/opt/python/cp\d+-cp\d+'
_FOLDERS = (
    (rf'{_PREFIX}/lib/python[\d.]+/site-packages/numpy/_core/include', numpy.get_include()),
    (rf'{_PREFIX}/include/python\d\.\d+', sysconfig.get_path('include')),
)


def patch(text: str) -> str:
    """Return the text of an export file with this machine's include folders."""
    for pattern, folder in _FOLDERS:
        text = re.sub(pattern, lambda _, folder=folder: folder, text)
    return text


def main() -> int:
    """Patch every export file in place and print how many were changed."""
    changed = 0
    for path in (Path(sys.prefix) / 'share').rglob('*.cmake'):
        old = path.read_text()
        if (new := patch(old)) != old:
            path.write_text(new)
            changed += 1
    print(f'{changed} files changed')
    return 0


if __name__ == '__main__':
    sys.exit(main())
