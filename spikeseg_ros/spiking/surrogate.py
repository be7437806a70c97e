# SPDX-License-Identifier: Apache-2.0
"""Neurons that learn by gradients, as pure functions: (current, potential) -> (spikes, potential).

Leaky neuron with a binary spike ('lif'), potential u in front of the reset, r behind it::

    u_t = decay * r_{t-1} + x_t
    s_t = 1[u_t > threshold]
    r_t = u_t * (1 - s_t)                       hard reset, no gradient through s_t

    ds/du = 1[|u - threshold| < width]          rectangular surrogate

Neuron with an integer spike count ('integer', I-LIF)::

    u_t = decay * r_{t-1} + x_t
    k_t = round(clamp(u_t, 0, levels))          half to even
    r_t = u_t - k_t                             soft reset, no gradient through k_t
    s_t = k_t / levels

    ds/du = 1[0 <= u <= levels] / levels

A spike count k stands for k binary spikes in `levels` sub-steps: a convolution of s is the sum
of the convolutions of the binary maps 1[k > d], d = 0 .. levels - 1, divided by levels.

Sources: Wu et al. 2018 (rectangular surrogate), Luo et al. 2024 (integer training, spike-driven
inference).
"""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from spikeseg_ros.spiking.neurons import NeuronError
from spikeseg_ros.spiking.surrogate_kernels import (
    count_backward,
    count_forward,
    relaxed_forward,
    scan_forward,
    supports,
)

if TYPE_CHECKING:
    from types import ModuleType

KINDS = ('integer', 'lif')
MAX_LEVELS = 255


class SurrogateParams(NamedTuple):
    """Parameters of all neurons of a layer.

    Attributes:
        kind: 'integer' (spike counts) or 'lif' (binary spikes).
        decay: Share of the potential that is left in the next step, 0 .. 1.
        threshold: Potential above which 'lif' fires, > 0.
        width: Distance from the threshold within which 'lif' passes gradients, > 0.
        levels: Largest spike count of 'integer'.
    """

    kind: str = 'integer'
    decay: float = 0.25
    threshold: float = 0.5
    width: float = 0.5
    levels: int = 4

    @property
    def sub_steps(self) -> int:
        """Binary sub-steps that a spike of this neuron stands for."""
        return self.levels if self.kind == 'integer' else 1


def check_surrogate(params: SurrogateParams) -> None:
    """Refuse parameters that no neuron can run with.

    Raises:
        NeuronError: Unknown kind, or a value out of its range.
    """
    if params.kind not in KINDS:
        msg = f'Unknown neuron {params.kind!r}; use one of {", ".join(KINDS)}.'
        raise NeuronError(msg)
    good = {
        'decay': 0 <= params.decay <= 1,
        'threshold': 0 < params.threshold < float('inf'),
        'width': 0 < params.width < float('inf'),
        'levels': 1 <= params.levels <= MAX_LEVELS,
    }
    for name, fine in good.items():
        if not fine:
            msg = f'{name} of the neurons is out of range: {getattr(params, name)!r}.'
            raise NeuronError(msg)


@functools.cache
def _triton() -> ModuleType | None:
    """Return the kernels for GPUs, None where triton is not installed."""
    if importlib.util.find_spec('triton') is None:
        return None
    return importlib.import_module('spikeseg_ros.spiking.surrogate_triton')


def _kernels_for(currents: Tensor) -> ModuleType | None:
    """Return the kernels for currents (T, ...) on a GPU, None where they cannot be used."""
    kernels = _triton() if currents.device.type == 'cuda' else None
    return kernels if kernels is not None and kernels.supports(currents) else None


def _spike_type(currents: Tensor) -> torch.dtype:
    """Return the type that the next convolution on a GPU wants."""
    return _autocast_type('cuda') or currents.dtype


def _autocast_type(device: str) -> torch.dtype | None:
    """Return the type that autocast asks for on 'cpu' or 'cuda', None where it is off."""
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None


