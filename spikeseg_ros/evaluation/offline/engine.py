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

from spikeseg_ros.evaluation.offline.replay import count_messages
from spikeseg_ros.evaluation.offline.unit import Outcome, run_unit
from spikeseg_ros.evaluation.offline.worker import DIED, WorkerProcess
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from spikeseg_ros.evaluation.offline.unit import Unit

    Progress = Callable[[int], object]

ENGINES = ('process', 'ray')


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
    counts = [count_messages(Path(unit.bag), unit.topic) for unit in units]
    with tqdm(total=sum(counts), unit='msg', disable=None, smoothing=0.1) as bar:
        if engine == 'ray':
            return _on_ray(units, counts, workers, bar.update)
        if workers == 1 or len(units) == 1:
            return [run_unit(unit, bar.update) for unit in units]
        return _in_processes(units, min(workers, len(units)), bar.update)


def _in_processes(units: Sequence[Unit], workers: int, update: Progress) -> list[Outcome]:
    """Run units in worker processes, each watched by a thread."""
    lock = threading.Lock()
    idle = [WorkerProcess() for _ in range(workers)]

    def progress(count: int) -> None:
        with lock:
            update(count)

    def work(unit: Unit) -> Outcome:
        with lock:
            worker = idle.pop()
        try:
            return worker.run(unit, progress)
        finally:
            with lock:
                idle.append(worker)

    try:
        with ThreadPoolExecutor(workers) as threads:
            return list(threads.map(work, units))
    finally:
        for worker in idle:
            worker.close()


def _on_ray(
    units: Sequence[Unit], counts: Sequence[int], workers: int, update: Progress
) -> list[Outcome]:
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
                update(counts[number])
        return [outcomes[number] for number in range(len(units))]
    finally:
        ray.shutdown()
