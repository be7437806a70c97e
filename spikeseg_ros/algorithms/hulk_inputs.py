# SPDX-License-Identifier: Apache-2.0
"""From the tensors of an encoder to the record that HULK traces, and the network it needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from spikeseg_ros.algorithms.errors import HULKConfigError, HULKRuntimeError
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

Array = torch.Tensor | NDArray[Any]
Size = Sequence[int]
Starts = Mapping[str, Array] | Sequence[Array | None]
START_LAYERS = ('pool1', 'pool2', 'conv3')


@dataclass(frozen=True)
class WindowTensors:
    """One window as the published API hands it over.

    Attributes:
        spikes: Class spikes, shape (T, C, H, W) or (T, B, C, H, W).
        pool1: Flat indices of pool1, shape (B, C, H', W') or (T, B, C, H', W').
        pool2: Flat indices of pool2, likewise.
        pool1_size: Size of the map in front of pool1, (..., H, W), or None.
        pool2_size: Size of the map in front of pool2, (..., H, W), or None.
        n_timesteps: Number of steps to be checked, or None.
        inputs: Input spikes, shape (T, C, H, W) or (T, B, C, H, W), or None.
        starts: First steps of the charge, by layer or in the order of START_LAYERS, or None.
        potential: Potential / threshold in the shape of the class spikes, or None.
    """

    spikes: Array
    pool1: Array
    pool2: Array
    pool1_size: Size | None = None
    pool2_size: Size | None = None
    n_timesteps: int | None = None
    inputs: Array | None = None
    starts: Starts | None = None
    potential: Array | None = None


def traces_from_tensors(
    tensors: WindowTensors,
    geometry_of: Callable[[int, int], ChainGeometry],
    mode: str | None = None,
) -> tuple[list[SpikeTrace], str]:
    """Return the record of every batch item, and the mode they allow.

    Args:
        tensors: The window.
        geometry_of: Sizes of the chain for an input of height x width.
        mode: 'causal' or 'weights'; None takes 'causal' where the indices are per step.

    Raises:
        HULKRuntimeError: Shapes or indices do not fit the chain or each other.
    """
    spikes = _batched(tensors.spikes, 'classification_spikes')
    steps, items = spikes.shape[:2]
    if tensors.n_timesteps is not None and tensors.n_timesteps != steps:
        msg = f'n_timesteps is {tensors.n_timesteps!r}, but the spikes have {steps} steps.'
        raise HULKRuntimeError(msg)
    pools = [_by_step(tensors.pool1, 'pool1_indices'), _by_step(tensors.pool2, 'pool2_indices')]
    per_step = tensors.pool1.ndim == tensors.pool2.ndim == 5
    per_step = per_step and all(pool.shape[0] == steps for pool in pools)
    mode = mode or ('causal' if per_step else 'weights')
    if mode == 'causal' and not per_step:
        msg = (
            f'Mode {mode!r} needs pooling indices of every step, shape ({steps}, B, C, H, W), got '
            f'{tuple(tensors.pool1.shape)!r} and {tuple(tensors.pool2.shape)!r}; use '
            "mode='weights'."
        )
        raise HULKRuntimeError(msg)
    inputs = None if tensors.inputs is None else _batched(tensors.inputs, 'input_spikes')
    optional = _starts(tensors.starts)
    if tensors.potential is not None:
        optional['potential'] = _batched(tensors.potential, 'potential')

    height, width = _map_size(tensors.pool1_size, inputs, pools[0], geometry_of(64, 64))
    geometry = geometry_of(height, width)
    class_shape = (items, geometry.channels[3], *geometry.pool2_size)
    pool1_shape = (items, geometry.channels[1], *geometry.pool1_size)
    pool2_shape = (items, geometry.channels[2], *geometry.pool2_size)
    _check_shape('classification_spikes', spikes, steps, class_shape)
    _check_shape('pool1_indices', pools[0], pools[0].shape[0], pool1_shape)
    _check_shape('pool2_indices', pools[1], pools[1].shape[0], pool2_shape)
    if any(pool.shape[0] not in (1, steps) for pool in pools):
        counts = [pool.shape[0] for pool in pools]
        msg = f'Pooling indices of {counts!r} steps do not fit spikes of {steps} steps.'
        raise HULKRuntimeError(msg)
    if tensors.pool2_size is not None and tuple(tensors.pool2_size[-2:]) != geometry.pool1_size:
        msg = (
            f'pool2_output_size {tuple(tensors.pool2_size)!r} does not fit pool1_output_size: '
            f'pool1 of {height} x {width} gives {geometry.pool1_size!r}.'
        )
        raise HULKRuntimeError(msg)
    if inputs is not None:
        _check_shape('input_spikes', inputs, steps, (items, geometry.channels[0], height, width))
    shapes = {'pool1': pool1_shape, 'pool2': pool2_shape}
    for name, values in optional.items():
        _check_shape(name, values, steps, shapes.get(name, class_shape))
    traces = [_trace(geometry, spikes, pools, inputs, optional, item) for item in range(items)]
    return traces, mode


def checked_weights(weights: Array, name: str) -> NDArray[np.float32]:
    """Return the weights of a convolution, shape (out, in, kernel, kernel), as a float32 copy.

    Raises:
        HULKConfigError: The shape is another one, the kernel is even, or a value is not finite.
    """
    values = np.array(_to_numpy(weights), np.float32, order='C')
    if values.ndim != 4 or values.shape[2] != values.shape[3] or values.shape[2] % 2 == 0:
        msg = (
            f'{name} must have the shape (out, in, kernel, kernel) with an odd kernel, got '
            f'{tuple(values.shape)!r}.'
        )
        raise HULKConfigError(msg)
    if not np.isfinite(values).all():
        msg = f'{name} holds values that are not finite; load weights of a trained network.'
        raise HULKConfigError(msg)
    return values


def pool_offsets(
    indices: NDArray[np.int64], size: tuple[int, int], kernel: int, stride: int, name: str
) -> NDArray[np.uint8]:
    """Turn flat pooling indices into offsets within their window, channels last.

    Args:
        indices: Flat position of the winner in the map before the pool, or negative for a silent
            window, shape (T, C, H', W').
        size: (H, W) of the map before the pool.
        kernel: Size of the pooling window.
        stride: Stride of the pool.
        name: What to call the indices in an error.

    Returns:
        0 for silence, else dy * kernel + dx + 1, shape (T, H', W', C).

    Raises:
        HULKRuntimeError: An index lies outside its window.
    """
    rows, columns = indices // size[1], indices % size[1]
    dy = rows - stride * np.arange(indices.shape[2])[:, None]
    dx = columns - stride * np.arange(indices.shape[3])
    silent = indices < 0
    inside = (dy >= 0) & (dy < kernel) & (dx >= 0) & (dx < kernel) & (rows < size[0])
    if not (inside | silent).all():
        t, c, y, x = (int(value[0]) for value in np.nonzero(~(inside | silent)))
        msg = (
            f'{name}[{t}, {c}, {y}, {x}] = {int(indices[t, c, y, x])} lies outside its window of '
            f'a {size[0]} x {size[1]} map pooled with kernel {kernel} and stride {stride}; give '
            'the indices that belong to these output sizes.'
        )
        raise HULKRuntimeError(msg)
    offsets = np.where(silent, 0, dy * kernel + dx + 1).astype(np.uint8)
    return np.ascontiguousarray(offsets.transpose(0, 2, 3, 1))


def _to_numpy(values: Array) -> NDArray[Any]:
    """Return an array; tensors come from any device."""
    if isinstance(values, torch.Tensor):
        return np.asarray(values.detach().cpu().numpy())
    return np.asarray(values)


def _batched(values: Array, name: str) -> NDArray[Any]:
    """Return (T, B, C, H, W) of (T, C, H, W) or (T, B, C, H, W)."""
    array = _to_numpy(values)
    if array.ndim == 4:
        array = array[:, None]
    if array.ndim != 5:
        msg = (
            f'{name} must have the shape (T, C, H, W) or (T, B, C, H, W), got '
            f'{tuple(array.shape)!r}.'
        )
        raise HULKRuntimeError(msg)
    return array


def _by_step(values: Array, name: str) -> NDArray[np.int64]:
    """Return pooling indices as (T or 1, B, C, H, W)."""
    array = _to_numpy(values)
    if array.ndim not in (4, 5):
        msg = (
            f'{name} must have the shape (B, C, H, W), one set for the window, or '
            f'(T, B, C, H, W), one per step, got {tuple(array.shape)!r}.'
        )
        raise HULKRuntimeError(msg)
    return (array if array.ndim == 5 else array[None]).astype(np.int64)


def _starts(starts: Starts | None) -> dict[str, NDArray[Any]]:
    """Return the given first steps by layer."""
    if starts is None:
        return {}
    if not isinstance(starts, Mapping):
        named = {n: s for n, s in zip(START_LAYERS, starts, strict=False) if s is not None}
        return _starts(named)
    for name in starts:
        if name not in START_LAYERS:
            msg = f'Unknown layer {name!r} in charge_start; use {", ".join(START_LAYERS)}.'
            raise HULKRuntimeError(msg)
    return {name: _batched(values, f'charge_start {name}') for name, values in starts.items()}


def _map_size(
    size: Size | None,
    inputs: NDArray[Any] | None,
    pool1: NDArray[np.int64],
    geometry: ChainGeometry,
) -> tuple[int, int]:
    """Return (H, W) of the map before pool1: as given, as the input, or the smallest fit."""
    if size is None and inputs is not None:
        size = inputs.shape
    if size is None:
        kernel, stride = geometry.pool_kernels[0], geometry.pool_strides[0]
        size = [(length - 1) * stride + kernel for length in pool1.shape[-2:]]
    return int(size[-2]), int(size[-1])


def _check_shape(
    name: str, array: NDArray[Any], steps: int, shape: tuple[int, int, int, int]
) -> None:
    """Refuse an array that is not (steps, *shape)."""
    if tuple(array.shape) != (steps, *shape):
        msg = (
            f'{name} must have the shape {(steps, *shape)!r} (T, B, C, H, W) for these weights '
            f'and output sizes, got {tuple(array.shape)!r}.'
        )
        raise HULKRuntimeError(msg)


def _trace(
    geometry: ChainGeometry,
    spikes: NDArray[Any],
    pools: list[NDArray[np.int64]],
    inputs: NDArray[Any] | None,
    optional: Mapping[str, NDArray[Any]],
    item: int,
) -> SpikeTrace:
    """Return the record of one batch item of checked arrays."""
    steps = spikes.shape[0]
    sizes = ((geometry.height, geometry.width), geometry.pool1_size)
    offsets, since = [], []
    for pool, name in enumerate(('pool1', 'pool2')):
        kernel, stride = geometry.pool_kernels[pool], geometry.pool_strides[pool]
        one = pool_offsets(pools[pool][:, item], sizes[pool], kernel, stride, f'{name}_indices')
        offsets.append(np.ascontiguousarray(np.broadcast_to(one, (steps, *one.shape[1:]))))
        start = optional.get(name)
        since.append(
            np.zeros_like(offsets[pool]) if start is None else _channels_last(start[:, item])
        )
    frame = np.zeros((steps, *sizes[0], geometry.channels[0]), np.uint8)
    if inputs is not None:
        frame = _channels_last(inputs[:, item] != 0)
    place = np.nonzero(spikes[:, item])
    step, class_id, y, x = (axis.astype(np.int32) for axis in place)
    first, potential = optional.get('conv3'), optional.get('potential')
    classes = ClassSpikes(
        step,
        class_id,
        y,
        x,
        np.ones(len(step), np.float32)
        if potential is None
        else potential[:, item][place].astype(np.float32),
        np.zeros(len(step), np.int32) if first is None else first[:, item][place].astype(np.int32),
    )
    counts = {'input': int(np.count_nonzero(frame)), 'conv3': len(classes)}
    return SpikeTrace(
        geometry, steps, frame, offsets[0], since[0], offsets[1], since[1], classes, counts
    )


def _channels_last(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return (T, C, H, W) as (T, H, W, C), uint8."""
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1).astype(np.uint8))
