# SPDX-License-Identifier: Apache-2.0
"""Ticks: order, shedding, errors, resets, statistics."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.perception.image_stream import ImageStream
from spikeseg_ros.perception.pipeline import MAX_BACKLOG, Pipeline
from spikeseg_ros.perception.result import Result
from spikeseg_ros.perception.segmenter import ImageFrame

MS = 1_000_000


def window(index: int, epoch: int = 0, count: int = 3, arrival: int = 0) -> EventWindow:
    events = Events(
        np.zeros(count, np.uint16),
        np.zeros(count, np.uint16),
        np.arange(count, dtype=np.uint8) % 2,
        np.zeros(count, np.int64),
    )
    start = index * 50 * MS
    end = start + 50 * MS
    return EventWindow(events, start, end, end, 8, 6, 'cam', index, epoch, arrival)


class Source:
    """Gives out what a test puts in."""

    def __init__(self) -> None:
        self.counters = SimpleNamespace()
        self.ready: list[Any] = []
        self.resets = 0
        self.error: Exception | None = None

    def poll(self, now: int) -> list[Any]:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        ready, self.ready = self.ready, []
        return ready

    def reset(self) -> None:
        self.resets += 1
        self.ready = []


class Counting:
    """A segmenter whose state counts; window 13 fails."""

    family = 'counting'
    labels = ()
    device = 'cpu'

    def initial_state(self) -> int:
        return 0

    def warm_up(self, width: int, height: int) -> None:
        pass

    def segment(self, frame: Any, state: int) -> tuple[Result, int]:
        if frame.index == 13:
            raise RuntimeError('unlucky')
        result = Result(frame.stamp, 0, 'cam', 8, 6, 'counting', index=frame.index, n_events=state)
        return result, state + 1


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def pipeline(source: Source) -> Pipeline:
    return Pipeline(Counting(), source)


def drain(pipeline: Pipeline, cost: int = 0) -> list[int]:
    """Process everything; every window takes a given time [ns] until it is published."""
    indices = []
    while (tick := pipeline.tick(0)) is not None:
        indices.append(tick.result.index)
        pipeline.published(tick, tick.started + cost)
    return indices


def test_nothing_due(pipeline: Pipeline) -> None:
    assert pipeline.tick() is None
    assert pipeline.last is None
    assert all(math.isnan(value) for value in pipeline.latency(50, 99))


def test_windows_come_in_order_with_state(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(0), window(1)]
    ticks = [pipeline.tick(0), pipeline.tick(0)]
    assert [tick.result.index for tick in ticks] == [0, 1]
    assert [tick.result.n_events for tick in ticks] == [0, 1], 'the state is carried'
    counters = pipeline.counters
    assert (counters.processed, counters.shed, counters.errors) == (2, 0, 0)
    assert (counters.events, counters.on_events) == (6, 2)
    assert pipeline.last is ticks[1]


def test_slow_processing_keeps_only_the_newest(pipeline: Pipeline, source: Source) -> None:
    for index in range(20):
        source.ready = [window(index)]
        drain(pipeline, cost=90 * MS)
    source.ready = [window(index) for index in range(20, 26)]
    assert drain(pipeline, cost=90 * MS) == [25]
    assert pipeline.counters.shed == 5


def test_fast_processing_catches_up_within_one_window(pipeline: Pipeline, source: Source) -> None:
    for index in range(10):
        source.ready = [window(index)]
        drain(pipeline, cost=12 * MS)
    source.ready = [window(index) for index in range(20, 26)]
    assert drain(pipeline, cost=12 * MS) == [22, 23, 24, 25]
    assert pipeline.counters.shed == 2


def test_backlog_is_bounded_whatever_the_speed(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(index) for index in range(100, 200)]
    assert drain(pipeline) == list(range(200 - MAX_BACKLOG, 200))
    assert pipeline.counters.shed == 100 - MAX_BACKLOG


def test_first_slow_tick_does_not_make_the_next_shed(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(0)]
    drain(pipeline, cost=5000 * MS)
    source.ready = [window(1), window(2)]
    assert drain(pipeline, cost=MS) == [1, 2]


def test_offline_sheds_nothing(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(index) for index in range(100, 200)]
    assert [tick.result.index for tick in pipeline.run(0)] == list(range(100, 200))
    assert pipeline.counters.shed == 0


def test_failing_window_costs_itself_and_the_state(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(12), window(13), window(14)]
    ticks = list(pipeline.run(0))
    assert [tick.result.index for tick in ticks] == [12, 14]
    assert [tick.result.n_events for tick in ticks] == [0, 0]
    assert pipeline.counters.errors == 1
    assert pipeline.counters.last_error == 'window: RuntimeError: unlucky'


def test_failing_input_is_reset_and_goes_on(pipeline: Pipeline, source: Source) -> None:
    source.error = KeyError('broken')
    assert pipeline.tick(0) is None
    assert source.resets == 1
    source.ready = [window(0)]
    assert pipeline.tick(0) is not None
    assert 'KeyError' in pipeline.counters.last_error


def test_new_epoch_begins_with_a_new_state(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(0), window(1), window(0, epoch=1), window(1, epoch=1)]
    assert [tick.result.n_events for tick in pipeline.run(0)] == [0, 1, 0, 1]
    assert pipeline.counters.resets == 1


def test_reset_on_request_drops_what_waits(pipeline: Pipeline, source: Source) -> None:
    source.ready = [window(0), window(1), window(2)]
    assert pipeline.tick(0) is not None
    pipeline.request_reset()
    source.ready = [window(3)]
    assert pipeline.tick(0) is None
    assert source.resets == 1
    assert pipeline.counters.shed == 2


def test_latency_is_arrival_to_published(pipeline: Pipeline, source: Source) -> None:
    for index, wait in enumerate((10, 20, 30)):
        source.ready = [window(index, arrival=1000 * MS)]
        tick = pipeline.tick(0)
        assert tick is not None
        pipeline.published(tick, (1000 + wait) * MS)
    assert pipeline.latency(0, 50, 100) == pytest.approx((0.010, 0.020, 0.030))


def frame(stamp: int, shape: tuple[int, ...] = (4, 5, 3)) -> ImageFrame:
    return ImageFrame(np.zeros(shape, np.uint8), stamp, 'cam')


def test_newest_image_wins() -> None:
    stream = ImageStream(lambda message, arrival: message)
    assert stream.poll(0) == []
    for stamp in (1, 2, 3):
        stream.push(frame(stamp), 0, 60)
    (found,) = stream.poll(0)
    assert (found.stamp, found.index, found.epoch) == (3, 0, 0)
    assert stream.poll(0) == []
    counters = stream.counters
    assert (counters.packets, counters.bytes, counters.dropped_packets) == (3, 180, 2)


def test_images_running_backwards_or_changing_size_begin_anew() -> None:
    stream = ImageStream(lambda message, arrival: message)
    seen = []
    for item in (frame(5), frame(6), frame(2), frame(3), frame(4, (8, 5, 3))):
        stream.push(item, 0)
        seen += [(found.index, found.epoch) for found in stream.poll(0)]
    assert seen == [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2)]
    assert stream.counters.resets == 2


def test_bad_images_are_counted() -> None:
    def decode(message: Any, arrival: int) -> ImageFrame:
        if message is None:
            raise ValueError('no image')
        return message

    stream = ImageStream(decode)
    stream.push(None, 0)
    assert stream.poll(0) == []
    stream.push(frame(1), 0)
    assert len(stream.poll(0)) == 1
    assert stream.counters.bad_packets == 1
    assert stream.counters.last_error == 'no image'
