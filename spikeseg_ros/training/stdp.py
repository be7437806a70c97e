# SPDX-License-Identifier: Apache-2.0
"""Layer-wise training of SpikeSEG with spike-timing-dependent plasticity."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from spikeseg_ros.models.encoder import EncoderConfig, SilentLayerWarning, SpikeSEGEncoder
from spikeseg_ros.models.weights import save_weights
from spikeseg_ros.spiking.stdp import Convergence, convergence
from spikeseg_ros.training.checkpoint import load_checkpoint, save_checkpoint
from spikeseg_ros.training.config import StdpConfig, from_values, load_values
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.layers import (
    LAYERS,
    TrainingState,
    calibrated_threshold,
    conv2_step,
    conv3_step,
    peak_potential,
    pooled_conv1,
    pooled_conv2,
)
from spikeseg_ros.training.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import Tensor

    Report = Callable[[TrainingState, Convergence], None]

# Sequence of samples from which thresholds are calibrated; layers have the numbers 0 and 1.
_CALIBRATION = 2
_CHECK_EVERY = 20
LEAK_SHARE = 0.1


def build_encoder(config: StdpConfig) -> SpikeSEGEncoder:
    """Return the untrained network of a configuration."""
    preset = EncoderConfig.from_paper(config.preset, seed=config.seed)
    theta = config.conv2_threshold
    conv2 = dataclasses.replace(
        preset.conv2,
        out_channels=config.features,
        threshold=theta,
        leak=LEAK_SHARE * theta,
        threshold_scale='absolute',
    )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', SilentLayerWarning)
        return SpikeSEGEncoder(dataclasses.replace(preset, conv2=conv2, name='custom'))


class Trainer:
    """Trains one network.

    Args:
        config: Settings.
        samples: Where samples come from.
        state: State to go on from; the beginning where None.
    """

    def __init__(
        self, config: StdpConfig, samples: Samples, state: TrainingState | None = None
    ) -> None:
        self.config = config
        self.samples = samples
        self.encoder = build_encoder(config)
        self.state = state or self._begin()

    def _begin(self) -> TrainingState:
        _, conv2, conv3 = (torch.from_numpy(weight) for weight in self.encoder.weights)
        return TrainingState(
            0, 0, 0, 0, conv2, conv3, torch.ones(len(conv2)), torch.zeros((), dtype=torch.float64)
        )

    def run(self, report: Report | None = None) -> Iterator[TrainingState]:
        """Train to the end, yielding the state after every sample."""
        limits = (self.config.conv2_samples, self.config.conv3_samples)
        while self.state.layer < len(limits):
            number = self.state.layer
            if number == 1 and self.state.step == 0 and not float(self.state.theta3):
                self.state = self.state._replace(theta3=torch.tensor(self.calibrate()).double())
            while self.state.step < limits[number] and not self._converged():
                self.state = self._step()
                if report is not None and self.state.step % _CHECK_EVERY == 0:
                    report(self.state, self.convergence())
                yield self.state
            self.state = self.state.next_layer()

    def _converged(self) -> bool:
        """Say whether the layer is done; a function of the state, so that resuming is exact."""
        if self.state.step == 0 or self.state.step % _CHECK_EVERY:
            return False
        measure = self.convergence()
        # Maps that never won hold their initial weights and are no reason to go on.
        return measure.dead_maps < len(measure.per_map) and measure.c_live < self.config.stop_c

    def _step(self) -> TrainingState:
        pool1 = self._pool1(self.state.layer, self.state.step)
        if self.state.layer == 0:
            return conv2_step(self.state, pool1, self.config)[0]
        pool2 = pooled_conv2(pool1, self.state.conv2, self.encoder)
        return conv3_step(self.state, pool2, self.config)[0]

    def _pool1(self, layer: int, number: int) -> Tensor:
        spikes = torch.from_numpy(self.samples.spikes(layer, number))
        return pooled_conv1(spikes.permute(0, 3, 1, 2).unsqueeze(1).float(), self.encoder)

    def convergence(self) -> Convergence:
        """Measure the layer that learns (conv3 when done)."""
        return convergence(self.state.conv2 if self.state.layer == 0 else self.state.conv3)

    def calibrate(self) -> float:
        """Return the threshold of conv3 for its present weights."""
        peaks = []
        for number in range(self.config.calibration_samples):
            pool2 = pooled_conv2(self._pool1(_CALIBRATION, number), self.state.conv2, self.encoder)
            peaks.append(peak_potential(pool2, self.state.conv3))
        return calibrated_threshold(peaks, self.config.conv3_quantile)

    def finish(self) -> SpikeSEGEncoder:
        """Return the network with the learnt weights and calibrated thresholds."""
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', SilentLayerWarning)
            self.encoder.set_weights(conv2=self.state.conv2, conv3=self.state.conv3)
            theta = self.config.conv2_threshold
            self.encoder.set_threshold('conv2', theta, LEAK_SHARE * theta)
            self.encoder.set_threshold('conv3', self.calibrate(), 0.0)
        return self.encoder


def _parser() -> argparse.ArgumentParser:
    defaults = StdpConfig()
    parser = argparse.ArgumentParser(
        prog='spikeseg train stdp',
        description='Train conv2 and conv3 of SpikeSEG with spike-timing-dependent plasticity.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--output', required=True, help='weight file to write (.pt)')
    parser.add_argument('--data', help='folder of N-MNIST recordings (.bs2 and train1K.txt)')
    parser.add_argument(
        '--simulated',
        type=float,
        help=f'share of simulated samples, 0 .. 1 (otherwise {defaults.simulated})',
    )
    parser.add_argument('--config', help='YAML file with training options')
    parser.add_argument('--seed', type=int, help=f'seed (otherwise {defaults.seed})')
    parser.add_argument('--resume', help='checkpoint to go on from; brings its own options')
    parser.add_argument('--checkpoint-every', type=int, default=500, help='samples; 0 = never')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def _settings(args: argparse.Namespace) -> tuple[StdpConfig, TrainingState | None]:
    """Return settings and state from the command line.

    Raises:
        TrainingError: Options contradict each other or a checkpoint.
    """
    values: dict[str, Any] = load_values(args.config) if args.config else {}
    for name in ('simulated', 'seed'):
        if getattr(args, name) is not None:
            values[name] = getattr(args, name)
    if not args.resume:
        return from_values(values), None
    config, state = load_checkpoint(args.resume)
    if from_values(values, config) != config:
        changed = [k for k, v in values.items() if getattr(config, k) != v]
        msg = (
            f'The checkpoint {args.resume!r} was made with other values of {changed!r}; a run '
            'is resumed with the options it was started with.'
        )
        raise TrainingError(msg)
    return config, state


def run(argv: Sequence[str]) -> int:
    """Train a network from the command line and write its weights.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    args = _parser().parse_args(list(argv))
    config, state = _settings(args)
    begin = time.monotonic()
    scenes = config.scenes if config.simulated > 0 else 0
    with tqdm(total=scenes, desc='scenes', disable=args.quiet or not scenes) as bar:
        samples = Samples(config, args.data, lambda: bar.update() and None)
    trainer = Trainer(config, samples, state)
    checkpoint = Path(args.output).with_suffix('.ckpt')
    summary = _train(trainer, checkpoint, args.checkpoint_every, args.quiet)
    encoder = trainer.finish()
    metadata = {
        'training': dataclasses.asdict(config),
        'summary': summary,
        'data': _provenance(config),
    }
    save_weights(args.output, encoder, metadata)
    for line in _closing(encoder, summary, time.monotonic() - begin, args.output):
        sys.stdout.write(line + '\n')
    return 0


