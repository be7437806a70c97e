# SPDX-License-Identifier: Apache-2.0
"""Spiking neurons as pure functions: (current, state, parameters) -> (spikes, state).

One step of a neuron with potential V, input I, leak L and threshold theta::

    V <- max(V + I - L, 0)        leak_mode 'subtractive'
    V <- max((1 - L) * V + I, 0)  leak_mode 'multiplicative'
    V <- V + I                    leak_mode 'none' (integrate and fire, not clamped)
    S <- V >= theta
    V <- 0 where S                hard reset

The leak of a step counts in the step in which the current arrives, so from rest one step fires
only with I >= theta + L.

Sources: Kirkland et al. 2023 (leak as a share of the threshold), Kheradpisheh et al. 2018
(integrate and fire, one map per position).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

LEAK_MODES = ('subtractive', 'multiplicative', 'none')
MAX_STEPS = 32767


class NeuronError(ValueError):
    """A neuron cannot be built or run with these values; the text says which and what to do."""


class NeuronParams(NamedTuple):
    """Parameters of one layer of neurons.

    Attributes:
        threshold: theta by map, shape (C,), float32, > 0.
        leak: Leak by map, shape (C,), float32; a share 0 .. 1 in mode 'multiplicative'.
        leak_mode: 'subtractive', 'multiplicative' or 'none'.
        fire_once: A neuron that has fired stays at rest until the state is renewed.
        competition: Of the maps that reach their threshold at a position only the one with the
            largest V / theta fires (ties: lowest index), and all maps there are reset.
    """

    threshold: Tensor
    leak: Tensor
    leak_mode: str = 'subtractive'
    fire_once: bool = False
    competition: bool = False

    def to(self, device: torch.device) -> NeuronParams:
        """Return the parameters on a device."""
        return self._replace(threshold=self.threshold.to(device), leak=self.leak.to(device))


class NeuronState(NamedTuple):
    """State of one layer of neurons.

    Attributes:
        v: Potentials, shape (B, C, H, W), float32.
        since: Step from which on the charge in v counts, shape (B, C, H, W), int16.
        fired: Whether the neuron has fired, shape (B, C, H, W), bool; only for fire_once.
    """

    v: Tensor
    since: Tensor
    fired: Tensor

    def next_window(self, renew_fired: bool = False) -> NeuronState:
        """Return the state in front of the next window, whose steps count from 0 again.

        Charge from earlier windows counts as present since step 0, because their record is gone.

        Args:
            renew_fired: Let neurons that fire once fire again.
        """
        fired = torch.zeros_like(self.fired) if renew_fired else self.fired
        return NeuronState(self.v, torch.zeros_like(self.since), fired)


class StepOutput(NamedTuple):
    """What one step, or a scan of T steps, of a layer produced.

    Attributes:
        spikes: Shape (B, C, H, W) or (T, B, C, H, W), bool.
        potential: V before the reset, same shape, float32.
        since: First step whose charge is in V, same shape, int16.
    """

    spikes: Tensor
    potential: Tensor
    since: Tensor


def check_params(params: NeuronParams) -> None:
    """Refuse parameters that no neuron can run with.

    Raises:
        NeuronError: Unknown leak mode, a threshold <= 0, a leak out of range, or unequal shapes.
    """
    if params.leak_mode not in LEAK_MODES:
        msg = f'Unknown leak_mode {params.leak_mode!r}; use one of {", ".join(LEAK_MODES)}.'
        raise NeuronError(msg)
    if params.threshold.ndim != 1 or params.threshold.shape != params.leak.shape:
        msg = (
            f'threshold and leak need one value for each map, got shapes '
            f'{tuple(params.threshold.shape)!r} and {tuple(params.leak.shape)!r}.'
        )
        raise NeuronError(msg)
    if not bool((torch.isfinite(params.threshold) & (params.threshold > 0)).all()):
        msg = f'Thresholds must be finite and > 0, got {params.threshold.tolist()!r}.'
        raise NeuronError(msg)
    high = 1.0 if params.leak_mode == 'multiplicative' else float('inf')
    if not bool((torch.isfinite(params.leak) & (params.leak >= 0) & (params.leak <= high)).all()):
        msg = f'Leaks must be finite and within 0 .. {high}, got {params.leak.tolist()!r}.'
        raise NeuronError(msg)


def initial_state(
    shape: tuple[int, int, int, int], device: torch.device | str = 'cpu'
) -> NeuronState:
    """Return neurons at rest.

    Args:
        shape: (B, C, H, W).
        device: Device of the tensors.
    """
    return NeuronState(
        torch.zeros(shape, device=device),
        torch.zeros(shape, dtype=torch.int16, device=device),
        torch.zeros(shape, dtype=torch.bool, device=device),
    )


def _by_map(values: Tensor) -> Tensor:
    """Shape values by map so that they broadcast over (B, C, H, W)."""
    return values.view(1, -1, 1, 1)


def neuron_step(
    current: Tensor, state: NeuronState, params: NeuronParams, t: int
) -> tuple[StepOutput, NeuronState]:
    """Advance a layer by one step. This is the definition; nothing is changed in place.

    Args:
        current: Input currents, shape (B, C, H, W), float32.
        state: State after the previous step.
        params: Parameters of the layer.
        t: Number of the step within the window.

    Returns:
        Spikes, potentials before the reset and start of their charge; and the new state.
    """
    theta, leak = _by_map(params.threshold), _by_map(params.leak)
    since = torch.where(state.v == 0, torch.full_like(state.since, t), state.since)
    if params.leak_mode == 'subtractive':
        v = torch.clamp(state.v + current - leak, min=0)
    elif params.leak_mode == 'multiplicative':
        v = torch.clamp(state.v * (1 - leak) + current, min=0)
    else:
        v = state.v + current
    if params.fire_once:
        v = torch.where(state.fired, torch.zeros_like(v), v)
    spikes = v >= theta
    reset = spikes
    if params.competition:
        spikes = strongest_map(spikes, v, params.threshold)
        reset = spikes.any(dim=1, keepdim=True).expand_as(spikes)
    after = NeuronState(
        torch.where(reset, torch.zeros_like(v), v),
        since,
        state.fired | spikes if params.fire_once else state.fired,
    )
    return StepOutput(spikes, v, since), after


def strongest_map(spikes: Tensor, potential: Tensor, threshold: Tensor) -> Tensor:
    """Keep at each position only the spike with the largest V / theta; ties: lowest map.

    Args:
        spikes: Shape (B, C, H, W), bool.
        potential: V before the reset, same shape.
        threshold: theta by map, shape (C,).

    Source: Kheradpisheh et al. 2018, lateral inhibition between maps.
    """
    ratio = (potential / _by_map(threshold)).masked_fill(~spikes, -1.0)
    winner = ratio.argmax(dim=1, keepdim=True)
    return torch.zeros_like(spikes).scatter_(1, winner, True) & spikes


def neuron_scan(
    currents: Tensor, state: NeuronState, params: NeuronParams
) -> tuple[StepOutput, NeuronState]:
    """Advance a layer by T steps, step by step: the definition of `neuron_scan_`.

    Args:
        currents: Input currents, shape (T, B, C, H, W), float32.
        state: State in front of the window.
        params: Parameters of the layer.

    Returns:
        What happened in every step, stacked; and the state after the last step.
    """
    outputs = []
    for t, current in enumerate(currents):
        output, state = neuron_step(current, state, params, t)
        outputs.append(output)
    spikes, potential, since = (torch.stack(column) for column in zip(*outputs, strict=True))
    return StepOutput(spikes, potential, since), state


def neuron_scan_(
    currents: Tensor, state: NeuronState, params: NeuronParams
) -> tuple[StepOutput, NeuronState]:
    """Advance a layer by T steps, overwriting the currents with the potentials.

    Equal to `neuron_scan` bit for bit, with one pass of memory for each operation.

    Args:
        currents: Input currents, shape (T, B, C, H, W), float32; becomes the potentials.
        state: State in front of the window; not changed.
        params: Parameters of the layer.
    """
    theta, leak = _by_map(params.threshold), _by_map(params.leak)
    # The layout of the currents, so that every pass below runs over memory in order.
    v, since = torch.empty_like(currents[0]), torch.empty_like(currents[0], dtype=torch.int16)
    v.copy_(state.v)
    since.copy_(state.since)
    fired = state.fired
    spikes = torch.empty_like(currents, dtype=torch.bool)
    starts = torch.empty_like(currents, dtype=torch.int16)
    for t in range(currents.shape[0]):
        current, spike = currents[t], spikes[t]
        since.masked_fill_(v == 0, t)
        starts[t] = since
        if params.leak_mode == 'subtractive':
            v.add_(current).sub_(leak).clamp_(min=0)
        elif params.leak_mode == 'multiplicative':
            v.mul_(1 - leak).add_(current).clamp_(min=0)
        else:
            v.add_(current)
        if params.fire_once:
            v.masked_fill_(fired, 0)
        current.copy_(v)
        torch.ge(v, theta, out=spike)
        reset = spike
        if params.competition:
            spike.copy_(strongest_map(spike, v, params.threshold))
            reset = spike.any(dim=1, keepdim=True)
        v.masked_fill_(reset, 0)
        if params.fire_once:
            fired = fired | spike
    return StepOutput(spikes, currents, starts), NeuronState(v, since, fired)
