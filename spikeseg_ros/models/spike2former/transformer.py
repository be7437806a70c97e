# SPDX-License-Identifier: Apache-2.0
"""Transformer decoder: queries look at the pyramid, at each other, and at themselves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikeseg_ros.models.spike2former.blocks import SpikeAttention
from spikeseg_ros.models.spike2former.neurons import Neuron, Pass

if TYPE_CHECKING:
    from spikeseg_ros.models.spike2former.config import Spike2FormerConfig

TEMPERATURE = 10000.0
EPSILON = 1e-6


class TokenConv(nn.Conv1d):
    """A linear layer of tokens whose weight has the shape of a 1-D convolution.

    Args:
        inputs: Features in.
        outputs: Features out.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, N, outputs) of (B, N, inputs)."""
        return F.linear(x, self.weight.squeeze(-1), self.bias)


class TokenNorm(nn.BatchNorm1d):
    """Normalisation of each feature over all tokens of a batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the shape of x, (B, N, C)."""
        return super().forward(x.flatten(0, 1)).view_as(x)


class TokenAttention(nn.Module):
    """Attention of tokens to tokens, without softmax.

    Args:
        width: Features.
        heads: Heads.
        levels: Largest spike count.
    """

    def __init__(self, width: int, heads: int, levels: int) -> None:
        super().__init__()
        self.heads = heads
        # The published scale is that of all heads together.
        self.attend = SpikeAttention(width**-0.5, levels)
        self.q_conv_spike, self.k_conv_spike, self.v_conv_spike = (
            Neuron(levels) for _ in range(3)
        )
        self.q_conv, self.k_conv, self.v_conv, self.out_conv = (
            nn.Sequential(TokenConv(width, width), TokenNorm(width)) for _ in range(4)
        )
        self.q_spike, self.k_spike, self.v_spike = (Neuron(levels) for _ in range(3))
        self.attn_spike = Neuron(levels)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, run: Pass) -> Tensor:
        """Return currents of the queries.

        Args:
            query: Potentials (B, Q, E).
            key: Potentials (B, N, E).
            value: Potentials (B, N, E).
            run: The pass.
        """
        q = self.q_spike(self.q_conv(self.q_conv_spike(query, run)), run)
        k = self.k_spike(self.k_conv(self.k_conv_spike(key, run)), run)
        v = self.v_spike(self.v_conv(self.v_conv_spike(value, run)), run)
        seen = self.attend(self._split(q), self._split(k), self._split(v))
        seen = seen.flatten(1, 2).transpose(1, 2).contiguous()
        y: Tensor = self.out_conv(self.attn_spike(seen, run))
        return y

    def _split(self, x: Tensor) -> Tensor:
        """Return (B, heads, E / heads, N) of (B, N, E)."""
        batch, tokens, width = x.shape
        return x.view(batch, tokens, self.heads, width // self.heads).permute(0, 2, 3, 1)


class QueryMlp(nn.Module):
    """Perceptron of each query.

    Args:
        config: The network.
    """

    norms = (('fc1', 'bn1'), ('fc2', 'bn2'))

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        width, hidden, levels = config.width, config.decoder_hidden, config.levels
        self.official = config.layout == 'official'
        self.fc1_spike = Neuron(levels)
        self.fc1 = nn.Conv1d(width, hidden, 1)
        self.bn1 = nn.BatchNorm1d(hidden)
        self.fc2_spike = Neuron(levels)
        self.fc2 = nn.Conv1d(hidden, width, 1)
        self.bn2 = nn.BatchNorm1d(width)

    def forward(self, x: Tensor, run: Pass) -> Tensor:
        """Return currents of the shape of x, (B, Q, E)."""
        batch, queries, width = x.shape
        spikes = self.fc1_spike(x, run)
        official = self.official
        seen = spikes.reshape(batch, width, queries) if official else spikes.transpose(1, 2)
        y: Tensor = self.bn1(self.fc1(seen))
        y = self.bn2(self.fc2(self.fc2_spike(y, run)))
        return y.reshape(batch, queries, width) if official else y.transpose(1, 2)


class _Attention(nn.Module):
    """A level of names in the published keys."""

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.attn = TokenAttention(config.width, config.heads, config.levels)


class DecoderLayer(nn.Module):
    """Cross-attention, self-attention and perceptron, added up.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.cross_attn = _Attention(config)
        self.self_attn = _Attention(config)
        self.ffn = QueryMlp(config)

    def forward(self, z: Tensor, place: Tensor, key: Tensor, code: Tensor, run: Pass) -> Tensor:
        """Return potentials of queries (B, Q, E).

        Args:
            z: Queries (B, Q, E).
            place: Position of the queries (Q, E).
            key: Tokens of a map (B, N, E).
            code: Position of the tokens (N, E).
            run: The pass.
        """
        z = z + self.cross_attn.attn(z + place, key + code, key, run)
        z = z + self.self_attn.attn(z + place, z + place, z, run)
        z = z + self.ffn(z, run)
        return z


class TransformerDecoder(nn.Module):
    """The layers of queries.

    Args:
        config: The network.
    """

    def __init__(self, config: Spike2FormerConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DecoderLayer(config) for _ in range(config.decoder_layers))
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.xavier_uniform_(module.weight)

    def forward(
        self,
        z: Tensor,
        place: Tensor,
        keys: list[Tensor],
        codes: list[Tensor],
        run: Pass,
    ) -> list[Tensor]:
        """Return the queries before the first and after each layer, each (B, Q, E).

        Args:
            z: Queries (B, Q, E).
            place: Position of the queries (Q, E).
            keys: Tokens at 1/16, 1/8 and 1/4, each (B, N, E).
            codes: Position of these tokens, each (N, E).
            run: The pass.
        """
        states = [z]
        for index, layer in enumerate(self.layers):
            level = index % len(keys)
            z = layer(z, place, keys[level], codes[level], run)
            states.append(z)
        return states


def sine_code(height: int, width: int, features: int, like: Tensor) -> Tensor:
    """Return the position of each pixel as sines: half of the features for y, half for x.

    Args:
        height: Rows.
        width: Columns.
        features: Number of features, a multiple of 4.
        like: A tensor of the wanted type on the wanted device.

    Returns:
        Codes in row-major order, shape (height * width, features).
    """
    half = features // 2
    index = torch.arange(half, device=like.device)
    frequency = TEMPERATURE ** (2 * (index // 2).to(like.dtype) / half)

    def axis(count: int) -> Tensor:
        steps = torch.arange(1, count + 1, device=like.device, dtype=like.dtype)
        angle = (steps / (count + EPSILON) * 2 * math.pi)[:, None] / frequency
        return torch.where(index % 2 == 0, angle.sin(), angle.cos())

    rows = axis(height)[:, None].expand(height, width, half)
    columns = axis(width)[None].expand(height, width, half)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)
