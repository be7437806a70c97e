# SPDX-License-Identifier: Apache-2.0
"""How well pixels are given their class: confusion matrix, mean IoU, pixel accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.evaluation.metrics.errors import MetricError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


class ConfusionMatrix:
    """Counts of (true class, predicted class) over all pixels of all images.

    Args:
        classes: Number of classes, or their names; class ids count from 0.
        ignore: Value of labels that are left out; None = none is.

    Attributes:
        names: Names of the classes.
        counts: Pixels by true class (rows) and predicted class, shape (K, K), int64.
    """

    def __init__(self, classes: int | Sequence[str], ignore: int | None = 255) -> None:
        self.names = (
            tuple(str(k) for k in range(classes)) if isinstance(classes, int) else tuple(classes)
        )
        if not self.names:
            msg = f'A confusion matrix needs at least one class, got {classes!r}.'
            raise MetricError(msg)
        self.ignore = ignore
        self.counts: NDArray[np.int64] = np.zeros((len(self.names),) * 2, np.int64)

    def add(self, pred: ArrayLike, label: ArrayLike) -> None:
        """Count the pixels of one or many images.

        Args:
            pred: Predicted class ids, integers of any shape.
            label: True class ids of the same shape; `ignore` where unknown.

        Raises:
            MetricError: Shapes differ, or a value is no class.
        """
        predicted, true = np.asarray(pred), np.asarray(label)
        if predicted.shape != true.shape:
            msg = (
                f'Predicted classes of shape {predicted.shape!r} do not fit labels of shape '
                f'{true.shape!r}.'
            )
            raise MetricError(msg)
        for name, values in (('Predicted classes', predicted), ('Labels', true)):
            if values.dtype.kind not in 'iub':
                msg = f'{name} must be integers, got {values.dtype}.'
                raise MetricError(msg)
        keep = np.ones(true.shape, np.bool_) if self.ignore is None else true != self.ignore
        size = len(self.names)
        first, second = true[keep].astype(np.int64), predicted[keep].astype(np.int64)
        for name, values in (('Labels', first), ('Predicted classes', second)):
            if len(values) and not (values.min() >= 0 and values.max() < size):
                msg = (
                    f'{name} reach from {int(values.min())} to {int(values.max())}, expected '
                    f'0 .. {size - 1}; labels may also be {self.ignore!r}.'
                )
                raise MetricError(msg)
        self.counts += np.bincount(first * size + second, minlength=size * size).reshape(
            size, size
        )

    def merge(self, other: ConfusionMatrix) -> None:
        """Add the counts of another matrix.

        Raises:
            MetricError: It has other classes.
        """
        if other.names != self.names:
            msg = f'Matrices of classes {self.names!r} and {other.names!r} cannot be merged.'
            raise MetricError(msg)
        self.counts += other.counts

    @property
    def iou(self) -> NDArray[np.float64]:
        """IoU by class, shape (K,); nan for classes neither labelled nor predicted."""
        hits = np.diag(self.counts).astype(np.float64)
        return _divide(hits, self.counts.sum(0) + self.counts.sum(1) - hits)

    @property
    def class_accuracy(self) -> NDArray[np.float64]:
        """Share of each class's pixels that are right, shape (K,); nan without labels."""
        return _divide(np.diag(self.counts).astype(np.float64), self.counts.sum(1))

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that are labelled or predicted; nan without any."""
        return _mean(self.iou)

    @property
    def accuracy(self) -> float:
        """Share of all pixels that are right; nan without any."""
        total = int(self.counts.sum())
        return int(np.trace(self.counts)) / total if total else float('nan')

    def result(self) -> dict[str, float]:
        """Return miou, pixel_accuracy, mean_accuracy and iou/<name> for every class."""
        return {
            'miou': self.miou,
            'pixel_accuracy': self.accuracy,
            'mean_accuracy': _mean(self.class_accuracy),
            **{
                f'iou/{name}': value
                for name, value in zip(self.names, self.iou.tolist(), strict=True)
            },
        }


def _divide(part: NDArray[np.float64], whole: NDArray[np.number]) -> NDArray[np.float64]:
    """Return part / whole by element, nan where whole is 0."""
    return np.asarray(np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0))


def _mean(values: NDArray[np.float64]) -> float:
    """Return the mean of the values that are not nan; nan without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float('nan')
