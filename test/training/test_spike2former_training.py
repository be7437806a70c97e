# SPDX-License-Identifier: Apache-2.0
"""Training of Spike2Former: learning, exact resumption, several processes, the command."""

from __future__ import annotations

import csv
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

from squares import QUICK, Squares, tensors

from spikeseg_ros.evaluation.segmentation import confusion
from spikeseg_ros.models.spike2former_weights import load_spike2former
from spikeseg_ros.training import command as shared
from spikeseg_ros.training import spike2former
from spikeseg_ros.training.augment import Augmentation, random_view
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.mask_loss import PUBLISHED
from spikeseg_ros.training.run_config import replaced
from spikeseg_ros.training.run_state import read_state
from spikeseg_ros.training.spike2former_config import Spike2FormerTraining
from spikeseg_ros.training.spike2former_trainer import (
    FORMAT,
    Spike2FormerTrainer,
    network_config,
)

HERE = Path(__file__).parent
pytestmark = pytest.mark.usefixtures('one_thread')


def options(**changes: Any) -> Spike2FormerTraining:
    return replaced(Spike2FormerTraining(), {**QUICK, **changes})


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, precision: str) -> None:
    config = options(
        precision=precision, relaxed=0.2, rounded=0.6, backbone_rate=0.1, semantic_loss=0.5
    )
    whole = Spike2FormerTrainer(config, Squares())
    losses = [whole.step() for _ in range(5)]
    first = Spike2FormerTrainer(config, Squares())
    for _ in range(3):
        first.step()
    first.save(tmp_path / 'state')
    read, content = read_state(tmp_path / 'state', FORMAT)
    assert replaced(Spike2FormerTraining(), read) == config
    torch.manual_seed(99)
    second = Spike2FormerTrainer(config, Squares())
    second.state.restore('state', content)
    assert [second.step() for _ in range(2)] == losses[3:]
    for one, other in zip(tensors(whole), tensors(second), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    'changes', [{'assignment': 'hungarian'}, {'assignment': 'classes', 'full_size': False}]
)
def test_it_learns_what_can_be_learnt(changes: dict[str, Any]) -> None:
    config = options(iterations=80, rate=1e-2, semantic_loss=1.0, **changes)
    data = Squares()
    trainer = Spike2FormerTrainer(config, data)
    begin = trainer.step()
    while trainer.state.iteration < config.iterations:
        end = trainer.step()
    assert end < 0.7 * begin
    # Ground alone gives less than a half.
    assert confusion(trainer.state.average, data, (48, 60)).miou > 0.7


def test_the_loss_is_the_sum_of_its_terms() -> None:
    trainer = Spike2FormerTrainer(options(semantic_loss=0.5), Squares())
    loss = trainer.step()
    assert sum(trainer.terms.values()) == pytest.approx(loss, rel=1e-5)
    assert min(trainer.terms.values()) > 0
    trainer = Spike2FormerTrainer(options(), Squares())
    trainer.step()
    assert trainer.terms['semantic'] == 0


def test_backbone_learns_slower_and_embeddings_do_not_decay() -> None:
    trainer = Spike2FormerTrainer(options(backbone_rate=0.1, weight_decay=0.02), Squares())
    names = {id(value): name for name, value in trainer.state.network.named_parameters()}
    trainer.state.set_rate(1.0)
    found = {}
    for group in trainer.state.optimizer.param_groups:
        for value in group['params']:
            found[names[id(value)]] = group['lr'], group['weight_decay']
    assert set(found) == set(names.values())
    assert found['backbone.downsample1_1.encode_conv.weight'] == (0.1, 0.02)
    assert found['backbone.downsample1_1.encode_bn.weight'] == (0.1, 0.0)
    assert found['decode_head.mask_feature.weight'.replace('head.', 'head.pixel_decoder.')] == (
        1.0,
        0.02,
    )
    for name in (
        'query_embed.weight',
        'query_feat.weight',
        'level_embed.weight',
        'cls_embed.bias',
    ):
        assert found[f'decode_head.{name}'] == (1.0, 0.0)


def test_the_defaults_are_the_published_ones() -> None:
    config = Spike2FormerTraining()
    assert config.rate_at(0) == pytest.approx(1e-3 / 1500, rel=1e-4)
    assert config.rate_at(80_000) == pytest.approx(0.5e-3)
    assert (config.clip, config.weight_decay, config.assignment) == (0.01, 0.005, 'hungarian')
    assert config.factors == PUBLISHED


def test_cuts_avoid_views_of_a_single_class() -> None:
    label = np.zeros((64, 64), np.uint8)
    label[:, 40:] = 1
    image = np.repeat(label[..., None] * 200, 3, axis=2)
    plain = Augmentation(flip=False, color=0, short_min=128, short_max=128)
    rng = np.random.default_rng(0)
    shares = []
    for settings in (plain, plain._replace(cat_max=0.75)):
        found = [random_view(image, label, (32, 32), 255, settings, rng)[1] for _ in range(60)]
        shares.append(sum(0 < (item == 1).mean() < 1 for item in found))
    # A sixth of the cuts shows both classes by chance.
    assert shares[1] > 2 * shares[0] > 0


