# SPDX-License-Identifier: Apache-2.0
"""Weight files: what is saved comes back, and nothing hostile is run or accepted."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest
import torch

from spikeseg_ros.models.encoder import EncoderConfig, SpikeSEGEncoder
from spikeseg_ros.models.weights import (
    WeightsError,
    load_encoder,
    load_weights,
    packaged_weights,
    save_weights,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def encoder() -> SpikeSEGEncoder:
    network = SpikeSEGEncoder(EncoderConfig.from_paper('default', n_classes=2, seed=6))
    network.set_threshold('conv2', torch.linspace(6, 12, 36), 0.75)
    network.set_threshold('conv3', [33.0, 44.0])
    return network


@pytest.fixture
def saved(encoder: SpikeSEGEncoder, tmp_path: Path) -> Path:
    path = tmp_path / 'net.pt'
    save_weights(path, encoder, {'seed': 6, 'data': 'none', 'rates': [0.04, 0.03]})
    return path


def rewrite(path: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    content = torch.load(path, weights_only=True)
    torch.save(change(content) or content, path)
    return path


def test_a_network_comes_back_as_it_was(encoder: SpikeSEGEncoder, saved: Path) -> None:
    weights = load_weights(saved)
    assert weights.config == encoder.config
    assert weights.metadata == {'seed': 6, 'data': 'none', 'rates': [0.04, 0.03]}
    loaded = load_encoder(saved)
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    x = (torch.rand(4, 1, 2, 40, 40, generator=torch.Generator().manual_seed(0)) < 0.2).float()
    assert torch.equal(encoder(x).record.conv3.potential, loaded(x).record.conv3.potential)


def test_a_loaded_network_keeps_its_thresholds_when_weights_change(saved: Path) -> None:
    loaded = load_encoder(saved)
    before = loaded.conv1_threshold.clone()
    loaded.set_weights(conv1=loaded.weights[0] / 2)
    assert torch.equal(loaded.conv1_threshold, before)


class Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ('a pickle was executed',))


def test_pickles_are_not_executed(saved: Path, tmp_path: Path) -> None:
    torch.save({'format': 'spikeseg_ros', 'metadata': Hostile()}, saved)
    with pytest.raises(WeightsError, match='more than numbers'):
        load_weights(saved)
    bare = tmp_path / 'bare.pt'
    bare.write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(WeightsError, match='bare pickles'):
        load_weights(bare)


@pytest.mark.parametrize(
    ('change', 'text'),
    [
        (lambda c: [1, 2], 'not a spikeseg_ros weight file'),
        (lambda c: c.update(format='other'), 'not a spikeseg_ros weight file'),
        (lambda c: c.update(version=9), 'version 9'),
        (lambda c: c.pop('config'), 'configuration'),
        (lambda c: c['config'].update(depth=3), 'depth'),
        (lambda c: c['config'].update(conv2=4), 'conv2'),
        (lambda c: c['config']['conv2'].update(kernel_size=4), 'odd'),
        (lambda c: c['config']['conv2'].update(out_channels=10**9), 'larger'),
        (lambda c: c['config']['conv2'].update(threshold='high'), 'configuration'),
        (lambda c: c.update(weights=None), "lacks 'weights'"),
        (lambda c: c['weights'].pop('conv3'), r"weights\['conv3'\].*NoneType"),
        (lambda c: c['weights'].update(conv2=torch.zeros(36, 4, 3, 3)), r'\(36, 4, 5, 5\)'),
        (lambda c: c['weights']['conv2'].fill_(float('nan')), 'NaN'),
        (lambda c: c['weights'].update(conv2=torch.zeros(36, 4, 5, 5).int()), 'int32'),
        (lambda c: c['thresholds'].update(conv2=torch.zeros(3)), r'\(36,\)'),
        (lambda c: c['leaks'].pop('conv1'), 'leaks'),
        (lambda c: c.update(metadata='text'), 'metadata'),
    ],
)
def test_damaged_content_is_refused(
    saved: Path, change: Callable[[dict[str, Any]], Any], text: str
) -> None:
    def keep_dict(content: dict[str, Any]) -> Any:
        result = change(content)
        return result if isinstance(result, list) else None

    with pytest.raises(WeightsError, match=text):
        load_weights(rewrite(saved, keep_dict))


def test_values_that_no_neuron_can_have_are_refused(saved: Path) -> None:
    rewrite(saved, lambda c: c['thresholds'].update(conv2=torch.full((36,), -1.0)))
    with pytest.raises(WeightsError, match='conv2: Thresholds'):
        load_encoder(saved)


def test_missing_truncated_and_oversized_files_are_refused(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match='no weight file'):
        load_weights(tmp_path / 'none.pt')
    content = saved.read_bytes()
    cut = tmp_path / 'cut.pt'
    cut.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match='zip'):
        load_weights(cut)
    flipped = bytearray(content)
    for position in range(200, len(flipped) // 2, 97):
        flipped[position] ^= 0xFF
    cut.write_bytes(bytes(flipped))
    with pytest.raises(WeightsError):
        load_weights(cut)
    monkeypatch.setattr('spikeseg_ros.models.weights.MAX_BYTES', 1000)
    with pytest.raises(WeightsError, match='at most 1000'):
        load_weights(saved)


def test_unknown_packaged_weights_name_the_known() -> None:
    with pytest.raises(WeightsError, match=r"'nothing'; there are: "):
        packaged_weights('nothing')


def test_the_packaged_network_loads() -> None:
    encoder = load_encoder(packaged_weights())
    assert encoder.config.input_channels == 2
    assert packaged_weights() == packaged_weights('spikeseg_default.pt')
