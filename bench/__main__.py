# SPDX-License-Identifier: Apache-2.0
"""Run the benchmarks: ``python -m bench [NAME ...] [--quick]``; all of them without names."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path


def names() -> list[str]:
    """Return the names of all benchmarks, without their prefix."""
    return sorted(path.stem[6:] for path in Path(__file__).parent.glob('bench_*.py'))


def main() -> int:
    """Run the chosen benchmarks one after the other and print their tables."""
    parser = argparse.ArgumentParser(prog='python -m bench', description=__doc__)
    parser.add_argument('names', nargs='*', metavar='NAME', help=', '.join(names()))
    parser.add_argument('--quick', action='store_true', help='fewer sizes and repetitions')
    args = parser.parse_args()
    unknown = set(args.names) - set(names())
    if unknown:
        parser.error(f'unknown benchmark {sorted(unknown)}; known: {", ".join(names())}')
    for name in args.names or names():
        print(f'\n## {name}', flush=True)
        importlib.import_module(f'bench.bench_{name}').run(quick=args.quick)
    return 0


if __name__ == '__main__':
    sys.exit(main())
