# SPDX-License-Identifier: Apache-2.0
"""How well instances are grouped to objects: adjusted Rand index and V-measure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class GroupingMetrics:
    """Means over windows of scores that compare two partitions of the same items.

    Items are whatever was grouped, for example the instances of a window: each has the true
    object it belongs to and the object it was put into. Windows with fewer than two items say
    nothing about grouping and are left out.
    """

    def __init__(self) -> None:
        self._rows: list[tuple[float, ...]] = []

    def add(self, predicted: ArrayLike, truth: ArrayLike) -> None:
        """Add one window.

        Args:
            predicted: Group of each item, shape (N,).
            truth: True object of each item, shape (N,).

        Raises:
            MetricError: The shapes differ.
            MissingExtraError: scikit-learn is not installed.
        """
        ours, theirs = np.asarray(predicted), np.asarray(truth)
        if ours.ndim != 1 or ours.shape != theirs.shape:
            msg = (
                f'Groups of shape {ours.shape!r} do not fit true objects of shape '
                f'{theirs.shape!r}; both must be (N,).'
            )
            raise MetricError(msg)
        if len(ours) < 2:
            return
        library: Any = require('sklearn.metrics', 'evaluate')
        rand = float(library.adjusted_rand_score(theirs, ours))
        parts = library.homogeneity_completeness_v_measure(theirs, ours)
        self._rows.append((rand, *(float(value) for value in parts)))

    def merge(self, other: GroupingMetrics) -> None:
        """Append the windows of another metric."""
        self._rows += other._rows

    def result(self) -> dict[str, float]:
        """Return ari, homogeneity, completeness, v_measure (nan without windows), windows."""
        means = np.mean(self._rows, axis=0) if self._rows else np.full(4, np.nan)
        names = ('ari', 'homogeneity', 'completeness', 'v_measure')
        return {
            **dict(zip(names, means.tolist(), strict=True)),
            'windows': float(len(self._rows)),
        }
