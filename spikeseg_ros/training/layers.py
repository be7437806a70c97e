# SPDX-License-Identifier: Apache-2.0
"""One learning step of each layer, as functions from state to state.

Layers learn one after the other (Kheradpisheh et al. 2018): conv1 keeps its fixed filters, conv2
learns on the spikes of pool1, then conv3 on those of pool2. Learning weights are floats; every
forward pass uses them rounded to the grid of the network, so that currents are exact and a run
gives the same result bit for bit on every machine and number of threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from spikeseg_ros.models.chain import currents
from spikeseg_ros.models.filters import on_grid
from spikeseg_ros.spiking.neurons import NeuronParams, StepOutput, initial_state, neuron_scan_
from spikeseg_ros.spiking.pooling import pool_spikes
from spikeseg_ros.spiking.stdp import adapt_thresholds, stdp_update
from spikeseg_ros.spiking.wta import Winner, select_winners

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from spikeseg_ros.models.encoder import SpikeSEGEncoder
    from spikeseg_ros.training.config import StdpConfig

LAYERS = ('conv2', 'conv3', 'done')


class TrainingState(NamedTuple):
    """Everything that changes while training.

    Attributes:
        layer: Index into LAYERS of the layer that learns.
        step: Samples this layer has seen.
        updates: Winners this layer has had.
        silent: Samples of this layer without a winner.
        conv2: Weights, shape (features, C1, k, k), float32.
        conv3: Weights, shape (classes, features, k, k), float32.
        factors: Homeostatic factor on the threshold of each map of conv2, shape (features,).
        theta3: Threshold of conv3 while it learns, float64 scalar.
    """

    layer: int
    step: int
    updates: int
    silent: int
    conv2: Tensor
    conv3: Tensor
    factors: Tensor
    theta3: Tensor

    def next_layer(self) -> TrainingState:
        """Return the state at the begin of the next layer."""
        return self._replace(layer=self.layer + 1, step=0, updates=0, silent=0)


def pooled_conv1(x: Tensor, encoder: SpikeSEGEncoder) -> Tensor:
    """Return the spikes of pool1, shape (T, 1, C1, H1, W1), bool, for spikes (T, 1, P, H, W)."""
    params = encoder.params()
    return _pooled(x, params.weights[0], params.neurons[0], encoder, 0)


def pooled_conv2(pool1: Tensor, weights: Tensor, encoder: SpikeSEGEncoder) -> Tensor:
    """Return the spikes of pool2 as they are when the network is used, shape (T, 1, C2, H, W)."""
    return _pooled(pool1.float(), on_grid(weights), encoder.params().neurons[1], encoder, 1)


def _pooled(
    x: Tensor, weights: Tensor, neurons: NeuronParams, encoder: SpikeSEGEncoder, pool: int
) -> Tensor:
    config = encoder.config
    kernel, stride = (
        (config.pool1_kernel_size, config.pool1_stride),
        (config.pool2_kernel_size, config.pool2_stride),
    )[pool]
    return pool_spikes(_scan(x, weights, neurons), kernel, stride).spikes


def _scan(x: Tensor, weights: Tensor, neurons: NeuronParams) -> StepOutput:
    """Run one layer over a window from rest."""
    steps, batch = x.shape[:2]
    current = currents(x.flatten(0, 1), weights)
    current = current.view(steps, batch, *current.shape[1:])
    shape = (batch, *current.shape[2:])
    output, _ = neuron_scan_(current, initial_state((shape[0], *shape[1:])), neurons)
    return output


def first_times(spikes: Tensor) -> Tensor:
    """Return the step of the first spike, shape (C, H, W), -1 = never, of (T, 1, C, H, W)."""
    any_spike = spikes[:, 0].any(dim=0)
    first = spikes[:, 0].to(torch.uint8).argmax(dim=0)
    return torch.where(any_spike, first, -1)


def race(output: StepOutput) -> tuple[Tensor, Tensor]:
    """Return first-spike times and potentials with one map per position.

    The first map that fires at a position silences all others there for the rest of the window.

    Args:
        output: Layer with pointwise competition, shapes (T, 1, C, H, W).

    Returns:
        Times (-1 = never) and potentials at them, each of shape (C, H, W).
    """
    times = first_times(output.spikes)
    fired = torch.where(times < 0, torch.iinfo(torch.int64).max, times)
    earliest = fired.amin(dim=0, keepdim=True)
    times = torch.where(fired == earliest, times, -1)
    index = times.clamp(min=0).unsqueeze(0)
    potentials = output.potential[:, 0].gather(0, index)[0]
    return times, potentials


def conv2_step(
    state: TrainingState, pool1: Tensor, config: StdpConfig
) -> tuple[TrainingState, list[Winner]]:
    """Let conv2 learn from one sample.

    Thresholds follow the weights (a share of their sum) times a homeostatic factor, and start
    low: early spikes see only part of the input, which is what makes features selective.

    Args:
        state: State before.
        pool1: Spikes of pool1, shape (T, 1, C1, H1, W1).
        config: Settings.

    Returns:
        State after, and the winners.
    """
    weights = on_grid(state.conv2)
    theta = config.conv2_share * weights.sum(dim=(1, 2, 3)) * state.factors
    theta = on_grid(theta).clamp(min=1 / 256)
    leak = on_grid(config.conv2_leak * theta)
    neurons = NeuronParams(theta, leak, competition=True)
    times, potentials = race(_scan(pool1.float(), weights, neurons))
    # Strength counts relative to the threshold, as in the competition itself.
    relative = potentials / theta.view(-1, 1, 1)
    winners = select_winners(times, relative, config.conv2_winners, config.conv2_radius)
    learnt = stdp_update(state.conv2, first_times(pool1), winners, config.a_plus, config.a_minus)
    span = config.homeostasis_range
    factors = adapt_thresholds(state.factors, winners, config.homeostasis, 1 / span, span)
    after = state._replace(
        step=state.step + 1,
        updates=state.updates + len(winners),
        silent=state.silent + (not winners),
        conv2=learnt,
        factors=factors,
    )
    return after, winners


def conv3_step(
    state: TrainingState, pool2: Tensor, config: StdpConfig
) -> tuple[TrainingState, list[Winner]]:
    """Let conv3 learn from one sample: the first class neuron that fires wins.

    Args:
        state: State before.
        pool2: Spikes of pool2, shape (T, 1, C2, H2, W2).
        config: Settings.

    Returns:
        State after, and the winner if there was one; without one the threshold relaxes.
    """
    classes = state.conv3.shape[0]
    theta = on_grid(state.theta3.float().expand(classes)).clamp(min=1 / 256)
    neurons = NeuronParams(theta, torch.zeros(classes))
    times, potentials = race(_scan(pool2.float(), on_grid(state.conv3), neurons))
    winners = select_winners(times, potentials, 1, 0)
    relax = 1.0 if winners else config.conv3_relax
    after = state._replace(
        step=state.step + 1,
        updates=state.updates + len(winners),
        silent=state.silent + (not winners),
        conv3=stdp_update(state.conv3, first_times(pool2), winners, config.a_plus, config.a_minus),
        theta3=state.theta3 * relax,
    )
    return after, winners


def peak_potential(pool2: Tensor, weights: Tensor) -> Tensor:
    """Return the largest potential conv3 would reach without ever firing, shape (classes,).

    Args:
        pool2: Spikes of pool2, shape (T, 1, C2, H2, W2).
        weights: Weights of conv3.
    """
    charge = currents(pool2.float().sum(dim=0), on_grid(weights))
    return charge[0].amax(dim=(1, 2))


def calibrated_threshold(peaks: Iterable[Tensor], quantile: float) -> float:
    """Return the threshold of conv3: a share of the median peak over samples.

    A threshold from the sum of the weights cannot work here: a window brings only a small and
    data-dependent part of 36 x 49 inputs.
    """
    values = torch.stack([peak.max() for peak in peaks])
    return max(1 / 256, round(quantile * float(values.median()) * 256) / 256)
