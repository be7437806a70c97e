# SPDX-License-Identifier: Apache-2.0
"""Judging networks on recordings of events: by recording, with memory, beside trivial answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.evaluation.segmentation import as_input

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.datasets.base import Array
    from spikeseg_ros.models.mfs_seg import MfsSeg

    Bytes = npt.NDArray[np.uint8]

# Gaps between events up to this size are filled by `EventPixels` [px].
CLOSING = 9


class Predictor(Protocol):
    """What gives each pixel a class, one sample of a recording after the other."""

    def reset(self) -> None:
        """Forget everything: a new recording begins."""

    def predict(self, image: Array) -> Bytes:
        """Return the class of each pixel of the next sample, shape (H, W)."""


class NetworkPredictor:
    """A network.

    Args:
        network: A network in evaluation mode.
        size: Height and width at which it sees the samples.
        carry: Whether each sample begins with the potentials that the one before left.
        rounding: See `MfsSeg.forward`.
    """

    def __init__(
        self,
        network: MfsSeg,
        size: tuple[int, int],
        *,
        carry: bool = False,
        rounding: float = 1.0,
    ) -> None:
        self._network, self._size = network, size
        self._carry, self._rounding = carry, rounding
        self._potentials: tuple[torch.Tensor, ...] | None = None

    def reset(self) -> None:
        """Forget everything: a new recording begins."""
        self._potentials = None

    def predict(self, image: Array) -> Bytes:
        """Return the class of each pixel of the next sample, shape (H, W)."""
        shape = image.shape[-2:] if image.ndim == 4 else image.shape[:2]
        with torch.inference_mode():
            output = self._network(
                as_input(self._network, image, self._size),
                self._potentials,
                keep=self._carry,
                rounding=self._rounding,
            )
            self._potentials = output.potentials or None
            full = F.interpolate(output.logits[-1], shape, mode='bilinear', align_corners=False)
            classes: Bytes = full.argmax(dim=1)[0].to(torch.uint8).cpu().numpy()
        return classes


class Everything:
    """Calls each pixel an object (class 1)."""

    def reset(self) -> None:
        """Forget nothing."""

    def predict(self, image: Array) -> Bytes:
        """Return ones, shape (H, W)."""
        return np.ones(_counts(image).shape, np.uint8)


class EventPixels:
    """Calls each pixel with enough events an object (class 1).

    Args:
        least: Events that a pixel needs in the window.
        closing: Gaps up to this size are filled, and what is smaller is removed [px]; 0 = neither.
    """

    def __init__(self, least: int = 1, closing: int = 0) -> None:
        self._least, self._closing = least, closing

    def reset(self) -> None:
        """Forget nothing."""

    def predict(self, image: Array) -> Bytes:
        """Return 1 where there are events, shape (H, W)."""
        seen = (_counts(image) >= self._least).astype(np.uint8)
        if self._closing:
            kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (self._closing, self._closing))
            seen = np.asarray(cv2.morphologyEx(seen, cv2.MORPH_CLOSE, kernel), np.uint8)
            seen = np.asarray(cv2.morphologyEx(seen, cv2.MORPH_OPEN, kernel), np.uint8)
        return seen


def _counts(image: Array) -> npt.NDArray[np.float32]:
    """Return the events of each pixel of a window, shape (H, W).

    Raises:
        DatasetError: The sample is an image.
    """
    if image.ndim != 4:
        msg = (
            f'Trivial answers are for event frames (T, C, H, W), got an image of shape '
            f'{image.shape!r}; leave --baselines out.'
        )
        raise DatasetError(msg)
    return np.asarray(image.sum(axis=(0, 1)), np.float32)


def baselines() -> dict[str, Predictor]:
    """Return the trivial answers by name."""
    return {
        'every pixel is object': Everything(),
        'pixels with events are': EventPixels(),
        'dense events, gaps filled': EventPixels(2, CLOSING),
    }


def recording_of(name: str) -> str:
    """Return the recording of a sample's name; empty where it has none."""
    return name.rpartition('/')[0]


def confusions(
    predictor: Predictor, dataset: SegmentationDataset, numbers: Iterable[int] | None = None
) -> dict[str, ConfusionMatrix]:
    """Count true against predicted classes, in one matrix for each recording.

    Args:
        predictor: What is judged; it forgets between recordings.
        dataset: Labelled samples, those of a recording one after the other.
        numbers: Samples to take; all where None.
    """
    result: dict[str, ConfusionMatrix] = {}
    before: str | None = None
    for number in range(len(dataset)) if numbers is None else numbers:
        recording = recording_of(dataset.name(number))
        if recording != before:
            predictor.reset()
            before = recording
        matrix = result.setdefault(recording, ConfusionMatrix(dataset.classes, dataset.ignore))
        sample = dataset.sample(number)
        matrix.add(predictor.predict(sample.image), sample.label)
    return result


def merged(matrices: dict[str, ConfusionMatrix], dataset: SegmentationDataset) -> ConfusionMatrix:
    """Return one matrix for all recordings."""
    total = ConfusionMatrix(dataset.classes, dataset.ignore)
    for matrix in matrices.values():
        total.merge(matrix)
    return total
