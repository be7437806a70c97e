# SPDX-License-Identifier: Apache-2.0
"""Pixel decoder: deformable spiking layers at 1/16 and a pyramid down to 1/2."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.blocks import Esc, MapMlp, conv_norm, wide
from spikeseg_ros.models.spike2former.neurons import Neuron, Pass
from spikeseg_ros.models.spike2former.sampling import POINTS, DeformableSum

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.config import Spike2FormerConfig

LAYER_SCALE = 1e-6


class PixelFeatures(NamedTuple):
    """What the pixel decoder hands on.

    Attributes:
        mask_features: Real values (B, E, ceil(H / 2), ceil(W / 2)).
        memory: Spikes of the last layer at 1/16, (B, E, h, w).
        multi_scale: Potentials at 1/16, 1/8 and 1/4.
    """

    mask_features: Tensor
    memory: Tensor
    multi_scale: list[Tensor]


class DeformableAttention(nn.Module):
    """Sampling at moved points; the weights of the points are spikes.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        width, kernel, levels = config.width, config.deformable_kernel, config.levels
        self.groups = config.groups
        self.official = config.layout == 'official'
        self.input_proj = Esc(width, kernel, levels)
        self.dw_spike = Neuron(levels)
        self.dw_conv = conv_norm(width, width, kernel, groups=width)
        self.offset_spike = Neuron(levels)
        self.offset = conv_norm(width, self.groups * POINTS * 2, bias=True)
        self.mask = conv_norm(width, self.groups * POINTS, bias=True)
        self.mask_spike = Neuron(levels)
        self.sampled = DeformableSum(levels)
        self.output_proj = Esc(width, kernel, levels)
        for branch in (self.offset, self.mask):
            nn.init.zeros_(branch[0].weight)  # type: ignore[arg-type]
            nn.init.zeros_(branch[0].bias)  # type: ignore[arg-type]

    def _at_pixels(self, x: Tensor) -> Tensor:
        """Return (B, h, w, J) of a map (B, J, h, w)."""
        if self.official:
            batch, maps, height, width = x.shape
            return x.reshape(batch, height, width, maps)
        return x.permute(0, 2, 3, 1)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, E, h, w)."""
        value = self.input_proj(x, run)
        spikes = self.offset_spike(self.dw_conv(self.dw_spike(x, run)), run)
        offset = self._at_pixels(self.offset(spikes))
        weight = self.mask_spike(self._at_pixels(self.mask(spikes)), run)
        shape = (*offset.shape[:3], self.groups, POINTS)
        sampled = self.sampled(value, offset.reshape(*shape, 2), weight.reshape(shape))
        y: Tensor = self.output_proj(sampled, run)
        return y


class EncoderLayer(nn.Module):
    """Separable convolution, deformable sampling and perceptron, each with a layer scale.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        width = config.width
        self.official = config.layout == 'official'
        self.gamma1 = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.gamma2 = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.gamma3 = nn.Parameter(torch.full((width,), LAYER_SCALE))
        self.Conv = Esc(width, 3, config.levels)
        self.dcn = DeformableAttention(config)
        self.ffn = MapMlp(width, config.encoder_hidden, config.levels)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return potentials of the shape of x, (B, E, h, w)."""
        x = x + self.gamma1.view(1, -1, 1, 1) * self.Conv(x, run)
        x = x + self.gamma2.view(1, -1, 1, 1) * self.dcn(x, run)
        y: Tensor = self.ffn(x, run)
        if self.official:
            batch, maps, height, width = y.shape
            y = y.reshape(batch, height, width, maps).permute(0, 3, 1, 2)
        return x + self.gamma3.view(1, -1, 1, 1) * y


def _uniform(conv: Any) -> None:
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


class _Encoder(nn.Module):
    """A level of names in the published keys."""

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.encoder_layers))


class PixelDecoder(nn.Module):
    """Layers at 1/16, then the pyramid.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        width, levels, stages = config.width, config.levels, config.stages
        self.last_feat_conv_spike = Neuron(levels)
        self.encoder_in_proj = conv_norm(stages[-1], width, bias=True)
        self.encoder = _Encoder(config)
        self.encoder_out_proj_spike = Neuron(levels)
        self.encoder_out_proj = conv_norm(width, width, bias=True)
        # In the order 1/2, 1/4, 1/8; used the other way round.
        self.lateral_convs_spike = nn.ModuleList(Neuron(levels) for _ in range(3))
        self.lateral_convs = nn.ModuleList(conv_norm(n, width, bias=True) for n in stages[:3])
        self.output_convs_spike = nn.ModuleList(Neuron(levels) for _ in range(3))
        self.output_convs = nn.ModuleList(
            conv_norm(width, width, 3, groups=width) for _ in range(3)
        )
        self.mask_feature_spike = Neuron(levels)
        self.mask_feature: nn.Module = nn.Conv2d(width, width, 1)
        for projection in (self.encoder_in_proj, self.encoder_out_proj):
            _uniform(projection[0])
        # The published code leaves the third of the pyramid at the default.
        for index in range(2):
            _uniform(self.lateral_convs[index][0])  # type: ignore[index]
            _uniform(self.output_convs[index][0])  # type: ignore[index]
        _uniform(self.mask_feature)

    def forward(self, features: list[Tensor], run: Pass) -> PixelFeatures:
        """Return features of the backbone's potentials at 1/2, 1/4, 1/8 and 1/16."""
        *finer, last = features
        y = wide(self.encoder_in_proj(self.last_feat_conv_spike(last, run)))
        for layer in self.encoder.layers:
            y = layer(y, run)
        memory = self.encoder_out_proj_spike(y, run)
        y = wide(self.encoder_out_proj(memory))
        scales = [y]
        for index in (2, 1, 0):
            seen = self.lateral_convs_spike[index](finer[index], run)
            lateral = wide(self.lateral_convs[index](seen))
            y = lateral + F.interpolate(
                y, size=lateral.shape[2:], mode='bilinear', align_corners=False
            )
            y = wide(self.output_convs[index](self.output_convs_spike[index](y, run)))
            scales.append(y)
        mask_features = self.mask_feature(self.mask_feature_spike(scales.pop(), run))
        return PixelFeatures(mask_features, memory, scales)
