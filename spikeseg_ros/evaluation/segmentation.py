# SPDX-License-Identifier: Apache-2.0
"""Judging segmentation networks on labelled images."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.datasets.event_frames import resized_frames
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.models.spike2former import Spike2Former

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.datasets.base import Array
    from spikeseg_ros.models.mfs_seg import MfsSeg

    Bytes = npt.NDArray[np.uint8]
    Network = MfsSeg | Spike2Former


def as_input(network: Network, image: Array, size: tuple[int, int]) -> torch.Tensor:
    """Return one sample as the network wants it, at a size, on the network's device.

    Args:
        network: The network.
        image: RGB image (H, W, 3), uint8; or event frames (T, C, H, W).
        size: Height and width.

    Returns:
        Shape (1, 3, *size), or (T, 1, C, *size).

    Raises:
        DatasetError: The network does not take event frames.
    """
    device = next(network.parameters()).device
    if image.ndim == 4:
        if isinstance(network, Spike2Former):
            msg = 'Spike2Former takes images, the data set holds event frames; take mfs_seg.'
            raise DatasetError(msg)
        frames = np.ascontiguousarray(resized_frames(image, size))
        return network.spikes(torch.from_numpy(frames).to(device).unsqueeze(1))
    if image.shape[:2] != size:
        shrink = image.shape[0] > size[0]
        how = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        shape = (size[1], size[0])
        image = np.asarray(cv2.resize(image, shape, interpolation=how), dtype=np.uint8)
    return network.normalised(torch.from_numpy(image).to(device).permute(2, 0, 1).unsqueeze(0))


def predict(
    network: Network,
    image: Array,
    size: tuple[int, int],
    rounding: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Bytes:
    """Return the class of each pixel of a sample, shape (H, W).

    Args:
        network: A network in evaluation mode.
        image: RGB image (H, W, 3), uint8; or event frames (T, C, H, W).
        size: Height and width at which the network sees it.
        rounding: See `MfsSeg.forward`.
        dtype: Precision of convolutions and products: float32, or bfloat16 or float16 by autocast.
    """
    shape = image.shape[-2:] if image.ndim == 4 else image.shape[:2]
    with torch.inference_mode():
        seen = as_input(network, image, size)
    half = torch.autocast(seen.device.type, dtype, enabled=dtype != torch.float32)
    with torch.inference_mode(), half:
        if isinstance(network, Spike2Former):
            logits = network.logits(seen, rounding)
        else:
            logits = network(seen, rounding=rounding).logits[-1]
    return classes_of(logits, (shape[0], shape[1]))


def classes_of(logits: torch.Tensor, shape: tuple[int, int]) -> Bytes:
    """Return the class of each pixel of logits (1, classes, h, w) at another size."""
    with torch.inference_mode():
        full = F.interpolate(logits.float(), shape, mode='bilinear', align_corners=False)
        classes: Bytes = full.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
    return classes


def confusion(
    network: Network,
    dataset: SegmentationDataset,
    size: tuple[int, int],
    numbers: Iterable[int] | None = None,
    rounding: float = 1.0,
) -> ConfusionMatrix:
    """Count true against predicted classes, in one matrix for all images.

    Args:
        network: A network in evaluation mode.
        dataset: Labelled images or event frames.
        size: Height and width at which the network sees them; labels stay as they are.
        numbers: Samples to take; all where None.
        rounding: See `MfsSeg.forward`.
    """
    matrix = ConfusionMatrix(dataset.classes, dataset.ignore)
    for number in range(len(dataset)) if numbers is None else numbers:
        sample = dataset.sample(number)
        matrix.add(predict(network, sample.image, size, rounding), sample.label)
    return matrix
