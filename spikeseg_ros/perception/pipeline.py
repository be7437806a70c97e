# SPDX-License-Identifier: Apache-2.0
"""From a stream to results: what happens at every tick, live or offline, with or without ROS.

Live, latency must not build up: windows that cannot be caught up with within the length of one
window are shed and counted. Offline, nothing is shed. An error in one window costs that window
and the state, never the run.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from spikeseg_ros.perception.segmenter import StagedSegmenter

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.perception.segmenter import Segmenter

Frame = TypeVar('Frame', bound=Any)
_SAMPLES = 512
_SMOOTHING = 0.2
MAX_BACKLOG = 8


class Source(Protocol):
    """Where frames come from: an EventStream or an ImageStream."""

    counters: Any

    def poll(self, now: int) -> Sequence[Any]:
        """Return what became complete, in order; now is steady-clock time [ns]."""

    def reset(self) -> None:
        """Forget everything and begin a new epoch."""


@dataclass(frozen=True)
class Tick(Generic[Frame]):
    """One processed window or image.

    Attributes:
        frame: The EventWindow or ImageFrame.
        result: What the segmenter found in it.
        started: Steady-clock time at which processing began [ns].
        finished: Steady-clock time at which it ended [ns].
    """

    frame: Frame
    result: Result
    started: int
    finished: int


@dataclass
class PipelineCounters:
    """What happened to the windows or images so far.

    Attributes:
        processed: Processed without error.
        shed: Not processed because the pipeline was behind.
        errors: Lost to an error.
        events: Events in the processed windows.
        on_events: Those of them that are ON.
        objects: Objects found.
        measured: Processed with their operations counted.
        energy: Sums of these counts by name, see Result.energy.
        resets: How often the state was started anew (epoch changes, errors, requests).
        last_error: Text of the last error, '' where there was none.
    """

    processed: int = 0
    shed: int = 0
    errors: int = 0
    events: int = 0
    on_events: int = 0
    objects: int = 0
    measured: int = 0
    energy: dict[str, float] = field(default_factory=dict)
    resets: int = 0
    last_error: str = ''


class Pipeline:
    """Takes frames from a source, runs the segmenter on them and carries its state.

    One thread (the worker) calls everything except request_reset.

    Attributes:
        segmenter: Model family; may be shared by several pipelines, the state is not.
        source: Stream the frames come from.
        counters: What happened so far.
        last: Last tick without error, or None.
    """

    def __init__(self, segmenter: Segmenter, source: Source) -> None:
        self.segmenter = segmenter
        self.source = source
        self.counters = PipelineCounters()
        self.last: Tick[Any] | None = None
        self._state: Any = segmenter.initial_state()
        self._epoch: int | None = None
        self._pending: deque[Any] = deque()
        self._cost: float | None = None
        self._latencies: deque[int] = deque(maxlen=_SAMPLES)
        self._reset_requested = False
        self._ahead: tuple[Any, int, Future[Any]] | None = None
        self._thread: ThreadPoolExecutor | None = None

    def tick(self, now: int | None = None) -> Tick[Any] | None:
        """Process the next window that is due, shedding what cannot be caught up with.

        Call it until it returns None; publish each result and call published in between.

        Args:
            now: Steady-clock time [ns]; taken from the clock where None.

        Returns:
            The processed window, or None where nothing is due or the window failed (see
            counters.errors and counters.last_error). Never raises an Exception.
        """
        self._collect(time.monotonic_ns() if now is None else now)
        while len(self._pending) > self._affordable():
            self._pending.popleft()
            self.counters.shed += 1
        if isinstance(self.segmenter, StagedSegmenter):
            return self._staged(self.segmenter, now)
        while self._pending:
            tick = self.process(self._pending.popleft())
            if tick is not None:
                return tick
        return None

    def run(self, now: int | None = None) -> Iterator[Tick[Any]]:
        """Process everything that is due, in order, without shedding: for offline work.

        Args:
            now: Steady-clock time [ns]; 0 keeps the wall clock out, so that runs repeat exactly.

        Yields:
            One tick per window; windows that fail are left out and counted.
        """
        self._collect(time.monotonic_ns() if now is None else now)
        while self._pending:
            tick = self.process(self._pending.popleft())
            if tick is not None:
                yield tick

    @property
    def progress(self) -> tuple[Any, int | None]:
        """State after the last frame and its epoch (None after an error): where a run stands.

        A pipeline that is given another one's progress goes on exactly as that one would.
        """
        return self._state, self._epoch

    @progress.setter
    def progress(self, value: tuple[Any, int | None]) -> None:
        self._state, self._epoch = value

    def published(self, tick: Tick[Any], now: int | None = None) -> None:
        """Note that a result left the process.

        Args:
            tick: The tick whose result was published.
            now: Steady-clock time [ns]; taken from the clock where None.
        """
        now = time.monotonic_ns() if now is None else now
        cost = float(now - tick.started)
        # The first tick may compile; it must not make the following ones shed.
        if self.counters.processed > 1:
            old = cost if self._cost is None else self._cost
            self._cost = old + _SMOOTHING * (cost - old)
        if tick.frame.arrival:
            self._latencies.append(now - tick.frame.arrival)

    def latency(self, *percentiles: float) -> tuple[float, ...]:
        """Return percentiles of arrival-to-published latency [s] of the last 512 results.

        Returns:
            One number per percentile; nan where nothing was published.
        """
        samples = list(self._latencies)
        if not samples:
            return (float('nan'),) * len(percentiles)
        return tuple(float(v) / 1e9 for v in np.percentile(samples, percentiles))

    def request_reset(self) -> None:
        """Ask for a fresh start of source and state at the next tick; from any thread."""
        self._reset_requested = True

    @property
    def shed(self) -> int:
        """Windows not processed so far, here or already in the source."""
        return self.counters.shed + int(getattr(self.source.counters, 'shed_windows', 0))

    def reset_state(self) -> None:
        """Start the segmenter's state anew."""
        self.counters.resets += 1
        self._state = self.segmenter.initial_state()

    def _collect(self, now: int) -> None:
        """Append what the source has completed."""
        try:
            if self._reset_requested:
                self._reset_requested = False
                self._drop_ahead()
                self.counters.shed += len(self._pending)
                self._pending.clear()
                self.source.reset()
            self._pending.extend(self.source.poll(now))
        except Exception as err:
            self._failed('input', err)
            self.source.reset()

    def _affordable(self) -> int:
        """Return how many windows can be worked off within the length of one window."""
        if not self._pending or self._cost is None:
            return MAX_BACKLOG
        duration = getattr(self._pending[-1], 'duration', 0)
        return int(min(MAX_BACKLOG, max(1.0, duration // max(1.0, self._cost))))

    def process(self, frame: Any) -> Tick[Any] | None:
        """Run the segmenter on one frame.

        Returns:
            The tick, or None where the frame failed (see counters.last_error).
        """
        started = time.monotonic_ns()
        try:
            if self._epoch is not None and frame.epoch != self._epoch:
                self.reset_state()
            self._epoch = frame.epoch
            with _inference_mode():
                result, self._state = self.segmenter.segment(frame, self._state)
        except Exception as err:
            self._failed('window', err)
            self._epoch = None
            return None
        return self._finished(frame, result, started)

    def _staged(self, segmenter: StagedSegmenter, now: int | None) -> Tick[Any] | None:
        """Complete one window while the network already runs on the next one, if there is one.

        The state is (objects, encoder): the second half of a window never waits for the network of
        the next one, and both halves see the windows in order.
        """
        while self._ahead is not None or self._pending:
            if self._ahead is None:
                self._ahead = self._submit(segmenter, self._pending.popleft())
            frame, started, future = self._ahead
            self._ahead = None
            try:
                fired, memory = future.result()
                if self._epoch is not None and frame.epoch != self._epoch:
                    self.reset_state()
                self._epoch = frame.epoch
                self._state = self._state._replace(encoder=memory)
                if not self._pending:
                    self._collect(time.monotonic_ns() if now is None else now)
                if self._pending and self._pending[0].epoch == frame.epoch:
                    self._ahead = self._submit(segmenter, self._pending.popleft())
                with _inference_mode():
                    result, objects = segmenter.complete(fired, self._state.objects)
                self._state = self._state._replace(objects=objects)
            except Exception as err:
                self._drop_ahead()
                self._failed('window', err)
                self._epoch = None
                continue
            return self._finished(frame, result, started)
        return None

    def _submit(self, segmenter: StagedSegmenter, frame: Any) -> tuple[Any, int, Future[Any]]:
        """Start the network on a frame in the second thread."""
        fresh = self._epoch is None or frame.epoch != self._epoch
        memory = None if fresh else self._state.encoder

        def prepare() -> Any:
            with _inference_mode():
                return segmenter.prepare(frame, memory)

        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, 'network')
        return frame, time.monotonic_ns(), self._thread.submit(prepare)

    def _drop_ahead(self) -> None:
        """Wait for the network and forget what it works on."""
        if self._ahead is not None:
            self._ahead[2].exception()
            self._ahead = None
            self.counters.shed += 1

    def _finished(self, frame: Any, result: Result, started: int) -> Tick[Any]:
        """Count a result and return its tick."""
        tick = Tick(frame, result, started, time.monotonic_ns())
        self.counters.processed += 1
        self.counters.objects += len(result.objects)
        events = getattr(frame, 'events', None)
        if events is not None:
            self.counters.events += len(events)
            self.counters.on_events += int(np.count_nonzero(events.p))
        if result.energy:
            self.counters.measured += 1
            sums = self.counters.energy
            # A new mapping, because diagnostics read it from another thread.
            self.counters.energy = {k: sums.get(k, 0.0) + v for k, v in result.energy.items()}
        self.last = tick
        return tick

    def _failed(self, where: str, err: Exception) -> None:
        """Count an error and start the state anew."""
        self.counters.errors += 1
        self.counters.last_error = f'{where}: {type(err).__name__}: {err}'
        self.reset_state()


def _inference_mode() -> AbstractContextManager[Any]:
    """Return torch's inference mode where torch is in use."""
    torch = sys.modules.get('torch')
    return nullcontext() if torch is None else torch.inference_mode()
