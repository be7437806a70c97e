# SPDX-License-Identifier: Apache-2.0
"""CPU time of a training iteration of MFS-Seg style networks, by preset.

``python -m bench training [--quick]``. One iteration of 4 views at 180 x 240 (2 with --quick):
forward, backward, clipping, optimiser and moving average, on one thread of torch. Views are random
numbers: preparing real ones takes a few percent of the time. What is printed is processor time
[s], the smallest of the iterations, so that other jobs on the machine count less.
"""

from __future__ import annotations

import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import torch

from spikeseg_ros.datasets import Sample
from spikeseg_ros.training.memory import keep_freed_memory
from spikeseg_ros.training.segmentation_config import segmentation_config
from spikeseg_ros.training.segmentation_trainer import SegmentationTrainer

# Not 'literal': its five steps at full resolution need five times the memory of 'literal_integer',
# more than 18 GB for 4 views, and about five times its processor time.
PRESETS = ('small', 'base', 'large', 'base_dw', 'literal_integer')
SIZE = (180, 240)
ITERATIONS = 3


class Noise:
    """Images of noise with random labels."""

    classes = tuple(str(number) for number in range(11))
    colors: tuple[tuple[int, int, int], ...] = ((0, 0, 0),) * 11
    ignore = 255

    def __len__(self) -> int:
        return 8

    def name(self, index: int) -> str:
        """Return the number of a sample."""
        return str(index)

    def sample(self, index: int) -> Sample:
        """Return a sample."""
        rng = np.random.default_rng(index)
        image = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
        return Sample(image, rng.integers(0, 11, SIZE, dtype=np.uint8))


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    batch = 2 if quick else 4
    print(f'{"preset":<16} {"parameters":>10}  processor s / iteration of {batch}')
    for name in PRESETS:
        config = segmentation_config(
            {'preset': name, 'height': SIZE[0], 'width': SIZE[1], 'batch': batch}
        )
        trainer = SegmentationTrainer(config, Noise())
        times = []
        for _ in range(2 if quick else ITERATIONS):
            begin = time.process_time()
            trainer.step()
            times.append(time.process_time() - begin)
        count = trainer.state.network.parameter_count()
        print(f'{name:<16} {count:>10}  {min(times):.2f}', flush=True)
