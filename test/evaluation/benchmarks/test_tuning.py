# SPDX-License-Identifier: Apache-2.0
"""Choice of parameters on the training splits, and the table of those that are used."""

from __future__ import annotations

import pytest

from spikeseg_ros.evaluation.benchmarks import tuning
from spikeseg_ros.evaluation.benchmarks.methods import SCORES
from spikeseg_ros.evaluation.benchmarks.rows import BASELINES, ONE_SETTING, choose_rows, tuned
from spikeseg_ros.evaluation.benchmarks.sequences import DAVIS_SET, composed_items
from spikeseg_ros.evaluation.benchmarks.tuning import GRIDS, TuningUnit, choose, grid, tune


def test_grids_hold_all_combinations():
    assert grid(a=(1, 2), b=(3,)) == ({'a': 1, 'b': 3}, {'a': 2, 'b': 3})
    assert len(GRIDS['components']) == 32


def test_choice_by_hand(monkeypatch):
    monkeypatch.setattr(tuning, 'GRIDS', {'dbscan': grid(eps=(2.0, 3.0), min_events=(5,))})
    first, second, third = (
        ('dbscan', 0, 'events'),
        ('dbscan', 1, 'events'),
        ('dbscan', 1, 'density'),
    )
    scores = {
        'x': {first: 0.5, second: 0.8, third: 0.8, ('other', 0, 'events'): 1.0},
        'y': {first: 0.9, second: 0.2, third: 0.7},
    }
    chosen = choose(scores, 'dbscan')
    assert chosen[ONE_SETTING] == {
        'settings': {'eps': 3.0, 'min_events': 5, 'score': 'density'},
        'ap50': {'x': 0.8, 'y': 0.7},
    }
    # The first of two equal ones wins.
    assert chosen['x'] == {
        'settings': {'eps': 3.0, 'min_events': 5, 'score': 'events'},
        'ap50': 0.8,
    }
    assert chosen['y']['settings'] == {'eps': 2.0, 'min_events': 5, 'score': 'events'}


def test_tuning_finds_what_separates(nmnist, monkeypatch):
    pytest.importorskip('pycocotools')
    monkeypatch.setattr(tuning, 'GRIDS', {'dbscan': grid(eps=(2.0, 3.0), min_events=(3, 9000))})
    items = composed_items(nmnist, 1)[:3:2]
    units = [TuningUnit(item, 4, ('dbscan',)) for item in items]
    chosen = tune(units, 1)
    assert set(chosen['dbscan']) == {ONE_SETTING, items[0].set, items[1].set}
    assert chosen['dbscan'][ONE_SETTING]['settings']['min_events'] == 3
    assert chosen['dbscan'][items[0].set]['ap50'] > 0.8


@pytest.mark.parametrize('row', BASELINES, ids=lambda row: row.name)
def test_every_baseline_has_parameters_from_its_grid(row, nmnist):
    names = {item.set for item in composed_items(nmnist, 1)} | {DAVIS_SET}
    for name in names:
        settings = row.settings(name)
        assert settings.pop('score') in SCORES
        assert settings in GRIDS[row.family]
        row.build(name)
    assert set(tuned()[row.family]) == names | {ONE_SETTING}


def test_rows_tuned_for_a_set_say_where_they_are_not():
    (row,) = choose_rows(['dbscan-tuned'])
    assert row.settings('') is None
    with pytest.raises(ValueError, match='tune it first'):
        row.build('')
