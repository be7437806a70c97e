# SPDX-License-Identifier: Apache-2.0
"""Spike-timing-dependent plasticity that looks only at the order of spikes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from spikeseg_ros.spiking.wta import Winner

# A map whose weights lie closer together than this, and are not near 0 or 1, has never learnt.
_DEAD_SPREAD = 0.2
_DEAD_C = 0.05


class StdpError(ValueError):
    """Learning cannot go on with these values; the text says which and what to do."""


class Convergence(NamedTuple):
    """How far the weights of a layer are from 0 and 1.

    Attributes:
        c: Mean of w (1 - w) over all weights; 0.16 at 0.8, 0 when all weights are 0 or 1.
        c_live: The same over live maps only; 1.0 when there is none.
        dead_maps: Number of maps that never learnt: their weights are still about equal.
        per_map: c of each map, shape (C,).
    """

    c: float
    c_live: float
    dead_maps: int
    per_map: Tensor


def spike_times(times: Tensor) -> Tensor:
    """Return first-spike times as floats in which +inf means never.

    Both conventions are understood: -1 (as in `EncoderOutput.layer_spike_times`) and +inf. A -1
    that slipped through as a time would count as the earliest of all spikes.

    Args:
        times: First-spike steps of any shape.

    Raises:
        StdpError: A time is NaN, or negative but not -1.
    """
    values = times.to(torch.float32)
    if bool((torch.isnan(values) | ((values < 0) & (values != -1))).any()):
        msg = 'Spike times must be >= 0, or -1 or +inf for never; got NaN or other negatives.'
        raise StdpError(msg)
    return torch.where(values < 0, torch.inf, values)


def stdp_update(
    weights: Tensor,
    pre_times: Tensor,
    winners: Iterable[Winner],
    a_plus: float = 0.004,
    a_minus: float = 0.003,
) -> Tensor:
    """Return weights after one update for each winner.

    For a winner that fired at t_post, every weight w of its map changes by::

        + a_plus  * w * (1 - w)   where t_pre <= t_post
        - a_minus * w * (1 - w)   where t_pre > t_post, or where the input never fired

    and is cut to 0 .. 1. Inputs outside the map (padding) never fired. Winners of one map are
    applied one after the other.

    Keep the returned floats while learning: one update is far smaller than the 1 / 256 grid on
    which the encoder stores weights.

    Args:
        weights: Shape (C, C_in, kernel, kernel), 0 .. 1; not changed.
        pre_times: First-spike steps of the inputs, shape (C_in, H, W); -1 or +inf = never.
        winners: From `select_winners`, in the cells of a stride-1 "same" convolution.
        a_plus: Learning rate of potentiation.
        a_minus: Learning rate of depression, positive.

    Raises:
        StdpError: Shapes do not match, rates are negative, or times or weights are invalid.

    Source: Kheradpisheh et al. 2018, eq. 3; rates .004 / .003 there, .04 / .03 in Kirkland et
    al. 2023.
    """
    if weights.ndim != 4 or pre_times.ndim != 3 or weights.shape[1] != pre_times.shape[0]:
        msg = (
            f'weights must be (C, C_in, k, k) and pre_times (C_in, H, W), got '
            f'{tuple(weights.shape)!r} and {tuple(pre_times.shape)!r}.'
        )
        raise StdpError(msg)
    if a_plus < 0 or a_minus < 0:
        msg = f'Learning rates must be >= 0, got a_plus={a_plus!r} and a_minus={a_minus!r}.'
        raise StdpError(msg)
    if not bool(((weights >= 0) & (weights <= 1)).all()):
        msg = 'Weights must lie within 0 .. 1 for STDP; clamp them first.'
        raise StdpError(msg)
    kernel = weights.shape[-1]
    pad = kernel // 2
    times = torch.nn.functional.pad(spike_times(pre_times), (pad, pad, pad, pad), value=torch.inf)
    updated = weights.clone()
    for winner in winners:
        before = times[:, winner.row : winner.row + kernel, winner.column : winner.column + kernel]
        w = updated[winner.feature]
        # Infinity must not equal infinity: an input that never fired is never a cause.
        rate = torch.where((before <= winner.time) & torch.isfinite(before), a_plus, -a_minus)
        updated[winner.feature] = (w + rate * w * (1 - w)).clamp(0, 1)
    return updated


def convergence(weights: Tensor) -> Convergence:
    """Measure how far weights are from 0 and 1.

    The mean over all maps alone misleads: maps that never win keep their initial weights and
    hold it up for ever.

    Args:
        weights: Shape (C, C_in, kernel, kernel), 0 .. 1.

    Source: Kheradpisheh et al. 2018, eq. 4 (stop below 0.01).
    """
    flat = weights.detach().flatten(1)
    per_map = (flat * (1 - flat)).mean(dim=1)
    spread = flat.amax(dim=1) - flat.amin(dim=1)
    dead = (spread < _DEAD_SPREAD) & (per_map >= _DEAD_C)
    live = per_map[~dead]
    c_live = float(live.mean()) if live.numel() else 1.0
    return Convergence(float(per_map.mean()), c_live, int(dead.sum()), per_map)


def adapt_thresholds(
    thresholds: Tensor,
    winners: Iterable[Winner],
    rate: float = 0.05,
    low: float = 0.0,
    high: float = float('inf'),
) -> Tensor:
    """Return thresholds after homeostasis: maps that win become harder to excite.

    Each win multiplies the threshold of its map by 1 + rate; then all thresholds are multiplied
    by 1 - rate * wins / C, so that their level stays about constant.

    Args:
        thresholds: By map, shape (C,); not changed.
        winners: From `select_winners`.
        rate: Strength.
        low: Smallest threshold.
        high: Largest threshold.
    """
    maps = torch.tensor([winner.feature for winner in winners], dtype=torch.long)
    wins = torch.bincount(maps, minlength=thresholds.numel()).to(thresholds)
    decay = 1 - rate * float(wins.sum()) / thresholds.numel()
    return (thresholds * (1 + rate) ** wins * decay).clamp(low, high)
