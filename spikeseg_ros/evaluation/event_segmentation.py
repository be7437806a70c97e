# SPDX-License-Identifier: Apache-2.0
"""Judging networks on recordings of events: by recording, with memory, beside trivial answers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

import cv2
import numpy as np
import torch

from spikeseg_ros.datasets.base import DatasetError
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.evaluation.segmentation import as_input, classes_of, predict
from spikeseg_ros.models.spike2former import Spike2Former

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.datasets.base import Array
    from spikeseg_ros.evaluation.segmentation import Network

    Bytes = npt.NDArray[np.uint8]

# Name of the network in tables, each sample seen on its own.
PLAIN = 'network'
# Least events of a pixel, and largest gap that is filled [px]: the best pair on the training clips
# of DAVIS among 1, 2, 4 .. 32 events and 0, 5, 9, 15, 25 px.
DENSE, CLOSING = 8, 25


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
        network: Network,
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
        network = self._network
        if isinstance(network, Spike2Former) or not self._carry:
            return predict(network, image, self._size, self._rounding)
        with torch.inference_mode():
            seen = as_input(network, image, self._size)
            output = network(seen, self._potentials, keep=True, rounding=self._rounding)
        self._potentials = output.potentials
        shape = image.shape[-2:] if image.ndim == 4 else image.shape[:2]
        return classes_of(output.logits[-1], (shape[0], shape[1]))


class HalfPrecision:
    """A network in half precision; also counts the pixels that keep their class.

    Neurons round, so that a small error can flip a spike: what that does to the mask is measured.

    Args:
        network: A network in evaluation mode.
        size: Height and width at which it sees the samples.
        dtype: bfloat16 or float16.

    Attributes:
        pixels: Pixels judged.
        same: Those of them that have the class that the network gives them in float32.
    """

    def __init__(self, network: Network, size: tuple[int, int], dtype: torch.dtype) -> None:
        self._network, self._size, self._dtype = network, size, dtype
        self.pixels = self.same = 0

    def reset(self) -> None:
        """Forget nothing: samples are seen on their own."""

    def predict(self, image: Array) -> Bytes:
        """Return the class of each pixel of the next sample, shape (H, W)."""
        found = predict(self._network, image, self._size, dtype=self._dtype)
        exact = predict(self._network, image, self._size)
        self.pixels += found.size
        self.same += int((found == exact).sum())
        return found


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
        'dense events, gaps filled': EventPixels(DENSE, CLOSING),
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


def recording_lines(
    columns: dict[str, dict[str, ConfusionMatrix]], dataset: SegmentationDataset
) -> list[str]:
    """Return a table of all recordings; none where the data set knows no recordings."""
    first = next(iter(columns.values()))
    if list(first) == ['']:
        return []
    two = len(dataset.classes) == 2
    what = f'IoU [%] of {dataset.classes[1]}' if two else 'mIoU [%]'
    rows = {**{name: name for name in first}, '': 'all'}
    width = max(len(text) for text in [*rows.values(), what])
    head = '  '.join(f'{name:>9}' for name in columns)
    lines = ['', f'{what:<{width}}  {head}']
    for name, text in rows.items():
        cells = []
        for column, parts in columns.items():
            matrix = parts[name] if name else merged(parts, dataset)
            value = 100 * float(matrix.iou[1] if two else matrix.miou)
            cells.append(f'{value:>{max(len(column), 9)}.2f}')
        lines.append(f'{text:<{width}}  {"  ".join(cells)}')
    return lines


def recording_figures(
    columns: dict[str, dict[str, ConfusionMatrix]], dataset: SegmentationDataset
) -> dict[str, dict[str, dict[str, float | None]]]:
    """Return the metrics of each column, recording by recording and of all, for a JSON file."""
    return {
        column: {
            name or 'all': {
                key: round(value, 6) if math.isfinite(value) else None
                for key, value in matrix.result().items()
            }
            for name, matrix in {**parts, '': merged(parts, dataset)}.items()
        }
        for column, parts in columns.items()
    }