class _Threshold(torch.autograd.Function):
    """1[u > threshold] with a rectangular surrogate gradient."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, params: SurrogateParams) -> Tensor:
        ctx.save_for_backward((potential - params.threshold).abs() < params.width)
        return (potential > params.threshold).to(potential.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.saved_tensors[0], None


class _Count(torch.autograd.Function):
    """round(clamp(u, 0, levels)) / levels; the gradient is that without the rounding."""

    @staticmethod
    def forward(ctx: Any, potential: Tensor, levels: int, rounding: float) -> Tensor:
        ctx.levels, ctx.kind = levels, potential.dtype
        if rounding == 1 and supports(potential):
            half = _autocast_type('cpu') == torch.bfloat16
            spikes, passing = count_forward(potential, levels, ctx.needs_input_grad[0], half)
            ctx.save_for_backward(passing)
            return spikes
        kernels = _kernels_for(potential[None]) if rounding == 1 else None
        if kernels is not None:
            params, learn = SurrogateParams(levels=levels), ctx.needs_input_grad[0]
            kind = _spike_type(potential)
            spikes, _, passing = kernels.scan_forward(
                potential[None], None, params, learn=learn, keep=False, kind=kind
            )
            ctx.save_for_backward(passing[0] if learn else None)
            counts: Tensor = spikes[0]
            return counts
        if supports(potential):
            spikes, passing = relaxed_forward(potential, levels, rounding)
            ctx.save_for_backward(passing)
            return spikes
        clamped = potential.clamp(0, levels)
        ctx.save_for_backward(clamped == potential)
        if rounding == 1:
            return clamped.round_().div_(levels)
        return torch.lerp(clamped, clamped.round(), rounding).div_(levels)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (passing,) = ctx.saved_tensors
        if passing.device.type == 'cpu' and passing.ndim == 4 and grads[0].dtype != torch.float64:
            return count_backward(grads[0], passing, ctx.levels), None, None
        return grads[0].to(ctx.kind) * passing / ctx.levels, None, None


def spike_count(potential: Tensor, levels: int, rounding: float = 1.0) -> Tensor:
    """Return k / levels of integer neurons without a past.

    Args:
        potential: u, any shape, floating point.
        levels: Largest count.
        rounding: 1 = spikes; below 1 the counts are mixed with the clamped potential, which
            only the start of a training uses.
    """
    result: Tensor = _Count.apply(potential, levels, rounding)  # type: ignore[no-untyped-call]
    return result


def surrogate_step(
    current: Tensor, potential: Tensor, params: SurrogateParams
) -> tuple[Tensor, Tensor]:
    """Advance a layer by one step. This is the definition, differentiable by autograd.

    Args:
        current: x, any shape, floating point.
        potential: r after the previous step, same shape; zeros at rest.
        params: Parameters of the layer.

    Returns:
        Spikes s (0 or 1, or k / levels) and the new r.
    """
    u = params.decay * potential + current
    if params.kind == 'lif':
        spikes: Tensor = _Threshold.apply(u, params)  # type: ignore[no-untyped-call]
        return spikes, u * (1 - spikes.detach())
    spikes = spike_count(u, params.levels)
    return spikes, u - spikes.detach() * params.levels


def surrogate_scan(
    currents: Tensor, potential: Tensor, params: SurrogateParams
) -> tuple[Tensor, Tensor]:
    """Advance a layer by T steps, step by step: the definition of `surrogate_scan_fused`.

    Args:
        currents: x, shape (T, ...), floating point.
        potential: r in front of the first step, shape (...).
        params: Parameters of the layer.

    Returns:
        Spikes, shape (T, ...), and r after the last step.
    """
    spikes = []
    for current in currents:
        spike, potential = surrogate_step(current, potential, params)
        spikes.append(spike)
    return torch.stack(spikes), potential


def _scan_plain(
    currents: Tensor, u: Tensor, params: SurrogateParams, learn: bool
) -> tuple[Tensor, Tensor]:
    """Do what `scan_forward` does, on any device and in any precision."""
    spikes = torch.empty_like(currents)
    passing = torch.empty_like(currents if learn else currents[:0], dtype=torch.bool)
    for t in range(currents.shape[0]):
        spike = spikes[t]
        u.mul_(params.decay).add_(currents[t])
        if params.kind == 'lif':
            torch.gt(u, params.threshold, out=spike)
            if learn:
                torch.lt((u - params.threshold).abs_(), params.width, out=passing[t])
            u.masked_fill_(spike != 0, 0)
        else:
            torch.clamp(u, 0, params.levels, out=spike)
            if learn:
                torch.eq(spike, u, out=passing[t])
            u.sub_(spike.round_())
            spike.div_(params.levels)
    return spikes, passing


class _Scan(torch.autograd.Function):
    """T steps as one node of the graph that keeps two bits for each value."""

    @staticmethod
    def forward(
        ctx: Any, currents: Tensor, potential: Tensor | None, params: SurrogateParams
    ) -> tuple[Tensor, Tensor]:
        learn = any(ctx.needs_input_grad[:2])
        kernels = _kernels_for(currents)
        ctx.rested = potential is None
        if kernels is not None:
            kind = _spike_type(currents)
            spikes, u, passing = kernels.scan_forward(
                currents, potential, params, learn=learn, kind=kind
            )
        else:
            u = torch.empty_like(currents[0])
            if potential is None:
                u.zero_()
            else:
                u.copy_(potential)
            scan = scan_forward if supports(u) else _scan_plain
            spikes, passing = scan(currents, u, params, learn)
        if learn:
            fired = spikes != 0 if params.kind == 'lif' else passing
            ctx.save_for_backward(passing, fired)
            ctx.params = params
        return spikes, u

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor | None, None]:
        passing, fired = ctx.saved_tensors
        params: SurrogateParams = ctx.params
        grad_spikes, flow = grads
        kernels = _kernels_for(passing) if grad_spikes.dtype != torch.float64 else None
        if kernels is not None:
            result, flow = kernels.scan_backward(grad_spikes, flow, passing, fired, params)
            return result, None if ctx.rested else flow, None
        scale = 1.0 if params.kind == 'lif' else 1.0 / params.levels
        result = torch.empty_like(grad_spikes)
        flow = flow.clone()
        for t in range(grad_spikes.shape[0] - 1, -1, -1):
            # flow is the gradient with respect to r_t; the reset lets it pass where none fired.
            if params.kind == 'lif':
                flow = flow.masked_fill(fired[t], 0)
            flow = flow + grad_spikes[t] * passing[t] * scale
            result[t] = flow
            flow = flow * params.decay
        return result, None if ctx.rested else flow, None


def surrogate_scan_fused(
    currents: Tensor, potential: Tensor | None, params: SurrogateParams
) -> tuple[Tensor, Tensor]:
    """Advance a layer by T steps in one node of the graph; equal to `surrogate_scan`.

    Args:
        currents: x, shape (T, ...), floating point.
        potential: r in front of the first step, shape (...); at rest where None.
        params: Parameters of the layer.

    Returns:
        Spikes, shape (T, ...), and r after the last step.
    """
    result: tuple[Tensor, Tensor] = _Scan.apply(currents, potential, params)  # type: ignore[no-untyped-call]
    return result
