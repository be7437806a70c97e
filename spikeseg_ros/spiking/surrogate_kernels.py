# SPDX-License-Identifier: Apache-2.0
"""Integer neurons on the CPU in one pass over memory; equal to the plain definition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numba import njit
from torch import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    from spikeseg_ros.spiking.surrogate import SurrogateParams

    Floats = npt.NDArray[np.float32]
    Bits16 = npt.NDArray[np.int16]
    Bools = npt.NDArray[np.bool_]


_BLOCK = 4096  # values whose state stays in the cache while time runs


@njit(nogil=True, cache=True)
def _count(x: Floats, levels: np.float32, out: Floats) -> None:
    for i in range(x.size):
        out[i] = np.rint(min(max(x[i], np.float32(0)), levels)) / levels


@njit(nogil=True, cache=True)
def _count_passing(x: Floats, levels: np.float32, out: Floats, passing: Bools) -> None:
    for i in range(x.size):
        clamped = min(max(x[i], np.float32(0)), levels)
        passing[i] = clamped == x[i]
        out[i] = np.rint(clamped) / levels


@njit(nogil=True, cache=True)
def _count_relaxed(
    x: Floats, levels: np.float32, rounding: np.float32, out: Floats, passing: Bools
) -> None:
    for i in range(x.size):
        clamped = min(max(x[i], np.float32(0)), levels)
        passing[i] = clamped == x[i]
        out[i] = (clamped + rounding * (np.rint(clamped) - clamped)) / levels


@njit(nogil=True, cache=True)
def _count_half(x: Floats, levels: np.float32, table: Bits16, out: Bits16, passing: Bools) -> None:
    for i in range(x.size):
        clamped = min(max(x[i], np.float32(0)), levels)
        passing[i] = clamped == x[i]
        out[i] = table[int(np.rint(clamped))]


@njit(nogil=True, cache=True)
def _pass(grad: Floats, passing: Bools, levels: np.float32, out: Floats) -> None:
    for i in range(grad.size):
        out[i] = grad[i] / levels if passing[i] else np.float32(0)


@njit(nogil=True, cache=True)
def _scan_lif(
    x: Floats,
    u: Floats,
    decay: np.float32,
    threshold: np.float32,
    width: np.float32,
    spikes: Floats,
    passing: Bools,
) -> None:
    learn = passing.size > 0
    for begin in range(0, u.size, _BLOCK):
        end = min(begin + _BLOCK, u.size)
        for t in range(x.shape[0]):
            for i in range(begin, end):
                v = u[i] * decay + x[t, i]
                fired = v > threshold
                spikes[t, i] = np.float32(1) if fired else np.float32(0)
                u[i] = np.float32(0) if fired else v
                if learn:
                    passing[t, i] = abs(v - threshold) < width


@njit(nogil=True, cache=True)
def _scan_count(
    x: Floats,
    u: Floats,
    decay: np.float32,
    levels: np.float32,
    spikes: Floats,
    passing: Bools,
) -> None:
    learn = passing.size > 0
    for begin in range(0, u.size, _BLOCK):
        end = min(begin + _BLOCK, u.size)
        for t in range(x.shape[0]):
            for i in range(begin, end):
                v = u[i] * decay + x[t, i]
                clamped = min(max(v, np.float32(0)), levels)
                count = np.rint(clamped)
                spikes[t, i] = count / levels
                u[i] = v - count
                if learn:
                    passing[t, i] = clamped == v


def supports(x: Tensor) -> bool:
    """Say whether the kernels take a tensor: float32 on the CPU, in one of the usual layouts."""
    return (
        x.device.type == 'cpu'
        and x.dtype == torch.float32
        and (x.is_contiguous() or (x.ndim == 4 and _last(x)))
    )


def _last(x: Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def _flat(x: Tensor) -> Tensor:
    """Return the values in the order of memory, without a copy."""
    return x.view(-1) if x.is_contiguous() else x.permute(0, 2, 3, 1).reshape(-1)


def count_forward(x: Tensor, levels: int, learn: bool, half: bool) -> tuple[Tensor, Tensor | None]:
    """Return round(clamp(x, 0, levels)) / levels and where a gradient passes.

    Args:
        x: A tensor that `supports` takes.
        levels: Largest spike count.
        learn: Whether the second result is wanted; otherwise it is None.
        half: Return bfloat16, which the next convolution wants in mixed precision.
    """
    values = _flat(x.detach()).numpy()
    top = np.float32(levels)
    if half:
        spikes = torch.empty_like(x, dtype=torch.bfloat16)
        passing = torch.empty_like(x, dtype=torch.bool)
        table = (torch.arange(levels + 1) / levels).to(torch.bfloat16).view(torch.int16)
        bits = _flat(spikes).view(torch.int16).numpy()
        _count_half(values, top, table.numpy(), bits, _flat(passing).numpy())
        return spikes, passing
    spikes = torch.empty_like(x)
    if not learn:
        _count(values, top, _flat(spikes).numpy())
        return spikes, None
    passing = torch.empty_like(x, dtype=torch.bool)
    _count_passing(values, top, _flat(spikes).numpy(), _flat(passing).numpy())
    return spikes, passing


def scan_forward(
    currents: Tensor, u: Tensor, params: SurrogateParams, learn: bool
) -> tuple[Tensor, Tensor]:
    """Advance neurons by T steps.

    Args:
        currents: Shape (T, ...), each step a tensor that `supports` takes.
        u: Potentials in front of the first step, in the layout of a step; overwritten with those
            behind the last one.
        params: Parameters of the layer.
        learn: Whether the second result is wanted; otherwise it is empty.

    Returns:
        Spikes and where a gradient passes, both of the shape of the currents.
    """
    spikes = torch.empty_like(currents)
    passing = torch.empty_like(currents if learn else currents[:0], dtype=torch.bool)
    x, out, state = _rows(currents.detach()), _rows(spikes), _flat(u).numpy()
    mask, decay = _rows(passing), np.float32(params.decay)
    if params.kind == 'lif':
        threshold, width = np.float32(params.threshold), np.float32(params.width)
        _scan_lif(x, state, decay, threshold, width, out, mask)
    else:
        _scan_count(x, state, decay, np.float32(params.levels), out, mask)
    return spikes, passing


def _rows(x: Tensor) -> npt.NDArray[Any]:
    """Return the values of each step in the order of memory, shape (T, N), without a copy."""
    flat = x if x.is_contiguous() else x.permute(0, 1, 3, 4, 2)
    return flat.view(x.shape[0], x[0].numel() if len(x) else 0).numpy()


def relaxed_forward(x: Tensor, levels: int, rounding: float) -> tuple[Tensor, Tensor]:
    """Return clamped potentials on their way to spike counts, and where a gradient passes.

    Args:
        x: A tensor that `supports` takes.
        levels: Largest spike count.
        rounding: Share of the rounding that is done, 0 .. 1.
    """
    spikes, passing = torch.empty_like(x), torch.empty_like(x, dtype=torch.bool)
    values, out, mask = _flat(x.detach()).numpy(), _flat(spikes).numpy(), _flat(passing).numpy()
    _count_relaxed(values, np.float32(levels), np.float32(rounding), out, mask)
    return spikes, passing


def count_backward(grad: Tensor, passing: Tensor, levels: int) -> Tensor:
    """Return grad / levels where `passing`, else 0, as float32.

    Args:
        grad: float32 or bfloat16.
        passing: Second result of `count_forward`.
        levels: Largest spike count.
    """
    layout = torch.contiguous_format if passing.is_contiguous() else torch.channels_last
    grad = grad.float().contiguous(memory_format=layout)
    result = torch.empty_like(passing, dtype=torch.float32)
    mask = _flat(passing).numpy()
    _pass(_flat(grad).numpy(), mask, np.float32(levels), _flat(result).numpy())
    return result
