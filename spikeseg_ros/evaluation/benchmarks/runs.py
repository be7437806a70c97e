# SPDX-License-Identifier: Apache-2.0
"""Runs methods over sequences, in this process or in several, with the same results."""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from spikeseg_ros.evaluation.benchmarks.errors import BenchmarkError
from spikeseg_ros.evaluation.benchmarks.judging import Judgement, empty_judgement, windows_of
from spikeseg_ros.evaluation.benchmarks.sequences import load_item
from spikeseg_ros.evaluation.weights import recorded_windows, score_recording

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from spikeseg_ros.evaluation.benchmarks.rows import Row
    from spikeseg_ros.evaluation.benchmarks.sequences import Item
    from spikeseg_ros.events.types import EventWindow


@dataclass(frozen=True)
class Unit:
    """One method on one sequence."""

    item: Item
    row: Row

    @property
    def weight(self) -> int:
        """Share of the progress bar."""
        return self.item.windows


@dataclass(frozen=True)
class Outcome:
    """What came out of a unit.

    Attributes:
        judgement: Scores.
        seconds: Wall-clock time of the method alone, window by window.
    """

    judgement: Judgement
    seconds: tuple[float, ...]


def run_unit(unit: Unit) -> Outcome:
    """Run a method over a sequence."""
    truth = load_item(unit.item)
    method = unit.row.build(unit.item.set)
    judgement = empty_judgement(truth.height, truth.width)
    method.reset()
    seconds = []
    for window, labels in windows_of(truth):
        before = time.perf_counter()
        found = method.run(window)
        seconds.append(time.perf_counter() - before)
        judgement.add(found, labels, unit.item.name, window.index)
    return Outcome(judgement, tuple(seconds))


@dataclass(frozen=True)
class RecordedUnit:
    """One method on one recording without labels.

    Attributes:
        path: The recording.
        row: The method.
        quiet: Windows at the start in which nothing moves; 0 = nothing moves in any.
        motion_events: Windows with more events are motion windows.
    """

    path: str
    row: Row
    quiet: int = 0
    motion_events: int = 0


def run_recorded(unit: RecordedUnit) -> dict[str, float]:
    """Return what a method does on a recording: counts and means over its windows."""
    windows = _windows(unit.path)
    if len(windows) <= unit.quiet:
        msg = f'{unit.path!r} has {len(windows)} windows, more than {unit.quiet} are needed.'
        raise BenchmarkError(msg)
    method = unit.row.build('')
    method.reset()
    members = []
    for window in windows:
        found = method.run(window)
        members.append([found.labels == number for number in range(len(found.scores))])
    if not unit.quiet:
        objects = sum(len(items) for items in members)
        return {'windows': float(len(windows)), 'objects_per_window': objects / len(windows)}
    score = score_recording(windows, members, unit.quiet, unit.motion_events)
    return {key: float(value) for key, value in asdict(score).items()}


@lru_cache(maxsize=1)
def _windows(path: str) -> list[EventWindow]:
    return recorded_windows(path)


def in_order(
    function: Callable[[Any], Any],
    work: Sequence[Any],
    workers: int,
    weights: Sequence[int],
    title: str,
) -> Iterator[Any]:
    """Yield what a function makes of each piece of work, in order, and show the progress.

    Args:
        function: Function of a module, so that processes can find it.
        work: Arguments; they travel to other processes.
        workers: Processes; 1 = this one.
        weights: Share of each piece in the progress.
        title: What the bar says.

    Raises:
        BenchmarkError: A process died, or there are less than one.
    """
    if workers < 1:
        msg = f'--workers must be at least 1, got {workers!r}.'
        raise BenchmarkError(msg)
    with tqdm(total=sum(weights), desc=title, unit='window', disable=None) as bar:
        if workers == 1 or len(work) < 2:
            for piece, weight in zip(work, weights, strict=True):
                yield function(piece)
                bar.update(weight)
            return
        # Not forked: threads of numerical libraries do not survive that.
        context = multiprocessing.get_context('spawn')
        pool = ProcessPoolExecutor(min(workers, len(work)), mp_context=context)
        try:
            results = pool.map(function, work)
            for weight in weights:
                yield next(results)
                bar.update(weight)
        except BrokenProcessPool:
            msg = 'A worker process died (out of memory?); try fewer --workers.'
            raise BenchmarkError(msg) from None
        finally:
            pool.shutdown(cancel_futures=True)
