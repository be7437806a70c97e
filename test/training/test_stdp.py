# SPDX-License-Identifier: Apache-2.0
"""Training runs: settings, samples, checkpoints, resuming."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from spikeseg_ros.models.weights import load_weights
from spikeseg_ros.spiking.stdp import convergence
from spikeseg_ros.training.checkpoint import load_checkpoint, save_checkpoint
from spikeseg_ros.training.config import StdpConfig, from_values, load_values
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.samples import Samples
from spikeseg_ros.training.stdp import Trainer, run

SMALL = StdpConfig(
    features=6,
    simulated=1.0,
    scenes=2,
    conv2_samples=12,
    conv3_samples=9,
    calibration_samples=5,
    seed=3,
)


@pytest.fixture(scope='module')
def samples():
    return Samples(SMALL)


def same(first, second):
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(first, second, strict=True)
    )


def test_samples_are_functions_of_their_number(samples):
    again = Samples(SMALL)
    for layer, number in ((0, 0), (0, 7), (1, 7)):
        first, second = (s.spikes(layer, number) for s in (samples, again))
        assert np.array_equal(first, second)
        assert first.shape == (10, 48, 48, 2)
        assert 20 < first.sum() < first.size // 3
    events = samples.events(0, 1)
    assert (np.diff(events.t) >= 0).all()
    assert events.t.min() >= 0
    assert events.t.max() < 50_000_000
    other = Samples(dataclasses.replace(SMALL, seed=4))
    assert not np.array_equal(other.spikes(0, 0), samples.spikes(0, 0))


def test_training_can_be_resumed_anywhere(samples, tmp_path):
    whole = Trainer(SMALL, samples)
    states = list(whole.run())
    assert len(states) == 12 + 9
    for stop in (7, 12, 13, 21):
        save_checkpoint(tmp_path / 'run.ckpt', SMALL, states[stop - 1])
        config, state = load_checkpoint(tmp_path / 'run.ckpt')
        assert config == SMALL
        rest = Trainer(config, samples, state)
        later = list(rest.run())
        assert len(later) == len(states) - stop
        assert same(rest.state, whole.state)
        for a, b in zip(later, states[stop:], strict=True):
            assert same(a, b)
    assert torch.equal(rest.finish().conv3_threshold, whole.finish().conv3_threshold)


def test_the_number_of_threads_changes_nothing(samples):
    before = torch.get_num_threads()
    ends = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            trainer = Trainer(
                dataclasses.replace(SMALL, conv2_samples=4, conv3_samples=3), samples
            )
            ends.append(list(trainer.run())[-1])
    finally:
        torch.set_num_threads(before)
    assert same(*ends)


def test_a_converged_layer_stops_early_also_when_resumed(samples):
    config = dataclasses.replace(SMALL, conv2_samples=60, conv3_samples=3, stop_c=0.24)
    trainer = Trainer(config, samples)
    states = list(trainer.run())
    assert [state.layer for state in states] == [0] * 20 + [1] * 3
    rest = Trainer(config, samples, states[19])
    assert [state.layer for state in rest.run()] == [1] * 3
    assert same(rest.state, trainer.state)


def test_weights_and_thresholds_are_saved_together(tmp_path, capsys):
    options = tmp_path / 'options.yaml'
    options.write_text(
        'features: 6\nscenes: 2\nconv2_samples: 10\nconv3_samples: 6\ncalibration_samples: 5\n'
    )
    output = tmp_path / 'out' / 'weights.pt'
    output.parent.mkdir()
    words = ['--simulated', '1', '--seed', '3', '--config', str(options), '--quiet']
    assert run([*words, '--output', str(output), '--checkpoint-every', '4']) == 0
    text = capsys.readouterr().out
    assert 'conv2: 10 samples' in text
    assert 'dead maps' in text
    stored = load_weights(output)
    encoder = stored.build()
    assert float(encoder.conv2_threshold[0]) == 10
    theta = float(stored.thresholds['conv3'][0])
    assert f'threshold of conv3: {theta:g}' in text
    assert theta != float(Trainer(SMALL, Samples(SMALL)).encoder.conv3_threshold[0])
    for weight in stored.weights.values():
        assert torch.equal(weight, torch.round(weight * 256) / 256)
    assert stored.metadata['training']['seed'] == 3
    assert stored.metadata['summary']['conv3']['samples'] == 6
    assert 'simulated' in stored.metadata['data']
    # Going on from the last checkpoint gives the same file.
    checkpoint = output.with_suffix('.ckpt')
    second = tmp_path / 'second.pt'
    assert run(['--resume', str(checkpoint), '--output', str(second), '--quiet']) == 0
    again = load_weights(second)
    for name, weight in stored.weights.items():
        assert torch.equal(again.weights[name], weight)
        assert torch.equal(again.thresholds[name], stored.thresholds[name])
    with pytest.raises(TrainingError, match='seed'):
        run(['--resume', str(checkpoint), '--seed', '4', '--output', str(second)])


def test_untrained_networks_can_be_made(samples):
    config = dataclasses.replace(SMALL, conv2_samples=0, conv3_samples=0)
    trainer = Trainer(config, samples)
    assert list(trainer.run()) == []
    encoder = trainer.finish()
    assert convergence(encoder.conv3.weight).c == pytest.approx(0.16, abs=0.001)
    assert encoder.conv3_threshold[0] > 0


def test_errors_say_what_to_do(tmp_path):
    with pytest.raises(TrainingError, match='--simulated 1'):
        Samples(StdpConfig())
    with pytest.raises(TrainingError, match='hight'):
        from_values({'hight': 3})
    with pytest.raises(TrainingError, match='seed'):
        from_values({'seed': 1.5})
    with pytest.raises(TrainingError, match='conv2_leak'):
        StdpConfig(conv2_leak=1.0)
    with pytest.raises(TrainingError, match=r'none\.yaml'):
        load_values(tmp_path / 'none.yaml')
    (tmp_path / 'list.yaml').write_text('- 3')
    with pytest.raises(TrainingError, match='mapping'):
        load_values(tmp_path / 'list.yaml')
    with pytest.raises(TrainingError, match=r'none\.ckpt'):
        load_checkpoint(tmp_path / 'none.ckpt')
    (tmp_path / 'bad.ckpt').write_bytes(b'nonsense')
    with pytest.raises(TrainingError, match=r'bad\.ckpt'):
        load_checkpoint(tmp_path / 'bad.ckpt')
    torch.save({'format': 'other'}, tmp_path / 'other.ckpt')
    with pytest.raises(TrainingError, match='version'):
        load_checkpoint(tmp_path / 'other.ckpt')


def test_recordings_off_the_range_are_refused(tmp_path):
    (tmp_path / 'train1K.txt').write_text('#sample #class\n1\t5\n')
    config = StdpConfig(simulated=0.0, first_id=2, last_id=3)
    with pytest.raises(TrainingError, match='last_id'):
        Samples(config, tmp_path)
