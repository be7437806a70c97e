# SPDX-License-Identifier: Apache-2.0
"""Print the Python packages that setup.cfg asks for, without torch.

With --missing: only those that are not importable, torch among them.
"""

from __future__ import annotations

import configparser
import importlib.util
import re
import sys
from pathlib import Path

MODULES = {
    'opencv-python-headless': 'cv2',
    'PyYAML': 'yaml',
    'pytest-timeout': 'pytest_timeout',
    'scikit-learn': 'sklearn',
}


def requirements() -> list[str]:
    """Return the requirements of the package, its extras, its tests and its lint."""
    config = configparser.ConfigParser()
    config.read(Path(__file__).resolve().parents[1] / 'setup.cfg')
    extras = config['options.extras_require']
    text = '\n'.join([config['options']['install_requires'], *extras.values()])
    return [line.replace(' ', '') for line in text.splitlines() if line.strip()]


def name(requirement: str) -> str:
    """Return the name at the start of a requirement."""
    match = re.match(r'[\w.-]+', requirement)
    assert match is not None
    return match.group()


def is_importable(requirement: str) -> bool:
    """Say whether the module of a requirement is found; its version is not looked at."""
    module = MODULES.get(name(requirement), name(requirement))
    return importlib.util.find_spec(module) is not None


def main() -> int:
    """Print one requirement a line; torch only with --missing and as the bare name."""
    only_missing = '--missing' in sys.argv[1:]
    for requirement in requirements():
        if only_missing and is_importable(requirement):
            continue
        if name(requirement) == 'torch':
            if only_missing:
                print('torch')
            continue
        print(requirement)
    return 0


if __name__ == '__main__':
    sys.exit(main())
