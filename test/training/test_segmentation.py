# SPDX-License-Identifier: Apache-2.0
"""Training of segmentation networks: exact resumption, losses, schedules, the command."""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent))

from squares import Squares, tensors

from spikeseg_ros.datasets import Sample
from spikeseg_ros.evaluation.segmentation import confusion, predict
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg
from spikeseg_ros.models.weights import WeightsError
from spikeseg_ros.training import command as shared
from spikeseg_ros.training import segmentation
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.labels import class_weights, nearest_labels
from spikeseg_ros.training.run_state import read_state
from spikeseg_ros.training.segmentation_config import SegmentationConfig, segmentation_config
from spikeseg_ros.training.segmentation_trainer import (
    FORMAT,
    SegmentationTrainer,
    multi_scale_loss,
)
from spikeseg_ros.training.views import Views

if TYPE_CHECKING:
    import numpy.typing as npt

pytestmark = pytest.mark.usefixtures('one_thread')
OPTIONS: dict[str, Any] = {
    'network': {'widths': [8, 8, 12, 16], 'depths': [1, 1, 1, 1]},
    'height': 32,
    'width': 40,
    'batch': 4,
    'iterations': 12,
    'warmup': 3,
    'validate_every': 0,
}


@pytest.mark.parametrize('precision', ['float32', 'bfloat16'])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path, precision: str) -> None:
    config = segmentation_config(
        {**OPTIONS, 'precision': precision, 'relaxed': 0.2, 'rounded': 0.6}
    )
    whole = SegmentationTrainer(config, Squares())
    losses = [whole.step() for _ in range(8)]
    first = SegmentationTrainer(config, Squares())
    for _ in range(5):
        first.step()
    first.save(tmp_path / 'state')
    read, content = read_state(tmp_path / 'state', FORMAT)
    assert segmentation_config(read) == config
    torch.manual_seed(99)
    second = SegmentationTrainer(config, Squares())
    second.state.restore('state', content)
    assert [second.step() for _ in range(3)] == losses[5:]
    for one, other in zip(tensors(whole), tensors(second), strict=True):
        assert torch.equal(one, other)


def test_it_learns_what_can_be_learnt() -> None:
    config = segmentation_config({**OPTIONS, 'iterations': 60, 'rate': 1e-2, 'ema': 0.9})
    data = Squares()
    trainer = SegmentationTrainer(config, data)
    begin = trainer.step()
    while trainer.state.iteration < config.iterations:
        end = trainer.step()
    average = trainer.state.average
    matrix = confusion(average, data, (48, 60))
    assert end < begin / 2
    assert matrix.miou > 0.8
    assert matrix.counts.sum() == 8 * 46 * 60


class EventSquares(Squares):
    """The same squares as events: ON inside of them, some noise outside."""

    @staticmethod
    def _draw(rng: np.random.Generator) -> Sample:
        label = Squares._draw(rng).label
        chance = np.where(label == 1, 0.6, 0.05)
        frames = (rng.random((3, 2, 48, 60)) < chance).astype(np.float32)
        return Sample(frames, label)


@pytest.mark.parametrize('neuron', ['integer', 'lif'])
def test_it_learns_from_event_frames(neuron: str) -> None:
    network = {**OPTIONS['network'], 'neuron': neuron}
    config = segmentation_config(
        {**OPTIONS, 'network': network, 'iterations': 50, 'rate': 1e-2, 'ema': 0.9}
    )
    data = EventSquares()
    trainer = SegmentationTrainer(config, data)
    assert trainer.state.network.config.events
    while trainer.state.iteration < config.iterations:
        trainer.step()
    assert confusion(trainer.state.average, data, (48, 60)).miou > 0.7


