# SPDX-License-Identifier: Apache-2.0
"""Event-driven SpikeSEG encoder for one CPU core; equal to `SpikeSEGEncoder` bit for bit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spikeseg_ros.models.chain import ChainParams, EncoderState
from spikeseg_ros.models.encoder import EncoderRuntimeError, SpikeSEGEncoder
from spikeseg_ros.models.encoder_config import CONV_LAYERS, EncoderConfigError
from spikeseg_ros.models.filters import GRID
from spikeseg_ros.models.output import MAX_TRACE_STEPS
from spikeseg_ros.spiking.event_kernels import (
    BY_POTENTIAL,
    BY_RATIO,
    NO_COMPETITION,
    ClassBuffers,
    LayerBuffers,
    PoolBuffers,
    encode_window,
    rest_layer,
)
from spikeseg_ros.spiking.neurons import NeuronParams, NeuronState
from spikeseg_ros.spiking.trace import ChainGeometry, ClassSpikes, SpikeTrace

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

# Neurons that are skipped or updated together; longer runs vectorise better, shorter skip more.
_GROUP_NEURONS = 32
_N_TRACES = 2
# Potentials of a given state are cut to this, so that a window cannot leave int32.
_FAR = 1 << 30


class EventDrivenEncoder:
    """Runs windows from spike to spike and records them as `SpikeTrace`.

    The time of a window follows the number of spikes, not the size of the image. Buffers are
    allocated for the first window and again when its size changes; memory is bounded by about
    40 bytes for each neuron plus two traces.

    A trace refers to buffers of the encoder and to the given inputs: it is valid until the
    next-but-one call of `encode`. Copy what must live longer. Not safe for concurrent calls.

    Attributes:
        params: Weights and neurons, as they were when the encoder was built.
    """

    def __init__(self, params: ChainParams, encoder: SpikeSEGEncoder) -> None:
        """Use `from_encoder`."""
        for name, neurons in zip(CONV_LAYERS, params.neurons, strict=True):
            if neurons.leak_mode == 'multiplicative':
                msg = (
                    f"{name} has leak_mode 'multiplicative', whose potentials depend on the "
                    f"order of additions; use SpikeSEGEncoder or leak_mode 'subtractive'."
                )
                raise EncoderConfigError(msg)
        self.params = params
        self._encoder = encoder
        self._steps = 0
        self._geometry: ChainGeometry | None = None
        self._layers: list[LayerBuffers] = []
        self._pools: list[tuple[PoolBuffers, PoolBuffers]] = []
        self._classes: ClassBuffers | None = None
        # Whether all potentials are int32; the last layer always is.
        self._wide = not all(
            _fits_int16(weight, neurons)
            for weight, neurons in zip(params.weights[:2], params.neurons[:2], strict=True)
        )
        self._tick = 2
        self._turn = 0

    @classmethod
    def from_encoder(
        cls,
        encoder: SpikeSEGEncoder,
        layer_thresholds: Mapping[str, float | Sequence[float] | torch.Tensor] | None = None,
        fire_once: bool | None = None,
    ) -> EventDrivenEncoder:
        """Return an event-driven copy of an encoder with its present weights and thresholds.

        Args:
            encoder: The network.
            layer_thresholds: Replaces thresholds, by layer name.
            fire_once: Replaces the configured value in all layers.

        Raises:
            EncoderConfigError: A layer has the multiplicative leak.
            EncoderRuntimeError: A threshold does not fit.
        """
        params = encoder.params(layer_thresholds, fire_once)
        # Buffers are filled at the first window; the encoder may have learnt on by then.
        first, second, third = (weight.detach().cpu().clone() for weight in params.weights)
        neurons = tuple(
            item._replace(threshold=item.threshold.cpu().clone(), leak=item.leak.cpu().clone())
            for item in params.neurons
        )
        frozen = params._replace(
            weights=(first, second, third), neurons=(neurons[0], neurons[1], neurons[2])
        )
        return cls(frozen, encoder)

    def encode(
        self,
        inputs: NDArray[np.uint8],
        state: EncoderState | None = None,
        keep_state: bool = False,
        class_threshold_scale: float = 1.0,
    ) -> tuple[SpikeTrace, EncoderState | None]:
        """Run one window.

        Args:
            inputs: Input spikes, shape (T, H, W, C), uint8; larger values count as often.
            state: State to start from, as returned or as `EncoderOutput.state` for one input
                (B = 1); from rest where None. It is not changed.
            keep_state: Return the state after the window; costs a copy of all potentials.
            class_threshold_scale: Factor on the thresholds of conv3, for this call.

        Returns:
            The record of the window, and the state after it (None unless keep_state).

        Raises:
            EncoderRuntimeError: Inputs, state or scale do not fit.
        """
        inputs = self._check(inputs)
        steps, height, width, depth = inputs.shape
        geometry = self._geometry
        largest = int(inputs.max())
        if not self._wide and (largest > 1 or not self._holds(state)):
            # From now on, because such inputs or states come again.
            self._wide, geometry = True, None
        if geometry is None or (geometry.height, geometry.width) != (height, width):
            geometry = self._allocate(height, width)
        if steps != self._steps:
            self._allocate_traces(geometry, steps)
        self._scale_classes(class_threshold_scale)
        self._load(state)
        conv1, conv2, conv3 = self._layers
        pool1, pool2 = self._pools[self._turn]
        self._turn = (self._turn + 1) % _N_TRACES
        classes = self._classes
        assert classes is not None
        flat = inputs.reshape(-1)
        words = flat[: flat.size // 8 * 8].view(np.uint64)
        counts = encode_window(
            flat, words, steps, depth, self._tick, conv1, pool1, conv2, pool2, conv3, classes
        )
        self._tick += steps + 2
        trace = SpikeTrace(
            geometry,
            steps,
            # The record is about which spikes there were, not how many events made one.
            inputs if largest <= 1 else (inputs != 0).view(np.uint8),
            pool1.offsets,
            pool1.since,
            pool2.offsets,
            pool2.since,
            _class_spikes(classes, counts[3]),
            dict(zip(('input', *CONV_LAYERS), counts, strict=True)),
        )
        return trace, self._snapshot() if keep_state else None

    def _check(self, inputs: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the inputs as a contiguous, aligned array, or refuse them."""
        channels = self.params.weights[0].shape[1]
        if inputs.ndim != 4 or inputs.dtype != np.uint8 or inputs.shape[3] != channels:
            msg = (
                f'Inputs must be uint8 of shape (T, H, W, {channels}), got {inputs.dtype} of '
                f'shape {inputs.shape!r}; bin events with polarities={channels}.'
            )
            raise EncoderRuntimeError(msg)
        if not 1 <= inputs.shape[0] <= MAX_TRACE_STEPS:
            msg = f'A window has 1 .. {MAX_TRACE_STEPS} steps, got {inputs.shape[0]!r}.'
            raise EncoderRuntimeError(msg)
        inputs = np.ascontiguousarray(inputs)
        return inputs if inputs.ctypes.data % 8 == 0 else inputs.copy()

    def _allocate(self, height: int, width: int) -> ChainGeometry:
        """Allocate the neurons for inputs of height x width pixels."""
        geometry = self._encoder.geometry(height, width)
        sizes = ((height, width), geometry.pool1_size, geometry.pool2_size)
        self._layers = [
            _layer_buffers(weight, neurons, size, np.int32 if self._wide else dtype)
            for weight, neurons, size, dtype in zip(
                self.params.weights,
                self.params.neurons,
                sizes,
                (np.int16, np.int16, np.int32),
                strict=True,
            )
        ]
        self._geometry = geometry
        self._steps = 0
        return geometry

    def _allocate_traces(self, geometry: ChainGeometry, steps: int) -> None:
        """Allocate the records for windows of a number of steps."""
        sizes = ((geometry.height, geometry.width), geometry.pool1_size)
        self._pools = [
            (
                _pool_buffers(geometry, 0, sizes[0], steps),
                _pool_buffers(geometry, 1, sizes[1], steps),
            )
            for _ in range(_N_TRACES)
        ]
        rows, columns = geometry.pool2_size
        capacity = steps * rows * columns * geometry.channels[3]
        self._classes = ClassBuffers(
            np.empty((5, capacity), np.int32), np.empty(capacity, np.float32)
        )
        self._steps = steps

    def _scale_classes(self, scale: float) -> None:
        """Set the thresholds of conv3 for this call."""
        if not (np.isfinite(scale) and scale > 0):
            msg = f'class_threshold_scale must be finite and > 0, got {scale!r}.'
            raise EncoderRuntimeError(msg)
        theta = self.params.neurons[2].threshold.cpu().numpy() * np.float32(scale)
        grid = np.maximum(np.round(theta * GRID), 1)
        layer = self._layers[2]
        layer.theta[:] = np.tile(grid, layer.theta.size // grid.size)

    def _holds(self, state: EncoderState | None) -> bool:
        """Tell whether the potentials of a state are as those the neurons reach by themselves."""
        if state is None:
            return True
        for given, neurons in zip(state[:2], self.params.neurons[:2], strict=True):
            low, high = (float(value) for value in given.v.aminmax())
            if low < 0 or high >= float(neurons.threshold.max()):
                return False
        return True

    def _load(self, state: EncoderState | None) -> None:
        """Bring the neurons to rest or into a given state."""
        for number, layer in enumerate(self._layers):
            rest_layer(layer)
            if state is None:
                continue
            height, width, channels, kernel = (int(value) for value in layer.size[:4])
            given: NeuronState = state[number]
            if tuple(given.v.shape) != (1, channels, height, width):
                msg = (
                    f'State of {CONV_LAYERS[number]} has the shape {tuple(given.v.shape)!r}, '
                    f'the input needs {(1, channels, height, width)!r}; reset the state when '
                    f'the input size changes.'
                )
                raise EncoderRuntimeError(msg)
            margin = kernel // 2
            inner = slice(margin, margin + height), slice(margin, margin + width)
            v = given.v[0].permute(1, 2, 0).cpu().numpy() * np.float32(GRID)
            _by_position(layer.v, channels)[inner] = np.clip(np.round(v), -_FAR, _FAR)
            if layer.size[5]:
                fired = given.fired[0].permute(1, 2, 0).cpu().numpy()
                _by_position(layer.fired, channels)[inner] = fired
            layer.active[:] = 1

    def _snapshot(self) -> EncoderState:
        """Return a copy of the state of all neurons in the layout of the torch encoder."""
        states = []
        for layer in self._layers:
            height, width, channels, kernel = (int(value) for value in layer.size[:4])
            margin = kernel // 2
            inner = slice(margin, margin + height), slice(margin, margin + width)
            v = torch.from_numpy(_by_position(layer.v, channels)[inner].astype(np.float32)) / GRID
            fired = torch.zeros(v.shape, dtype=torch.bool)
            if layer.size[5]:
                raw = _by_position(layer.fired, channels)[inner].astype(np.bool_)
                fired = torch.from_numpy(raw)
                # The definition holds such neurons at rest; the kernel lets them charge unseen.
                v[fired] = 0
            v, fired = v.permute(2, 0, 1)[None], fired.permute(2, 0, 1)[None]
            states.append(NeuronState(v, torch.zeros(v.shape, dtype=torch.int16), fired))
        return EncoderState(*states)


def _by_position(values: NDArray[Any], channels: int) -> NDArray[Any]:
    """View (rows, columns * C) as (rows, columns, C)."""
    return values.reshape(values.shape[0], -1, channels)


def _fits_int16(weight: torch.Tensor, neurons: NeuronParams) -> bool:
    """Tell whether no potential can leave int16, in units of 1 / GRID, for inputs of 0 and 1."""
    if neurons.leak_mode == 'none' or neurons.fire_once:
        return False
    top = neurons.threshold.cpu() + weight.clamp(min=0).sum(dim=(1, 2, 3)).cpu()
    bottom = neurons.leak.cpu() - weight.clamp(max=0).sum(dim=(1, 2, 3)).cpu()
    return float(torch.maximum(top, bottom).max()) * GRID < np.iinfo(np.int16).max


def _pattern_blocks(weight: torch.Tensor, dtype: type[np.signedinteger[Any]]) -> NDArray[Any]:
    """Return the weights summed for every pattern of 4 input channels; see LayerBuffers."""
    flipped = weight.detach().cpu().numpy()[:, :, ::-1, ::-1].transpose(1, 2, 3, 0)
    depth, kernel, _, channels = flipped.shape
    parts = -(-depth // 4)
    run = kernel * channels
    # Whole vectors need no scalar loop for the rest.
    padded = -(-run // 64) * 64 if run > 64 else -(-run // 8) * 8
    single = np.zeros((parts * 4, kernel, padded), np.int64)
    single[:depth, :, :run] = np.round(flipped * np.float32(GRID)).reshape(depth, kernel, run)
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    summed = np.einsum('pc,gckw->gpkw', bits, single.reshape(parts, 4, kernel, padded))
    return np.ascontiguousarray(summed, dtype)


def _layer_buffers(
    weight: torch.Tensor,
    neurons: NeuronParams,
    size: tuple[int, int],
    dtype: type[np.signedinteger[Any]],
) -> LayerBuffers:
    """Allocate one layer at rest."""
    channels, _, kernel, _ = weight.shape
    shift = max(0, (_GROUP_NEURONS // channels).bit_length() - 1)
    height, width = size
    margin = kernel // 2
    rows = height + 2 * margin
    blocks = _pattern_blocks(weight, dtype)
    # Whole groups, and room for a block in the last column.
    reach = width - 1 + max(kernel, -(-blocks.shape[3] // channels))
    groups = -(-reach // (1 << shift))
    columns = groups << shift
    theta, leak = (
        np.tile(np.round(values.detach().cpu().numpy() * np.float32(GRID)).astype(dtype), columns)
        for values in (neurons.threshold, neurons.leak)
    )
    hit_words = np.zeros(-(-columns * channels // 8), np.uint64)
    fired = (rows, columns * channels) if neurons.fire_once else (1, 1)
    floor = np.iinfo(dtype).min if neurons.leak_mode == 'none' else 0
    competition = NO_COMPETITION
    if neurons.competition:
        # Wide potentials may be large enough for equal V / theta of unequal V.
        alike = dtype is np.int16 and bool((theta == theta[0]).all())
        competition = BY_POTENTIAL if alike else BY_RATIO
    shape = [height, width, channels, kernel, shift, neurons.fire_once, competition]
    return LayerBuffers(
        blocks,
        theta,
        leak,
        np.array([floor], dtype),
        np.zeros((rows, columns * channels), dtype),
        np.zeros((rows, columns * channels), np.uint8),
        np.zeros((rows, groups), np.uint8),
        np.zeros((rows, groups), np.int64),
        np.zeros(fired, np.uint8),
        hit_words.view(np.uint8),
        hit_words,
        np.array(shape, np.int64),
    )


def _pool_buffers(
    geometry: ChainGeometry, pool: int, size: tuple[int, int], steps: int
) -> PoolBuffers:
    """Allocate the record of one pool."""
    kernel, stride = geometry.pool_kernels[pool], geometry.pool_strides[pool]
    pooled = geometry.pooled(size, pool)
    channels = geometry.channels[pool + 1]
    longest = max(size)
    first, last = np.ones((2, longest), np.int32), np.zeros((2, longest), np.int32)
    for axis in range(2):
        index = np.arange(size[axis])
        first[axis, : size[axis]] = np.maximum(0, -((kernel - 1 - index) // stride))
        last[axis, : size[axis]] = np.minimum(index // stride, pooled[axis] - 1)
    shape = (steps, *pooled, channels)
    parts = -(-channels // 4)
    return PoolBuffers(
        first,
        last,
        np.array([kernel, stride], np.int64),
        np.zeros(shape, np.uint8),
        np.zeros(shape, np.uint8),
        np.zeros(shape[1:], np.int32),
        np.zeros((*pooled, parts), np.uint8),
        np.empty(pooled[0] * pooled[1] * parts, np.int32),
    )


def _class_spikes(classes: ClassBuffers, count: int) -> ClassSpikes:
    """Copy the class spikes found, ordered by step, class, row, column."""
    where, potential = classes.where[:, :count], classes.potential[:count]
    order = np.lexsort((where[3], where[2], where[1], where[0]))
    step, class_id, y, x, since = where[:, order]
    return ClassSpikes(step, class_id, y, x, potential[order], since)
