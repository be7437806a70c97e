# SPDX-License-Identifier: Apache-2.0
"""Reference tensors and small networks with lively neurons."""

from __future__ import annotations

import gzip
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from spikeseg_ros.models.spike2former import Spike2Former, Spike2FormerConfig

if TYPE_CHECKING:
    from collections.abc import Callable

PARITY = Path(__file__).resolve().parents[4] / 'shared/data/parity'
SMALL = {
    'dims': (8, 16, 24, 32), 'backbone_heads': 4, 'backbone_depths': (2, 1), 'width': 16,
    'groups': 2, 'heads': 4, 'queries': 7, 'classes': 5, 'encoder_layers': 2,
    'encoder_hidden': 24, 'decoder_layers': 4, 'decoder_hidden': 20,
}  # fmt: skip


@lru_cache
def _reference(name: str) -> dict[str, Any]:
    path = PARITY / 'spike2former' / f'{name}.pt'
    if not path.exists():
        pytest.skip(f'reference tensors {path} are not here')
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


@pytest.fixture
def reference() -> Callable[[str], dict[str, Any]]:
    """Read a file of reference tensors, or skip."""
    return _reference


@pytest.fixture
def published(reference: Callable[[str], dict[str, Any]]) -> Callable[[str], Spike2Former]:
    """Build the network of a file of reference tensors in float64."""

    def build(name: str) -> Spike2Former:
        file = reference(name)
        config = Spike2FormerConfig.from_published(file['config'], levels=file['D'])
        network = Spike2Former(config).double().eval()
        network.load_published(file['state_dict'])
        return network

    return build


@pytest.fixture
def keys() -> Callable[[str], dict[str, str]]:
    """Read a list of published keys: shapes by name."""

    def read(name: str) -> dict[str, str]:
        path = PARITY / 'keys/spike2former_keys.txt.gz'
        if not path.exists():
            pytest.skip(f'key lists {path} are not here')
        lists = gzip.decompress(path.read_bytes()).decode().split('===== ')
        (lines,) = [part.splitlines()[1:] for part in lists if part.startswith(f'{name} ')]
        rows = [line.split('\t') for line in lines if line]
        return {row[0]: row[1] for row in rows}

    return read


@pytest.fixture
def lively() -> Callable[..., Spike2Former]:
    """Build a small network in float64 whose neurons fire."""

    def build(**changes: Any) -> Spike2Former:
        torch.manual_seed(3)
        network = Spike2Former(Spike2FormerConfig(**{**SMALL, **changes})).double()
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if '.gamma' in name:
                    parameter.uniform_(0.2, 0.8)
            for name, module in network.named_modules():
                if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
                    # Products of few tokens need strong spikes to make the next neuron fire.
                    gain = 3 if name.endswith(('q_conv.1', 'k_conv.1', 'v_conv.1')) else 1
                    module.weight.uniform_(gain, 3 * gain)
                    module.bias.uniform_(-0.5, 1.5)
                    module.momentum = 0.7
            for layer in network.decode_head.pixel_decoder.encoder.layers:
                layer.dcn.offset[0].weight.normal_(std=0.3)
                layer.dcn.mask[0].weight.normal_(std=0.3)
            head = network.decode_head
            for linear in (head.mask_embed.fc1, head.mask_embed.fc2, head.mask_embed.fc_out):
                linear.weight.normal_(std=0.8)
            head.cls_embed.weight.normal_(std=0.2)
            network.train()
            for _ in range(3):
                network(torch.randn(2, 3, 40, 56, dtype=torch.float64))
        return network.eval()

    return build