def test_loss_is_the_weighted_sum_over_scales() -> None:
    torch.manual_seed(1)
    labels = torch.randint(0, 3, (2, 8, 8))
    labels[0, :4] = 7
    logits = [torch.randn(2, 3, 2, 2), torch.randn(2, 3, 4, 4), torch.randn(2, 3, 8, 8)]
    weights = torch.tensor([0.5, 1.0, 2.0])
    loss = multi_scale_loss(logits, labels, (0.2, 0.3, 1.0), weights, 7)
    parts = [
        F.cross_entropy(
            item, labels[:, step // 2 :: step, step // 2 :: step], weights, ignore_index=7
        )
        for item, step in zip(logits, (4, 2, 1), strict=True)
    ]
    torch.testing.assert_close(loss, 0.2 * parts[0] + 0.3 * parts[1] + parts[2])
    nothing = multi_scale_loss(logits, torch.full_like(labels, 7), (0.2, 0.3, 1.0), weights, 7)
    assert float(nothing) == 0


def test_labels_are_taken_from_the_nearest_pixel_and_never_mixed() -> None:
    labels = torch.arange(45).view(1, 1, 45).expand(1, 5, 45)
    small = nearest_labels(labels, (2, 23))
    assert small.shape == (1, 2, 23)
    assert small[0, 0].tolist() == [math.floor((i + 0.5) * 45 / 23) for i in range(23)]


def test_rare_classes_weigh_more_and_the_mean_is_one() -> None:
    data = Squares()
    counts = np.zeros(256, np.int64)
    for number in range(len(data)):
        counts += np.bincount(data.sample(number).label.ravel(), minlength=256)
    share = counts[:2] / counts[:2].sum()
    expected = 1 / np.log(1.02 + share)
    weights = class_weights(data, 1.02)
    np.testing.assert_allclose(weights.numpy(), expected / expected.mean(), rtol=1e-6)
    assert weights[1] > weights[0]


def test_every_image_is_seen_once_in_an_epoch() -> None:
    views = Views(segmentation_config(OPTIONS), Squares(6))
    epochs = [[views.number(6 * epoch + i) for i in range(6)] for epoch in range(3)]
    assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
    assert epochs[0] != epochs[1] or epochs[1] != epochs[2]


def test_small_things_of_other_images_are_pasted_on_request() -> None:
    data = Squares()
    plain = Views(segmentation_config(OPTIONS), data)
    never = Views(segmentation_config({**OPTIONS, 'paste': 0.0}), data)
    pasted = Views(segmentation_config({**OPTIONS, 'paste': 1.0}), data)
    count = before = 0
    for number in range(4):
        assert torch.equal(plain.batch(number)[0], never.batch(number)[0])
        labels, more = plain.batch(number)[1], pasted.batch(number)[1]
        before, count = before + int((labels == 1).sum()), count + int((more == 1).sum())
    assert count > 1.2 * before


@pytest.mark.parametrize('paste', [0.0, 0.5])
def test_batches_do_not_depend_on_the_number_of_workers(paste: float) -> None:
    config, data = segmentation_config({**OPTIONS, 'paste': paste}), Squares()
    alone, helped = Views(config, data), Views(config, data, workers=3)
    for number in (0, 1, 2, 5):
        for one, other in zip(alone.batch(number), helped.batch(number), strict=True):
            assert torch.equal(one, other)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')
def test_it_trains_on_a_gpu() -> None:
    config = segmentation_config({**OPTIONS, 'precision': 'bfloat16'})
    there = SegmentationTrainer(config, Squares(), device='cuda', workers=2)
    here = SegmentationTrainer(config, Squares())
    assert there.step() == pytest.approx(here.step(), rel=0.05)
    assert confusion(there.state.average, Squares(), (32, 40)).counts.sum() > 0


def test_average_follows_the_weights_and_their_statistics() -> None:
    config = segmentation_config({**OPTIONS, 'ema': 0.5})
    trainer = SegmentationTrainer(config, Squares())
    names = ('net.stem.conv.weight', 'net.stem.bn.running_mean')
    before = [trainer.state.average.state_dict()[name].clone() for name in names]
    trainer.step()
    for name, old in zip(names, before, strict=True):
        new = trainer.state.network.state_dict()[name]
        keep = 2 / 11  # (1 + i) / (10 + i) for i = 1
        mean = trainer.state.average.state_dict()[name]
        torch.testing.assert_close(mean, keep * old + (1 - keep) * new, rtol=0, atol=1e-6)


def test_only_weights_of_convolutions_decay() -> None:
    groups = SegmentationTrainer(
        segmentation_config(OPTIONS), Squares()
    ).state.optimizer.param_groups
    assert groups[0]['weight_decay'] == 1e-2
    assert groups[1]['weight_decay'] == 0
    assert all(value.ndim == 4 for value in groups[0]['params'])
    assert all(value.ndim == 1 for value in groups[1]['params'])


def test_schedules() -> None:
    config = SegmentationConfig(iterations=1000, rate=1.0, warmup=100)
    assert config.rate_at(0) == pytest.approx(0.01)
    assert config.rate_at(500) == pytest.approx(0.5**0.9)
    hold = SegmentationConfig(iterations=1000, rate=1.0, warmup=0, schedule='hold', hold=0.6)
    assert [hold.rate_at(i) for i in (0, 600, 800)] == pytest.approx([1, 1, 0.5])
    relaxed = SegmentationConfig(iterations=1000, relaxed=0.2, rounded=0.4)
    assert [relaxed.rounding_at(i) for i in (0, 199, 300, 400, 999)] == pytest.approx(
        [0, 0, 0.5, 1, 1]
    )


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        ({'bacth': 3}, 'bacth'),
        ({'batch': 0}, 'batch'),
        ({'batch': 2.5}, 'type int'),
        ({'schedule': 'step'}, 'schedule'),
        ({'relaxed': 0.5}, 'relaxed'),
        ({'head_weights': [1.0]}, 'head_weights'),
    ],
)
def test_bad_options_are_refused_by_name(values: dict[str, Any], match: str) -> None:
    with pytest.raises(TrainingError, match=match):
        segmentation_config(values)


