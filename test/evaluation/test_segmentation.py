# SPDX-License-Identifier: Apache-2.0
"""Judging segmentation networks: one matrix over a split, figures that do not depend on time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch

from spikeseg_ros.cli import main
from spikeseg_ros.datasets import open_dataset
from spikeseg_ros.datasets.camvid import CLASSES, COLORS
from spikeseg_ros.evaluation.segmentation import confusion, predict
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg, save_mfs_seg
from spikeseg_ros.models.spike2former import Spike2Former
from spikeseg_ros.models.spike2former import preset as spike2former_preset
from spikeseg_ros.models.spike2former_weights import save_spike2former

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    torch.manual_seed(1)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)))
    network.train()(torch.randn(2, 3, 16, 16))
    path = tmp_path / 'net.pt'
    save_mfs_seg(path, network.eval(), CLASSES, COLORS, {'size': [24, 32]})
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for part in ('images', 'labels'):
        (tmp_path / 'data/val' / part).mkdir(parents=True)
    for number in range(3):
        image = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)
        label = rng.integers(0, 12, (36, 48), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f'data/val/images/{number}.png'), image)
        cv2.imwrite(str(tmp_path / f'data/val/labels/{number}.png'), label)
    return tmp_path / 'data'


def words(weights: Path, data: Path, *more: str) -> list[str]:
    given = ['evaluate', 'segmentation', '--weights', str(weights), '--data', str(data)]
    return [*given, '--quiet', *more]


def test_command_prints_one_matrix_over_the_split(
    weights: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(weights, data, '--output', str(tmp_path / 'a.json'))) == 0
    text = capsys.readouterr().out
    figures = json.loads((tmp_path / 'a.json').read_text())
    counts = np.array(figures['confusion'])
    dataset = open_dataset(data, 'val')
    labels = np.concatenate([dataset.sample(i).label.ravel() for i in range(3)])
    assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=12)[:11].tolist()
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    assert figures['metrics']['miou'] == pytest.approx((hits / union).mean(), abs=1e-6)
    assert f'{100 * figures["metrics"]["miou"]:.2f}' in text
    assert f'{figures["parameters"]} parameters' in text
    assert all(name in text for name in CLASSES)
    assert (figures['images'], figures['size']) == (3, [24, 32])


def test_figures_are_the_same_every_time(weights: Path, data: Path, tmp_path: Path) -> None:
    for name in ('a', 'b'):
        main(words(weights, data, '--output', str(tmp_path / f'{name}.json')))
    assert (tmp_path / 'a.json').read_bytes() == (tmp_path / 'b.json').read_bytes()


def test_spike2former_is_judged_as_it_infers(data: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = Spike2Former(spike2former_preset('tiny', encoder_layers=1, decoder_layers=1))
    for module in network.modules():
        if isinstance(module, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            module.momentum = 1.0  # statistics of this one batch, so that neurons are busy
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 32, 32))
        # Firm classes and masks with structure, as after a training.
        network.decode_head.cls_embed.weight.normal_(std=10)
        network.decode_head.mask_embed.fc_out.weight.normal_()
        network.decode_head.pixel_decoder.mask_feature.weight.mul_(30)
    save_spike2former(tmp_path / 's2f.pt', network.eval(), CLASSES, COLORS, {'size': [24, 32]})
    more = ['--model', 'spike2former', '--output', str(tmp_path / 'a.json')]
    assert main(words(tmp_path / 's2f.pt', data, *more)) == 0
    figures = json.loads((tmp_path / 'a.json').read_text())
    dataset = open_dataset(data, 'val')
    # The command folds normalisations; a count on the edge of rounding may fall the other way.
    plain = confusion(network, dataset, (24, 32)).counts
    assert np.abs(np.array(figures['confusion']) - plain).sum() < 0.02 * plain.sum()
    assert figures['parameters'] == network.parameter_count()
    assert min(figures['energy']['acs'], figures['energy']['macs']) > 0
    found = predict(network, dataset.sample(0).image, (24, 32))
    assert len(np.unique(found)) > 1
    image = cv2.resize(dataset.sample(0).image, (32, 24), interpolation=cv2.INTER_AREA)
    logits = network.logits(network.normalised(torch.from_numpy(image).permute(2, 0, 1)[None]))
    full = torch.nn.functional.interpolate(logits, (36, 48), mode='bilinear')
    assert (full.argmax(1)[0].numpy() == found).all()


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_half_precision_is_compared_with_float32(
    weights: Path, data: Path, tmp_path: Path, precision: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / 'a.json'
    more = ('--output', str(out), '--device', 'cpu', '--precision', precision)
    assert main(words(weights, data, *more)) == 0
    figures = json.loads(out.read_text())
    share = figures['precision']['same_as_float32']
    text = capsys.readouterr().out
    half = precision != 'float32'
    assert (f'bfloat16: {share:.2%} of the pixels keep' in text) is half
    network = load_mfs_seg(weights).network.folded()
    dataset = open_dataset(data, 'val')
    dtype = getattr(torch, precision)
    same = 0.0
    for number in range(3):
        image = dataset.sample(number).image
        exact = predict(network, image, (24, 32))
        found = predict(network, image, (24, 32), dtype=dtype)
        same += float((exact == found).mean()) / 3
    assert share == pytest.approx(same, abs=1e-3)
    assert (share < 1) is half
    assert sum(sum(row) for row in figures['confusion']) > 0


def test_a_device_that_is_not_there_is_refused(
    weights: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if torch.cuda.is_available():
        pytest.skip('this machine has a CUDA device')
    assert main(words(weights, data, '--device', 'cuda')) == 1
    assert "'cuda'" in capsys.readouterr().err


def test_size_of_the_input_can_be_chosen(weights: Path, data: Path, tmp_path: Path) -> None:
    main(words(weights, data, '--size', '36x48', '--output', str(tmp_path / 'a.json')))
    assert json.loads((tmp_path / 'a.json').read_text())['size'] == [36, 48]


def test_perfect_and_constant_predictions() -> None:
    class Fixed:
        classes, colors, ignore = ('a', 'b'), ((0, 0, 0), (1, 1, 1)), 255

        def __len__(self) -> int:
            return 2

        def name(self, index: int) -> str:
            return str(index)

        def sample(self, index: int):  # type: ignore[no-untyped-def]
            from spikeseg_ros.datasets import Sample

            image = np.full((16, 16, 3), 40 * index, np.uint8)
            return Sample(image, predict(network, image, (16, 16)))

    torch.manual_seed(3)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2)).eval()
    assert confusion(network, Fixed(), (16, 16)).accuracy == 1
    assert confusion(network, Fixed(), (16, 16), [1]).counts.sum() == 256


@pytest.mark.parametrize(
    ('change', 'match'),
    [
        (['--size', '36'], 'HEIGHTxWIDTH'),
        (['--size', '0x48'], 'HEIGHTxWIDTH'),
        (['--split', 'test'], "split 'test'"),
        (['--weights', 'unheard_of'], 'unheard_of'),
    ],
)
def test_mistakes_end_with_one_line(
    weights: Path, data: Path, change: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(weights, data), *change]) == 1
    error = capsys.readouterr().err
    assert match in error
    assert error.count('\n') == 1


def test_weights_of_other_classes_are_refused(
    weights: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1), classes=2))
    save_mfs_seg(weights, network, ('a', 'b'), ((0, 0, 0), (1, 1, 1)), {'size': [24, 32]})
    assert main(words(weights, data)) == 1
    assert 'take weights' in capsys.readouterr().err
