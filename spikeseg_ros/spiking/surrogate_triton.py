# SPDX-License-Identifier: Apache-2.0
"""Neurons on a GPU: all time steps in one kernel, with the potential in registers.

Equal to the definition in `surrogate` bit for bit in float32: nothing is fused into a
multiply-add, divisions are rounded, and rounding is half to even. Half precision is computed in
float32 inside the kernel. Importing needs triton, which comes with torch for CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from spikeseg_ros.spiking.surrogate import SurrogateParams

BLOCK = 1024
# Adding and taking away 2 ** 23 rounds a float32 of 0 .. 2 ** 22 half to even.
_ROUND = tl.constexpr(8388608.0)
# Masks come in the layout of their currents, so that a mask answers for them.
_TYPES = (torch.float32, torch.float16, torch.bfloat16, torch.bool)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _forward(  # type: ignore[no-untyped-def]
    x_ptr,
    before_ptr,
    after_ptr,
    spikes_ptr,
    passing_ptr,
    size,
    decay,
    threshold,
    width,
    levels,
    steps: tl.constexpr,
    lif: tl.constexpr,
    learns: tl.constexpr,
    starts: tl.constexpr,
    keeps: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < size
    u = tl.zeros([block], dtype=tl.float32)
    if starts:
        u = tl.load(before_ptr + place, mask=inside, other=0.0).to(tl.float32)
    at = place
    for _ in range(steps):
        x = tl.load(x_ptr + at, mask=inside, other=0.0).to(tl.float32)
        u = u * decay + x
        if lif:
            fired = u > threshold
            spike = fired.to(tl.float32)
            if learns:
                tl.store(passing_ptr + at, tl.abs(u - threshold) < width, mask=inside)
            u = tl.where(fired, 0.0, u)
        else:
            clamped = tl.minimum(tl.maximum(u, 0.0), levels)
            count = (clamped + _ROUND) - _ROUND
            spike = tl.div_rn(count, levels)
            if learns:
                tl.store(passing_ptr + at, clamped == u, mask=inside)
            u = u - count
        tl.store(spikes_ptr + at, spike.to(spikes_ptr.dtype.element_ty), mask=inside)
        at += size
    if keeps:
        tl.store(after_ptr + place, u.to(after_ptr.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _backward(  # type: ignore[no-untyped-def]
    grad_ptr,
    flow_ptr,
    passing_ptr,
    fired_ptr,
    result_ptr,
    size,
    last,
    decay,
    scale,
    steps: tl.constexpr,
    lif: tl.constexpr,
    block: tl.constexpr,
) -> None:
    place = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    inside = place < size
    flow = tl.load(flow_ptr + place, mask=inside, other=0.0).to(tl.float32)
    at = place + last
    for _ in range(steps):
        grad = tl.load(grad_ptr + at, mask=inside, other=0.0).to(tl.float32)
        passing = tl.load(passing_ptr + at, mask=inside, other=0)
        if lif:
            fired = tl.load(fired_ptr + at, mask=inside, other=0)
            flow = tl.where(fired != 0, 0.0, flow)
        flow = flow + grad * passing.to(tl.float32) * scale
        tl.store(result_ptr + at, flow.to(result_ptr.dtype.element_ty), mask=inside)
        flow = flow * decay
        at -= size
    tl.store(flow_ptr + place, flow.to(flow_ptr.dtype.element_ty), mask=inside)


def supports(currents: Tensor) -> bool:
    """Say whether the kernels take currents (T, ...): of a usual type, without gaps in memory."""
    return currents.dtype in _TYPES and currents.numel() > 0 and _dense(currents)


def _dense(x: Tensor) -> bool:
    """Say whether the steps follow each other, each of them contiguous or channels last."""
    return x.is_contiguous() or (x.ndim == 5 and x.permute(0, 1, 3, 4, 2).is_contiguous())


def _like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Return memory in the layout of a dense tensor."""
    return torch.empty_like(x, dtype=dtype or x.dtype, memory_format=torch.preserve_format)


def _grid(size: int) -> tuple[int]:
    return (triton.cdiv(size, BLOCK),)


def scan_forward(
    currents: Tensor,
    before: Tensor | None,
    params: SurrogateParams,
    *,
    learn: bool = False,
    keep: bool = True,
    kind: torch.dtype | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Advance neurons by T steps.

    Args:
        currents: Shape (T, ...); a tensor that `supports` takes.
        before: Potentials in front of the first step; at rest where None.
        params: Parameters of the layer.
        learn: Whether the third result is wanted; otherwise it is empty.
        keep: Whether the second result is wanted; otherwise it is empty.
        kind: Type of the spikes; that of the currents where None.

    Returns:
        Spikes (T, ...), potentials behind the last step in float32, and where a gradient passes.
    """
    one = currents[0]
    spikes = _like(currents, kind)
    passing = _like(currents, torch.bool) if learn else torch.empty(0, device=one.device)
    after = _like(one, torch.float32) if keep else torch.empty(0, device=one.device)
    start = after
    if before is not None:
        start = _like(one, torch.float32).copy_(before)
    _forward[_grid(one.numel())](
        currents.detach(),
        start,
        after,
        spikes,
        passing.view(torch.uint8) if learn else passing,
        one.numel(),
        params.decay,
        params.threshold,
        params.width,
        float(params.levels),
        steps=currents.shape[0],
        lif=params.kind == 'lif',
        learns=learn,
        starts=before is not None,
        keeps=keep,
        block=BLOCK,
        enable_fp_fusion=False,
    )
    return spikes, after, passing


def scan_backward(
    grads: Tensor, flow: Tensor, passing: Tensor, fired: Tensor, params: SurrogateParams
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to currents and to the potentials in front of them.

    Args:
        grads: Gradient with respect to the spikes, shape (T, ...).
        flow: Gradient with respect to the potentials behind the last step, shape (...).
        passing: Third result of `scan_forward`.
        fired: Where 'lif' fired, bool, in the layout of `passing`; not read for 'integer'.
        params: Parameters of the layer.
    """
    # One layout for all, that of the forward pass.
    grads = torch.empty_like(passing, dtype=grads.dtype).copy_(grads)
    flow = torch.empty_like(passing[0], dtype=torch.float32).copy_(flow)
    result = torch.empty_like(passing, dtype=torch.float32)
    scale = 1.0 if params.kind == 'lif' else 1.0 / params.levels
    _backward[_grid(flow.numel())](
        grads,
        flow,
        passing.view(torch.uint8),
        fired.view(torch.uint8),
        result,
        flow.numel(),
        (grads.shape[0] - 1) * flow.numel(),
        params.decay,
        scale,
        steps=grads.shape[0],
        lif=params.kind == 'lif',
        block=BLOCK,
        enable_fp_fusion=False,
    )
    return result, flow
