# SPDX-License-Identifier: Apache-2.0
"""A process that evaluates recordings for another one: a unit per line in, progress and ends out.

Lines are JSON. Processes are not forked, because the threads of numerical libraries do not
survive that, and are no children of multiprocessing, which would run the caller's script again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline.unit import Outcome, Unit, run_unit

if TYPE_CHECKING:
    from collections.abc import Callable

# Messages are reported in lots, so that the pipe stays quiet.
_LOT = 16
DIED = (
    'The process that worked on {bag!r} died (was it killed, or out of memory?); what it had '
    'finished is kept: go on with --resume.'
)


class WorkerProcess:
    """A worker process, started when it is needed and again when it has died."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, unit: Unit, progress: Callable[[int], object]) -> Outcome:
        """Evaluate a recording in the process; returns how it ended, also if the process dies."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(asdict(unit)) + '\n')
            process.stdin.flush()
        for line in process.stdout:
            found = json.loads(line)
            if isinstance(found, int):
                progress(found)
            else:
                return Outcome(**found)
        self.close()
        return Outcome(unit.name, 0, DIED.format(bag=unit.bag))

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.stdin is not None:
            with suppress(OSError):
                process.stdin.close()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()

    def _started(self) -> subprocess.Popen[str]:
        """Return the running process."""
        if self._process is None:
            places = [place for place in sys.path if place]
            environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(places)}
            # A source folder in the working directory must not hide an installed package.
            environment['PYTHONSAFEPATH'] = '1'
            self._process = subprocess.Popen(
                [sys.executable, '-m', __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
                encoding='utf-8',
            )
        return self._process


def main() -> int:
    """Evaluate the recordings of the lines on stdin."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints is no answer
    waiting = 0

    def answer(value: Any) -> None:
        answers.write(json.dumps(value) + '\n')
        answers.flush()

    def report(count: int) -> None:
        nonlocal waiting
        waiting += count
        if waiting >= _LOT:
            answer(waiting)
            waiting = 0

    for line in sys.stdin:
        outcome = run_unit(Unit(**json.loads(line)), report)
        answer(waiting)
        waiting = 0
        answer(asdict(outcome))
    return 0


if __name__ == '__main__':
    with suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
    sys.exit(130)
