# SPDX-License-Identifier: Apache-2.0
"""Check package.xml files: well-formed, and valid by the rules of manifest format 3 (REP 149)."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree

from catkin_pkg.package import InvalidPackage, parse_package


def problems(path: str) -> list[str]:
    """Return what is wrong with a manifest."""
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as err:
        return [f'not well-formed: {err}']
    found = [] if root.get('format') == '3' else [f'format is {root.get("format")!r}, not 3']
    warnings: list[str] = []
    try:
        parse_package(path, warnings=warnings)
    except InvalidPackage as err:
        found.append(str(err))
    return found + warnings


def main() -> int:
    """Check the manifests named on the command line."""
    status = 0
    for path in sys.argv[1:]:
        for problem in problems(path):
            print(f'{path}: {problem}')
            status = 1
    return status


if __name__ == '__main__':
    sys.exit(main())
