# SPDX-License-Identifier: Apache-2.0
"""Head: queries become a class and a mask each (SDME)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.neurons import Neuron, Pass, sub_steps
from spikeseg_ros.models.spike2former.pixel_decoder import PixelDecoder, PixelFeatures
from spikeseg_ros.models.spike2former.transformer import TransformerDecoder, sine_code
from spikeseg_ros.spiking.energy import count_product

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.config import Spike2FormerConfig

# Spikes of the head count this many times.
ALPHA = 4


class SpikeLinear(nn.Linear):
    """A linear layer whose input spikes count `ALPHA` times."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) of spikes (..., inputs)."""
        return F.linear(x, self.weight * ALPHA, self.bias)


class SpikeConv1d(nn.Conv1d):
    """A pointwise 1-D convolution whose input spikes count `ALPHA` times."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, N) of spikes (B, inputs, N)."""
        return F.conv1d(x, self.weight * ALPHA, self.bias)


class MaskEmbedding(nn.Module):
    """Perceptron from spikes of a query to its mask embedding.

    Args:
        width: Features.
        levels: Largest spike count.
    """

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.fc1 = SpikeLinear(width, width, bias=False)
        self.spike1 = Neuron(levels)
        self.fc2 = SpikeLinear(width, width, bias=False)
        self.spike2 = Neuron(levels)
        self.fc_out = SpikeLinear(width, width)
        _small_normal(self.fc_out)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of the spikes x, (..., E)."""
        x = self.spike1(self.fc1(x), run)
        x = self.spike2(self.fc2(x), run)
        x = self.fc_out(x)
        return x


def _product(queries: Tensor, features: Tensor) -> Tensor:
    return torch.einsum('nbqe,behw->nbqhw', queries, features)


def _small_normal(linear: nn.Linear) -> None:
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)


class DecodeHead(nn.Module):
    """Pixel decoder, transformer decoder and the embedding of queries.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        width, queries, levels = config.width, config.queries, config.levels
        self.levels = levels
        self.pixel_decoder = PixelDecoder(config)
        self.transformer_decoder = TransformerDecoder(config)
        self.query_embed = nn.Embedding(queries, width)
        self.query_feat = nn.Embedding(queries, width)
        self.level_embed = nn.Embedding(3, width)
        self.decoder_out_spike = Neuron(levels)
        self.cls_embed = SpikeLinear(width, config.classes + 1)
        _small_normal(self.cls_embed)
        self.mask_embed = MaskEmbedding(width, levels)
        self.shortcut_conv_spike = Neuron(levels)
        self.shortcut_conv = nn.Sequential(
            SpikeConv1d(queries, queries, 1, bias=False), nn.BatchNorm1d(queries)
        )
        self.w = nn.Parameter(torch.ones(1))
        self.mask_embed_spike = Neuron(levels)
        # Set in folded networks: the mask features' weights, moved to the side of the queries.
        self.mask_projection: nn.Module | None = None
        self.binary = False

    def forward(
        self, features: list[Tensor], run: Pass, last_only: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return class logits (n, B, Q, K + 1) and mask logits (n, B, Q, H', W').

        Args:
            features: Potentials of the backbone at 1/2, 1/4, 1/8 and 1/16.
            run: The pass.
            last_only: n = 1, the last layer, instead of n = L + 1.
        """
        pixels = self.pixel_decoder(features, run)
        states = self._states(pixels, run)
        if last_only:
            states = states[-1:]
        classes, embedding = self.embedded(torch.stack(states), run)
        return classes, self._masks(embedding, pixels.mask_features)

    def _masks(self, embedding: Tensor, features: Tensor) -> Tensor:
        macs = embedding[..., 0].numel() * features[0].numel()
        projection = self.mask_projection
        spikes = embedding if projection is None else features
        count_product('decode_head.masks', 'mask product', macs, spikes, self.levels)
        if projection is None:
            return _product(ALPHA * embedding, features)
        projected: Tensor = projection(embedding)
        weight, bias = projected[..., :-1], projected[..., -1:, None]
        if self.binary:
            parts = (_product(weight / self.levels, x) for x in sub_steps(features, self.levels))
            return sum(parts, start=bias)
        return _product(weight, features) + bias

    def _states(self, pixels: PixelFeatures, run: Pass) -> list[Tensor]:
        keys, codes = [], []
        for level, seen in zip(self.level_embed.weight, pixels.multi_scale, strict=True):
            keys.append(seen.flatten(2).transpose(1, 2) + level)
            codes.append(sine_code(seen.shape[2], seen.shape[3], seen.shape[1], level))
        z = self.query_feat.weight.expand(len(pixels.memory), -1, -1)
        states: list[Tensor] = self.transformer_decoder(
            z, self.query_embed.weight, keys, codes, run
        )
        return states

    def embedded(self, states: Tensor, run: Pass) -> tuple[Tensor, Tensor]:
        """Return class logits (n, B, Q, K + 1) and spikes of the mask embedding (n, B, Q, E)."""
        out = states.sigmoid()
        spikes = self.decoder_out_spike(out, run)
        classes = self.cls_embed(spikes)
        embedding = self.mask_embed(spikes, run)
        again = self.shortcut_conv_spike(out, run)
        shortcut = self.shortcut_conv(again.flatten(0, 1)).view_as(embedding)
        return classes, self.mask_embed_spike(embedding + self.w * shortcut, run)
