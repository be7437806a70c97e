# SPDX-License-Identifier: Apache-2.0
"""Judging networks on events: memory within a recording only, trivial answers as defined."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeseg_ros.cli import main
from spikeseg_ros.datasets import DatasetError, Sample
from spikeseg_ros.datasets.camvid import CLASSES, COLORS
from spikeseg_ros.datasets.clips import SimulatedClips
from spikeseg_ros.evaluation.event_segmentation import (
    EventPixels,
    Everything,
    NetworkPredictor,
    baselines,
    confusions,
    merged,
)
from spikeseg_ros.evaluation.segmentation import confusion, predict
from spikeseg_ros.events.frames import Framing
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg

if TYPE_CHECKING:
    from pathlib import Path


class Windows:
    """Two recordings of three windows, a square of events in front of noise."""

    classes, colors, ignore = ('background', 'object'), ((0, 0, 0), (1, 1, 1)), 255

    def __len__(self) -> int:
        return 6

    def name(self, index: int) -> str:
        return f'rec{index // 3}/{index % 3:05d}'

    def sample(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        label = np.zeros((24, 32), np.uint8)
        label[6:16, 3 * index : 3 * index + 12] = 1
        frames = rng.poisson(0.05 + 2.0 * label, (2, 2, 24, 32)).astype(np.float32)
        label[:2] = 255
        return Sample(frames, label)


@pytest.fixture(scope='module')
def network() -> MfsSeg:
    torch.manual_seed(5)
    shape = {'widths': (8, 8, 8, 8), 'depths': (1, 1, 1, 1), 'classes': 2, 'decay': 0.9}
    net = MfsSeg(preset('base', events=True, input_channels=2, **shape)).train()
    for index in range(6):
        frames = torch.from_numpy(Windows().sample(index).image)
        net(net.spikes(frames).unsqueeze(1))
    return net.eval()


def test_recordings_add_up_to_the_matrix_of_the_split(network: MfsSeg) -> None:
    data = Windows()
    parts = confusions(NetworkPredictor(network, (24, 32)), data)
    assert list(parts) == ['rec0', 'rec1']
    whole = confusion(network, data, (24, 32)).counts
    assert np.array_equal(merged(parts, data).counts, whole)
    only = confusions(NetworkPredictor(network, (24, 32)), data, range(3, 6))
    assert list(only) == ['rec1']
    assert np.array_equal(only['rec1'].counts, parts['rec1'].counts)


def test_memory_is_carried_within_a_recording_and_forgotten_between(network: MfsSeg) -> None:
    data, predictor = Windows(), NetworkPredictor(network, (24, 32), carry=True)
    by_hand, differing = [], 0
    for index in range(len(data)):
        if index % 3 == 0:
            state = None
        frames = network.spikes(torch.from_numpy(data.sample(index).image)).unsqueeze(1)
        with torch.no_grad():
            output = network(frames, state, keep=True)
        state = output.potentials
        full = F.interpolate(output.logits[-1], (24, 32), mode='bilinear', align_corners=False)
        by_hand.append(full.argmax(1)[0].numpy())
        differing += int(
            (by_hand[-1] != predict(network, data.sample(index).image, (24, 32))).sum()
        )
    assert differing > 0, 'memory changes nothing: the test shows nothing'
    parts = confusions(predictor, data)
    for recording, begin in (('rec0', 0), ('rec1', 3)):
        expected = np.zeros((2, 2), np.int64)
        for index in range(begin, begin + 3):
            label = data.sample(index).label
            keep = label != 255
            np.add.at(expected, (label[keep], by_hand[index][keep]), 1)
        assert np.array_equal(parts[recording].counts, expected)


def test_a_split_may_be_judged_twice(network: MfsSeg) -> None:
    data, predictor = Windows(), NetworkPredictor(network, (24, 32), carry=True)
    one, other = confusions(predictor, data), confusions(predictor, data)
    assert all(np.array_equal(one[name].counts, other[name].counts) for name in one)


def test_trivial_answers() -> None:
    frames = np.zeros((2, 2, 20, 20), np.float32)
    frames[0, 0, 2, 3] = 1
    frames[1, 1, 10:16, 10:16] = 2
    frames[1, 1, 12:14, 12:14] = 0
    assert Everything().predict(frames).all()
    assert EventPixels().predict(frames).sum() == 33
    assert EventPixels(2).predict(frames).sum() == 32
    filled = EventPixels(1, 5).predict(frames)
    assert filled[12:14, 12:14].all()
    assert not filled[2, 3]
    assert not filled[:, :8].any()
    data = Windows()
    label = np.concatenate([data.sample(k).label[2:].ravel() for k in range(6)])
    everything = merged(confusions(baselines()['every pixel is object'], data), data)
    assert everything.iou[1] == pytest.approx(label.mean())
    with pytest.raises(DatasetError, match='--baselines'):
        Everything().predict(np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips of three images; the second is the test split."""
    for number in range(2):
        for k in range(4):
            for part in ('images', 'masks'):
                (tmp_path / f'data/clip{number}' / part).mkdir(parents=True, exist_ok=True)
            image, mask = np.full((24, 32, 3), 90, np.uint8), np.zeros((24, 32), np.uint8)
            place = np.s_[6:16, 4 + 2 * k : 16 + 2 * k]
            image[place], mask[place] = 220, 255
            cv2.imwrite(str(tmp_path / f'data/clip{number}/images/{k:05d}.png'), image)
            cv2.imwrite(str(tmp_path / f'data/clip{number}/masks/{k:05d}.png'), mask)
    return tmp_path / 'data'


