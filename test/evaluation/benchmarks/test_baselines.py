# SPDX-License-Identifier: Apache-2.0
"""The baselines on hand-made scenes, and DBSCAN against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from benchmark_scenes import window_of

from spikeseg_ros.evaluation.benchmarks import baselines
from spikeseg_ros.evaluation.benchmarks.baselines import (
    FAMILIES,
    Components,
    Dbscan,
    DbscanTime,
    SizePrior,
    active_cells,
)
from spikeseg_ros.evaluation.benchmarks.density import grid_dbscan
from spikeseg_ros.evaluation.weights import components
from spikeseg_ros.events.types import Events, EventWindow

BOXES = [(20, 30, 12, 12), (100, 90, 14, 10)]
NOISE = [(200, 10), (60, 170), (5, 5), (230, 150)]


@pytest.mark.parametrize('family', sorted(FAMILIES))
def test_two_boxes_are_two_objects_and_lone_events_are_none(family):
    window, truth = window_of(BOXES, noise=NOISE)
    labels = FAMILIES[family]().labels(window)
    assert labels.dtype == np.int32
    assert (labels[truth == 0] == -1).all()
    numbers = [set(labels[truth == k].tolist()) for k in (1, 2)]
    assert numbers in ([{0}, {1}], [{1}, {0}])


@pytest.mark.parametrize('family', sorted(FAMILIES))
def test_empty_windows_have_no_objects(family):
    window = EventWindow(Events.empty(), 0, 50_000_000, 50_000_000, 240, 180)
    assert FAMILIES[family]().labels(window).shape == (0,)


def test_components_connect_what_grows_together():
    window, truth = window_of([(20, 30, 12, 12), (34, 30, 12, 12)])
    apart = Components(density=6, grow=0).labels(window)
    together = Components(density=6, grow=1).labels(window)
    assert set(apart[truth == 1]) | set(apart[truth == 2]) == {0, 1}
    assert set(together) == {0}


def test_density_is_counted_in_squares_of_five():
    window, _ = window_of([(50, 50, 1, 1)], per_pixel=6)
    assert set(Components(density=6).labels(window)) == {0}
    assert set(Components(density=7).labels(window)) == {-1}


def test_time_separates_what_meets_in_space():
    window, truth = window_of([(20, 30, 12, 12), (20, 30, 12, 12)], per_pixel=4)
    # The first box fills the first half of the window, the second one the other half.
    assert set(Dbscan().labels(window)) == {0}
    gap = np.where(truth == 1, window.events.t // 3, window.events.t // 3 + 33_000_000)
    events = window.events
    late = Events(events.x, events.y, events.p, gap)
    parted = EventWindow(late, 0, 50_000_000, 50_000_000, 240, 180)
    labels = DbscanTime(eps=3.0, min_events=8, pixels_per_ms=0.4).labels(parted)
    assert set(labels[truth == 1]) == {0}
    assert set(labels[truth == 2]) == {1}


def test_size_prior_cuts_what_is_larger_than_its_size():
    window, _ = window_of([(20, 30, 120, 8)])
    assert len(set(SizePrior(size=18).labels(window))) >= 4
    assert len(set(SizePrior(size=200).labels(window))) == 1


def test_many_cells_are_made_coarser(monkeypatch):
    kept = np.ones((40, 60), bool)
    cell, rows, columns = active_cells(kept)
    assert (cell, len(rows), int(rows.max()), int(columns.max())) == (4, 150, 9, 14)
    monkeypatch.setattr(baselines, 'MAX_CELLS', 50)
    cell, rows, columns = active_cells(kept)
    assert (cell, len(rows), int(rows.max()), int(columns.max())) == (8, 40, 4, 7)


@pytest.mark.parametrize('depth', [1, 6])
def test_dbscan_on_a_grid_is_that_of_scikit_learn(depth):
    library = pytest.importorskip('sklearn.cluster')
    rng = np.random.default_rng(depth)
    spacing = (0.5, 1.0, 1.0)
    clusters = 0
    for _ in range(15):
        counts = rng.poisson(0.15 / depth, (depth, 30, 34)).astype(np.int32)
        eps, least = float(rng.choice([1.0, 1.5, 2.0, 2.5, 4.0])), int(rng.integers(2, 7))
        points = np.argwhere(counts > 0)
        theirs = library.DBSCAN(eps=eps, min_samples=least).fit(
            points * np.array(spacing), sample_weight=counts[counts > 0]
        )
        ours = grid_dbscan(counts, eps, least, spacing)
        assert np.array_equal(ours[counts > 0], theirs.labels_)
        assert (ours[counts == 0] == -1).all()
        clusters += int(ours.max()) + 1
    assert clusters > 15


def test_the_table_of_weights_uses_the_same_components():
    window, _ = window_of(BOXES, noise=NOISE)
    labels = Components(density=6, grow=1).labels(window)
    found = components(min_events=50)(window)
    assert len(found) == 2
    for number, item in enumerate(found):
        mine = labels == number
        image = np.zeros((180, 240), bool)
        image[window.events.y[mine], window.events.x[mine]] = True
        box = item.box
        assert item.box.to_xyxy() == (
            *BOXES[number][:2],
            *np.add(BOXES[number][:2], BOXES[number][2:]) - 1,
        )
        assert np.array_equal(
            image[box.y_min : box.y_max + 1, box.x_min : box.x_max + 1], item.mask
        )
        assert item.n_events == np.count_nonzero(mine)
