# SPDX-License-Identifier: Apache-2.0
"""Losses of mask classification: hand-computed cases, and the published model's own values."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch

from spikeseg_ros.training.mask_loss import (
    MaskLossFactors,
    Match,
    Segments,
    by_class,
    dice_loss,
    focal_loss,
    hungarian,
    mask_losses,
    match_all,
    matching_cost,
    segments,
    semantic_loss,
    semantic_scores,
)

PARITY = Path(__file__).resolve().parents[3] / 'shared/data/parity/spike2former'
NAMES = ('tiny_v2_T1_64x64', 'tiny_v2_T1_D4_64x64', 'tiny_v3_T1_64x64')


@pytest.mark.skipif(not PARITY.is_dir(), reason='the reference tensors are not here')
@pytest.mark.parametrize('name', NAMES)
def test_losses_and_matches_are_those_of_the_published_model(name: str) -> None:
    data = torch.load(PARITY / f'{name}.pt', weights_only=True)
    factors = MaskLossFactors(match_class=2.0 if 'v3' in name else 1.0)
    wanted = [segments(data['gt'][0, 0], 255)]
    assert torch.equal(wanted[0].classes, data['gt_labels'][0])
    # The published losses were computed in float32.
    scores, masks = data['all_cls_scores'].float(), data['all_mask_preds'].float()
    matches = match_all(scores, masks, wanted, factors)
    for (mine,), (theirs,) in zip(matches, data['matches'], strict=True):
        assert torch.equal(mine.queries, theirs['pos_inds'])
        assert torch.equal(mine.segments, theirs['pos_assigned_gt_inds'])
    losses = mask_losses(scores, masks, wanted, factors)
    assert set(losses) == set(data['losses'])
    for key, value in data['losses'].items():
        torch.testing.assert_close(losses[key], value.reshape(()), rtol=0, atol=1e-6)


def test_segments_are_the_classes_that_are_present_without_void() -> None:
    label = torch.tensor([[2, 2, 255], [0, 255, 2]])
    found = segments(label, 255)
    assert found.classes.tolist() == [0, 2]
    assert found.masks.tolist() == [[[0, 0, 0], [1, 0, 0]], [[1, 1, 0], [0, 0, 1]]]
    nothing = segments(torch.full((2, 3), 255), 255)
    assert nothing.classes.numel() == 0
    assert nothing.masks.shape == (0, 2, 3)


def test_cost_of_one_pair_by_hand() -> None:
    # Two pixels, p = (0.5, 0.8), the segment is the first; three classes and 'no object'.
    logits = torch.tensor([[[0.0, math.log(4)]]])
    wanted = Segments(torch.tensor([1]), torch.tensor([[[1.0, 0.0]]]))
    scores = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    factors = MaskLossFactors(match_class=2.0, mask=20.0, dice=3.0)
    inside = 0.25 * 0.5**2 * -math.log(0.5)
    outside = 0.75 * 0.8**2 * -math.log(0.2)
    dice = 1 - (2 * 0.5 + 1) / (1.3 + 1 + 1)
    expected = -2 * 0.2 + 20 * (inside + outside) / 2 + 3 * dice
    cost = matching_cost(scores, logits, wanted, factors)
    assert cost.shape == (1, 1)
    assert float(cost) == pytest.approx(expected, rel=1e-5)


def test_masks_are_sampled_for_the_matching() -> None:
    masks = torch.zeros(1, 4, 4)
    masks[0, ::2, ::2] = 1
    wanted = Segments(torch.tensor([0]), masks)
    found = matching_cost(torch.zeros(1, 2), torch.full((1, 2, 2), 30.0), wanted)
    # Every sampled pixel is 1 and found: only the class is left.
    assert float(found) == pytest.approx(-0.5, abs=1e-5)


def test_hungarian_finds_the_cheapest_assignment() -> None:
    cost = torch.rand(4, 3, generator=torch.Generator().manual_seed(3))
    found = hungarian(cost)
    best = min(
        sum(float(cost[q, s]) for s, q in enumerate(order))
        for order in itertools.permutations(range(4), 3)
    )
    assert float(cost[found.queries, found.segments].sum()) == pytest.approx(best)
    assert found.queries.tolist() == sorted(found.queries.tolist())
    more = hungarian(torch.tensor([[3.0, 1.0, 2.0]]))
    assert (more.queries.tolist(), more.segments.tolist()) == ([0], [1])
    assert hungarian(torch.zeros(4, 0)).queries.numel() == 0
    assert len(hungarian(torch.tensor([[float('nan'), 1.0], [0.0, 5.0]])).queries) == 2


def test_focal_and_dice_by_hand() -> None:
    logits = torch.tensor([[[0.0, math.log(4)]]])
    masks = torch.tensor([[[1.0, 0.0]]])
    inside = 0.25 * 0.5**2 * -math.log(0.5)
    outside = 0.75 * 0.8**2 * -math.log(0.2)
    assert float(focal_loss(logits, masks)) == pytest.approx(inside + outside, rel=1e-5)
    assert float(dice_loss(logits, masks)) == pytest.approx(1 - 2 / 3.3, rel=1e-5)


def test_terms_of_a_small_batch_by_hand() -> None:
    # Two outputs, two images, two queries, one class; the second image is empty.
    wanted = [
        Segments(torch.tensor([0]), torch.ones(1, 2, 2)),
        Segments(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 2, 2)),
    ]
    scores = torch.zeros(2, 2, 2, 2)
    masks = torch.zeros(2, 2, 2, 2, 2)
    masks[:, 0, 1] = 1.0  # query 1 fits better
    losses = mask_losses(scores, masks, wanted)
    assert list(losses) == [
        'd0.loss_cls', 'd0.loss_mask', 'd0.loss_dice', 'loss_cls', 'loss_mask', 'loss_dice',
    ]  # fmt: skip
    p = 1 / (1 + math.exp(-1))
    for prefix in ('', 'd0.'):
        # All chances are 1/2, so the weights cancel.
        assert float(losses[prefix + 'loss_cls']) == pytest.approx(math.log(2))
        mask = 20 * 0.25 * (1 - p) ** 2 * -math.log(p)
        assert float(losses[prefix + 'loss_mask']) == pytest.approx(mask, rel=1e-5)
        dice = 1 - (2 * 4 * p + 1) / (4 * p + 4 + 1)
        assert float(losses[prefix + 'loss_dice']) == pytest.approx(dice, rel=1e-5)


def test_no_object_weighs_a_tenth() -> None:
    wanted = [Segments(torch.tensor([0]), torch.ones(1, 1, 1))]
    scores = torch.tensor([[[[2.0, 0.0], [1.0, 0.0]]]])
    match = [[Match(torch.tensor([0]), torch.tensor([0]))]]
    found = mask_losses(scores, torch.zeros(1, 1, 2, 1, 1), wanted, matches=match)
    one, none = math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))
    assert float(found['loss_cls']) == pytest.approx((one + 0.1 * none) / 1.1, rel=1e-5)


def test_a_batch_without_segments_has_gradients_everywhere() -> None:
    label = torch.full((4, 4), 255)
    scores = torch.randn(1, 1, 3, 4, requires_grad=True)
    masks = torch.randn(1, 1, 3, 2, 2, requires_grad=True)
    losses = mask_losses(scores, masks, [segments(label, 255)])
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert masks.grad is not None
    assert bool(masks.grad.eq(0).all())
    assert float(losses['loss_mask']) == 0


def test_fixed_assignment_pairs_query_and_class() -> None:
    found = by_class(Segments(torch.tensor([1, 4]), torch.zeros(2, 3, 3)))
    assert found.queries.tolist() == [1, 4]
    assert found.segments.tolist() == [0, 1]


def test_semantic_loss_by_hand() -> None:
    # One pixel, two queries that are surely class 0 and 1, masks 0.8 and 0.4: shares 2/3, 1/3.
    scores = torch.tensor([[[50.0, 0.0, 0.0], [0.0, 50.0, 0.0]]])
    masks = torch.tensor([[[[math.log(4)]], [[math.log(2 / 3)]]]])
    torch.testing.assert_close(
        semantic_scores(scores, masks), torch.tensor([[[[0.8]], [[0.4]]]]), rtol=1e-5, atol=1e-6
    )
    label, weights = torch.tensor([[[1]]]), torch.tensor([1.0, 3.0])
    loss = semantic_loss(scores, masks, label, weights, 255)
    assert float(loss) == pytest.approx(math.log(3), abs=1e-3)
    assert float(semantic_loss(scores, masks, label + 254, weights, 255)) == 0
