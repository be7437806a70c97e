# SPDX-License-Identifier: Apache-2.0
"""Judging segmentation networks on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from spikeseg_ros.datasets import rgb_image
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.models.mfs_seg import MfsSeg

    Bytes = npt.NDArray[np.uint8]


def as_input(network: MfsSeg, image: Bytes, size: tuple[int, int]) -> torch.Tensor:
    """Return an RGB image (H, W, 3) as a normalised batch of one at a size, on its device."""
    if image.shape[:2] != size:
        shrink = image.shape[0] > size[0]
        how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        image = np.asarray(
            cv2.resize(image, (size[1], size[0]), interpolation=how), dtype=np.uint8
        )
    device = next(network.parameters()).device
    return network.normalised(torch.from_numpy(image).to(device).permute(2, 0, 1).unsqueeze(0))


def predict(network: MfsSeg, image: Bytes, size: tuple[int, int], rounding: float = 1.0) -> Bytes:
    """Return the class of each pixel of an RGB image, shape (H, W).

    Args:
        network: A network in evaluation mode.
        image: Shape (H, W, 3).
        size: Height and width at which the network sees it.
        rounding: See `MfsSeg.forward`.
    """
    with torch.inference_mode():
        logits = network(as_input(network, image, size), rounding=rounding).logits[-1]
        full = F.interpolate(logits, image.shape[:2], mode='bilinear', align_corners=False)
        classes: Bytes = full.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    return classes


def confusion(
    network: MfsSeg,
    dataset: SegmentationDataset,
    size: tuple[int, int],
    numbers: Iterable[int] | None = None,
    rounding: float = 1.0,
) -> ConfusionMatrix:
    """Count true against predicted classes, in one matrix for all images.

    Args:
        network: A network in evaluation mode.
        dataset: Labelled images.
        size: Height and width at which the network sees them; labels stay as they are.
        numbers: Samples to take; all where None.
        rounding: See `MfsSeg.forward`.
    """
    matrix = ConfusionMatrix(dataset.classes, dataset.ignore)
    for number in range(len(dataset)) if numbers is None else numbers:
        sample = dataset.sample(number)
        matrix.add(predict(network, rgb_image(sample), size, rounding), sample.label)
    return matrix
