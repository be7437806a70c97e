# SPDX-License-Identifier: Apache-2.0
"""Weight files of segmentation networks: what is saved comes back, damage is refused."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
import torch

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg, save_mfs_seg
from spikeseg_ros.models.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES, COLORS = ('a', 'b'), ((1, 2, 3), (4, 5, 6))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2))
    network.train()(torch.randn(2, 3, 16, 16))
    path = tmp_path / 'weights.pt'
    save_mfs_seg(path, network, CLASSES, COLORS, {'note': 'test', 'size': [16, 16]})
    return path


def test_what_is_saved_comes_back(file: Path) -> None:
    weights = load_mfs_seg(file)
    assert (weights.classes, weights.colors) == (CLASSES, COLORS)
    assert weights.metadata == {'note': 'test', 'size': [16, 16]}
    assert not weights.network.training
    again = file.with_name('again.pt')
    save_mfs_seg(again, weights.network, weights.classes, weights.colors, weights.metadata)
    x = torch.randn(1, 3, 16, 16)
    one, other = weights.network(x).logits[-1], load_mfs_seg(again).network(x).logits[-1]
    assert torch.equal(one, other)


def _without_tensor(content: dict[str, Any]) -> None:
    content['state'].pop('net.stem.conv.weight')


def _not_finite(content: dict[str, Any]) -> None:
    content['state']['net.stem.conv.weight'][0] = float('nan')


def _other_shape(content: dict[str, Any]) -> None:
    content['state']['net.stem.bn.bias'] = torch.zeros(3)


def _negative(content: dict[str, Any]) -> None:
    content['state']['net.stem.bn.running_var'][0] = -1


def _unknown_option(content: dict[str, Any]) -> None:
    content['config']['depht'] = 3


def _too_few_classes(content: dict[str, Any]) -> None:
    content['classes'] = ['a']


def _bad_color(content: dict[str, Any]) -> None:
    content['colors'][0] = [1, 2, 300]


def _newer(content: dict[str, Any]) -> None:
    content['version'] = 9


def _foreign(content: dict[str, Any]) -> None:
    content['format'] = 'spikeseg_ros'


@pytest.mark.parametrize(
    ('damage', 'match'),
    [
        (_without_tensor, 'stem.conv.weight'),
        (_not_finite, 'finite'),
        (_other_shape, 'shape'),
        (_negative, 'negative'),
        (_unknown_option, 'depht'),
        (_too_few_classes, 'colour'),
        (_bad_color, 'colour'),
        (_newer, 'version 9'),
        (_foreign, 'train mfs_seg'),
    ],
)
def test_damaged_files_are_refused_with_a_reason(
    file: Path, damage: Callable[[dict[str, Any]], None], match: str
) -> None:
    content = torch.load(file, weights_only=True)
    damage(content)
    torch.save(content, file)
    with pytest.raises(WeightsError, match=match):
        load_mfs_seg(file)


def test_cut_files_are_refused(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)
    with pytest.raises(WeightsError, match='weight file'):
        load_mfs_seg(file)
