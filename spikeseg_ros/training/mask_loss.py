# SPDX-License-Identifier: Apache-2.0
"""Losses of mask classification: Hungarian matching of queries and segments, and three terms.

Every class that is present in an image is one segment with one binary mask (MaskFormer, Cheng et
al. 2021, with the focal and dice terms and the factors of Spike2Former).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from spikeseg_ros.training.distributed import mean_over_team

if TYPE_CHECKING:
    from collections.abc import Sequence

_ALPHA, _GAMMA = 0.25, 2
_TINY = 1e-12
_FLOOR = 1e-4


@dataclass(frozen=True)
class MaskLossFactors:
    """Weights of the terms.

    Attributes:
        match_class: Weight of the class in the matching.
        classes: Weight of the cross-entropy of the classes.
        mask: Weight of the focal term, in loss and matching.
        dice: Weight of the dice term, in loss and matching.
        no_object: Weight of queries without a segment within the cross-entropy.
    """

    match_class: float = 1.0
    classes: float = 1.0
    mask: float = 20.0
    dice: float = 1.0
    no_object: float = 0.1


PUBLISHED = MaskLossFactors()


class Segments(NamedTuple):
    """What is to be found in one image.

    Attributes:
        classes: Classes that are present, ascending, shape (N,), int64.
        masks: Where each is, 0 or 1, shape (N, H, W), float32.
    """

    classes: Tensor
    masks: Tensor


class Match(NamedTuple):
    """Which query answers for which segment of an image.

    Attributes:
        queries: Matched queries, ascending, shape (M,), int64.
        segments: The segment of each, shape (M,), int64.
    """

    queries: Tensor
    segments: Tensor


def segments(label: Tensor, ignore: int) -> Segments:
    """Return the segments of a label (H, W); unlabelled pixels lie outside of every mask."""
    classes = torch.unique(label)
    classes = classes[classes != ignore].long()
    return Segments(classes, (label == classes.view(-1, 1, 1)).float())


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    wanted: Segments,
    factors: MaskLossFactors = PUBLISHED,
) -> Tensor:
    """Return the cost of each pair of query and segment.

    Args:
        class_logits: Shape (Q, K + 1); the last class is 'no object'.
        mask_logits: Shape (Q, h, w).
        wanted: Segments; their masks are sampled at h x w (nearest).
        factors: Weights of the terms.

    Returns:
        Shape (Q, N), float32.
    """
    logits = mask_logits.float()
    size = (logits.shape[-2], logits.shape[-1])
    masks = F.interpolate(wanted.masks.unsqueeze(1), size, mode='nearest').flatten(1)
    chance = class_logits.float().softmax(dim=-1)[:, wanted.classes]
    p = logits.sigmoid().flatten(1)
    inside = -_ALPHA * (1 - p) ** _GAMMA * (p + _TINY).log()
    outside = -(1 - _ALPHA) * p**_GAMMA * (1 - p + _TINY).log()
    focal = (inside @ masks.T + outside @ (1 - masks).T) / masks.shape[1]
    overlap = 2 * (p @ masks.T) + 1
    dice = 1 - overlap / (p.sum(1)[:, None] + masks.sum(1)[None] + 1)
    return -factors.match_class * chance + factors.mask * focal + factors.dice * dice


def hungarian(cost: Tensor) -> Match:
    """Return the pairs of queries and segments with the least sum of costs (Q, N)."""
    if cost.shape[1] == 0:
        none = torch.zeros(0, dtype=torch.int64, device=cost.device)
        return Match(none, none)
    # Not a number would be refused; the loss itself reports it with a better text.
    values = torch.nan_to_num(cost.detach(), nan=1e6, posinf=1e6, neginf=-1e6)
    rows, columns = linear_sum_assignment(values.cpu().numpy())
    return Match(torch.from_numpy(rows).to(cost.device), torch.from_numpy(columns).to(cost.device))


def by_class(wanted: Segments) -> Match:
    """Return the fixed assignment in which query k answers for class k."""
    return Match(wanted.classes, torch.arange(len(wanted.classes), device=wanted.classes.device))


def focal_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sum of the sigmoid focal loss over all pixels (alpha 0.25, gamma 2)."""
    plain = F.binary_cross_entropy_with_logits(logits, masks, reduction='none')
    p = logits.sigmoid()
    wrong = (1 - p) * masks + p * (1 - masks)
    share = _ALPHA * masks + (1 - _ALPHA) * (1 - masks)
    return (share * wrong**_GAMMA * plain).sum()


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the sum over masks (M, H, W) of 1 - (2 sum(p t) + 1) / (sum p + sum t + 1)."""
    p, t = logits.sigmoid().flatten(1), masks.flatten(1)
    return (1 - (2 * (p * t).sum(1) + 1) / (p.sum(1) + t.sum(1) + 1)).sum()


def mask_losses(
    class_logits: Tensor,
    mask_logits: Tensor,
    wanted: Sequence[Segments],
    factors: MaskLossFactors = PUBLISHED,
    *,
    matches: Sequence[Sequence[Match]] | None = None,
) -> dict[str, Tensor]:
    """Return the weighted terms of all outputs; their sum is the loss.

    Args:
        class_logits: Shape (L + 1, B, Q, K + 1).
        mask_logits: Shape (L + 1, B, Q, h, w); resized to the size of the masks (bilinear).
        wanted: Segments of each image.
        factors: Weights of the terms.
        matches: By output and image; the Hungarian ones where None.

    Returns:
        'loss_cls', 'loss_mask' and 'loss_dice' of the last output, and the same with the prefix
        'd0.', 'd1.', ... for those before it.
    """
    if matches is None:
        matches = match_all(class_logits, mask_logits, wanted, factors)
    result: dict[str, Tensor] = {}
    last = len(class_logits) - 1
    for number, found in enumerate(matches):
        prefix = '' if number == last else f'd{number}.'
        terms = _terms(class_logits[number], mask_logits[number], wanted, found, factors)
        for name, value in zip(('loss_cls', 'loss_mask', 'loss_dice'), terms, strict=True):
            result[prefix + name] = value
    return result


def match_all(
    class_logits: Tensor,
    mask_logits: Tensor,
    wanted: Sequence[Segments],
    factors: MaskLossFactors = PUBLISHED,
) -> list[list[Match]]:
    """Return the Hungarian matches by output and image."""
    with torch.no_grad():
        return [
            [
                hungarian(matching_cost(scores, masks, item, factors))
                for scores, masks, item in zip(scores_of, masks_of, wanted, strict=True)
            ]
            for scores_of, masks_of in zip(class_logits, mask_logits, strict=True)
        ]


def _terms(
    class_logits: Tensor,
    mask_logits: Tensor,
    wanted: Sequence[Segments],
    matches: Sequence[Match],
    factors: MaskLossFactors,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the three terms of one output (B, Q, ...)."""
    batch, queries, kinds = class_logits.shape
    target = class_logits.new_full((batch, queries), kinds - 1, dtype=torch.int64)
    for row, item, match in zip(target, wanted, matches, strict=True):
        row[match.queries] = item.classes[match.segments]
    balance = class_logits.new_ones(kinds)
    balance[-1] = factors.no_object
    classes = F.cross_entropy(class_logits.flatten(0, 1), target.flatten(), balance)
    logits = torch.cat(
        [masks[match.queries] for masks, match in zip(mask_logits, matches, strict=True)]
    )
    masks = torch.cat(
        [item.masks[match.segments] for item, match in zip(wanted, matches, strict=True)]
    ).to(logits.dtype)
    count = mean_over_team(logits.new_tensor(float(len(logits)))).clamp(min=1)
    if len(logits) == 0:
        # Keeps the masks in the graph, which processes that train together rely on.
        nothing = 0 * mask_logits.sum()
        return factors.classes * classes, nothing, nothing
    size = (masks.shape[-2], masks.shape[-1])
    if logits.shape[-2:] != masks.shape[-2:]:
        logits = F.interpolate(
            logits.unsqueeze(1), size, mode='bilinear', align_corners=False
        ).squeeze(1)
    area = size[0] * size[1]
    mask = factors.mask * focal_loss(logits, masks) / (count * area)
    return factors.classes * classes, mask, factors.dice * dice_loss(logits, masks) / count


def semantic_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """Return sum over queries of class share times mask, (B, K, h, w), as inference does."""
    shares = class_logits.softmax(dim=-1)[..., :-1]
    return torch.einsum('bqk,bqhw->bkhw', shares, mask_logits.sigmoid())


def semantic_loss(
    class_logits: Tensor, mask_logits: Tensor, label: Tensor, weights: Tensor, ignore: int
) -> Tensor:
    """Return the class-weighted cross-entropy of the semantic scores, taken as shares.

    Args:
        class_logits: Shape (B, Q, K + 1).
        mask_logits: Shape (B, Q, h, w).
        label: Shape (B, h, w), int64.
        weights: Weight of each class.
        ignore: Label that counts nowhere.
    """
    # Keeps the logarithm finite where a class is seen by no query.
    scores = semantic_scores(class_logits, mask_logits) + _FLOOR
    known = label != ignore
    own = scores.gather(1, torch.where(known, label, 0).unsqueeze(1)).squeeze(1)
    loss = scores.sum(dim=1).log() - own.log()
    share = weights[label[known]]
    # Views without a labelled pixel weigh nothing, instead of dividing by nothing.
    return (loss[known] * share).sum() / share.sum().clamp(min=1e-6)
