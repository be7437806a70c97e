# SPDX-License-Identifier: Apache-2.0
"""AP, panoptic quality, event IoU and counts: by hand, against COCO, and on corner cases."""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.evaluation.metrics import (
    Candidate,
    InstanceMetrics,
    MetricError,
    PixelMetrics,
    Region,
    regions,
)
from spikeseg_ros.events.types import Events
from spikeseg_ros.perception.result import SegmentedObject

pytest.importorskip('pycocotools')


def _span(start: int, stop: int, size: int = 100) -> np.ndarray:
    members = np.zeros(size, bool)
    members[start:stop] = True
    return members


def test_hand_computed_window() -> None:
    # Truths of 10, 10 and 4 elements, the last one too small to be asked for.
    truth = [
        Region(_span(0, 10), 1, 1),
        Region(_span(20, 30), 1, 2),
        Region(_span(40, 44), 1, 3),
    ]
    predicted = [
        Candidate(_span(0, 8), 0.9),  # IoU 0.8 with the first
        Candidate(_span(60, 70), 0.8),  # false
        Candidate(_span(40, 44), 0.7),  # the small one: not counted
        Candidate(_span(20, 26), 0.6),  # IoU 0.6 with the second
    ]
    metric = InstanceMetrics(min_events=5)
    window = metric.add_sets(predicted, truth)
    assert (window.true_objects, window.predicted, window.matched) == (2, 3, 2)
    assert window.mean_iou == pytest.approx(0.7)
    score = metric.result()
    # Ranked TP, FP, TP: precision 1 up to recall 0.5 (51 of 101 points), 2/3 beyond (50 points).
    full = (51 + 50 * 2 / 3) / 101
    # Above an IoU of 0.6 only the first one is found, above 0.8 none.
    half = 51 / 101
    assert score['ap50'] == pytest.approx(full)
    assert score['ap75'] == pytest.approx(half)
    assert score['ap'] == pytest.approx((3 * full + 4 * half) / 10)
    assert score['sq'] == pytest.approx(0.7)
    assert score['rq'] == pytest.approx(2 / (2 + 0.5))
    assert score['pq'] == pytest.approx(0.7 * 0.8)
    assert score['event_iou'] == pytest.approx(0.7)
    assert score['precision50'] == pytest.approx(2 / 3)
    assert score['recall50'] == 1.0
    assert score['f1'] == pytest.approx(0.8)
    assert score['count_error'] == score['count_abs_error'] == 1.0


def test_half_an_overlap_is_found_but_no_panoptic_match() -> None:
    metric = InstanceMetrics(min_events=1)
    metric.add_sets([Candidate(_span(0, 5))], [Region(_span(0, 10))])
    score = metric.result()
    assert (score['ap50'], score['recall50']) == (pytest.approx(1.0), 1.0)
    assert score['pq'] == 0.0


def test_two_predictions_of_one_object_are_one_find_and_one_fault() -> None:
    metric = InstanceMetrics(min_events=1)
    metric.add_sets(
        [Candidate(_span(0, 10), 0.9), Candidate(_span(0, 10), 0.8)], [Region(_span(0, 10))]
    )
    score = metric.result()
    assert (score['precision50'], score['recall50']) == (0.5, 1.0)
    assert score['rq'] == pytest.approx(1 / 1.5)


def test_an_ignored_object_excuses_one_prediction_only() -> None:
    metric = InstanceMetrics(min_events=20)
    window = metric.add_sets(
        [Candidate(_span(0, 10), 0.9), Candidate(_span(0, 9), 0.8)],
        [Region(_span(0, 10)), Region(_span(50, 80))],
    )
    assert (window.true_objects, window.predicted, window.matched) == (1, 1, 0)