def test_short_edges_set_the_magnification() -> None:
    label = np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    image = np.repeat(label[..., None], 3, axis=2)
    settings = Augmentation(flip=False, color=0, short_min=96, short_max=96)
    _, found = random_view(image, label, (32, 40), 255, settings, np.random.default_rng(1))
    # Twice the size: every column of the image takes two of the view.
    assert np.bincount(found[0], minlength=64).max() == 2
    settings = settings._replace(short_min=24, short_max=24)
    _, found = random_view(image, label, (32, 40), 255, settings, np.random.default_rng(1))
    assert (found == 255).mean() == pytest.approx(1 - 24 * 32 / (32 * 40), abs=0.02)


def test_bad_options_are_refused_by_name() -> None:
    for values, match in (
        ({'assignment': 'none'}, 'assignment'),
        ({'short_min': 2000}, 'short_min'),
        ({'no_object': 0.0}, 'no_object'),
        ({'mask_loss': -1.0}, 'mask_loss'),
        ({'queries': 5}, 'queries'),
    ):
        with pytest.raises(TrainingError, match=match):
            replaced(Spike2FormerTraining(), values)
    few = options(assignment='classes', network={**QUICK['network'], 'queries': 1})
    with pytest.raises(TrainingError, match='needs a query for each'):
        network_config(few, Squares())


def test_processes_end_with_equal_weights_and_see_different_images(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    common = {'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    started = [
        subprocess.Popen(
            [sys.executable, str(HERE / 'together.py'), str(tmp_path)],
            env={**os.environ, **common, 'RANK': str(rank), 'LOCAL_RANK': str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in started:
            _, errors = process.communicate(timeout=200)
            assert process.returncode == 0, errors
    finally:
        for process in started:
            process.kill()
    one, other = (torch.load(tmp_path / f'{rank}.pt', weights_only=True) for rank in range(2))
    assert one['complete']
    assert other['complete']
    for name, value in one['weights'].items():
        assert torch.equal(value, other['weights'][name]), name
    assert not torch.equal(one['images'], other['images'])
    # Each judged a part of the images; both know the sum.
    assert one['pixels'] == other['pixels'] == 5 * 46 * 60
    assert one['epoch'] == 3 * 2 * 2 / 8
    config = options(batch=2, iterations=3)
    before = Spike2FormerTrainer(config, Squares()).state.network
    assert any(
        not torch.equal(value, one['weights'][name]) for name, value in before.named_parameters()
    )
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ['0.pt', '1.pt', 'checkpoint.ckpt', 'log.csv', 'validation.csv']


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_it_trains_on_a_gpu() -> None:
    config = options(precision='bfloat16')
    there = Spike2FormerTrainer(config, Squares(), device='cuda', workers=2)
    here = Spike2FormerTrainer(config, Squares())
    assert there.step() == pytest.approx(here.step(), rel=0.1)
    assert confusion(there.state.average, Squares(), (32, 40)).counts.sum() > 0


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return arguments of a short run on generated images."""
    monkeypatch.setattr(shared, 'open_dataset', lambda path, split, **_: Squares())
    monkeypatch.setattr(shared, 'keep_freed_memory', lambda: False)
    lines = '\n'.join(f'{name}: {value}' for name, value in QUICK.items())
    (tmp_path / 'options.yaml').write_text(lines, encoding='utf-8')
    words = ['--data', 'none', '--output', str(tmp_path / 'run'), '--quiet', '--threads', '1']
    return [*words, '--config', str(tmp_path / 'options.yaml')]


def test_command_trains_resumes_and_writes_weights(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spike2former.run([*command, '--iterations', '2']) == 0
    assert spike2former.run([*command, '--resume', '--iterations', '3']) == 0
    weights = load_spike2former(tmp_path / 'run/weights.pt')
    assert weights.classes == Squares.classes
    assert weights.metadata['size'] == [32, 40]
    assert weights.metadata['training']['iterations'] == 3
    assert 'validation mIoU' in capsys.readouterr().out
    with (tmp_path / 'run/log.csv').open(newline='', encoding='utf-8') as file:
        assert next(csv.reader(file))[-4:] == ['classes', 'mask', 'dice', 'semantic']
    other = [word.replace(str(tmp_path / 'run'), str(tmp_path / 'other')) for word in command]
    init = ['--init', str(tmp_path / 'run/weights.pt')]
    assert spike2former.run([*other, *init, '--iterations', '1']) == 0
    with pytest.raises(TrainingError, match='exclude'):
        spike2former.run([*other, *init, '--resume'])
    with pytest.raises(TrainingError, match='--resume'):
        spike2former.run(command)


def test_command_takes_a_trained_backbone(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    source = Spike2FormerTrainer(options(), Squares()).state.network.backbone
    torch.save(source.state_dict(), tmp_path / 'classifier.pth')
    backbone = ['--backbone', str(tmp_path / 'classifier.pth'), '--iterations', '1']
    first: list[torch.Tensor] = []
    step = Spike2FormerTrainer.step

    def watched(trainer: Spike2FormerTrainer) -> float:
        first.append(trainer.state.network.backbone.downsample2.encode_conv.weight.clone())
        assert trainer.config.backbone_rate == 0.1
        return step(trainer)

    monkeypatch.setattr(Spike2FormerTrainer, 'step', watched)
    assert spike2former.run([*command, *backbone]) == 0
    assert torch.equal(first[0], source.downsample2.encode_conv.weight)
    with pytest.raises(TrainingError, match='new networks'):
        spike2former.run([*command, *backbone, '--resume'])
