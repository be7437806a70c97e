# SPDX-License-Identifier: Apache-2.0
"""Cutting of streams into windows."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.events import EventError, Events, EventWindow, WindowSlicer
from spikeseg_ros.events import windows as module
from spikeseg_ros.events.windows import MAX_EMPTY, first_step_back


def at(*times: int) -> Events:
    """Return events whose x tells their position in the arguments."""
    n = len(times)
    t = np.array(times, np.int64)
    return Events(np.arange(n, dtype=np.uint16), np.zeros(n, np.uint16), np.ones(n, np.uint8), t)


def brief(windows: list[EventWindow]) -> list[tuple[int, int, int, list[int]]]:
    """Return (index, t_start, t_end, times)."""
    return [(w.index, w.t_start, w.t_end, w.events.t.tolist()) for w in windows]


def test_boundaries_count_from_the_first_event() -> None:
    slicer = WindowSlicer(10)
    assert slicer.push(Events.empty()) == []
    got = slicer.push(at(103, 112, 113, 122, 134))
    assert brief(got) == [
        (0, 103, 113, [103, 112]),
        (1, 113, 123, [113, 122]),
        (2, 123, 133, []),
    ]
    assert slicer.pending == 1
    assert brief(slicer.flush()) == [(3, 133, 143, [134])]
    assert slicer.flush() == []


def test_a_watermark_closes_without_events() -> None:
    slicer = WindowSlicer(10)
    assert slicer.advance(1000) == []
    slicer.push(at(100))
    assert slicer.advance(109) == []
    assert brief(slicer.advance(110)) == [(0, 100, 110, [100])]
    assert brief(slicer.advance(131)) == [(1, 110, 120, []), (2, 120, 130, [])]


def test_events_behind_a_closed_window_are_dropped_and_counted() -> None:
    slicer = WindowSlicer(10)
    slicer.push(at(100))
    slicer.advance(120)
    assert brief(slicer.push(at(105, 119, 125, 131))) == [(2, 120, 130, [125])]
    assert slicer.late == 2


def test_small_steps_back_take_the_time_before_them() -> None:
    slicer = WindowSlicer(10)
    slicer.push(at(100, 108))
    assert brief(slicer.push(at(105, 112, 109, 121))) == [
        (0, 100, 110, [100, 108, 108]),
        (1, 110, 120, [112, 112]),
    ]


def test_by_count() -> None:
    slicer = WindowSlicer(count=3)
    got = slicer.push(at(5, 6, 7, 7, 7, 9, 20))
    assert brief(got) == [(0, 5, 8, [5, 6, 7]), (1, 7, 10, [7, 7, 9])]
    assert slicer.advance(10**9) == []
    assert brief(slicer.flush()) == [(2, 10, 21, [20])]
    assert brief(slicer.flush(50)) == [(3, 21, 50, [])]


def test_a_long_gap_is_skipped_but_counted_by_the_index() -> None:
    slicer = WindowSlicer(10)
    slicer.push(at(0))
    got = slicer.push(at(10 * (MAX_EMPTY + 1)))
    assert len(got) == MAX_EMPTY + 1
    hostile = 1 << 61
    got = slicer.push(at(hostile))
    assert len(got) == 1
    (last,) = slicer.flush()
    assert last.index == hostile // 10
    assert last.t_start <= hostile < last.t_end
    assert slicer.skipped == hostile // 10 - MAX_EMPTY - 2


def test_many_gaps_in_one_call_stay_bounded() -> None:
    slicer = WindowSlicer(10)
    got = slicer.push(at(*range(0, 600 * 5000, 600)))
    assert len(got) == module.MAX_WINDOWS
    assert slicer.shed > 0
    assert got[-1].t_end <= 600 * 4999


def test_the_newest_windows_of_a_long_call_are_kept() -> None:
    most = module.MAX_WINDOWS
    times = list(range(0, 1000 * (most + 500), 1000))
    slicer = WindowSlicer(1000)
    slicer.push(at(0))
    got = slicer.push(at(*times)) + slicer.flush()
    assert len(got) == most
    assert [w.t_start for w in got] == times[-most:]
    assert [w.index for w in got] == list(range(500, most + 500))
    assert slicer.shed == 500
    assert got[0].events.t.tolist() == [times[500]]
    by_count = WindowSlicer(count=1)
    got = by_count.push(at(*times))
    assert [w.index for w in got] == list(range(500, most + 500))
    assert (by_count.shed, got[0].events.t.tolist()) == (500, [times[500]])


def test_one_window_holds_a_bounded_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, 'MAX_EVENTS', 4)
    slicer = WindowSlicer(10)
    slicer.push(at(0, 1, 2))
    slicer.push(at(3, 4, 5))
    assert slicer.excess == 2
    assert brief(slicer.flush()) == [(0, 0, 10, [0, 1, 2, 3])]


# Gaps stay below 64 windows: longer ones are skipped only where an event jumps over them.
TIMES = st.lists(st.integers(0, 300), min_size=1, max_size=60).map(
    lambda steps: np.cumsum(steps).tolist()
)


@settings(max_examples=100)
@given(TIMES, st.lists(st.integers(0, 60), max_size=8), st.sampled_from([0, 1, 4]), st.booleans())
def test_windows_do_not_depend_on_packets(
    times: list[int], cuts: list[int], count: int, advance: bool
) -> None:
    events = at(*times)
    whole = WindowSlicer(7, count)
    want = brief(whole.push(events) + whole.flush())
    slicer = WindowSlicer(7, count)
    got = []
    bounds = [0, *sorted(min(c, len(times)) for c in cuts), len(times)]
    for first, stop in itertools.pairwise(bounds):
        got += slicer.push(events.slice(first, stop))
        if advance and stop < len(times) and stop:
            got += slicer.advance((times[stop - 1] + times[stop]) // 2)
    got += slicer.flush()
    assert brief(got) == want
    assert [t for *_, ts in want for t in ts] == times
    assert all(a <= t < b for _, a, b, ts in want for t in ts)


@pytest.mark.parametrize('args', [(0, 0), (-1, 0), (0, -5), (1.5, 0), (0, 1 << 30), (1 << 63, 0)])
def test_settings_are_checked(args: Any) -> None:
    with pytest.raises(EventError):
        WindowSlicer(*args)


def test_first_step_back() -> None:
    def step(times: list[int], newest: int = -1) -> int | None:
        return first_step_back(np.array(times, np.int64), newest, 10)

    assert step([]) is None
    assert step([5, 4, 30, 20]) is None
    assert step([5, 30, 19, 50]) == 2
    assert step([5, 6], newest=16) == 0
    assert step([6, 7], newest=16) is None
    assert step([8, 7, 5, 9], newest=16) == 2
