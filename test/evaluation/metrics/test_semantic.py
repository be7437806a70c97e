# SPDX-License-Identifier: Apache-2.0
"""Confusion matrix: by hand, streaming, absent classes, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeseg_ros.evaluation.metrics import MetricError
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix

PUBLISHED = Path(__file__).resolve().parents[4] / 'shared/data/parity/official_metric.pt'


def test_hand_computed_image() -> None:
    label = np.array([[0, 0, 0, 1], [1, 1, 255, 255]])
    pred = np.array([[0, 0, 1, 1], [1, 2, 0, 3]])
    matrix = ConfusionMatrix(['a', 'b', 'c', 'd'])
    matrix.add(pred, label)
    assert matrix.counts.tolist() == [[2, 1, 0, 0], [0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    # a: 2 of 3, b: 2 of 4, c: predicted but never there, d: absent (the ignored pixel is not it).
    assert matrix.iou[:3].tolist() == pytest.approx([2 / 3, 0.5, 0.0])
    assert math.isnan(matrix.iou[3])
    assert matrix.miou == pytest.approx((2 / 3 + 0.5) / 3)
    assert matrix.accuracy == pytest.approx(4 / 6)
    score = matrix.result()
    assert score['iou/b'] == 0.5
    assert score['mean_accuracy'] == pytest.approx(2 / 3)
    assert math.isnan(score['iou/d'])


def test_counts_are_summed_before_they_are_divided() -> None:
    matrix = ConfusionMatrix(2)
    matrix.add([0] * 9 + [1], [0] * 10)
    matrix.add([1], [1])
    assert matrix.iou.tolist() == pytest.approx([0.9, 0.5])


def test_perfect_and_random_predictors_score_what_they_must() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 4, (300, 300))
    perfect, random = ConfusionMatrix(4), ConfusionMatrix(4)
    perfect.add(label, label)
    random.add(rng.integers(0, 4, label.shape), label)
    assert perfect.miou == perfect.accuracy == 1.0
    # Independent uniform classes: IoU (1/16) / (2/4 - 1/16) = 1/7.
    assert random.miou == pytest.approx(1 / 7, abs=0.005)
    assert random.accuracy == pytest.approx(1 / 4, abs=0.01)


def test_empty_cases() -> None:
    matrix = ConfusionMatrix(3)
    assert math.isnan(matrix.miou)
    assert math.isnan(matrix.accuracy)
    matrix.add([1, 2], [255, 255])
    assert matrix.counts.sum() == 0
    matrix.add(np.zeros((0, 4), int), np.zeros((0, 4), int))
    assert math.isnan(matrix.miou)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1, 2, 9])), max_size=40))
def test_parts_and_order_do_not_matter(pairs: list[tuple[int, int]]) -> None:
    pred = np.array([p for p, _ in pairs], int)
    label = np.array([t for _, t in pairs], int)
    whole, parts = ConfusionMatrix(3, ignore=9), ConfusionMatrix(3, ignore=9)
    whole.add(pred, label)
    for place in reversed(range(len(pairs))):
        part = ConfusionMatrix(3, ignore=9)
        part.add(pred[place : place + 1], label[place : place + 1])
        parts.merge(part)
    assert np.array_equal(whole.counts, parts.counts)
    for number in range(3):
        mine, theirs = (pred == number) & (label != 9), label == number
        union = int((mine | theirs).sum())
        expected = int((mine & theirs).sum()) / union if union else float('nan')
        assert whole.iou[number] == pytest.approx(expected, nan_ok=True)


def test_nonsense_is_refused() -> None:
    matrix = ConfusionMatrix(3, ignore=None)
    with pytest.raises(MetricError, match='do not fit labels'):
        matrix.add([0, 1], [0])
    with pytest.raises(MetricError, match=r'reach from 0 to 3, expected 0 \.\. 2'):
        matrix.add([0, 3], [0, 0])
    with pytest.raises(MetricError, match='must be integers'):
        matrix.add([0.5], [0])
    with pytest.raises(MetricError, match='at least one class'):
        ConfusionMatrix(0)
    with pytest.raises(MetricError, match='cannot be merged'):
        matrix.merge(ConfusionMatrix(4))


def test_one_image_gives_what_the_published_metric_gives() -> None:
    torch = pytest.importorskip('torch')
    if not PUBLISHED.is_file():
        pytest.skip(f'{PUBLISHED} is not there')
    tensors = torch.load(PUBLISHED, weights_only=True)
    matrix = ConfusionMatrix(6)
    matrix.add(tensors['logits'].argmax(1).numpy(), tensors['label'][:, 0].numpy())
    assert np.diag(matrix.counts).tolist() == [493, 472, 277, 666, 0, 0]
    assert matrix.counts.sum(0).tolist() == [668, 633, 497, 805, 249, 220]
    assert matrix.counts.sum(1).tolist() == [768, 768, 448, 1088, 0, 0]
    # Classes 4 and 5 are predicted but nowhere true: 0 here, a smoothed 2e-9 there.
    assert matrix.iou == pytest.approx(tensors['iou'].numpy(), abs=1e-6)
    assert matrix.miou == pytest.approx(float(tensors['mean']), abs=1e-6)


def averaged_over_images(pred: np.ndarray, label: np.ndarray, classes: int) -> float:
    """Return the metric published with MFS-Seg: smoothed Dice of each image, turned into IoU."""
    scores = []
    for one, true in zip(pred, label, strict=True):
        for k in range(classes):
            both = ((one == k) & (true == k)).sum()
            dice = (2 * both + 1e-6) / ((one == k).sum() + (true == k).sum() + 1e-6)
            scores.append(dice / (2 - dice))
    return float(np.mean(scores))


def test_the_mean_over_images_rewards_absent_classes() -> None:
    # Class 1 is missed in the one image that has it; class 2 occurs nowhere.
    label = np.zeros((4, 2, 4), int)
    label[0, 0, :2] = 1
    pred = np.zeros_like(label)
    matrix = ConfusionMatrix(3)
    matrix.add(pred, label)
    assert matrix.iou[:2].tolist() == pytest.approx([30 / 32, 0.0])
    assert matrix.miou == pytest.approx(15 / 32)
    published = averaged_over_images(pred, label, 3)
    assert published == pytest.approx((0.75 + 3 + 3 + 4) / 12, abs=1e-5)
    assert published > 1.9 * matrix.miou
