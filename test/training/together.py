# SPDX-License-Identifier: Apache-2.0
"""One of several processes that train together; started by a test with the folder to write to."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from squares import QUICK, Squares

from spikeseg_ros.training.distributed import team
from spikeseg_ros.training.loop import Loop
from spikeseg_ros.training.run_config import replaced
from spikeseg_ros.training.spike2former_config import Spike2FormerTraining
from spikeseg_ros.training.spike2former_trainer import Spike2FormerTrainer


def main(folder: Path) -> None:
    """Train three iterations, validate, and write what came out of it."""
    torch.set_num_threads(1)
    config = replaced(Spike2FormerTraining(), {**QUICK, 'batch': 2, 'iterations': 3})
    with team('cpu') as mates:
        trainer = Spike2FormerTrainer(config, Squares(), team=mates)
        loop = Loop(trainer, Squares(5), folder, 1e9, quiet=True)
        complete = loop.run()
        matrix = loop.validate(1)
        content = {
            'complete': complete,
            'weights': {
                name: value.detach() for name, value in trainer.state.network.named_parameters()
            },
            'images': trainer.batch(2)[0],
            'pixels': int(matrix.counts.sum()),
            'epoch': loop.epoch(),
        }
        torch.save(content, folder / f'{mates.rank}.pt')


if __name__ == '__main__':
    main(Path(sys.argv[1]))
