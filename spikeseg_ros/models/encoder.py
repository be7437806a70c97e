# SPDX-License-Identifier: Apache-2.0
"""SpikeSEG encoder: three spiking convolutions with pools that remember what passed them.

Sources: Kirkland et al. 2020 (SpikeSEG), 2022 (HULK-SMASH), 2023 (leaky layers).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from spikeseg_ros.models.chain import (
    ChainParams,
    EncoderState,
    neuron_params,
    rest_state,
    run_folded,
    run_stepwise,
)
from spikeseg_ros.models.encoder_config import (
    CONV_LAYERS,
    EncoderConfig,
    EncoderConfigError,
    LayerConfig,
)
from spikeseg_ros.models.filters import initial_weights, on_grid
from spikeseg_ros.models.output import EncoderOutput, PoolingIndices, trace_from_output
from spikeseg_ros.spiking.neurons import MAX_STEPS, NeuronError, NeuronParams, check_params

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.spiking.trace import ChainGeometry

__all__ = [
    'EncoderConfig',
    'EncoderConfigError',
    'EncoderOutput',
    'EncoderRuntimeError',
    'EncoderState',
    'LayerConfig',
    'PoolingIndices',
    'SilentLayerWarning',
    'SpikeSEGEncoder',
    'trace_from_output',
]

MAX_WEIGHT = 255.0
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class EncoderRuntimeError(ValueError):
    """An input, state or weight does not fit the network; the text says which and what to do."""


class SilentLayerWarning(UserWarning):
    """With its weights and thresholds a layer can never spike, or never within one step."""


class SpikeSEGEncoder(nn.Module):
    """Spiking encoder: conv1, pool1, conv2, pool2, conv3.

    Weights are buffers of three `nn.Conv2d` modules (conv1, conv2, conv3) and, like thresholds
    and leaks, multiples of 1 / 256 (see `filters.on_grid` for the reason). There is no gradient:
    weights are fixed or learnt by STDP.

    Attributes:
        config: Shape and neurons of the network.
    """

    def __init__(self, config: EncoderConfig | None = None) -> None:
        """Build the network with its initial weights.

        Args:
            config: Shape and neurons; the preset 'default' where None.
        """
        super().__init__()
        self.config = config or EncoderConfig.from_paper('default')
        self._last_state: EncoderState | None = None
        self._calibrated: set[str] = set()
        channels = self.config.input_channels
        initial = initial_weights(self.config)
        for name, layer, weight in zip(CONV_LAYERS, self.config.layers, initial, strict=True):
            size = layer.kernel_size
            conv = nn.Conv2d(channels, layer.out_channels, size, padding=size // 2, bias=False)
            conv.weight.requires_grad_(False)
            conv.weight.copy_(weight)
            setattr(self, name, conv)
            self.register_buffer(f'{name}_threshold', torch.zeros(layer.out_channels))
            self.register_buffer(f'{name}_leak', torch.zeros(layer.out_channels))
            channels = layer.out_channels
        self._derive_thresholds(CONV_LAYERS)
        register: Any = self.register_load_state_dict_post_hook
        register(_after_load)
        self.warn_if_silent()

    @property
    def weights(self) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """Weights of conv1, conv2, conv3 as arrays of shape (out, in, kernel, kernel)."""
        first, second, third = (
            self._conv(name).weight.detach().cpu().numpy().copy() for name in CONV_LAYERS
        )
        return first, second, third

    def _conv(self, name: str) -> nn.Conv2d:
        """Return the convolution of a layer."""
        module = getattr(self, name)
        assert isinstance(module, nn.Conv2d)
        return module

    def neurons(self, name: str, fire_once: bool | None = None) -> NeuronParams:
        """Return the parameters of the neurons of 'conv1', 'conv2' or 'conv3'.

        Args:
            name: Layer.
            fire_once: Replaces the configured value.
        """
        layer = getattr(self.config, name)
        return NeuronParams(
            getattr(self, f'{name}_threshold'),
            getattr(self, f'{name}_leak'),
            layer.leak_mode,
            layer.fire_once if fire_once is None else fire_once,
            layer.competition,
        )

    def geometry(self, height: int, width: int) -> ChainGeometry:
        """Return the sizes of the chain for an input of height x width pixels.

        Raises:
            EncoderRuntimeError: The input is too small for the pools.
        """
        geometry = self.config.geometry(height, width)
        if min(geometry.pool2_size) < 1:
            need = (self.config.pool2_kernel_size - 1) * self.config.pool1_stride
            need += self.config.pool1_kernel_size
            msg = (
                f'Input of {height!r} x {width!r} px is too small for the pools; use at least '
                f'{need} x {need} px.'
            )
            raise EncoderRuntimeError(msg)
        return geometry

    def set_weights(self, **weights: Tensor | NDArray[np.float32]) -> None:
        """Replace the weights of layers.

        Weights are rounded to multiples of 1 / 256. Thresholds that scale with the weights
        follow, unless `set_threshold` has fixed them.

        Args:
            **weights: By layer name, each of shape (out, in, kernel, kernel).

        Raises:
            EncoderRuntimeError: Unknown layer, wrong shape, or values that are not finite.
        """
        for name, values in weights.items():
            self._check_layer(name)
            conv = self._conv(name)
            tensor = torch.as_tensor(values).detach().float()
            if tensor.shape != conv.weight.shape:
                msg = (
                    f'Weights of {name} need the shape {tuple(conv.weight.shape)!r}, got '
                    f'{tuple(tensor.shape)!r}; build the encoder with the configuration the '
                    f'weights were trained with.'
                )
                raise EncoderRuntimeError(msg)
            if not bool((tensor.abs() <= MAX_WEIGHT).all()):
                msg = f'Weights of {name} must be finite and within -255 .. 255.'
                raise EncoderRuntimeError(msg)
            conv.weight.copy_(on_grid(tensor))
        self._derive_thresholds(tuple(weights))
        self.warn_if_silent()

    def set_threshold(
        self,
        name: str,
        threshold: float | Sequence[float] | Tensor,
        leak: float | Sequence[float] | Tensor | None = None,
    ) -> None:
        """Fix the threshold of a layer, for example a calibrated or adapted one.

        Args:
            name: 'conv1', 'conv2' or 'conv3'.
            threshold: One value, or one for each map; rounded to multiples of 1 / 256.
            leak: Likewise. Where None an absolute leak stays, and one that is a share of the
                threshold follows it.

        Raises:
            EncoderRuntimeError: Unknown layer, wrong number of values, or a value out of range.
        """
        self._check_layer(name)
        layer: LayerConfig = getattr(self.config, name)
        theta = on_grid(self._by_map(name, threshold))
        if leak is not None:
            loss = self._by_map(name, leak)
        elif layer.threshold_scale == 'l1' and layer.leak_mode == 'subtractive':
            loss = layer.leak * theta
        else:
            loss = getattr(self, f'{name}_leak').cpu()
        if layer.leak_mode != 'multiplicative':
            loss = on_grid(loss)
        try:
            check_params(NeuronParams(theta, loss, layer.leak_mode))
        except NeuronError as error:
            msg = f'{name}: {error}'
            raise EncoderRuntimeError(msg) from error
        getattr(self, f'{name}_threshold').copy_(theta)
        getattr(self, f'{name}_leak').copy_(loss)
        self._calibrated.add(name)
        self.warn_if_silent()

    def forward(
        self,
        x: Tensor,
        n_timesteps: int | None = None,
        reset_state: bool = True,
        layer_thresholds: Mapping[str, float | Sequence[float] | Tensor] | None = None,
        fire_once: bool | None = None,
        state: EncoderState | None = None,
        stepwise: bool = False,
    ) -> EncoderOutput:
        """Run one window.

        Args:
            x: Spikes of shape (T, B, C, H, W), or one frame of shape (B, C, H, W) that is
                presented in every step.
            n_timesteps: Steps for which a frame is presented, default 1; with a 5-D input it must
                be T or None.
            reset_state: Start from rest; otherwise go on from where the last call ended.
            layer_thresholds: Thresholds for this call only, by layer name.
            fire_once: For this call only, for all layers.
            state: State to start from (`EncoderOutput.state` of an earlier call); wins over
                reset_state and is not changed.
            stepwise: Run the step-by-step definition instead of the faster equal path.

        Returns:
            Spikes, times, pooling winners and the state after the window.

        Raises:
            EncoderRuntimeError: The input or state does not fit, or holds NaN or infinities.
        """
        spikes, integral = self._prepare(x, n_timesteps)
        _, batch, _, height, width = spikes.shape
        geometry = self.geometry(height, width)
        params = self.params(layer_thresholds, fire_once)
        if state is None and not reset_state:
            state = self._last_state
        before = rest_state(geometry, batch, spikes.device)
        if state is not None:
            before = self._fit_state(state, before)
        run = run_stepwise if stepwise else run_folded
        with torch.no_grad():
            record = run(spikes, params, before, integral)
        self._last_state = record.state
        return EncoderOutput(record, geometry, params.neurons[2].threshold, spikes)

    def params(
        self,
        layer_thresholds: Mapping[str, float | Sequence[float] | Tensor] | None = None,
        fire_once: bool | None = None,
    ) -> ChainParams:
        """Return weights and neurons as the pure functions of `chain` take them.

        Args:
            layer_thresholds: Replaces thresholds, by layer name; leaks stay.
            fire_once: Replaces the configured value in all layers.

        Raises:
            EncoderRuntimeError: Unknown layer or a threshold out of range.
        """
        replaced = dict(layer_thresholds or {})
        neurons = []
        for name in CONV_LAYERS:
            params = self.neurons(name, fire_once)
            if name in replaced:
                theta = on_grid(self._by_map(name, replaced.pop(name)))
                params = params._replace(threshold=theta.to(params.threshold.device))
                try:
                    check_params(params)
                except NeuronError as error:
                    msg = f'{name}: {error}'
                    raise EncoderRuntimeError(msg) from error
            neurons.append(params)
        for name in replaced:
            self._check_layer(name)
        config = self.config
        return ChainParams(
            (self._conv('conv1').weight, self._conv('conv2').weight, self._conv('conv3').weight),
            (neurons[0], neurons[1], neurons[2]),
            (config.pool1_kernel_size, config.pool2_kernel_size),
            (config.pool1_stride, config.pool2_stride),
        )

    def _prepare(self, x: Any, n_timesteps: int | None) -> tuple[Tensor, bool]:
        """Return the input as (T, B, C, H, W) float32, and whether it holds whole numbers."""
        if not isinstance(x, Tensor):
            msg = f'Input must be a torch.Tensor, got {type(x).__name__}; use torch.as_tensor.'
            raise EncoderRuntimeError(msg)
        if x.ndim not in (4, 5) or min(x.shape) < 1:
            msg = (
                f'Input must have the shape (T, B, C, H, W) or (B, C, H, W) without empty axes, '
                f'got {tuple(x.shape)!r}.'
            )
            raise EncoderRuntimeError(msg)
        if n_timesteps is not None and not 1 <= n_timesteps <= MAX_STEPS:
            msg = f'n_timesteps must be 1 .. {MAX_STEPS}, got {n_timesteps!r}.'
            raise EncoderRuntimeError(msg)
        if x.ndim == 5 and n_timesteps not in (None, x.shape[0]):
            msg = (
                f'n_timesteps={n_timesteps!r} contradicts the input of {x.shape[0]} steps; leave '
                f'it out or pass a 4-D frame.'
            )
            raise EncoderRuntimeError(msg)
        if x.shape[-3] != self.config.input_channels:
            msg = (
                f'Input has {x.shape[-3]!r} channels, the network takes '
                f'{self.config.input_channels}; build it with '
                f'EncoderConfig.from_paper({self.config.name!r}, '
                f'input_channels={x.shape[-3]}) or merge the polarities.'
            )
            raise EncoderRuntimeError(msg)
        if x.is_complex():
            msg = f'Input must be real, got {x.dtype!r}.'
            raise EncoderRuntimeError(msg)
        floating = x.dtype in _FLOATS
        values: Tensor = x.detach().to(self._conv('conv1').weight.device, torch.float32)
        integral = True
        if floating:
            if not bool(torch.isfinite(values).all()):
                msg = 'Input holds NaN or infinite values; clean it, e.g. with torch.nan_to_num.'
                raise EncoderRuntimeError(msg)
            integral = bool((values == values.round()).all())
        if x.ndim == 4:
            values = values.unsqueeze(0).expand(n_timesteps or 1, -1, -1, -1, -1)
        return values, integral

    def _fit_state(self, state: EncoderState, rest: EncoderState) -> EncoderState:
        """Return a given state on the device of the input, or refuse it."""
        for name, given, expected in zip(CONV_LAYERS, state, rest, strict=True):
            if given.v.shape != expected.v.shape:
                msg = (
                    f'State of {name} has the shape {tuple(given.v.shape)!r}, the input needs '
                    f'{tuple(expected.v.shape)!r}; reset the state when the input size changes.'
                )
                raise EncoderRuntimeError(msg)
        device = rest.conv1.v.device
        return EncoderState(
            *(type(layer)(*(part.to(device) for part in layer)) for layer in state)
        )

    def _check_layer(self, name: str) -> None:
        """Refuse unknown layer names."""
        if name not in CONV_LAYERS:
            msg = f'Unknown layer {name!r}; use one of {", ".join(CONV_LAYERS)}.'
            raise EncoderRuntimeError(msg)

    def _by_map(self, name: str, values: float | Sequence[float] | Tensor) -> Tensor:
        """Return one value for each map of a layer, shape (C,), on the CPU."""
        tensor = torch.as_tensor(values, dtype=torch.float32).detach().cpu()
        maps = getattr(self.config, name).out_channels
        if tensor.ndim > 1 or tensor.numel() not in (1, maps):
            msg = f'{name} needs 1 or {maps} values, got {tensor.tolist()!r}.'
            raise EncoderRuntimeError(msg)
        return tensor.expand(maps).clone()

    def _derive_thresholds(self, names: Sequence[str]) -> None:
        """Compute thresholds and leaks from the configuration and the weights."""
        for name in names:
            if name in self._calibrated:
                continue
            layer: LayerConfig = getattr(self.config, name)
            theta, leak = neuron_params(
                self._conv(name).weight,
                layer.threshold,
                layer.leak,
                scale=layer.threshold_scale,
                leak_mode=layer.leak_mode,
                shared_channels=self.config.input_channels if name == 'conv1' else 1,
            )
            getattr(self, f'{name}_threshold').copy_(theta)
            getattr(self, f'{name}_leak').copy_(leak)

    def warn_if_silent(self) -> None:
        """Warn about layers whose weights can never, or not in one step, reach the threshold."""
        for name in CONV_LAYERS:
            layer: LayerConfig = getattr(self.config, name)
            largest = self._conv(name).weight.detach().clamp(min=0).sum(dim=(1, 2, 3)).cpu()
            theta = getattr(self, f'{name}_threshold').cpu()
            leak = getattr(self, f'{name}_leak').cpu()
            if layer.leak_mode == 'multiplicative':
                # V settles at I / L, which it never exceeds.
                never, need = (largest <= 0) | (largest < theta * leak), theta
            else:
                never, need = largest <= leak, theta + leak
            slow = ~never & (largest < need)
            if bool(never.any()):
                worst = int(never.nonzero()[0])
                _warn(name, never, worst, 'can never spike', largest, theta, leak)
            if bool(slow.any()):
                worst = int(slow.nonzero()[0])
                _warn(name, slow, worst, 'can never spike within one step', largest, theta, leak)


def _warn(
    name: str, which: Tensor, worst: int, what: str, largest: Tensor, theta: Tensor, leak: Tensor
) -> None:
    """Issue one warning for the maps of a layer."""
    msg = (
        f'{name}: {int(which.sum())} of {which.numel()} maps {what}. In map {worst} inputs of '
        f'0 .. 1 bring at most {float(largest[worst]):g} in a step, against threshold '
        f'{float(theta[worst]):g} and leak {float(leak[worst]):g}. Lower the threshold or scale '
        f"it with the weights (threshold_scale='l1')."
    )
    warnings.warn(msg, SilentLayerWarning, stacklevel=4)


def _after_load(module: nn.Module, _keys: Any) -> None:
    """Put loaded weights, thresholds and leaks on the grid and check them."""
    assert isinstance(module, SpikeSEGEncoder)
    module._calibrated.update(CONV_LAYERS)
    for name in CONV_LAYERS:
        weight = module._conv(name).weight
        theta, leak = getattr(module, f'{name}_threshold'), getattr(module, f'{name}_leak')
        if not bool((weight.abs() <= MAX_WEIGHT).all()):
            msg = f'Weights of {name} must be finite and within -255 .. 255.'
            raise EncoderRuntimeError(msg)
        weight.copy_(on_grid(weight))
        theta.copy_(on_grid(theta))
        if getattr(module.config, name).leak_mode != 'multiplicative':
            leak.copy_(on_grid(leak))
        try:
            check_params(NeuronParams(theta, leak, getattr(module.config, name).leak_mode))
        except NeuronError as error:
            msg = f'{name}: {error}'
            raise EncoderRuntimeError(msg) from error
    module.warn_if_silent()
