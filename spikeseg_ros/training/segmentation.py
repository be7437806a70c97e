# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg train mfs_seg``: supervised training of segmentation networks."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import torch
from tqdm import tqdm

from spikeseg_ros.datasets import SegmentationDataset, open_dataset
from spikeseg_ros.evaluation.segmentation import confusion
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg, save_mfs_seg
from spikeseg_ros.perception.devices import choose_device
from spikeseg_ros.training.config import load_values
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.memory import keep_freed_memory
from spikeseg_ros.training.segmentation_config import RESUMABLE, segmentation_config
from spikeseg_ros.training.segmentation_state import read_checkpoint
from spikeseg_ros.training.segmentation_trainer import SegmentationTrainer, network_config

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOG_EVERY = 50


class _Table:
    """A CSV file that grows by rows and can be cut back to an iteration."""

    def __init__(self, path: Path, columns: Sequence[str], iteration: int) -> None:
        self._path = path
        rows = []
        if path.exists():
            with path.open(newline='', encoding='utf-8') as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit()]
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(row for row in rows if int(row[0]) <= iteration)

    def add(self, *values: object) -> None:
        with self._path.open('a', newline='', encoding='utf-8') as file:
            csv.writer(file).writerow(values)


class _Run:
    """The loop around a trainer: validation, logs, checkpoints, progress."""

    def __init__(
        self,
        trainer: SegmentationTrainer,
        validation: SegmentationDataset,
        folder: Path,
        every_seconds: float,
        quiet: bool,
    ) -> None:
        self.trainer, self.validation, self.folder = trainer, validation, folder
        self.every_seconds, self.quiet = every_seconds, quiet
        self.stopped = False
        done = trainer.state.iteration
        self.log = _Table(
            folder / 'log.csv', ['iteration', 'epoch', 'rate', 'rounding', 'loss', 'seconds'], done
        )
        self.scores = _Table(
            folder / 'validation.csv',
            ['iteration', 'epoch', 'rounding', 'images', 'miou', 'accuracy', *validation.classes],
            done,
        )

    def stop(self, *_: object) -> None:
        """Let the run end after the present iteration, with a checkpoint."""
        self.stopped = True

    def checkpoint(self) -> None:
        """Write the state."""
        self.trainer.state.save(self.folder / 'checkpoint.ckpt', self.trainer.config)

    def run(self) -> bool:
        """Train to the end; return False where it was stopped before."""
        trainer, state, config = self.trainer, self.trainer.state, self.trainer.config
        begin = saved = time.monotonic()
        losses: list[float] = []
        with tqdm(
            total=config.iterations,
            initial=state.iteration,
            desc='training',
            disable=self.quiet,
            mininterval=10 if not sys.stderr.isatty() else 0.5,
        ) as bar:
            while state.iteration < config.iterations and not self.stopped:
                losses.append(trainer.step())
                bar.update()
                if state.iteration % _LOG_EVERY == 0:
                    last = state.iteration - 1
                    mean = sum(losses) / len(losses)
                    bar.set_postfix_str(f'loss {mean:.3f}', refresh=False)
                    self.log.add(
                        state.iteration,
                        f'{self.epoch():.2f}',
                        f'{config.rate_at(last):.3e}',
                        f'{config.rounding_at(last):.3f}',
                        f'{mean:.4f}',
                        f'{time.monotonic() - begin:.1f}',
                    )
                    losses.clear()
                every = config.validate_every
                if every and state.iteration % every == 0:
                    # Every fourth image, to spare time; all of them count at the end.
                    bar.set_description_str(f'mIoU {self.validate(4):.3f}')
                if time.monotonic() - saved > self.every_seconds:
                    self.checkpoint()
                    saved = time.monotonic()
        self.checkpoint()
        return state.iteration >= config.iterations

    def epoch(self) -> float:
        """Return how often every image has been seen."""
        trainer = self.trainer
        return trainer.state.iteration * trainer.config.batch / len(trainer.dataset)

    def validate(self, every: int) -> float:
        """Judge the averaged weights and return the mIoU."""
        trainer = self.trainer
        rounding = trainer.config.rounding_at(trainer.state.iteration)
        numbers = range(0, len(self.validation), every)
        matrix = confusion(
            trainer.state.average, self.validation, trainer.config.input_size, numbers, rounding
        )
        self.scores.add(
            trainer.state.iteration,
            f'{self.epoch():.2f}',
            f'{rounding:.3f}',
            len(numbers),
            f'{matrix.miou:.4f}',
            f'{matrix.accuracy:.4f}',
            *(f'{value:.4f}' for value in matrix.iou),
        )
        return matrix.miou

    def finish(self) -> float:
        """Validate on all images and write the averaged weights."""
        trainer = self.trainer
        average = trainer.state.average
        miou = self.validate(1)
        metadata = {
            'training': {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(trainer.config).items()
            },
            'size': list(trainer.config.input_size),
            'validation_miou': round(miou, 4),
        }
        data = trainer.dataset
        save_mfs_seg(self.folder / 'weights.pt', average, data.classes, data.colors, metadata)
        return miou


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='spikeseg train mfs_seg',
        description='Train a fully spiking segmentation network on labelled images.',
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--data', required=True, help='folder of the data set')
    parser.add_argument('--output', required=True, help='folder to write into')
    parser.add_argument('--config', help='YAML file with training options')
    parser.add_argument('--init', help='weight file to start from, instead of random weights')
    parser.add_argument(
        '--resume', action='store_true', help='go on from the checkpoint in the output folder'
    )
    parser.add_argument(
        '--iterations', type=int, help='length of the run; may be changed when resuming'
    )
    parser.add_argument('--train-split', default='train', help='split to learn from')
    parser.add_argument('--val-split', default='val', help='split to validate on')
    parser.add_argument(
        '--checkpoint-minutes', type=float, default=3.0, help='minutes between checkpoints'
    )
    parser.add_argument('--device', default='cpu', help="'auto', 'cpu' or 'cuda'")
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        help='threads that prepare views; 0 is best where the network itself fills the cores',
    )
    parser.add_argument('--threads', type=int, help='threads of torch')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def _trainer(
    args: argparse.Namespace, folder: Path, dataset: SegmentationDataset
) -> SegmentationTrainer:
    """Return the trainer that the command line asks for.

    Raises:
        TrainingError: Options contradict each other or the checkpoint.
    """
    values: dict[str, Any] = load_values(args.config) if args.config else {}
    checkpoint = folder / 'checkpoint.ckpt'
    device, workers = choose_device(args.device), max(args.workers, 0)
    if not args.resume:
        if checkpoint.exists():
            msg = f'{str(folder)!r} holds a checkpoint; add --resume, or choose another folder.'
            raise TrainingError(msg)
        if args.iterations is not None:
            values['iterations'] = args.iterations
        config = segmentation_config(values)
        network = load_mfs_seg(args.init).network if args.init else None
        if network is not None and network.config != network_config(config, dataset):
            msg = (
                f'{args.init!r} holds the network {network.config}, the options ask for '
                f'{network_config(config, dataset)}; let preset and network agree.'
            )
            raise TrainingError(msg)
        return SegmentationTrainer(config, dataset, network, device, workers)
    if args.init:
        msg = '--init and --resume exclude each other: a checkpoint holds its own weights.'
        raise TrainingError(msg)
    config, content = read_checkpoint(checkpoint)
    if args.iterations is not None:
        values['iterations'] = args.iterations
    asked = segmentation_config(values, config)
    if asked.fixed() != config.fixed():
        changed = [name for name, value in asked.fixed().items() if config.fixed()[name] != value]
        msg = (
            f'The checkpoint {str(checkpoint)!r} was made with other values of {changed!r}; a run '
            f'is resumed with the options it was started with (but {", ".join(RESUMABLE)}).'
        )
        raise TrainingError(msg)
    config = asked
    network = MfsSeg(network_config(config, dataset))
    trainer = SegmentationTrainer(config, dataset, network, device, workers)
    trainer.state.restore(checkpoint, content)
    return trainer


def run(argv: Sequence[str]) -> int:
    """Train a network from the command line.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    args = _parser().parse_args(list(argv))
    keep_freed_memory()
    # Views are small; threads of OpenCV would only get in the way of those of torch.
    cv2.setNumThreads(1)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(args.data, args.train_split)
    validation = open_dataset(args.data, args.val_split)
    trainer = _trainer(args, folder, dataset)
    count = trainer.state.network.parameter_count()
    sys.stdout.write(f'{count} parameters, {len(dataset)} images, {len(validation)} to validate\n')
    loop = _Run(trainer, validation, folder, 60 * args.checkpoint_minutes, args.quiet)
    before = {number: signal.signal(number, loop.stop) for number in (signal.SIGTERM,)}
    try:
        complete = loop.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if not complete:
        sys.stdout.write(f'stopped at iteration {trainer.state.iteration}; go on with --resume\n')
        return 0
    miou = loop.finish()
    sys.stdout.write(f'validation mIoU {100 * miou:.2f}\nwrote {folder / "weights.pt"!s}\n')
    return 0