def _random_window(
    rng: np.random.Generator, size: int = 300
) -> tuple[list[Candidate], list[Region]]:
    labels = np.repeat(rng.integers(0, 6, 15), size // 15)
    truth = regions(labels, {1: 2, 2: 2})
    predicted = []
    for item in truth:
        flip = rng.random(size) < rng.choice([0.0, 0.02, 0.05, 0.2])
        number = item.class_id if rng.random() < 0.8 else 3 - item.class_id
        predicted.append(Candidate(item.members ^ flip, float(rng.random()), number))
    predicted += [
        Candidate(rng.random(size) < 0.1, float(rng.random())) for _ in range(rng.integers(0, 3))
    ]
    return predicted, truth


@pytest.mark.parametrize('per_class', [False, True])
def test_average_precision_is_that_of_coco_on_run_lengths(per_class: bool) -> None:
    """The same windows go through unchanged pycocotools as masks of one row of pixels."""
    from pycocotools import mask as run_lengths
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(3)
    metric = InstanceMetrics(min_events=1, per_class=per_class)
    tree: dict[str, list] = {'images': [], 'annotations': [], 'categories': [{'id': 1}, {'id': 2}]}
    found = []
    for image in range(1, 13):
        predicted, truth = _random_window(rng)
        metric.add_sets(predicted, truth)
        tree['images'].append({'id': image, 'height': 1, 'width': 300})
        for item in (*truth, *predicted):
            code = run_lengths.encode(np.asfortranarray(item.members[None], np.uint8))
            entry = {
                'image_id': image,
                'category_id': item.class_id if per_class else 1,
                'segmentation': code,
            }
            if isinstance(item, Candidate):
                found.append({**entry, 'score': item.score})
            else:
                area = int(item.members.sum())
                number = len(tree['annotations']) + 1
                tree['annotations'].append({**entry, 'id': number, 'area': area, 'iscrowd': 0})
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO()
        index.dataset = {**tree, 'info': {}}
        index.createIndex()
        evaluation = COCOeval(index, index.loadRes(found), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    score = metric.result()
    assert 0.1 < score['ap'] < 0.95
    assert [score['ap'], score['ap50'], score['ap75']] == pytest.approx(evaluation.stats[:3])


def test_classes_have_to_agree_only_where_asked() -> None:
    predicted, truth = [Candidate(_span(0, 10), 1.0, 2)], [Region(_span(0, 10), 1)]
    both = InstanceMetrics(1), InstanceMetrics(1, per_class=True)
    for metric in both:
        metric.add_sets(predicted, truth)
    assert both[0].result()['ap'] == pytest.approx(1.0)
    strict = both[1].result()
    assert strict['ap'] == strict['pq'] == strict['precision50'] == strict['event_iou'] == 0.0


def test_perfect_and_random_predictors_score_what_they_must() -> None:
    rng = np.random.default_rng(1)
    perfect, random = InstanceMetrics(min_events=5), InstanceMetrics(min_events=5)
    for _ in range(40):
        _, truth = _random_window(rng)
        perfect.add_sets([Candidate(item.members) for item in truth], truth)
        shuffled = [
            Candidate(rng.permutation(item.members), float(rng.random())) for item in truth
        ]
        random.add_sets(shuffled, truth)
    score = perfect.result()
    for key in ('ap', 'ap50', 'ap75', 'pq', 'sq', 'rq', 'event_iou', 'precision50', 'recall50'):
        assert score[key] == pytest.approx(1.0), key
    assert score['count_error'] == 0.0
    score = random.result()
    assert score['ap50'] < 0.02
    assert score['pq'] < 0.05
    # A random subset of share a overlaps another of share b by a b / (a + b - a b), here < 0.2.
    assert score['event_iou'] < 0.3


def test_empty_cases() -> None:
    metric = InstanceMetrics(min_events=5)
    assert all(math.isnan(metric.result()[key]) for key in ('ap', 'pq', 'event_iou', 'recall50'))
    window = metric.add_sets([], [])
    assert math.isnan(window.mean_iou)
    assert math.isnan(metric.result()['f1'])
    # Predictions where there is nothing are wrong, but there is no recall to speak of.
    metric.add_sets([Candidate(_span(0, 10)), Candidate(_span(0, 0))], [])
    score = metric.result()
    assert math.isnan(score['ap'])
    assert math.isnan(score['recall50'])
    assert (score['precision50'], score['pq'], score['count_error']) == (0.0, 0.0, 1.0)
    # Nothing where there is something.
    metric = InstanceMetrics(min_events=5)
    metric.add_sets([], [Region(_span(0, 10))])
    score = metric.result()
    assert (score['ap'], score['pq'], score['recall50'], score['event_iou']) == (0.0,) * 4
    assert math.isnan(score['precision50'])
    # An object without any event is never asked for.
    metric = InstanceMetrics(min_events=0)
    assert metric.add_sets([], [Region(_span(0, 0))]).true_objects == 0


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1))
def test_order_and_merging_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    windows = [_random_window(rng) for _ in range(4)]
    plain, mixed, parts = InstanceMetrics(5), InstanceMetrics(5), InstanceMetrics(5)
    for predicted, truth in windows:
        plain.add_sets(predicted, truth)
        elements = rng.permutation(300)
        shuffled = [replace(item, members=item.members[elements]) for item in predicted]
        others = [replace(item, members=item.members[elements]) for item in truth]
        rng.shuffle(shuffled)
        rng.shuffle(others)
        mixed.add_sets(shuffled, others)
        part = InstanceMetrics(5)
        part.add_sets(predicted, truth)
        parts.merge(part)
    score = plain.result()
    assert mixed.result() == pytest.approx(score)
    assert parts.result() == score
    for key in ('ap', 'ap50', 'ap75', 'pq', 'sq', 'rq', 'event_iou', 'precision50', 'recall50'):
        assert math.isnan(score[key]) or 0.0 <= score[key] <= 1.0
    assert score['pq'] <= score['sq'] + 1e-12 or math.isnan(score['pq'])
    assert score['ap'] <= score['ap50'] + 1e-12 or math.isnan(score['ap'])


