# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints: found out, loaded, or refused with a reason; nothing is executed."""

from __future__ import annotations

import os
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from spikeseg_ros.models.spike2former import checkpoints
from spikeseg_ros.models.spike2former.checkpoints import (
    KNOWN,
    KnownCheckpoint,
    detect_config,
    load_backbone,
    load_released,
    sha256,
)
from spikeseg_ros.models.weights import WeightsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from spikeseg_ros.models import Spike2Former

HEADS = {'heads': 4, 'backbone_heads': 4}


@pytest.fixture(params=['v2', 'v3'])
def network(request: pytest.FixtureRequest, lively: Callable[..., Spike2Former]) -> Spike2Former:
    return lively(backbone=request.param, layout='official', levels=4).float()


def write(path: Path, content: Any) -> Path:
    """Write a checkpoint."""
    torch.save(content, path)
    return path


@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_a_checkpoint_tells_its_shape(network: Spike2Former, prefix: str, tmp_path: Path) -> None:
    labels = {'classes': tuple('abcde'), 'palette': [[i, i, i] for i in range(5)]}
    state = {prefix + name: value for name, value in network.state_dict().items()}
    path = write(
        tmp_path / 'best.pth', {'state_dict': state, 'meta': {'epoch': 3, 'dataset_meta': labels}}
    )
    released = load_released(path, levels=4, **HEADS)
    assert released.network.config == network.config
    assert not released.network.training
    assert released.known is None
    assert released.sha256 == sha256(path)
    assert released.classes == labels['classes']
    assert released.colors[2] == (2, 2, 2)
    x = torch.randn(1, 3, 33, 40)
    with torch.inference_mode():
        assert torch.equal(released.network.logits(x), network.logits(x))


def test_a_known_checksum_brings_its_levels(
    network: Spike2Former, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / 'best.pth', {'state_dict': network.state_dict()})
    assert load_released(path, **HEADS).network.config.levels == 8
    file = KnownCheckpoint('VOC2012-4x4-ckpt-best.pth', 4, 4)
    monkeypatch.setitem(checkpoints.KNOWN, sha256(path), file)
    released = load_released(path, **HEADS)
    assert released.known == file
    assert (released.network.config.levels, released.network.config.steps) == (4, 4)
    assert load_released(path, levels=2, **HEADS).network.config.levels == 2


def test_known_checksums() -> None:
    assert len(KNOWN) == 5
    assert all(len(name) == 64 and int(name, 16) for name in KNOWN)


@pytest.mark.parametrize('name', ['ade20k_sdtv2_T1', 'ade20k_sdtv2_L', 'ade20k_sdtv3_19M'])
def test_published_shapes_tell_their_configuration(
    name: str, keys: Callable[[str], dict[str, str]]
) -> None:
    state = {
        key: torch.empty(
            [int(n) for n in shape.strip('()').split(',') if n.strip()], device='meta'
        )
        for key, shape in keys(name).items()
    }
    config = detect_config(state)
    large = name.endswith('_L')
    assert config.backbone == ('v3' if 'v3' in name else 'v2')
    assert (config.dims, config.backbone_depths) == ((64, 128, 256, 360), (6, 2))
    assert (config.queries, config.classes) == (200 if large else 100, 150)
    assert (config.encoder_layers, config.encoder_hidden) == (6, 2048 if large else 1024)
    assert (config.decoder_layers, config.decoder_hidden) == (9 if large else 6, 2048)
    assert (config.width, config.groups, config.deformable_kernel) == (256, 32, 5)
    assert config.layout == 'official'


class Hostile:
    """Runs a command where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_code_in_a_file_is_not_executed(network: Spike2Former, tmp_path: Path) -> None:
    mark = tmp_path / 'executed'
    content = {'state_dict': network.state_dict(), 'meta': Hostile(mark)}
    path = write(tmp_path / 'best.pth', content)
    with pytest.raises(WeightsError, match=r'other things than tensors.*asks for \w+\.mkdir'):
        load_released(path, **HEADS)
    assert not mark.exists()
    bare = tmp_path / 'bare.pth'
    bare.write_bytes(pickle.dumps(Hostile(mark)))
    with pytest.raises(WeightsError, match='no zip archive'):
        load_released(bare)
    assert not mark.exists()


def test_notes_of_the_training_become_shells(network: Spike2Former, tmp_path: Path) -> None:
    # Notes hold arrays, which are objects to the reader.
    content = {'state_dict': network.state_dict(), 'message_hub': {'loss': np.arange(3.0)}}
    path = write(tmp_path / 'best.pth', content)
    assert load_released(path, levels=4, **HEADS).network.config == network.config


def test_files_that_do_not_fit_say_what(network: Spike2Former, tmp_path: Path) -> None:
    def refused(change: dict[str, Any], drop: str = '') -> str:
        state = {**network.state_dict(), **change}
        state.pop(drop, None)
        path = write(tmp_path / 'best.pth', {'state_dict': state})
        with pytest.raises(WeightsError) as caught:
            load_released(path, **HEADS)
        return str(caught.value)

    weight = 'decode_head.transformer_decoder.layers.1.ffn.fc1.weight'
    assert 'NaN' in refused({weight: torch.full((20, 16, 1), float('nan'))})
    assert '1 of another shape' in refused({weight: torch.zeros(21, 16, 1)})
    assert '1 missing: decode_head.w' in refused({}, drop='decode_head.w')
    assert '1 unexpected: auxiliary.x' in refused({'auxiliary.x': torch.zeros(1)})
    assert 'cls_embed.weight' in refused({}, drop='decode_head.cls_embed.weight')
    assert 'must be a dense tensor, got str' in refused({'decode_head.w': 'text'})
    feature = 'decode_head.pixel_decoder.mask_feature.weight'
    assert 'number of axes' in refused({feature: torch.zeros(())})


def test_damaged_files_are_refused(network: Spike2Former, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match='There is no checkpoint'):
        load_released(tmp_path / 'nothing.pth')
    path = write(tmp_path / 'best.pth', {'state_dict': network.state_dict()})
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    broken = tmp_path / 'broken.pth'
    with zipfile.ZipFile(broken, 'w') as archive:
        archive.writestr(names[0], b'no pickle')
    with pytest.raises(WeightsError, match=r'broken\.pth'):
        load_released(broken)
    for content in ({}, {'state_dict': {}}, [1, 2]):
        with pytest.raises(WeightsError, match='holds no tensors'):
            load_released(write(tmp_path / 'empty.pth', content))


@pytest.mark.parametrize('wrapper', ['', 'model', 'state_dict'])
def test_a_classifier_gives_its_backbone(
    wrapper: str, lively: Callable[..., Spike2Former], tmp_path: Path
) -> None:
    source, target = lively(backbone='v3').float(), lively(backbone='v3').float()
    state = dict(source.backbone.state_dict())
    state.update({'head.weight': torch.zeros(10, 32), 'head.bias': torch.zeros(10)})
    path = write(tmp_path / 'classifier.pth', {wrapper: state} if wrapper else state)
    with torch.no_grad():
        target.backbone.downsample2.encode_conv.weight.zero_()
    load_backbone(target, path)
    for name, value in target.backbone.state_dict().items():
        assert torch.equal(value, source.backbone.state_dict()[name]), name


def test_another_backbone_is_refused(lively: Callable[..., Spike2Former], tmp_path: Path) -> None:
    path = write(tmp_path / 'v3.pth', lively(backbone='v3').float().backbone.state_dict())
    with pytest.raises(WeightsError, match=r"does not fit the backbone 'v2'.*tensors differ"):
        load_backbone(lively(backbone='v2').float(), path)
