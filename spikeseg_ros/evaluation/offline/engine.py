# SPDX-License-Identifier: Apache-2.0
"""Where units run: in this process, in worker processes, or on Ray. The results are the same.

A recording that cannot be evaluated, and even a worker that dies, costs that recording alone.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from spikeseg_ros.evaluation.offline.sources import reading_length
from spikeseg_ros.evaluation.offline.unit import Outcome, run_unit
from spikeseg_ros.evaluation.offline.worker import DIED, WorkerProcess
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import NoReturn

    from spikeseg_ros.evaluation.offline.unit import Unit

    Progress = Callable[[int], object]

ENGINES = ('process', 'ray')
# Once to segment its windows, once to write the files.
_READINGS = 2
# Workers are watched by threads.
_BAR_LOCK = threading.Lock()


def run_units(units: Sequence[Unit], workers: int = 1, engine: str = 'process') -> list[Outcome]:
    """Evaluate recordings and show how far they are, with the time left.

    Args:
        units: The recordings.
        workers: Recordings at the same time.
        engine: 'process' or 'ray'.

    Returns:
        How they ended, in the order of the units.

    Raises:
        MissingExtraError: Ray is asked for but not installed.
    """
    totals = [
        _READINGS * reading_length(Path(unit.bag), unit.topic, unit.config) for unit in units
    ]
    with _bar(units, totals) as bar:
        shares = [_Share(total, any(totals), bar.update) for total in totals]
        if engine == 'ray':
            return _on_ray(units, shares, workers)
        if workers == 1 or len(units) == 1:
            return [
                share.completed(run_unit(unit, share))
                for unit, share in zip(units, shares, strict=True)
            ]
        return _in_processes(units, shares, min(workers, len(units)))


class _Share:
    """What one recording adds to the bar: never more than its total, and all of it at the end."""

    def __init__(self, total: int, known: bool, update: Progress) -> None:
        self._left = total
        self._known = known
        self._update = update

    def __call__(self, count: int) -> None:
        """Report messages."""
        with _BAR_LOCK:
            step = min(count, self._left) if self._known else count
            self._left -= step
            self._update(step)

    def completed(self, outcome: Outcome) -> Outcome:
        """Report the rest and return the outcome: a resumed or damaged recording skips some."""
        if self._known:
            self(self._left)
        return outcome


def _bar(units: Sequence[Unit], totals: Sequence[int]) -> tqdm[NoReturn]:
    """Return the bar over all recordings; without percentage where no length is known."""
    title = units[0].name if len(units) == 1 else f'{len(units)} recordings'
    if any(totals):
        form = '{l_bar}{bar}| {elapsed}<{remaining}'
        return tqdm(total=sum(totals), desc=title, bar_format=form, disable=None, smoothing=0.1)
    return tqdm(desc=title, unit=' messages', disable=None)


def _in_processes(units: Sequence[Unit], shares: Sequence[_Share], workers: int) -> list[Outcome]:
    """Run units in worker processes, each watched by a thread."""
    lock = threading.Lock()
    idle = [WorkerProcess() for _ in range(workers)]

    def work(unit: Unit, share: _Share) -> Outcome:
        with lock:
            worker = idle.pop()
        try:
            return share.completed(worker.run(unit, share))
        finally:
            with lock:
                idle.append(worker)

    try:
        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(work, units, shares))
    finally:
        for worker in idle:
            worker.close()


def _on_ray(units: Sequence[Unit], shares: Sequence[_Share], workers: int) -> list[Outcome]:
    """Run units as Ray tasks: on the cluster of RAY_ADDRESS, else on this machine alone."""
    # Both are read when Ray is imported: nothing is reported to anybody.
    os.environ.setdefault('RAY_USAGE_STATS_ENABLED', '0')
    os.environ.setdefault('RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO', '0')
    ray = require('ray', 'ray')
    quiet = {'log_to_driver': False, 'logging_level': 'ERROR', 'ignore_reinit_error': True}
    if os.environ.get('RAY_ADDRESS'):
        ray.init(**quiet)
    else:
        ray.init(num_cpus=workers, include_dashboard=False, _node_ip_address='127.0.0.1', **quiet)
    try:
        task = ray.remote(num_cpus=1, max_retries=0)(run_unit)
        outcomes: dict[int, Outcome] = {}
        running: dict[Any, int] = {}
        waiting = list(range(len(units)))
        while waiting or running:
            while waiting and len(running) < workers:
                number = waiting.pop(0)
                running[task.remote(units[number])] = number
            ready, _ = ray.wait(list(running), num_returns=1)
            for item in ready:
                number = running.pop(item)
                try:
                    outcomes[number] = ray.get(item)
                except ray.exceptions.RayError:
                    unit = units[number]
                    outcomes[number] = Outcome(unit.name, 0, DIED.format(bag=unit.bag))
                shares[number].completed(outcomes[number])
        return [outcomes[number] for number in range(len(units))]
    finally:
        ray.shutdown()