def test_command_judges_recordings_streams_and_trivial_answers(
    network: MfsSeg, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = {'size': [24, 32], 'framing': {'steps': 2, 'window': 40_000_000, 'bins': 1}}
    save_mfs_seg(tmp_path / 'w.pt', network, Windows.classes, Windows.colors, notes)
    words = ['evaluate', 'segmentation', '--weights', str(tmp_path / 'w.pt'), '--quiet']
    words += ['--data', str(clips), '--split', 'test', '--energy-images', '1']
    given = ['--streaming', '--baselines', '--cache', str(tmp_path / 'cache')]
    assert main([*words, *given, '--output', str(tmp_path / 'a.json')]) == 0
    text = capsys.readouterr().out
    figures = json.loads((tmp_path / 'a.json').read_text())['recordings']
    assert list(figures['network']) == ['all', 'clip1']
    assert set(figures) == {'network', 'streaming', *baselines()}
    data = SimulatedClips(clips, 'test', framing=Framing(2, 40_000_000))
    share = np.mean([data.sample(k).label.mean() for k in range(len(data))])
    assert figures['every pixel is object']['clip1']['iou/object'] == pytest.approx(
        share, abs=1e-6
    )
    assert f'{100 * share:.2f}' in text
    assert 'clip1' in text
    network.eval()
    for name, carry in (('network', False), ('streaming', True)):
        judge = NetworkPredictor(network.folded(), (24, 32), carry=carry)
        expected = confusions(judge, data)['clip1'].miou
        assert figures[name]['clip1']['miou'] == pytest.approx(expected, abs=1e-6)


def test_options_for_recordings_are_refused_elsewhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(1)
    shape = {'widths': (8, 8, 8, 8), 'depths': (1, 1, 1, 1), 'classes': 11}
    save_mfs_seg(
        tmp_path / 'w.pt', MfsSeg(preset('base', **shape)), CLASSES, COLORS, {'size': [24, 32]}
    )
    for part, value in (('images', 7), ('labels', 1)):
        (tmp_path / 'data/val' / part).mkdir(parents=True)
        image = np.full((24, 32, 3)[: 3 if part == 'images' else 2], value, np.uint8)
        cv2.imwrite(str(tmp_path / f'data/val/{part}/0.png'), image)
    words = ['evaluate', 'segmentation', '--weights', str(tmp_path / 'w.pt'), '--quiet']
    words += ['--data', str(tmp_path / 'data')]
    for option in ('--streaming', '--baselines'):
        assert main([*words, option]) == 1
        assert option in capsys.readouterr().err
