# SPDX-License-Identifier: Apache-2.0
"""Building blocks that the backbones and decoders share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.neurons import Neuron, Pass
from spikeseg_ros.spiking.energy import count_product


def conv_norm(
    inputs: int, outputs: int, kernel: int = 1, *, groups: int = 1, bias: bool = False
) -> nn.Sequential:
    """Return a convolution that keeps the size, and its normalisation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=bias),
        nn.BatchNorm2d(outputs),
    )


def wide(x: Tensor) -> Tensor:
    """Return x with at least 32 bits: neurons round, and 16 bits are too coarse for sums."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Esc(nn.Module):
    """Separable convolution, each part in front of neurons: widen, depthwise, project.

    Args:
        channels: Maps.
        kernel: Edge of the depthwise kernel.
        levels: Largest spike count.
        expansion: Widening.
    """

    def __init__(self, channels: int, kernel: int, levels: int, expansion: int = 2) -> None:
        super().__init__()
        wide = expansion * channels
        self.spike1 = Neuron(levels)
        self.pwconv1 = conv_norm(channels, wide)
        self.spike2 = Neuron(levels)
        self.dwconv = conv_norm(wide, wide, kernel, groups=wide)
        self.spike3 = Neuron(levels)
        self.pwconv2 = conv_norm(wide, channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, C, H, W)."""
        x = self.pwconv1(self.spike1(x, run))
        x = self.dwconv(self.spike2(x, run))
        x = self.pwconv2(self.spike3(x, run))
        return x


class PixelLinear(nn.Conv2d):
    """A folded 1 x 1 convolution: a matrix product where the maps lie on the last axis anyway."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H, W) of (B, inputs, H, W)."""
        return pointwise(x, self.weight, self.bias)


def pointwise(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the 1 x 1 convolution of a map (B, C, H, W).

    Args:
        x: The map.
        weight: Shape (outputs, C, 1, 1).
        bias: Shape (outputs,).
    """
    if x.device.type == 'cpu' and x.is_contiguous(memory_format=torch.channels_last):
        return F.linear(x.permute(0, 2, 3, 1), weight.flatten(1), bias).permute(0, 3, 1, 2)
    return F.conv2d(x, weight, bias)


class PointConv(nn.Conv1d):
    """A convolution of single tokens whose weight has the shape of a 1-D one, on a map.

    Args:
        inputs: Maps in.
        outputs: Maps out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, H, W) of (B, inputs, H, W)."""
        return pointwise(x, self.weight.unsqueeze(-1), self.bias)


class MapMlp(nn.Module):
    """Perceptron of each pixel of a map.

    Args:
        channels: Maps in and out.
        hidden: Hidden maps.
        levels: Largest spike count.
    """

    norms = (('fc1_conv', 'fc1_bn'), ('fc2_conv', 'fc2_bn'))

    def __init__(self, channels: int, hidden: int, levels: int) -> None:
        super().__init__()
        self.fc1_spike = Neuron(levels)
        self.fc1_conv = PointConv(channels, hidden)
        self.fc1_bn = nn.BatchNorm2d(hidden)
        self.fc2_spike = Neuron(levels)
        self.fc2_conv = PointConv(hidden, channels)
        self.fc2_bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, C, H, W)."""
        x = self.fc1_bn(self.fc1_conv(self.fc1_spike(x, run)))
        x = self.fc2_bn(self.fc2_conv(self.fc2_spike(x, run)))
        return x


class BorderNorm(nn.Module):
    """Normalisation, and a border of one pixel that holds the normalised zero.

    Args:
        channels: Maps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def zero(self) -> Tensor:
        """Return what the normalisation, as it is in evaluation, makes of zero, shape (C,)."""
        bn = self.bn
        assert bn.running_mean is not None
        assert bn.running_var is not None
        gain = bn.weight.detach() / torch.sqrt(bn.running_var + bn.eps)
        return bn.bias.detach() - bn.running_mean * gain

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H + 2, W + 2) of (B, C, H, W)."""
        # Padding with zeros around a difference leaves the border at the wanted value.
        border = self.zero().view(1, -1, 1, 1).to(x.dtype)
        y = self.bn(x)
        return F.pad(y - border, (1, 1, 1, 1)) + border


class RepConv(nn.Module):
    """Pointwise, depthwise 3 x 3 and pointwise convolution without neurons in between.

    In evaluation the chain is one dense 3 x 3 convolution.

    Args:
        channels: Maps in and out.
    """

    # Convolutions that do not see spikes.
    real_inputs = ('body.2.0', 'body.2.1')

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 1, bias=False),
            BorderNorm(channels),
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, groups=channels, bias=False),
                nn.Conv2d(channels, channels, 1, bias=False),
                nn.BatchNorm2d(channels),
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return currents of the shape of x, (B, C, H, W)."""
        result: Tensor = self.body(x)
        return result


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (B, heads, C / heads, N) of a map (B, C, H, W)."""
    batch, channels, height, width = x.shape
    return x.reshape(batch, heads, channels // heads, height * width)


class SpikeAttention(nn.Module):
    """query (key^T value) * scale: an attention without softmax, in linear time.

    The products are formed in at least 32 bits: sums of spikes need more digits than 16-bit
    formats have.

    Args:
        scale: Factor of the result.
        levels: Largest spike count.
    """

    def __init__(self, scale: float, levels: int) -> None:
        super().__init__()
        self.scale, self.levels = scale, levels
        self.label = ''

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return currents (..., d, N).

        Args:
            query: Spikes (..., c, N).
            key: Spikes (..., c, M).
            value: Spikes (..., d, M).
        """
        size = value.shape[-2]
        for name, seen in (('key_value', key), ('query', query)):
            macs = size * seen.numel()
            count_product(f'{self.label}.{name}', 'attention', macs, seen, self.levels)
        with torch.autocast(query.device.type, enabled=False):
            summary = wide(value) @ wide(key).transpose(-2, -1)
            return (summary @ wide(query)) * self.scale
