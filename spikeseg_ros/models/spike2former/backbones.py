# SPDX-License-Identifier: Apache-2.0
"""Backbones: Meta-SpikeFormer (SDT V2) and E-SpikeFormer (SDT V3).

Both have the same stages at 1/2, 1/4, 1/8, 1/16 and 1/16 and hand out the sums of the first, the
second, the third and the last one, real values in front of the next neuron.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from spikeseg_ros.models.spike2former.blocks import (
    Esc,
    MapMlp,
    RepConv,
    SpikeAttention,
    conv_norm,
    split_heads,
    wide,
)
from spikeseg_ros.models.spike2former.neurons import Neuron, Pass

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.config import Spike2FormerConfig


class Downsampling(nn.Module):
    """Convolution between two stages.

    Args:
        inputs: Maps in.
        outputs: Maps out.
        levels: Largest spike count; None for the one that reads the image.
        stride: Stride.
    """

    norms = (('encode_conv', 'encode_bn'),)

    def __init__(self, inputs: int, outputs: int, levels: int | None, stride: int = 2) -> None:
        super().__init__()
        kernel = 7 if levels is None else 3
        self.real_inputs = ('encode_conv',) if levels is None else ()
        self.encode_spike = None if levels is None else Neuron(levels)
        self.encode_conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)
        self.encode_bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents (B, outputs, ceil(H / stride), ceil(W / stride))."""
        if self.encode_spike is not None:
            x = self.encode_spike(x, run)
        return wide(self.encode_bn(self.encode_conv(x)))


