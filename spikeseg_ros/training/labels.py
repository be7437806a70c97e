# SPDX-License-Identifier: Apache-2.0
"""Labels of a training: their classes' weights, and labels at another size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from spikeseg_ros.datasets import SegmentationDataset


def class_weights(dataset: SegmentationDataset, offset: float) -> Tensor:
    """Return 1 / ln(offset + share of the pixels) of each class, with a mean of 1."""
    counts = np.zeros(256, dtype=np.int64)
    for number in range(len(dataset)):
        counts += np.bincount(dataset.sample(number).label.ravel(), minlength=256)
    counts[dataset.ignore] = 0
    share = counts[: len(dataset.classes)] / counts.sum()
    weights = 1 / np.log(offset + share)
    return torch.from_numpy(weights / weights.mean()).float()


def nearest_labels(labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return labels (B, H, W) at another size; each is the one nearest to the cell's centre."""
    rows, columns = (
        ((torch.arange(new, dtype=torch.float64, device=labels.device) + 0.5) * old / new).long()
        for new, old in zip(size, labels.shape[-2:], strict=True)
    )
    return labels[:, rows][:, :, columns]
