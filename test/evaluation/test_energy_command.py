# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg energy``: every family, and the same numbers as elsewhere."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import torch

from spikeseg_ros.cli import main
from spikeseg_ros.datasets.camvid import CLASSES, COLORS
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.models.spike2former import Spike2Former
from spikeseg_ros.models.spike2former import preset as spike2former_preset
from spikeseg_ros.models.spike2former_weights import save_spike2former
from spikeseg_ros.simulation.bag import write_recording
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import demo_scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a recording, a network for images and a data set."""
    folder = tmp_path_factory.mktemp('energy')
    write_recording(folder / 'scene', simulate_scene(demo_scene(96, 72, 0.3), 0.3, camera_hz=0))
    torch.manual_seed(1)
    network = MfsSeg(preset('base', widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)))
    network.train()(torch.randn(2, 3, 16, 16))
    save_mfs_seg(folder / 'net.pt', network.eval(), CLASSES, COLORS, {'size': [24, 32]})
    rng = np.random.default_rng(2)
    for part in ('images', 'labels'):
        (folder / 'data/val' / part).mkdir(parents=True)
    for number in range(3):
        image = rng.integers(0, 256, (36, 48, 3), dtype=np.uint8)
        label = rng.integers(0, 12, (36, 48), dtype=np.uint8)
        cv2.imwrite(str(folder / f'data/val/images/{number}.png'), image)
        cv2.imwrite(str(folder / f'data/val/labels/{number}.png'), label)
    return folder


def figures_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_a_recording_costs_what_its_evaluation_says(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ['energy', '--model', 'spikeseg', '--bag', str(folder / 'scene')]
    assert main([*given, '--output', str(tmp_path / 'e.json')]) == 0
    text = capsys.readouterr().out
    out = tmp_path / 'run'
    assert (
        main(['evaluate', 'bag', str(folder / 'scene'), '--output', str(out), '--no-report']) == 0
    )
    summary = figures_of(out / 'summary.json')
    figures = figures_of(tmp_path / 'e.json')
    total = figures['total']
    assert total['acs'] == pytest.approx(summary['energy']['accumulations_per_window'], abs=0.51)
    assert total['acs'] > 1000
    picojoule = summary['energy']['picojoule_per_window']
    assert total['millijoule'] == pytest.approx(picojoule * 1e-9, abs=1e-9)
    assert (total['macs'], figures['frames']) == (0, summary['windows'])
    assert [layer['name'] for layer in figures['layers']] == ['conv1', 'conv2', 'conv3']
    assert f'mean of {summary["windows"]} windows' in text
    assert '0.9 pJ an AC' in text


def test_fewer_windows_can_be_asked_for(folder: Path, tmp_path: Path) -> None:
    given = ['energy', '--model', 'spikeseg', '--bag', str(folder / 'scene'), '--images', '2']
    for name in 'ab':
        assert main([*given, '--output', str(tmp_path / name)]) == 0
    assert figures_of(tmp_path / 'a')['frames'] == 2
    assert (tmp_path / 'a').read_bytes() == (tmp_path / 'b').read_bytes()


def test_a_network_for_images_names_every_layer(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ['energy', '--weights', str(folder / 'net.pt'), '--data', str(folder / 'data')]
    assert main([*given, '--output', str(tmp_path / 'e.json')]) == 0
    figures = figures_of(tmp_path / 'e.json')
    text = capsys.readouterr().out
    assert 'decoder.2.blocks.0.units.1' in text
    assert 'mean of 3 images' in text
    assert figures['layers'][0]['macs'] > 0
    assert sum(layer['picojoule'] for layer in figures['layers']) == pytest.approx(
        figures['total']['millijoule'] * 1e9, rel=1e-3
    )


def test_spike2former_tells_products_beside_layers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    network = Spike2Former(spike2former_preset('tiny')).eval()
    notes = {'size': [32, 32]}
    save_spike2former(folder / 's2f.pt', network, CLASSES, COLORS, notes)
    given = ['energy', '--model', 'spike2former', '--weights', str(folder / 's2f.pt')]
    given += ['--data', str(folder / 'data'), '--images', '1']
    assert main([*given, '--output', str(tmp_path / 'e.json')]) == 0
    figures = figures_of(tmp_path / 'e.json')
    kinds = {layer['kind'] for layer in figures['layers']}
    assert {'conv', 'linear', 'attention', 'sampling', 'mask product'} <= kinds
    by_name = {layer['name']: layer for layer in figures['layers']}
    assert by_name['decode_head.masks']['macs'] == 0
    assert by_name['semantic']['acs'] == 0
    assert by_name['semantic']['macs'] == by_name['semantic']['dense_macs'] > 0
    text = capsys.readouterr().out
    assert 'mask product' in text


@pytest.mark.parametrize(
    ('words', 'match'),
    [
        (['--model', 'spikeseg', '--data', 'x'], '--bag'),
        (['--model', 'spikeseg', '--bag', 'nowhere'], 'nowhere'),
        (['--model', 'mfs_seg', '--bag', 'x'], '--data'),
        (['--model', 'mfs_seg', '--weights', 'x'], '--data'),
        (['--model', 'spike2former', '--data', 'x'], 'spike2former has no default weights'),
        (['--images', '-1'], '--images'),
    ],
)
def test_mistakes_end_with_one_line(
    words: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(['energy', *words]) == 1
    error = capsys.readouterr().err
    assert match in error
    assert error.count('\n') == 1