def _train(
    trainer: Trainer, checkpoint: Path, every: int, quiet: bool
) -> dict[str, dict[str, float]]:
    """Run the loop with progress bars and checkpoints; return the numbers of each layer."""
    limits = {
        'conv2': trainer.config.conv2_samples,
        'conv3': trainer.config.conv3_samples,
    }
    summary: dict[str, dict[str, float]] = {}
    bar: tqdm[Any] | None = None

    def report(state: TrainingState, measure: Convergence) -> None:
        if bar is not None:
            bar.set_postfix_str(f'C {measure.c_live:.4f} dead {measure.dead_maps}', refresh=False)

    shown = -1
    for state in trainer.run(report):
        name = LAYERS[state.layer]
        if state.layer != shown:
            if bar is not None:
                bar.close()
            shown = state.layer
            bar = tqdm(total=limits[name], initial=state.step - 1, desc=name, disable=quiet)
        assert bar is not None
        bar.update()
        measure = convergence(state.conv2 if state.layer == 0 else state.conv3)
        summary[name] = {
            'samples': state.step,
            'updates': state.updates,
            'silent': state.silent,
            'c_live': measure.c_live,
            'c': measure.c,
            'dead_maps': measure.dead_maps,
        }
        if every and state.step % every == 0:
            save_checkpoint(checkpoint, trainer.config, state)
    if bar is not None:
        bar.close()
    return summary


def _provenance(config: StdpConfig) -> str:
    parts = []
    if config.simulated < 1:
        parts.append(f'N-MNIST recordings {config.first_id} .. {config.last_id}')
    if config.simulated > 0:
        parts.append(f'{config.scenes} simulated scenes')
    return ' and '.join(parts)


def _closing(
    encoder: SpikeSEGEncoder, summary: dict[str, dict[str, float]], seconds: float, path: str
) -> Iterator[str]:
    """Yield the lines printed at the end."""
    for name, numbers in summary.items():
        weights = dict(zip(('conv1', 'conv2', 'conv3'), encoder.weights, strict=True))[name]
        on = int((weights > 0.5).sum())
        yield (
            f'{name}: {numbers["samples"]:.0f} samples, {numbers["updates"]:.0f} updates, '
            f'{numbers["silent"]:.0f} silent, C of live maps {numbers["c_live"]:.4f}, '
            f'{numbers["dead_maps"]:.0f} dead maps, {on} of {weights.size} weights on'
        )
    theta3 = float(encoder.params().neurons[2].threshold[0])
    yield f'threshold of conv3: {theta3:g} (calibrated)'
    yield f'wrote {path} after {seconds:.0f} s'