class SepConv(nn.Module):
    """Separable 7 x 7 convolution of V2, without neurons behind the depthwise part.

    Args:
        channels: Maps.
        levels: Largest spike count.
    """

    real_inputs = ('pwconv2',)
    norms = (('pwconv1', 'bn1'), ('pwconv2', 'bn2'))

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.spike1 = Neuron(levels)
        self.pwconv1 = nn.Conv2d(channels, wide, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.spike2 = Neuron(levels)
        self.dwconv = nn.Conv2d(wide, wide, 7, padding=3, groups=wide, bias=False)
        self.pwconv2 = nn.Conv2d(wide, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, C, H, W)."""
        x = self.bn1(self.pwconv1(self.spike1(x, run)))
        x = self.bn2(self.pwconv2(self.dwconv(self.spike2(x, run))))
        return x


class ConvBlock(nn.Module):
    """Residual block of the first stages: separable 7 x 7, then two dense 3 x 3.

    Args:
        channels: Maps.
        version: 'v2' or 'v3'.
        levels: Largest spike count.
    """

    norms = (('conv1', 'bn1'), ('conv2', 'bn2'))

    def __init__(self, channels: int, version: str, levels: int) -> None:
        super().__init__()
        wide = 4 * channels
        self.Conv = SepConv(channels, levels) if version == 'v2' else Esc(channels, 7, levels)
        self.spike1 = Neuron(levels)
        self.conv1 = nn.Conv2d(channels, wide, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(wide)
        self.spike2 = Neuron(levels)
        self.conv2 = nn.Conv2d(wide, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x, (B, C, H, W)."""
        x = x + self.Conv(x, run)
        y: Tensor = self.bn1(self.conv1(self.spike1(x, run)))
        y = self.bn2(self.conv2(self.spike2(y, run)))
        return x + y


class MapAttention(nn.Module):
    """Self-attention of the pixels of a map, without softmax.

    Args:
        channels: Maps.
        heads: Heads.
        version: 'v2' (all convolutions are `RepConv`) or 'v3' (pointwise, values four times as
            wide).
        levels: Largest spike count.
    """

    def __init__(self, channels: int, heads: int, version: str, levels: int) -> None:
        super().__init__()
        self.heads = heads
        factor = 1.0 if version == 'v2' else 2.0
        self.attend = SpikeAttention(factor * (channels // heads) ** -0.5, levels)
        self.head_spike = Neuron(levels)
        values = channels if version == 'v2' else 4 * channels
        if version == 'v2':
            self.q_conv, self.k_conv, self.v_conv, self.proj_conv = (
                nn.Sequential(RepConv(channels), nn.BatchNorm2d(channels)) for _ in range(4)
            )
        else:
            self.q_conv = conv_norm(channels, channels)
            self.k_conv = conv_norm(channels, channels)
            self.v_conv = conv_norm(channels, values)
            self.proj_conv = conv_norm(values, channels)
        self.q_spike = Neuron(levels)
        self.k_spike = Neuron(levels)
        self.v_spike = Neuron(levels)
        self.attn_spike = Neuron(levels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, C, H, W)."""
        spikes = self.head_spike(x, run)
        query = split_heads(self.q_spike(self.q_conv(spikes), run), self.heads)
        key = split_heads(self.k_spike(self.k_conv(spikes), run), self.heads)
        value = split_heads(self.v_spike(self.v_conv(spikes), run), self.heads)
        seen = self.attend(query, key, value)
        joined = seen.reshape(len(x), -1, *x.shape[2:])
        y: Tensor = self.proj_conv(self.attn_spike(joined, run))
        return y


class TransformerBlock(nn.Module):
    """Residual block of the last stages.

    Args:
        channels: Maps.
        heads: Heads.
        version: 'v2' or 'v3'.
        levels: Largest spike count.
    """

    def __init__(self, channels: int, heads: int, version: str, levels: int) -> None:
        super().__init__()
        self.conv = None if version == 'v2' else Esc(channels, 3, levels)
        self.attn = MapAttention(channels, heads, version, levels)
        self.mlp = MapMlp(channels, 4 * channels, levels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x, (B, C, H, W)."""
        if self.conv is not None:
            x = x + self.conv(x, run)
        x = x + self.attn(x, run)
        x = x + self.mlp(x, run)
        return x


class Backbone(nn.Module):
    """The five stages.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        version, levels, heads = config.backbone, config.backbone_levels, config.backbone_heads
        half, c4, c8, c16, last = config.stages

        def conv(channels: int) -> nn.ModuleList:
            return nn.ModuleList([ConvBlock(channels, version, levels)])

        def blocks(channels: int, count: int) -> nn.ModuleList:
            return nn.ModuleList(
                TransformerBlock(channels, heads, version, levels) for _ in range(count)
            )

        self.downsample1_1 = Downsampling(3, half, None)
        self.ConvBlock1_1 = conv(half)
        self.downsample1_2 = Downsampling(half, c4, levels)
        self.ConvBlock1_2 = conv(c4)
        self.downsample2 = Downsampling(c4, c8, levels)
        self.ConvBlock2_1 = conv(c8)
        self.ConvBlock2_2 = conv(c8)
        self.downsample3 = Downsampling(c8, c16, levels)
        self.block3 = blocks(c16, config.backbone_depths[0])
        self.downsample4 = Downsampling(c16, last, levels, stride=1)
        self.block4 = blocks(last, config.backbone_depths[1])

    def forward(self, x: Tensor, run: Pass) -> list[Tensor]:
        """Return potentials at 1/2, 1/4, 1/8 and 1/16 of normalised images (B, 3, H, W)."""
        stages = (
            (self.downsample1_1, (self.ConvBlock1_1,)),
            (self.downsample1_2, (self.ConvBlock1_2,)),
            (self.downsample2, (self.ConvBlock2_1, self.ConvBlock2_2)),
            (self.downsample3, (self.block3,)),
            (self.downsample4, (self.block4,)),
        )
        features = []
        for down, groups in stages:
            x = down(x, run)
            for group in groups:
                for block in group:
                    x = block(x, run)
            features.append(x)
        # The stage in front of the last one has the same size and is not handed out.
        del features[3]
        return features
