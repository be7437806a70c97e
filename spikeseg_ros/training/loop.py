# SPDX-License-Identifier: Apache-2.0
"""The loop around a trainer of segmentation networks: validation, logs, checkpoints, progress."""

from __future__ import annotations

import csv
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from spikeseg_ros.evaluation.segmentation import confusion
from spikeseg_ros.training.distributed import agree, sum_over_team

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
    from spikeseg_ros.training.trainer import NetworkTrainer

_LOG_EVERY = 50


class Table:
    """A CSV file that grows by rows and can be cut back to an iteration.

    Args:
        path: File; None = rows are dropped.
        columns: Names of the columns.
        iteration: Rows of later iterations are removed.
    """

    def __init__(self, path: Path | None, columns: Sequence[str], iteration: int) -> None:
        self._path = path
        if path is None:
            return
        rows = []
        if path.exists():
            with path.open(newline='', encoding='utf-8') as file:
                rows = [row for row in csv.reader(file) if row and row[0].isdigit()]
        with path.open('w', newline='', encoding='utf-8') as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            writer.writerows(row for row in rows if int(row[0]) <= iteration)

    def add(self, *values: object) -> None:
        """Append a row."""
        if self._path is not None:
            with self._path.open('a', newline='', encoding='utf-8') as file:
                csv.writer(file).writerow(values)


class Loop:
    """Trains to the end, or until it is told to stop.

    Args:
        trainer: What to run.
        validation: Images to judge on.
        folder: Where checkpoint, weights and tables are written, by process 0 alone.
        every_seconds: Time between checkpoints.
        quiet: No progress bar.
    """

    def __init__(
        self,
        trainer: NetworkTrainer[Any],
        validation: SegmentationDataset,
        folder: Path,
        every_seconds: float,
        quiet: bool,
    ) -> None:
        self.trainer, self.validation, self.folder = trainer, validation, folder
        self.every_seconds = every_seconds
        self.first = trainer.team.rank == 0
        self.quiet = quiet or not self.first
        self.stopped = False
        done = trainer.state.iteration
        columns = ['iteration', 'epoch', 'rate', 'rounding', 'loss', 'seconds', *trainer.terms]
        self.log = Table(folder / 'log.csv' if self.first else None, columns, done)
        columns = ['iteration', 'epoch', 'rounding', 'images', 'miou', 'accuracy']
        columns += validation.classes
        self.scores = Table(folder / 'validation.csv' if self.first else None, columns, done)

    def stop(self, *_: object) -> None:
        """Let the run end after the present iteration, with a checkpoint."""
        self.stopped = True

    def checkpoint(self) -> None:
        """Write the state."""
        if self.first:
            self.trainer.save(self.folder / 'checkpoint.ckpt')

    def run(self) -> bool:
        """Train to the end; return False where it was stopped before."""
        trainer, state, config = self.trainer, self.trainer.state, self.trainer.config
        begin = saved = time.monotonic()
        losses: list[list[float]] = []
        with tqdm(
            total=config.iterations,
            initial=state.iteration,
            desc='training',
            disable=self.quiet,
            mininterval=10 if not sys.stderr.isatty() else 0.5,
        ) as bar:
            while state.iteration < config.iterations and not agree(self.stopped, trainer.device):
                loss = trainer.step()
                losses.append([loss, *trainer.terms.values()])
                bar.update()
                if state.iteration % _LOG_EVERY == 0:
                    last = state.iteration - 1
                    means = [sum(values) / len(losses) for values in zip(*losses, strict=True)]
                    bar.set_postfix_str(f'loss {means[0]:.3f}', refresh=False)
                    self.log.add(
                        state.iteration,
                        f'{self.epoch():.2f}',
                        f'{config.rate_at(last):.3e}',
                        f'{config.rounding_at(last):.3f}',
                        f'{means[0]:.4f}',
                        f'{time.monotonic() - begin:.1f}',
                        *(f'{value:.4f}' for value in means[1:]),
                    )
                    losses.clear()
                every = config.validate_every
                if every and state.iteration % every == 0:
                    # Every fourth image, to spare time; all of them count at the end.
                    bar.set_description_str(f'mIoU {self.validate(4).miou:.3f}')
                if time.monotonic() - saved > self.every_seconds:
                    self.checkpoint()
                    saved = time.monotonic()
        self.checkpoint()
        return state.iteration >= config.iterations

    def epoch(self) -> float:
        """Return how often every image has been seen."""
        trainer = self.trainer
        seen = trainer.state.iteration * trainer.config.batch * trainer.team.size
        return seen / len(trainer.dataset)

    def validate(self, every: int) -> ConfusionMatrix:
        """Judge the averaged weights; each process takes its share of the images."""
        trainer = self.trainer
        rounding = trainer.config.rounding_at(trainer.state.iteration)
        numbers = range(0, len(self.validation), every)
        mine = numbers[trainer.team.rank :: trainer.team.size]
        size = trainer.config.input_size
        matrix = confusion(trainer.state.average, self.validation, size, mine, rounding)
        counts = sum_over_team(torch.from_numpy(matrix.counts).to(trainer.device))
        matrix.counts = counts.cpu().numpy()
        self.scores.add(
            trainer.state.iteration,
            f'{self.epoch():.2f}',
            f'{rounding:.3f}',
            len(numbers),
            f'{matrix.miou:.4f}',
            f'{matrix.accuracy:.4f}',
            *(f'{value:.4f}' for value in matrix.iou),
        )
        return matrix

    def finish(self) -> float:
        """Validate on all images and write the averaged weights; return the mIoU."""
        trainer = self.trainer
        miou = self.validate(1).miou
        metadata = {
            'training': trainer.config.plain(),
            'size': list(trainer.config.input_size),
            'validation_miou': round(miou, 4),
        }
        if self.first:
            trainer.write_weights(self.folder / 'weights.pt', metadata)
        return miou
