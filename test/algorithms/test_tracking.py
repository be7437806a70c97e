# SPDX-License-Identifier: Apache-2.0
"""Track ids over windows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from spikeseg_ros.algorithms import BoundingBox, TrackerOptions, TrackerState, TrackingError
from spikeseg_ros.algorithms.tracking import match_cost, update

WINDOW = 50_000_000
SOON = TrackerOptions(min_hits=1)


@dataclass(frozen=True)
class Thing:
    centroid: tuple[float, float]
    size: tuple[int, int] = (20, 20)
    class_id: int = 0
    relative_words: np.ndarray = field(default_factory=lambda: np.array([1], np.uint64))

    @property
    def box(self):
        x, y = (round(c - (s - 1) / 2) for c, s in zip(self.centroid, self.size, strict=True))
        return BoundingBox(x, y, x + self.size[0] - 1, y + self.size[1] - 1)


def run(windows, options=None, start=0):
    """Track lists of objects at a steady rate; return the assignments per window."""
    state, found = TrackerState(), []
    for number, objects in enumerate(windows):
        tracks, state = update(state, objects, start + number * WINDOW, options)
        found.append(tracks)
    return found, state


def ids(found):
    return [[track.track_id for track in tracks] for tracks in found]


def test_an_id_comes_after_min_hits_and_stays():
    windows = [[Thing((100 + 3 * t, 50))] for t in range(6)]
    found, state = run(windows)
    assert ids(found) == [[0], [0], [1], [1], [1], [1]]
    assert [tracks[0].age for tracks in found] == [1, 2, 3, 4, 5, 6]
    assert state.next_id == 2


def test_velocity_settles_at_the_true_one():
    windows = [[Thing((30 + 2.5 * t, 200 - t))] for t in range(30)]
    found, _ = run(windows)
    assert found[0][0].velocity == (0.0, 0.0)
    assert found[-1][0].velocity == pytest.approx((50.0, -20.0), rel=0.02)


def test_velocity_is_smooth_under_jitter():
    rng = np.random.default_rng(0)
    windows = [[Thing((60 + 2 * t + rng.normal(0, 1), 80.0))] for t in range(60)]
    found, _ = run(windows)
    speeds = np.array([tracks[0].velocity[0] for tracks in found[10:]])
    raw = np.diff([window[0].centroid[0] for window in windows])[10:] / 0.05
    assert abs(speeds.mean() - 40) < 4
    assert speeds.std() < 0.5 * raw.std()


def test_crossing_objects_keep_their_ids():
    # One goes right, one left; they meet at t = 15, with boxes on top of each other.
    windows = [
        [Thing((40 + 4 * t, 60 + 0.2 * t)), Thing((160 - 4 * t, 64 - 0.2 * t))] for t in range(30)
    ]
    found, state = run(windows)
    assert ids(found)[-1] == ids(found)[2] == [1, 2]
    assert all(row == [1, 2] for row in ids(found)[2:])
    assert state.next_id == 3


def test_hashes_decide_where_places_do_not():
    striped = np.array([0b1010_1010], np.uint64)
    dotted = np.array([0b0101_0101], np.uint64)
    windows = [[Thing((50, 50), relative_words=striped), Thing((54, 50), relative_words=dotted)]]
    # Both now stand at the same place.
    windows += [[Thing((52, 50), relative_words=dotted), Thing((52, 50), relative_words=striped)]]
    found, _ = run(windows, SOON)
    assert ids(found) == [[1, 2], [2, 1]]


def test_order_of_the_objects_has_no_influence():
    rng = np.random.default_rng(1)
    starts, speeds = rng.uniform(0, 300, (8, 2)), rng.normal(0, 3, (8, 2))
    windows, mixed, orders = [], [], []
    for t in range(12):
        present = rng.random(8) < 0.85
        things = [
            Thing(tuple(p)) for p, here in zip(starts + speeds * t, present, strict=True) if here
        ]
        order = rng.permutation(len(things))
        windows.append(things)
        mixed.append([things[i] for i in order])
        orders.append(order)
    plain, state = run(windows)
    shuffled, other = run(mixed)
    for one, two, order in zip(plain, shuffled, orders, strict=True):
        assert [one[i] for i in order] == list(two)
    assert [t.track_id for t in state.tracks] == [t.track_id for t in other.tracks]
    again, _ = run(windows)
    assert again == plain


def test_a_missing_window_keeps_the_id():
    windows = [[Thing((50 + 6 * t, 50))] for t in range(5)]
    windows += [[], [], []]
    windows += [[Thing((50 + 6 * t, 50))] for t in range(8, 11)]
    found, _ = run(windows)
    assert ids(found)[-3:] == [[1], [1], [1]]


def test_tracks_end_after_max_missed_and_ids_are_never_reused():
    options = TrackerOptions(min_hits=1, max_missed=2)
    for gap, expected in ((2, 1), (3, 2)):
        windows = [[Thing((50, 50))]] + [[]] * gap + [[Thing((50, 50))]]
        found, state = run(windows, options)
        assert ids(found)[-1] == [expected]
        assert state.next_id == expected + 1
    # A later object takes the next number although the first track is gone.
    windows = [[Thing((50, 50))], [], [], [], [Thing((200, 50))]]
    assert ids(run(windows, options)[0])[-1] == [2]


def test_flicker_gets_no_id():
    windows = [[Thing((50, 50))] if t % 3 == 0 else [] for t in range(12)]
    found, state = run(windows)
    assert {track_id for row in ids(found) for track_id in row} == {0}
    assert state.next_id == 1


def test_beyond_the_gate_a_new_track_begins():
    diagonal = np.hypot(20, 20)
    near, far = 50 + 1.4 * diagonal, 50 + 1.6 * diagonal
    assert ids(run([[Thing((50, 50))], [Thing((near, 50))]], SOON)[0]) == [[1], [1]]
    assert ids(run([[Thing((50, 50))], [Thing((far, 50))]], SOON)[0]) == [[1], [2]]


def test_classes_are_kept_apart_unless_told_otherwise():
    windows = [[Thing((50, 50))], [Thing((50, 50), class_id=1)]]
    assert ids(run(windows, SOON)[0]) == [[1], [2]]
    options = TrackerOptions(min_hits=1, separate_classes=False)
    assert ids(run(windows, options)[0]) == [[1], [1]]


def test_known_tracks_choose_before_new_ones():
    options = TrackerOptions(min_hits=2)
    windows = [[Thing((50, 50))], [Thing((50, 50))]]
    # Window 2: the known object is at 54; a second thing appears at 60 and has no id yet.
    windows += [[Thing((54, 50)), Thing((60, 50))]]
    # Window 3: one thing, nearer to the new one; the known track gets it.
    windows += [[Thing((60, 50))]]
    assert ids(run(windows, options)[0])[-1] == [1]


def test_a_merged_window_does_not_change_the_ids():
    windows = []
    for t in range(24):
        one, two = (40 + 5 * t, 60.0), (160 - 5 * t, 60.0)
        if abs(one[0] - two[0]) < 20:
            windows.append([Thing(((one[0] + two[0]) / 2, 60.0), (30, 20))])
        else:
            windows.append([Thing(one), Thing(two)])
    found, state = run(windows)
    assert ids(found)[5] == [1, 2]
    assert set(ids(found)[-1]) == {1, 2}
    assert state.next_id == 3


def test_pure_function_and_time_that_does_not_advance():
    state = TrackerState()
    _, after = update(state, [Thing((50, 50))], 10 * WINDOW, SOON)
    assert state == TrackerState()
    tracks, last = update(after, [Thing((52, 50))], 3 * WINDOW, SOON)
    assert tracks[0].track_id == 1
    assert tracks[0].velocity == (0.0, 0.0)
    assert last.tracks[0].stamp == 10 * WINDOW
    assert update(after, [], 11 * WINDOW, SOON)[0] == ()


def test_cost_is_the_documented_sum():
    _, state = run([[Thing((50, 50))]], SOON)
    cost = match_cost(state.tracks, [Thing((60, 50)), Thing((50, 50))], 0, SOON)
    distance = 10 / np.hypot(20, 20) / 1.5
    assert cost[0] == pytest.approx([0.45 * distance + 0.40 * (1 - 10 / 30), 0.0])
    unlike = Thing((50, 50), relative_words=np.array([2], np.uint64))
    assert match_cost(state.tracks, [unlike], 0, SOON)[0, 0] == pytest.approx(0.15)


@pytest.mark.parametrize('change', [{'min_hits': 0}, {'max_missed': -1}, {'gate': 0.0}])
def test_options_are_checked(change):
    with pytest.raises(TrackingError, match=next(iter(change))):
        TrackerOptions(**change)
