# SPDX-License-Identifier: Apache-2.0
"""Weight files of Spike2Former: what is saved comes back, damage is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg
from spikeseg_ros.models.spike2former import Spike2Former, preset
from spikeseg_ros.models.spike2former_weights import (
    load_spike2former,
    open_spike2former,
    save_spike2former,
)
from spikeseg_ros.models.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CLASSES, COLORS = ('a', 'b'), ((1, 2, 3), (4, 5, 6))
SHAPE: dict[str, Any] = {
    'dims': [8, 8, 8, 8],
    'backbone_heads': 2,
    'backbone_depths': [1, 1],
    'width': 8,
    'groups': 2,
    'heads': 2,
    'queries': 3,
    'classes': 2,
    'encoder_layers': 1,
    'decoder_layers': 1,
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = Spike2Former(preset('tiny', **SHAPE))
    network.train()(torch.randn(2, 3, 32, 32))
    path = tmp_path / 'weights.pt'
    save_spike2former(path, network, CLASSES, COLORS, {'note': 'test', 'size': [32, 32]})
    return path


def test_what_is_saved_comes_back(file: Path) -> None:
    weights = load_spike2former(file)
    assert (weights.classes, weights.colors) == (CLASSES, COLORS)
    assert weights.metadata == {'note': 'test', 'size': [32, 32]}
    assert weights.network.config == preset('tiny', **SHAPE)
    assert not weights.network.training
    again = file.with_name('again.pt')
    save_spike2former(again, weights.network, weights.classes, weights.colors, weights.metadata)
    x = torch.randn(1, 3, 32, 32)
    one, other = weights.network.logits(x), load_spike2former(again).network.logits(x)
    assert torch.equal(one, other)
    # Statistics of the normalisations come along, not the start values.
    assert not bool((weights.network.backbone.downsample1_1.encode_bn.running_mean == 0).all())


def _without_tensor(content: dict[str, Any]) -> None:
    content['state'].pop('decode_head.w')


def _unknown_tensor(content: dict[str, Any]) -> None:
    content['state']['decode_head.v'] = torch.ones(1)


def _not_finite(content: dict[str, Any]) -> None:
    content['state']['decode_head.w'][0] = float('nan')


def _other_shape(content: dict[str, Any]) -> None:
    content['state']['decode_head.w'] = torch.ones(2)


def _negative(content: dict[str, Any]) -> None:
    content['state']['backbone.downsample1_1.encode_bn.running_var'][0] = -1


def _unknown_option(content: dict[str, Any]) -> None:
    content['config']['depht'] = 3


def _huge(content: dict[str, Any]) -> None:
    content['config']['width'] = 10**9


def _too_few_classes(content: dict[str, Any]) -> None:
    content['classes'] = ['a']


def _bad_color(content: dict[str, Any]) -> None:
    content['colors'][0] = [1, 2, 300]


def _newer(content: dict[str, Any]) -> None:
    content['version'] = 9


def _no_notes(content: dict[str, Any]) -> None:
    content['metadata'] = None


@pytest.mark.parametrize(
    ('damage', 'match'),
    [
        (_without_tensor, r'decode_head\.w'),
        (_unknown_tensor, r'decode_head\.v'),
        (_not_finite, r'decode_head\.w'),
        (_other_shape, r'decode_head\.w'),
        (_negative, 'negative variances'),
        (_unknown_option, 'depht'),
        (_huge, 'width'),
        (_too_few_classes, 'classes'),
        (_bad_color, 'colour'),
        (_newer, 'version'),
        (_no_notes, 'notes'),
    ],
)
def test_damage_is_refused(
    file: Path, damage: Callable[[dict[str, Any]], None], match: str
) -> None:
    content = torch.load(file, weights_only=True)
    damage(content)
    torch.save(content, file)
    with pytest.raises(WeightsError, match=match):
        load_spike2former(file)


def test_families_are_told_apart(file: Path) -> None:
    with pytest.raises(WeightsError):
        load_mfs_seg(file)
    file.write_bytes(b'nothing')
    with pytest.raises(WeightsError, match='not a weight file'):
        load_spike2former(file)


def test_a_released_checkpoint_opens_like_a_weight_file(file: Path, tmp_path: Path) -> None:
    shape = {**SHAPE, 'backbone_heads': 8, 'heads': 8, 'layout': 'official', 'classes': 4}
    network = Spike2Former(preset('tiny', **shape)).eval()
    labels = {'classes': ('road', 'car'), 'palette': [[1, 2, 3], [4, 5, 6]]}
    path = tmp_path / 'released.pth'
    torch.save({'state_dict': network.state_dict(), 'meta': {'dataset_meta': labels}}, path)
    opened = open_spike2former(path, levels=4)
    assert opened.network.config == network.config
    assert opened.classes == ('road', 'car', 'unused 1', 'unused 2')
    assert opened.colors[:2] == ((1, 2, 3), (4, 5, 6))
    assert opened.metadata['size'] == [512, 512]
    x = torch.randn(1, 3, 32, 48)
    assert torch.equal(opened.network.logits(x), network.logits(x))
    # Without names there are numbers, and colours that differ.
    torch.save({'state_dict': network.state_dict()}, path)
    bare = open_spike2former(path, levels=4)
    assert bare.classes == ('class 1', 'class 2', 'class 3', 'class 4')
    assert len(set(bare.colors)) == 4
    # Its own files open in the same way.
    assert open_spike2former(file).classes == CLASSES


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    path = tmp_path / 'other.pth'
    torch.save({'state_dict': {'weight': torch.zeros(3)}}, path)
    with pytest.raises(WeightsError, match='can be used'):
        open_spike2former(path)
    path.write_bytes(b'nothing')
    with pytest.raises(WeightsError, match='no zip archive'):
        open_spike2former(path)
    with pytest.raises(WeightsError, match='no weight file'):
        open_spike2former(tmp_path / 'nowhere.pth')