def test_a_loss_that_explodes_stops_the_run() -> None:
    trainer = SegmentationTrainer(segmentation_config(OPTIONS), Squares())
    with torch.no_grad():
        trainer.state.network.net.heads[-1].conv.bias.fill_(float('nan'))  # type: ignore[union-attr]
    with pytest.raises(TrainingError, match='lower rate'):
        trainer.step()


def test_prediction_has_the_size_of_the_image() -> None:
    network = SegmentationTrainer(segmentation_config(OPTIONS), Squares()).state.average
    image: npt.NDArray[np.uint8] = np.zeros((50, 70, 3), np.uint8)
    found = predict(network, image, (32, 40))
    assert found.shape == (50, 70)
    assert found.dtype == np.uint8


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return arguments of a short run on generated images."""
    monkeypatch.setattr(shared, 'open_dataset', lambda path, split, **_: Squares())
    monkeypatch.setattr(shared, 'keep_freed_memory', lambda: False)
    (tmp_path / 'options.yaml').write_text(
        'network: {widths: [8, 8, 12, 16], depths: [1, 1, 1, 1]}\n'
        'height: 32\nwidth: 40\nbatch: 4\niterations: 4\nvalidate_every: 2\n',
        encoding='utf-8',
    )
    words = ['--data', 'none', '--output', str(tmp_path / 'run'), '--quiet', '--threads', '1']
    return [*words, '--config', str(tmp_path / 'options.yaml')]


def rows(path: Path) -> list[list[str]]:
    with path.open(newline='', encoding='utf-8') as file:
        return list(csv.reader(file))


def test_command_trains_validates_and_writes_weights(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert segmentation.run(command) == 0
    scores = rows(tmp_path / 'run/validation.csv')
    assert [row[0] for row in scores] == ['iteration', '2', '4', '4']
    assert scores[-1][3] == '8'
    weights = load_mfs_seg(tmp_path / 'run/weights.pt')
    assert weights.classes == Squares.classes
    assert weights.metadata['size'] == [32, 40]
    assert weights.metadata['training']['iterations'] == 4
    assert 'validation mIoU' in capsys.readouterr().out
    with pytest.raises(TrainingError, match='--resume'):
        segmentation.run(command)


def test_command_resumes_with_a_longer_run_only(command: list[str], tmp_path: Path) -> None:
    segmentation.run(command)
    assert segmentation.run([*command, '--resume', '--iterations', '6']) == 0
    kept = [row[0] for row in rows(tmp_path / 'run/validation.csv')]
    assert kept == ['iteration', '2', '4', '4', '6', '6']
    (tmp_path / 'options.yaml').write_text('batch: 2\n', encoding='utf-8')
    with pytest.raises(TrainingError, match='batch'):
        segmentation.run([*command, '--resume'])


def test_whole_images_may_be_seen_larger_than_views(command: list[str], tmp_path: Path) -> None:
    segmentation.run(command)
    options = tmp_path / 'options.yaml'
    text = options.read_text(encoding='utf-8')
    options.write_text(text + 'input_height: 48\ninput_width: 60\n', encoding='utf-8')
    assert segmentation.run([*command, '--resume']) == 0
    assert load_mfs_seg(tmp_path / 'run/weights.pt').metadata['size'] == [48, 60]


def test_command_starts_from_weights(command: list[str], tmp_path: Path) -> None:
    segmentation.run(command)
    weights = str(tmp_path / 'run/weights.pt')
    other = [word.replace(str(tmp_path / 'run'), str(tmp_path / 'other')) for word in command]
    assert segmentation.run([*other, '--init', weights]) == 0
    third = [word.replace(str(tmp_path / 'run'), str(tmp_path / 'third')) for word in command]
    (tmp_path / 'options.yaml').write_text('preset: small\n', encoding='utf-8')
    with pytest.raises(TrainingError, match='agree'):
        segmentation.run([*third, '--init', weights])
    with pytest.raises(TrainingError, match='exclude'):
        segmentation.run([*other, '--init', weights, '--resume'])
    with pytest.raises(TrainingError, match='mfs_seg_camvid'):  # found, but another network
        segmentation.run([*third, '--init', 'mfs_seg_camvid'])
    with pytest.raises(WeightsError, match='nowhere'):
        segmentation.run([*third, '--init', 'nowhere'])


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / 'checkpoint.ckpt'
    path.write_bytes(b'nothing')
    with pytest.raises(TrainingError, match='Cannot read'):
        read_state(path, FORMAT)
    torch.save({'format': 'other'}, path)
    with pytest.raises(TrainingError, match='no checkpoint'):
        read_state(path, FORMAT)
