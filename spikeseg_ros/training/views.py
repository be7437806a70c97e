# SPDX-License-Identifier: Apache-2.0
"""Batches of random views; a batch depends on the seed and its number alone."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from spikeseg_ros.datasets import Sample, SegmentationDataset, rgb_image
from spikeseg_ros.training.augment import random_event_view, random_view, with_small_things
from spikeseg_ros.training.distributed import ALONE, Team
from spikeseg_ros.training.event_augment import disturbed, pasted, stilled

if TYPE_CHECKING:
    import numpy.typing as npt

    from spikeseg_ros.datasets.base import Array
    from spikeseg_ros.training.run_config import RunConfig

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]

# Streams of random numbers, so that order and views do not depend on each other.
_ORDER, _VIEW = 1, 2
_AHEAD = 3


class Views:
    """The endless sequence of batches of a training.

    Args:
        config: Settings.
        dataset: Where images come from.
        workers: Threads that prepare batches ahead; 0 = none, which is best on few cores. The
            batches are the same with any number.
        team: The processes that train together; each takes its part of the sequence.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: SegmentationDataset,
        workers: int = 0,
        team: Team = ALONE,
    ) -> None:
        self.config, self.dataset, self.team = config, dataset, team
        self._order: tuple[int, npt.NDArray[np.int64]] = (-1, np.zeros(0, dtype=np.int64))
        self._pool = ThreadPoolExecutor(workers) if workers else None
        self._ahead: dict[int, list[Future[tuple[Array, Bytes]]]] = {}

    def number(self, position: int) -> int:
        """Return the sample at a position of the endless sequence of shuffled epochs."""
        epoch, place = divmod(position, len(self.dataset))
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.config.seed, _ORDER, epoch])
            self._order = (epoch, rng.permutation(len(self.dataset)))
        return int(self._order[1][place])

    def batch(self, iteration: int) -> tuple[Tensor, Tensor]:
        """Return views and labels of an iteration.

        Returns:
            Images (B, 3, H, W), uint8, or event frames (T, B, C, H, W), float32; and labels
            (B, H, W), uint8.
        """
        if self._pool is None:
            pairs = [self._view(*item) for item in self._items(iteration)]
        else:
            for number in range(iteration, iteration + _AHEAD):
                if number not in self._ahead:
                    self._ahead[number] = [
                        self._pool.submit(self._view, *item) for item in self._items(number)
                    ]
            pairs = [future.result() for future in self._ahead.pop(iteration)]
        views, labels = zip(*pairs, strict=True)
        marks = torch.from_numpy(np.stack(labels))
        if views[0].ndim == 4:
            return torch.from_numpy(np.stack(views, axis=1)), marks
        # Channels lie last already, which is the order the convolutions want.
        return torch.from_numpy(np.stack(views)).permute(0, 3, 1, 2), marks

    def _items(self, iteration: int) -> list[tuple[int, int]]:
        """Return position and sample of each view of a batch."""
        size = self.config.batch
        begin = (iteration * self.team.size + self.team.rank) * size
        return [(k, self.number(k)) for k in range(begin, begin + size)]

    def _view(self, position: int, number: int) -> tuple[Array, Bytes]:
        sample = self.dataset.sample(number)
        rng = np.random.default_rng([self.config.seed, _VIEW, position])
        if sample.image.ndim == 4:
            return self._event_view(sample, rng)
        return self._image_view(sample, rng)

    def _image_view(self, sample: Sample, rng: np.random.Generator) -> tuple[Array, Bytes]:
        config, ignore = self.config, self.dataset.ignore
        size = config.height, config.width

        def view(item: Sample) -> tuple[Bytes, Bytes]:
            return random_view(rgb_image(item), item.label, size, ignore, config.augmentation, rng)

        image, label = view(sample)
        if (other := self._other(config.paste, rng)) is not None:
            image, label = with_small_things(image, label, *view(other), ignore)
        return image, label

    def _other(self, share: float, rng: np.random.Generator) -> Sample | None:
        """Return, for a share of the views, a sample of which something is pasted."""
        if not share or rng.random() >= share:
            return None
        return self.dataset.sample(int(rng.integers(len(self.dataset))))

    def _event_view(self, sample: Sample, rng: np.random.Generator) -> tuple[Array, Bytes]:
        config, ignore = self.config, self.dataset.ignore
        size, settings = (config.height, config.width), config.event_augmentation

        def view(item: Sample) -> tuple[Floats, Bytes]:
            frames = np.asarray(item.image, np.float32)
            return random_event_view(frames, item.label, size, ignore, config.augmentation, rng)

        frames, label = view(sample)
        if (other := self._other(settings.paste, rng)) is not None:
            frames, label = pasted(frames, label, *view(other), ignore)
        if settings.still and rng.random() < settings.still:
            frames = stilled(frames, label, ignore)
        return disturbed(frames, settings, rng), label
