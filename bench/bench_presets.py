# SPDX-License-Identifier: Apache-2.0
"""Processor time of MFS-Seg style networks by preset: a training iteration, and a frame.

``python -m bench presets [--quick]``. Training: one iteration of 4 views at 180 x 240 (2 with
--quick), forward, backward, clipping, optimiser and moving average. Frame: one image at 180 x 240
through `MfsSeg.folded`. One thread of torch; what is printed is processor time, the smallest of
the repetitions, so that other jobs on the machine count less. Views are random numbers: preparing
real ones takes a few percent of the time.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import torch

from spikeseg_ros.datasets import Sample
from spikeseg_ros.memory import keep_freed_memory
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset
from spikeseg_ros.training.segmentation_config import segmentation_config
from spikeseg_ros.training.segmentation_trainer import SegmentationTrainer

if TYPE_CHECKING:
    from collections.abc import Callable

PRESETS = ('small', 'base', 'large', 'base_dw', 'literal_integer', 'literal')
# Training keeps five steps at full resolution: more than 18 GB for 4 views.
TOO_LARGE_TO_TRAIN = ('literal',)
SIZE = (180, 240)


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


def least(function: Callable[[], object], repetitions: int) -> float:
    """Return the shortest processor time of a call [s]."""
    times = []
    for _ in range(repetitions):
        begin = time.process_time()
        function()
        times.append(time.process_time() - begin)
    return min(times)


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    keep_freed_memory()
    batch = 2 if quick else 4
    print(f'{"preset":<16} {"parameters":>10} {f"s / iteration of {batch}":>18} {"s / frame":>10}')
    for name in PRESETS:
        torch.manual_seed(1)
        network = MfsSeg(preset(name))
        count, image = network.parameter_count(), torch.randn(1, 3, *SIZE)
        inference = network.eval().folded().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        with torch.inference_mode():
            frame = least(lambda net=inference, x=image: net(x), 3)  # type: ignore[misc]
        iteration = '-'
        if name not in TOO_LARGE_TO_TRAIN:
            config = segmentation_config(
                {'preset': name, 'height': SIZE[0], 'width': SIZE[1], 'batch': batch}
            )
            trainer = SegmentationTrainer(config, Noise())
            iteration = f'{least(trainer.step, 2 if quick else 3):.2f}'
        print(f'{name:<16} {count:>10} {iteration:>18} {frame:>10.3f}', flush=True)