def test_only_so_many_detections_count() -> None:
    metric = InstanceMetrics(min_events=1, max_detections=2)
    predicted = [Candidate(_span(50, 60), 0.9), Candidate(_span(70, 80), 0.8)]
    window = metric.add_sets([Candidate(_span(0, 10), 0.1), *predicted], [Region(_span(0, 10))])
    assert (window.predicted, window.matched) == (2, 0)


def test_objects_stand_for_the_events_in_their_masks() -> None:
    x = np.arange(20, dtype=np.uint16)
    events = Events(x, np.full(20, 3, np.uint16), np.ones(20, np.uint8), np.arange(20))
    box = BoundingBox(0, 3, 9, 3)
    item = SegmentedObject(0, box, np.ones((1, 10), bool), 1, 'object', 1.0, box.center)
    labels = np.array([1] * 10 + [0] * 10)
    metric = InstanceMetrics(min_events=5)
    assert metric.add([item], regions(labels), events).mean_iou == 1.0
    with pytest.raises(MetricError, match='the window has 20 events'):
        metric.add([item], regions(labels[:9]), events)


def test_pixels_of_an_image() -> None:
    ids = np.zeros((6, 8), np.uint8)
    ids[1:4, 2:6] = 5
    mask = np.ones((3, 3), bool)
    item = SegmentedObject(0, BoundingBox(2, 1, 4, 3), mask, 1, 'object', 1.0, (3.0, 2.0))
    metric = PixelMetrics()
    assert metric.add_image([item], ids).mean_iou == pytest.approx(9 / 12)
    assert metric.result()['ap75'] == pytest.approx(1.0)


def test_bad_settings_and_scores_are_refused() -> None:
    with pytest.raises(MetricError, match='min_events'):
        InstanceMetrics(min_events=-1)
    with pytest.raises(MetricError, match='finite'):
        InstanceMetrics().add_sets([Candidate(_span(0, 5), float('nan'))], [])
    with pytest.raises(MetricError, match='merged'):
        InstanceMetrics(5).merge(InstanceMetrics(6))
