# SPDX-License-Identifier: Apache-2.0
"""The chain conv1 - pool1 - conv2 - pool2 - conv3 as pure functions over one window.

`run_stepwise` is the definition. `run_folded` computes the same bit for bit with the time axis
folded into the batch: one convolution for each layer and window, then one scan of its neurons.
No layer feeds back into an earlier one, so the order does not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F

from spikeseg_ros.models.filters import GRID, on_grid
from spikeseg_ros.spiking.neurons import (
    NeuronParams,
    NeuronState,
    StepOutput,
    initial_state,
    neuron_scan_,
    neuron_step,
)
from spikeseg_ros.spiking.pooling import Pooled, pool_spikes

if TYPE_CHECKING:
    from torch import Tensor

    from spikeseg_ros.spiking.trace import ChainGeometry


class ChainParams(NamedTuple):
    """Weights and neurons of the chain.

    Attributes:
        weights: Of conv1, conv2, conv3, each of shape (out, in, kernel, kernel), float32.
        neurons: Parameters of the neurons of conv1, conv2, conv3.
        pool_kernels: Of pool1, pool2.
        pool_strides: Of pool1, pool2.
    """

    weights: tuple[Tensor, Tensor, Tensor]
    neurons: tuple[NeuronParams, NeuronParams, NeuronParams]
    pool_kernels: tuple[int, int]
    pool_strides: tuple[int, int]


class EncoderState(NamedTuple):
    """State of all neurons between two windows."""

    conv1: NeuronState
    conv2: NeuronState
    conv3: NeuronState

    def next_window(self, renew_fired: bool = False) -> EncoderState:
        """Return the state in front of the next window.

        Args:
            renew_fired: Let neurons that fire once fire again.
        """
        return EncoderState(*(layer.next_window(renew_fired) for layer in self))


class ChainRecord(NamedTuple):
    """What happened in one window of T steps.

    Attributes:
        conv1: Neurons of conv1, tensors of shape (T, B, C1, H, W).
        pool1: Spikes that passed pool1, shape (T, B, C1, H1, W1).
        conv2: Neurons of conv2, shape (T, B, C2, H1, W1).
        pool2: Spikes that passed pool2, shape (T, B, C2, H2, W2).
        conv3: Neurons of conv3, shape (T, B, N, H2, W2).
        state: State after the last step.
    """

    conv1: StepOutput
    pool1: Pooled
    conv2: StepOutput
    pool2: Pooled
    conv3: StepOutput
    state: EncoderState


def rest_state(
    geometry: ChainGeometry, batch: int = 1, device: torch.device | str = 'cpu'
) -> EncoderState:
    """Return all neurons at rest.

    Args:
        geometry: Sizes of the chain.
        batch: Number of inputs B.
        device: Device of the tensors.
    """
    sizes = ((geometry.height, geometry.width), geometry.pool1_size, geometry.pool2_size)
    return EncoderState(
        *(
            initial_state((batch, channels, *size), device)
            for channels, size in zip(geometry.channels[1:], sizes, strict=True)
        )
    )


def currents(spikes: Tensor, weights: Tensor, integral: bool = True) -> Tensor:
    """Convolve with stride 1 and padding kernel // 2.

    Args:
        spikes: Shape (N, C, H, W), float32.
        weights: Shape (out, C, kernel, kernel), on the grid.
        integral: Whether all spikes are whole numbers, so that the result is on the grid.
    """
    result = F.conv2d(spikes, weights, padding=weights.shape[-1] // 2)
    if result.is_cuda and integral:
        # cuDNN may convolve through a transform (Winograd, FFT) that leaves rounding noise far
        # below the grid of exact results; rounding restores them.
        result = result.mul_(GRID).round_().div_(GRID)
    return result


def run_stepwise(
    x: Tensor, params: ChainParams, state: EncoderState, integral: bool = True
) -> ChainRecord:
    """Run a window step by step: the definition.

    Args:
        x: Input, shape (T, B, C, H, W), float32.
        params: Weights and neurons.
        state: State in front of the window.
        integral: Whether x holds whole numbers only.
    """
    layers: list[NeuronState] = list(state.next_window())
    outputs: list[list[StepOutput]] = [[], [], []]
    pools: list[list[Pooled]] = [[], []]
    for t, frame in enumerate(x):
        spikes = frame
        for number in range(3):
            current = currents(spikes, params.weights[number], integral or number > 0)
            output, layers[number] = neuron_step(
                current, layers[number], params.neurons[number], t
            )
            outputs[number].append(output)
            if number < 2:
                step = StepOutput(*(part.unsqueeze(0) for part in output))
                pooled = pool_spikes(
                    step, params.pool_kernels[number], params.pool_strides[number]
                )
                pools[number].append(pooled)
                spikes = pooled.spikes[0].float()
    conv1, conv2, conv3 = (
        StepOutput(*(torch.stack(part) for part in zip(*steps, strict=True))) for steps in outputs
    )
    pool1, pool2 = (Pooled(*(torch.cat(part) for part in zip(*p, strict=True))) for p in pools)
    return ChainRecord(conv1, pool1, conv2, pool2, conv3, EncoderState(*layers).next_window())


def run_folded(
    x: Tensor, params: ChainParams, state: EncoderState, integral: bool = True
) -> ChainRecord:
    """Run a window layer by layer, time folded into the batch; equal to `run_stepwise`.

    Args:
        x: Input, shape (T, B, C, H, W), float32.
        params: Weights and neurons.
        state: State in front of the window.
        integral: Whether x holds whole numbers only.
    """
    steps, batch = x.shape[:2]
    layers = list(state.next_window())
    outputs: list[StepOutput] = []
    pools: list[Pooled] = []
    spikes = x
    for number in range(3):
        folded = spikes.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        current = currents(folded, params.weights[number], integral or number > 0)
        current = current.view(steps, batch, *current.shape[1:])
        output, layers[number] = neuron_scan_(current, layers[number], params.neurons[number])
        outputs.append(output)
        if number < 2:
            pooled = pool_spikes(output, params.pool_kernels[number], params.pool_strides[number])
            pools.append(pooled)
            spikes = pooled.spikes.float()
    after = EncoderState(*layers).next_window()
    return ChainRecord(outputs[0], pools[0], outputs[1], pools[1], outputs[2], after)


def neuron_params(
    weights: Tensor,
    threshold: float,
    leak: float,
    *,
    scale: str,
    leak_mode: str,
    shared_channels: int = 1,
) -> tuple[Tensor, Tensor]:
    """Return thresholds and leaks by map, on the grid.

    Args:
        weights: Shape (out, in, kernel, kernel).
        threshold: theta, or its share of the positive weights with scale 'l1'.
        leak: Leak, or its share of theta with scale 'l1'.
        scale: 'absolute' or 'l1'.
        leak_mode: With 'multiplicative' the leak is a share of V and is not rounded.
        shared_channels: Input channels that carry the same kernel; 'l1' counts them once.
    """
    theta = torch.full((weights.shape[0],), float(threshold))
    loss = torch.full((weights.shape[0],), float(leak))
    if scale == 'l1':
        theta = theta * weights.clamp(min=0).sum(dim=(1, 2, 3)).cpu() / shared_channels
        loss = loss if leak_mode == 'multiplicative' else loss * theta
    theta = on_grid(theta).clamp(min=1.0 / GRID)
    return theta, loss if leak_mode == 'multiplicative' else on_grid(loss)
