# SPDX-License-Identifier: Apache-2.0
"""Filters of conv1, initial weights, and the grid all weights live on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from spikeseg_ros.models.encoder_config import EncoderConfig

GRID = 256
INIT_MEAN = 0.8
INIT_SD = 0.01


def on_grid(values: Tensor) -> Tensor:
    """Round to multiples of 1 / 256.

    Sums of such numbers are exact in float32 up to 65536, in any order. Potentials therefore
    come out the same bit for bit whether a window is run step by step, as one batch, on a GPU,
    or event by event, and a spike, which is a comparison, can never differ between them. The
    numbers are exact in bfloat16 and TF32 as well. STDP drives weights to 0 and 1, which lie on
    the grid, so nothing is lost.
    """
    return torch.round(values * GRID) / GRID


def gabor_filters(size: int, count: int = 4) -> Tensor:
    """Gabor filters at the angles pi / count, 2 pi / count, ..., pi; negative lobes set to 0.

    Args:
        size: Edge of the kernel.
        count: Number of orientations.

    Returns:
        Shape (count, size, size), values 0 .. 1, largest value 1.

    Source: formula of the SpykeTorch utilities (div 4); clipped so that only what is seen can
    cause a spike.
    """
    wavelength = 2.0 * size / 4.0
    sigma = 0.8 * wavelength
    gamma = 0.3
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    y, x = axis.view(-1, 1), axis.view(1, -1)
    filters = []
    for number in range(1, count + 1):
        angle = math.pi * number / count
        along = y * math.sin(angle) + x * math.cos(angle)
        across = y * math.cos(angle) - x * math.sin(angle)
        envelope = torch.exp(-(along**2 + gamma**2 * across**2) / (2 * sigma**2))
        gabor = envelope * torch.cos(2 * math.pi * along / wavelength)
        gabor = gabor - gabor.mean()
        filters.append((gabor / gabor.max()).clamp(min=0))
    return torch.stack(filters).float()


def dog_filters(size: int, count: int = 2, sigmas: tuple[float, float] = (1.0, 2.0)) -> Tensor:
    """Differences of Gaussians: ON centre, OFF centre, ON centre, ... ; signed, mean 0.

    Args:
        size: Edge of the kernel.
        count: Number of filters.
        sigmas: Widths of the inner and outer Gaussian [px].

    Returns:
        Shape (count, size, size), largest value 1.

    Source: Kheradpisheh et al. 2018 (7x7, sigmas 1 and 2).
    """
    axis = torch.arange(size, dtype=torch.float64) - size // 2
    square = axis.view(-1, 1) ** 2 + axis.view(1, -1) ** 2
    inner, outer = (torch.exp(-square / (2 * s**2)) / (2 * math.pi * s**2) for s in sigmas)
    filters = []
    for number in range(count):
        dog = inner - outer if number % 2 == 0 else outer - inner
        dog = dog - dog.mean()
        filters.append(dog / dog.max())
    return torch.stack(filters).float()


def initial_weights(config: EncoderConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return seeded initial weights of conv1, conv2, conv3 on the grid.

    Conv1 gets its filters, the same for every input channel. The others, and conv1 with filters
    'random', are drawn from N(0.8, 0.01), cut to 0 .. 1 (Kirkland et al. 2023).

    Returns:
        Tensors of shape (out, in, kernel, kernel), float32.
    """
    generator = torch.Generator().manual_seed(config.seed)
    weights = []
    channels = config.input_channels
    for layer in config.layers:
        shape = (layer.out_channels, channels, layer.kernel_size, layer.kernel_size)
        drawn = INIT_MEAN + INIT_SD * torch.randn(shape, generator=generator)
        weights.append(on_grid(drawn.clamp(0, 1)))
        channels = layer.out_channels
    first = config.conv1
    if config.conv1_filters != 'random':
        build = gabor_filters if config.conv1_filters == 'gabor' else dog_filters
        filters = on_grid(build(first.kernel_size, first.out_channels))
        weights[0] = filters.unsqueeze(1).repeat(1, config.input_channels, 1, 1)
    return weights[0], weights[1], weights[2]
