# SPDX-License-Identifier: Apache-2.0
"""HULK: decode every class spike on its own, back to the pixels that caused it.

Source: Kirkland et al. 2022 (HULK-SMASH). The causal mode follows what really fired, with its
times; the mode 'weights' decodes through the weights alone. Both work on patches, so the cost
does not depend on the size of the frame; spikeseg_ros.spiking.unravel is their plain definition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.algorithms.batch import InstanceBatch
from spikeseg_ros.algorithms.errors import (
    EncoderCompatibilityError,
    HULKConfigError,
    HULKRuntimeError,
)
from spikeseg_ros.algorithms.hulk_inputs import (
    WindowTensors,
    checked_weights,
    traces_from_tensors,
)
from spikeseg_ros.algorithms.hulk_patches import (
    check_trace,
    connections_of,
    tight_boxes,
    unravel_patches,
)
from spikeseg_ros.algorithms.hulk_result import HULKResult, results_from_batch
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.hulk_inputs import Array, Size, Starts
    from spikeseg_ros.algorithms.hulk_patches import Memory, Network
    from spikeseg_ros.algorithms.instances import Instance

__all__ = ['MODES', 'HULKDecoder', 'HULKResult']

MODES = ('causal', 'weights')


class HULKDecoder(torch.nn.Module):
    """Unravels class spikes of one network.

    It computes on the CPU; it is a Module only so that code of the published API (to, eval) runs.
    The weights are copied when it is made: make it anew after training.

    Attributes:
        weights: Weights of conv1, conv2, conv3, each (out, in, kernel, kernel), float32.
        pool_kernels: Kernel sizes of pool1, pool2.
        pool_strides: Strides of pool1, pool2.
    """

    def __init__(
        self,
        w1: Array,
        w2: Array,
        w3: Array,
        pool_kernels: Sequence[int] = (2, 2),
        pool_strides: Sequence[int] | None = None,
    ) -> None:
        """Copy the weights.

        Args:
            w1: Weights of conv1, shape (C1, C_in, kernel, kernel).
            w2: Weights of conv2, shape (C2, C1, kernel, kernel).
            w3: Weights of conv3, shape (classes, C2, kernel, kernel).
            pool_kernels: Kernel sizes of pool1, pool2.
            pool_strides: Strides of pool1, pool2; the kernel sizes where None.

        Raises:
            HULKConfigError: The layers do not fit together, or a size cannot be used.
        """
        super().__init__()
        self.weights = (
            checked_weights(w1, 'w1'),
            checked_weights(w2, 'w2'),
            checked_weights(w3, 'w3'),
        )
        self.pool_kernels = _pair(pool_kernels, 'pool_kernels')
        self.pool_strides = _pair(pool_strides or pool_kernels, 'pool_strides')
        shapes = [item.shape for item in self.weights]
        if shapes[1][1] != shapes[0][0] or shapes[2][1] != shapes[1][0]:
            msg = (
                f'The weights {shapes!r} do not follow each other: the input maps of a layer '
                'must be the output maps of the layer before.'
            )
            raise HULKConfigError(msg)
        if max(self.pool_kernels) > 15 or max(item.shape[2] for item in self.weights) > 63:
            msg = (
                f'Pools of {self.pool_kernels!r} with weights {shapes!r} are too large: pooling '
                'kernels go to 15, convolution kernels to 63.'
            )
            raise HULKConfigError(msg)
        self._connections: dict[float, Network] = {}
        self._spare: list[Memory] = []

    @classmethod
    def from_encoder(cls, encoder: Any) -> HULKDecoder:
        """Make a decoder for an encoder.

        Args:
            encoder: Has conv1, conv2, conv3 (each with a weight) and a config with
                pool1_kernel_size, pool1_stride, pool2_kernel_size, pool2_stride.

        Raises:
            EncoderCompatibilityError: One of them is missing.
            HULKConfigError: The weights do not fit together.
        """
        found = []
        for name in ('conv1', 'conv2', 'conv3'):
            layer = getattr(encoder, name, None)
            weight = getattr(layer, 'weight', layer)
            if not isinstance(weight, (torch.Tensor, np.ndarray)):
                msg = (
                    f'{type(encoder).__name__!r} has no {name}.weight; give a SpikeSEGEncoder or '
                    'use HULKDecoder(w1, w2, w3, pool_kernels, pool_strides).'
                )
                raise EncoderCompatibilityError(msg)
            found.append(weight)
        config, sizes = getattr(encoder, 'config', None), []
        for name in ('pool1_kernel_size', 'pool2_kernel_size', 'pool1_stride', 'pool2_stride'):
            size = getattr(config, name, None)
            if not isinstance(size, int):
                msg = (
                    f'{type(encoder).__name__!r} has no config.{name}; give a SpikeSEGEncoder or '
                    'use HULKDecoder(w1, w2, w3, pool_kernels, pool_strides).'
                )
                raise EncoderCompatibilityError(msg)
            sizes.append(size)
        return cls(found[0], found[1], found[2], sizes[:2], sizes[2:])

    @property
    def layers(self) -> tuple[int, int, int]:
        """Number of maps of conv1, conv2 and the class layer: the rows of a hash."""
        first, second, third = (int(item.shape[0]) for item in self.weights)
        return first, second, third

    @property
    def n_features(self) -> int:
        """Rows F of a hash."""
        return sum(self.layers)

    def geometry(self, height: int, width: int) -> ChainGeometry:
        """Return the sizes of the chain for an input of height x width pixels."""
        first, second, third = (int(item.shape[2]) for item in self.weights)
        channels = (int(self.weights[0].shape[1]), *self.layers)
        kernels_ = (first, second, third)
        return ChainGeometry(
            height, width, channels, kernels_, self.pool_kernels, self.pool_strides
        )

    def instances_from_trace(
        self,
        trace: SpikeTrace,
        max_instances: int | None = None,
        *,
        mode: str = 'causal',
        threshold: float = 0.5,
        keep_empty: bool = False,
        gated: bool = True,
    ) -> InstanceBatch:
        """Unravel the class spikes of a window.

        Args:
            trace: Record of the window.
            max_instances: Unravel this many class spikes at most; of more, a choice that covers
                the field evenly is kept (see `spread`), and n_dropped counts the rest.
            mode: 'causal' or 'weights'.
            threshold: Weights above it count as connections.
            keep_empty: Keep instances without a pixel; their boxes have x_max < x_min.
            gated: Causal mode: count only pixels that fired; otherwise all pixels under the
                weights of the conv1 spikes (for callers without the input).

        Returns:
            The instances, in the order of the class spikes.

        Raises:
            HULKConfigError: Unknown mode, or a threshold that is negative or not a number.
            HULKRuntimeError: The record does not fit the weights.
        """
        self._check(trace, mode, threshold)
        classes, total = trace.classes, len(trace.classes)
        chosen = np.arange(total)
        if max_instances is not None and total > max_instances:
            chosen = np.sort(spread(classes, max_instances))
        spikes = np.stack(
            [
                column[chosen].astype(np.int64)
                for column in (
                    classes.step,
                    classes.class_id,
                    classes.y,
                    classes.x,
                    np.maximum(classes.since, 0),
                )
            ],
            axis=1,
        )
        connections = self._connections.get(threshold)
        if connections is None:
            connections = connections_of(self.weights, threshold)
            # One entry: the threshold hardly ever changes.
            self._connections = {threshold: connections}
        rows, words = unravel_patches(
            trace,
            self.weights,
            connections,
            spikes,
            threshold,
            mode == 'causal',
            gated,
            self._spare,
        )
        start, _ = trace.geometry.footprint()
        stride = trace.geometry.class_stride
        location = np.ascontiguousarray(spikes[:, [3, 2]]).astype(np.int32)
        origin = location * np.int32(stride) + np.int32(start)
        boxes = tight_boxes(rows, origin)
        batch = InstanceBatch(
            ids=chosen.astype(np.int32),
            class_id=classes.class_id[chosen],
            step=classes.step[chosen],
            location=location,
            potential=classes.potential[chosen],
            origin=origin,
            rows=rows,
            boxes=boxes,
            words=words,
            layers=self.layers,
            steps=trace.steps,
            height=trace.geometry.height,
            width=trace.geometry.width,
            n_spikes=total,
            n_dropped=total - len(chosen),
        )
        return batch if keep_empty else batch.select(boxes[:, 2] >= boxes[:, 0])

    def process(
        self, output: Any, threshold: float = 0.5, *, mode: str | None = None
    ) -> list[Instance] | list[list[Instance]]:
        """Unravel all class spikes of an EncoderOutput.

        Args:
            output: What SpikeSEGEncoder returned.
            threshold: Weights above it count as connections.
            mode: As in process_to_instances.

        Returns:
            Instances; one list per batch item where there are several.

        Raises:
            HULKError: The output does not fit this decoder.
        """
        indices = output.pooling_indices
        membranes = getattr(output, 'layer_membranes', None)
        theta = getattr(output, 'class_threshold', None)
        potential = None
        if membranes is not None and theta is not None:
            potential = membranes['conv3'] / theta.view(-1, 1, 1)
        tensors = WindowTensors(
            output.classification_spikes,
            indices.pool1_indices,
            indices.pool2_indices,
            indices.pool1_output_size,
            indices.pool2_output_size,
            inputs=getattr(output, 'input_spikes', None),
            starts=getattr(output, 'charge_start', None),
            potential=potential,
        )
        return _lists(self._batches(tensors, mode, threshold))

    def process_to_instances(
        self,
        classification_spikes: Array,
        pool1_indices: Array,
        pool2_indices: Array,
        pool1_output_size: Size | None = None,
        pool2_output_size: Size | None = None,
        n_timesteps: int | None = None,
        threshold: float = 0.5,
        *,
        input_spikes: Array | None = None,
        charge_start: Starts | None = None,
        mode: str | None = None,
    ) -> list[Instance] | list[list[Instance]]:
        """Unravel all class spikes; instances without a pixel are left out.

        Args:
            classification_spikes: Shape (T, C, H, W) or (T, B, C, H, W).
            pool1_indices: Flat winner positions in the conv1 map, shape (T, B, C, H', W') with -1
                for silent windows, or (B, C, H', W') for one set per window.
            pool2_indices: Likewise for conv2.
            pool1_output_size: Size of the conv1 map, (..., H, W); derived where None.
            pool2_output_size: Size of the conv2 map, (..., H, W); derived where None.
            n_timesteps: T, to be checked; taken from the spikes where None.
            threshold: Weights above it count as connections.
            input_spikes: Input, shape (T, C, H, W) or (T, B, C, H, W). Without it, an instance of
                the causal mode covers all pixels under the weights of the conv1 spikes.
            charge_start: First steps of the charge of the spikes of 'pool1', 'pool2' and 'conv3',
                as a mapping or in this order, in the shapes of their spikes; step 0 where None.
            mode: 'causal' follows what fired and needs indices per step, 'weights' follows the
                weights alone; None takes 'causal' where the indices are per step.

        Returns:
            Instances in the order of step, class, row, column; for B > 1 one list per item.

        Raises:
            HULKConfigError: Unknown mode, or a threshold that is negative or not a number.
            HULKRuntimeError: Shapes or indices do not fit the weights or each other.
        """
        tensors = WindowTensors(
            classification_spikes,
            pool1_indices,
            pool2_indices,
            pool1_output_size,
            pool2_output_size,
            n_timesteps,
            input_spikes,
            charge_start,
        )
        return _lists(self._batches(tensors, mode, threshold))

    def unravel_all_spikes(
        self,
        classification_spikes: Array,
        pool1_indices: Array,
        pool2_indices: Array,
        pool1_output_size: Size | None = None,
        pool2_output_size: Size | None = None,
        n_timesteps: int | None = None,
        threshold: float = 0.5,
        *,
        input_spikes: Array | None = None,
        charge_start: Starts | None = None,
        mode: str | None = None,
    ) -> list[HULKResult]:
        """Unravel all class spikes of one batch item, also those without a pixel.

        Args and errors are those of process_to_instances, with B = 1.
        """
        tensors = WindowTensors(
            classification_spikes,
            pool1_indices,
            pool2_indices,
            pool1_output_size,
            pool2_output_size,
            n_timesteps,
            input_spikes,
            charge_start,
        )
        batches = self._batches(tensors, mode, threshold, keep_empty=True)
        if len(batches) != 1:
            msg = f'Unravel one batch item at a time, got {len(batches)}.'
            raise HULKRuntimeError(msg)
        return results_from_batch(batches[0])

    def unravel_spike(
        self,
        spike_location: tuple[int, int],
        timestep: int,
        pool1_indices: Array,
        pool2_indices: Array,
        pool1_output_size: Size | None = None,
        pool2_output_size: Size | None = None,
        class_id: int = 0,
        threshold: float = 0.5,
        *,
        n_timesteps: int | None = None,
        input_spikes: Array | None = None,
        charge_start: Starts | None = None,
        mode: str | None = None,
    ) -> HULKResult:
        """Unravel one class spike.

        Args:
            spike_location: (x, y) in the class map [cells].
            timestep: Step of the spike.
            pool1_indices: As in process_to_instances, with B = 1.
            pool2_indices: As in process_to_instances, with B = 1.
            pool1_output_size: As in process_to_instances.
            pool2_output_size: As in process_to_instances.
            class_id: Class map of the spike.
            threshold: Weights above it count as connections.
            n_timesteps: T; where None, the steps of the indices, or timestep + 1.
            input_spikes: As in process_to_instances.
            charge_start: As in process_to_instances.
            mode: As in process_to_instances.

        Raises:
            HULKConfigError: Unknown mode, or a threshold that is negative or not a number.
            HULKRuntimeError: The spike lies outside the class map, or shapes do not fit.
        """
        shape = tuple(pool2_indices.shape)
        steps = n_timesteps or (shape[0] if len(shape) == 5 else timestep + 1)
        x, y = spike_location
        size = (steps, self.layers[2], *shape[-2:])
        inside = all(
            0 <= place < limit
            for place, limit in zip((timestep, class_id, y, x), size, strict=True)
        )
        if not inside:
            msg = (
                f'No cell (x, y) = {spike_location!r} of class {class_id!r} at step {timestep!r} '
                f'in class maps of shape (T, C, H, W) = {size!r}.'
            )
            raise HULKRuntimeError(msg)
        one = np.zeros(size, np.uint8)
        one[timestep, class_id, y, x] = 1
        return self.unravel_all_spikes(
            one,
            pool1_indices,
            pool2_indices,
            pool1_output_size,
            pool2_output_size,
            threshold=threshold,
            input_spikes=input_spikes,
            charge_start=charge_start,
            mode=mode,
        )[0]

    def _batches(
        self, tensors: WindowTensors, mode: str | None, threshold: float, keep_empty: bool = False
    ) -> list[InstanceBatch]:
        """Unravel every batch item of a window."""
        traces, mode = traces_from_tensors(tensors, self.geometry, mode)
        return [
            self.instances_from_trace(
                trace,
                mode=mode,
                threshold=threshold,
                keep_empty=keep_empty,
                gated=tensors.inputs is not None,
            )
            for trace in traces
        ]

    def _check(self, trace: SpikeTrace, mode: str, threshold: float) -> None:
        """Refuse a record that does not belong to these weights."""
        if mode not in MODES:
            msg = f'Unknown mode {mode!r}; use one of {", ".join(MODES)}.'
            raise HULKConfigError(msg)
        if not threshold >= 0:
            msg = f'threshold must be a number >= 0, got {threshold!r}.'
            raise HULKConfigError(msg)
        expected = self.geometry(trace.geometry.height, trace.geometry.width)
        if trace.geometry != expected:
            msg = (
                f'The record is of a chain {trace.geometry!r}, the weights are of {expected!r}; '
                'make the decoder from the encoder that made the record.'
            )
            raise HULKRuntimeError(msg)
        check_trace(trace)


def spread(classes: ClassSpikes, count: int) -> NDArray[np.intp]:
    """Choose class spikes so that every place keeps its strongest ones.

    The class maps are divided into blocks of 2 x 2 cells. The strongest spike of every block comes
    first, then the second of every block, and so on; within a round the stronger come first, and
    of equals the earlier. Taking the strongest of all instead would spend the whole number on one
    large object.

    Args:
        classes: The spikes, N.
        count: Number to choose.

    Returns:
        Indices of the chosen spikes, shape (min(N, count),).
    """
    strength = np.argsort(-classes.potential, kind='stable')
    block = (classes.class_id.astype(np.int64) << 40) | (classes.y.astype(np.int64) // 2 << 20)
    block |= classes.x.astype(np.int64) // 2
    grouped = strength[np.argsort(block[strength], kind='stable')]
    first = np.r_[True, np.diff(block[grouped]) != 0]
    starts = np.flatnonzero(first)
    place = np.arange(len(grouped)) - np.repeat(starts, np.diff(np.r_[starts, len(grouped)]))
    turn = np.empty(len(grouped), np.int64)
    turn[grouped] = place
    return strength[np.argsort(turn[strength], kind='stable')][:count]


def _pair(values: Sequence[int], name: str) -> tuple[int, int]:
    """Return two positive sizes."""
    pair = tuple(int(value) for value in values)
    if len(pair) != 2 or min(pair) < 1:
        msg = f'{name} must be two positive numbers, for pool1 and pool2, got {values!r}.'
        raise HULKConfigError(msg)
    return pair[0], pair[1]


def _lists(batches: list[InstanceBatch]) -> list[Instance] | list[list[Instance]]:
    """Return the instances of one batch item, or a list per item."""
    made = [batch.to_instances() for batch in batches]
    return made[0] if len(made) == 1 else made
