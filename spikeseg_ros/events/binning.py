# SPDX-License-Identifier: Apache-2.0
"""Events and images to spike volumes, the input of the network.

Volumes are channels-last, shape (T, H, W, P), uint8: small, and cheap to fill event by event.
With two polarities channel 0 holds OFF and channel 1 ON events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

from spikeseg_ros.events.errors import EventError

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events

MODES = ('binary', 'count')
_MAX_VOXELS = 1 << 33


def bin_events(
    events: Events,
    t_start: int,
    t_end: int,
    steps: int,
    height: int,
    width: int,
    polarities: int = 2,
    min_events: int = 1,
    mode: str = 'binary',
    *,
    reference: bool = False,
) -> NDArray[np.uint8]:
    """Sort events into time steps and pixels.

    An event at time t falls into step floor((t - t_start) T / (t_end - t_start)), computed
    exactly. Events outside the window or the geometry are left out.

    Args:
        events: Events, ordered by time for speed; any order is counted right.
        t_start: Begin of the window [ns].
        t_end: End of the window, exclusive [ns].
        steps: Time steps T.
        height: Rows H [px].
        width: Columns W [px].
        polarities: 2 = OFF and ON in channels of their own; 1 = merged.
        min_events: Fewer events than this in one voxel count as none (noise).
        mode: 'binary' for 0 and 1, 'count' for numbers of events (at most 255).
        reference: Use the plain numpy definition.

    Returns:
        Volume of shape (T, H, W, P), uint8.

    Raises:
        EventError: An argument is not usable.
    """
    shape = (steps, height, width, polarities)
    _check(shape, t_start, t_end, min_events, mode)
    if reference:
        return _bin_plain(events, t_start, t_end, shape, min_events, mode)
    # First nanosecond of every step, so that no event needs a division.
    edges = np.array([_ceil_div(k * (t_end - t_start), steps) for k in range(steps + 1)], np.int64)
    volume = np.zeros(shape, np.uint8)
    x, y, p, t = _frozen(events)
    if mode == 'binary' and min_events == 1:
        _set_kernel(x, y, p, t, t_start, edges, volume)
    else:
        _count_kernel(x, y, p, t, t_start, edges, volume)
        if mode == 'binary':
            np.greater_equal(volume, min_events, out=volume.view(np.bool_))
        elif min_events > 1:
            volume[volume < min_events] = 0
    return volume


def to_tensor(volume: NDArray[np.uint8], device: Any = None) -> torch.Tensor:
    """Return a volume (T, H, W, P) as the dense input of a network.

    Args:
        volume: Volume of bin_events or latency_code.
        device: Torch device; the bytes travel there before they become floats.

    Returns:
        Tensor of shape (T, 1, P, H, W), float32, laid out channels-last in memory.
    """
    import torch

    tensor = torch.from_numpy(np.ascontiguousarray(volume))
    return tensor.to(device).to(torch.float32).permute(0, 3, 1, 2).unsqueeze(1)


def latency_code(image: NDArray[Any], steps: int) -> NDArray[np.uint8]:
    """Turn an image into spikes by rank order: the strongest values fire first.

    The values above zero are ranked (equal ones by position) and cut into T bins whose sizes
    differ by one at most; each fires once, zeros never (Kheradpisheh et al., 2018, section 2.1).

    Args:
        image: Intensities or filter responses, shape (H, W) or (H, W, P); values at or below
            zero are silent, and so is what is not finite.
        steps: Time steps T.

    Returns:
        Volume of shape (T, H, W, P), uint8; P = 1 for an image of shape (H, W).

    Raises:
        EventError: The shape is no image or steps is not positive.
    """
    if image.ndim not in (2, 3) or image.size == 0 or steps < 1:
        msg = f'Expected an image (H, W[, P]) and steps >= 1, got {image.shape!r} and {steps!r}.'
        raise EventError(msg)
    planes = image if image.ndim == 3 else image[:, :, None]
    values = planes.reshape(-1)
    volume = np.zeros((steps, values.size), np.uint8)
    active = np.flatnonzero((values > 0) & np.isfinite(values))
    # Reversed ascending stable sort: works for unsigned types, which cannot be negated.
    order = active[::-1][np.argsort(values[active][::-1], kind='stable')][::-1]
    step = np.arange(order.size) * steps // max(1, order.size)
    volume[step, order] = 1
    return volume.reshape(steps, *planes.shape)


def _check(
    shape: tuple[int, int, int, int], t_start: int, t_end: int, min_events: int, mode: str
) -> None:
    """Raise EventError where no volume can be made."""
    if min(shape) < 1 or shape[3] > 2 or np.prod(shape, dtype=float) > _MAX_VOXELS:
        msg = f'Volume (steps, height, width, polarities) {shape!r} is empty or too large.'
        raise EventError(msg)
    if t_end <= t_start:
        msg = f'Window ends at {t_end!r} ns, not after its start {t_start!r} ns.'
        raise EventError(msg)
    if not 1 <= min_events <= 255:
        msg = f'min_events {min_events!r} is not in 1 .. 255.'
        raise EventError(msg)
    if mode not in MODES:
        msg = f'Unknown mode {mode!r}; known are {MODES!r}.'
        raise EventError(msg)


def _ceil_div(a: int, b: int) -> int:
    """Return a / b rounded up."""
    return -(-a // b)


def _frozen(events: Events) -> list[NDArray[Any]]:
    """Return the columns as contiguous read-only arrays, so that kernels are compiled once."""
    columns = []
    for column in (events.x, events.y, events.p, events.t):
        view = np.ascontiguousarray(column).view()
        view.flags.writeable = False
        columns.append(view)
    return columns


def _bin_plain(
    events: Events,
    t_start: int,
    t_end: int,
    shape: tuple[int, int, int, int],
    min_events: int,
    mode: str,
) -> NDArray[np.uint8]:
    """Define bin_events in numpy; times are exact where T (t_end - t_start) fits int64."""
    steps, height, width, polarities = shape
    inside = (events.t >= t_start) & (events.t < t_end) & (events.x < width) & (events.y < height)
    x, y, p, t = (c[inside].astype(np.int64) for c in (events.x, events.y, events.p, events.t))
    step = (t - t_start) * steps // (t_end - t_start)
    counts = np.zeros(shape, np.int64)
    np.add.at(counts, (step, y, x, (p > 0) * (polarities - 1)), 1)
    counts[counts < min_events] = 0
    return np.minimum(counts, 1 if mode == 'binary' else 255).astype(np.uint8)


@njit(cache=True, nogil=True)
def _set_kernel(
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    t: NDArray[Any],
    t_start: int,
    edges: NDArray[Any],
    volume: NDArray[Any],
) -> None:
    """Set the voxel of every event."""
    steps, height, width, polarities = volume.shape
    last = edges[steps]
    step = 0
    for i in range(t.shape[0]):
        since = t[i] - t_start
        if since < 0 or since >= last or x[i] >= width or y[i] >= height:
            continue
        while since >= edges[step + 1]:
            step += 1
        while since < edges[step]:
            step -= 1
        channel = 1 if polarities == 2 and p[i] else 0
        volume[step, y[i], x[i], channel] = 1


@njit(cache=True, nogil=True)
def _count_kernel(
    x: NDArray[Any],
    y: NDArray[Any],
    p: NDArray[Any],
    t: NDArray[Any],
    t_start: int,
    edges: NDArray[Any],
    volume: NDArray[Any],
) -> None:
    """Count the events of every voxel up to 255."""
    steps, height, width, polarities = volume.shape
    last = edges[steps]
    step = 0
    for i in range(t.shape[0]):
        since = t[i] - t_start
        if since < 0 or since >= last or x[i] >= width or y[i] >= height:
            continue
        while since >= edges[step + 1]:
            step += 1
        while since < edges[step]:
            step -= 1
        channel = 1 if polarities == 2 and p[i] else 0
        count = volume[step, y[i], x[i], channel]
        if count < 255:
            volume[step, y[i], x[i], channel] = count + 1
