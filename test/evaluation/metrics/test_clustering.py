# SPDX-License-Identifier: Apache-2.0
"""Grouping scores: by hand, perfect and random groups, corner cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from spikeseg_ros.evaluation.metrics import MetricError
from spikeseg_ros.evaluation.metrics.clustering import GroupingMetrics

pytest.importorskip('sklearn')


def test_hand_computed_groups() -> None:
    metric = GroupingMetrics()
    metric.add([1, 1, 1, 1], [1, 1, 2, 2])
    score = metric.result()
    # One group for all: complete, not homogeneous, no better than chance.
    assert (score['completeness'], score['homogeneity'], score['v_measure']) == (1.0, 0.0, 0.0)
    assert score['ari'] == 0.0
    metric = GroupingMetrics()
    metric.add([1, 1, 2, 3], [1, 1, 2, 2])
    score = metric.result()
    # Pairs: 1 together in both, 2 true ones, 1 predicted one, 6 in all.
    assert score['ari'] == pytest.approx((1 - 2 * 1 / 6) / ((2 + 1) / 2 - 2 * 1 / 6))
    # H(truth) = ln 2 and nothing of it is left within groups; H(groups | truth) = ln 2 / 2.
    completeness = 1 - (math.log(2) / 2) / (1.5 * math.log(2))
    assert score['homogeneity'] == pytest.approx(1.0)
    assert score['completeness'] == pytest.approx(completeness)
    assert score['v_measure'] == pytest.approx(2 * completeness / (1 + completeness))


def test_perfect_and_random_groups_and_the_order_of_items() -> None:
    rng = np.random.default_rng(0)
    perfect, random, shuffled = GroupingMetrics(), GroupingMetrics(), GroupingMetrics()
    for _ in range(20):
        truth, groups = rng.integers(0, 5, 200), rng.integers(0, 5, 200)
        perfect.add(truth * 7 + 1, truth)
        random.add(groups, truth)
        order = rng.permutation(200)
        shuffled.add(groups[order], truth[order])
    assert perfect.result() == {
        'ari': 1.0, 'homogeneity': pytest.approx(1.0), 'completeness': pytest.approx(1.0),
        'v_measure': pytest.approx(1.0), 'windows': 20.0,
    }  # fmt: skip
    assert abs(random.result()['ari']) < 0.02
    assert random.result()['v_measure'] < 0.1
    assert shuffled.result() == pytest.approx(random.result())
    perfect.merge(random)
    assert perfect.result()['windows'] == 40


def test_empty_cases_and_nonsense() -> None:
    metric = GroupingMetrics()
    metric.add([], [])
    metric.add([1], [1])
    assert math.isnan(metric.result()['ari'])
    assert metric.result()['windows'] == 0
    with pytest.raises(MetricError, match='do not fit'):
        metric.add([1, 2], [1])
