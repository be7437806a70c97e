# SPDX-License-Identifier: Apache-2.0
"""How well objects are told apart: average precision, panoptic quality, event IoU and counts.

An object of a window is a set of events (or, with PixelMetrics, of pixels of an image). True
objects smaller than a minimum are ignored: they are not asked for, and who finds one of them is
not blamed. Average precision is that of COCO (pycocotools), panoptic quality that of Kirillov et
al., "Panoptic segmentation", CVPR 2019.
"""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.sets import (
    MATCH_IOU,
    candidates,
    match,
    overlaps,
    pixel_candidates,
    regions,
)
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.metrics.sets import Candidate, Detection, Region
    from spikeseg_ros.events.types import Events

THRESHOLDS = np.linspace(0.5, 0.95, 10)


@dataclass(frozen=True)
class _Window:
    """All that is kept of a window.

    Attributes:
        iou: IoU of predictions and truths, shape (P, T); predictions from the highest score down.
        scores: Scores of the predictions, shape (P,).
        predicted_classes: Their classes, shape (P,).
        true_classes: Classes of the truths, shape (T,).
        asked: Truths that are large enough to be asked for, shape (T,).
    """

    iou: NDArray[np.float64]
    scores: NDArray[np.float64]
    predicted_classes: NDArray[np.int64]
    true_classes: NDArray[np.int64]
    asked: NDArray[np.bool_]


@dataclass(frozen=True)
class WindowScore:
    """What one window amounts to, counted at an IoU of 0.5.

    Attributes:
        true_objects: Objects asked for.
        predicted: Predictions, without those that found an ignored object.
        matched: Objects found, one to one.
        mean_iou: Mean over the objects asked for of the best prediction's IoU; nan without any.
    """

    true_objects: int
    predicted: int
    matched: int
    mean_iou: float


class InstanceMetrics:
    """Scores of objects as sets of events, summed over windows.

    Args:
        min_events: True objects with fewer events in the window are ignored.
        max_detections: Predictions per window that count, the highest scores first.
        per_class: Objects match within their class only; AP and PQ are means over classes.
    """

    def __init__(
        self, min_events: int = 50, max_detections: int = 100, per_class: bool = False
    ) -> None:
        if min_events < 0 or max_detections < 1:
            msg = (
                'Instance metrics need min_events >= 0 and max_detections >= 1, got '
                f'{min_events!r} and {max_detections!r}.'
            )
            raise MetricError(msg)
        self.min_events = min_events
        self.max_detections = max_detections
        self.per_class = per_class
        self._windows: list[_Window] = []

    def add(
        self, predicted: Sequence[Detection], truth: Sequence[Region], events: Events
    ) -> WindowScore:
        """Compare the objects of one window with the truth.

        Args:
            predicted: Published objects; each stands for the events inside its mask.
            truth: True objects as sets of these events, from `regions(labels)`.
            events: Events of the window.

        Raises:
            MetricError: The truth is not about these events.
        """
        for item in truth:
            if item.members.shape != (len(events),):
                msg = (
                    f'The true object {item.track_id!r} has labels of shape '
                    f'{item.members.shape!r}, the window has {len(events)} events.'
                )
                raise MetricError(msg)
        return self.add_sets(candidates(predicted, events), truth)

    def add_sets(self, predicted: Sequence[Candidate], truth: Sequence[Region]) -> WindowScore:
        """Compare predicted sets with true sets over the same elements.

        Equal scores are ranked by size, then in the order given.

        Raises:
            MetricError: The sets are not over the same elements, or a score is not finite.
        """
        return self.add_overlaps(
            overlaps(predicted, truth),
            [item.score for item in predicted],
            [int(np.count_nonzero(item.members)) for item in predicted],
            [int(np.count_nonzero(item.members)) for item in truth],
            [item.class_id for item in predicted],
            [item.class_id for item in truth],
        )

    def add_overlaps(
        self,
        iou: NDArray[np.float64],
        scores: Sequence[float],
        sizes: Sequence[int],
        true_sizes: Sequence[int],
        classes: Sequence[int] | None = None,
        true_classes: Sequence[int] | None = None,
    ) -> WindowScore:
        """Compare sets whose overlaps are known already.

        Args:
            iou: Intersection over union of every pair, shape (P, T).
            scores: Scores of the predicted sets, P.
            sizes: Their numbers of elements, P.
            true_sizes: Numbers of elements of the true sets, T.
            classes: Classes of the predicted sets, P; 1 where None.
            true_classes: Classes of the true sets, T; 1 where None.

        Raises:
            MetricError: The overlaps have another shape, or a score is not finite.
        """
        score = np.asarray(scores, np.float64)
        if iou.shape != (len(score), len(true_sizes)):
            msg = (
                f'Overlaps of {len(score)} predicted and {len(true_sizes)} true objects have '
                f'the shape {iou.shape!r}.'
            )
            raise MetricError(msg)
        if not np.isfinite(score).all():
            msg = f'Scores must be finite to rank objects, got {score.tolist()!r}.'
            raise MetricError(msg)
        order = np.lexsort((-np.asarray(sizes, np.int64), -score))[: self.max_detections]
        iou = iou[order]
        ours, theirs = np.ones(len(order), np.int64), np.ones(len(true_sizes), np.int64)
        if self.per_class and classes is not None and true_classes is not None:
            ours, theirs = np.asarray(classes)[order], np.asarray(true_classes)
        iou[ours[:, None] != theirs[None]] = 0.0
        asked = np.asarray(true_sizes, np.int64)
        window = _Window(iou, score[order], ours, theirs, asked >= max(1, self.min_events))
        self._windows.append(window)
        pairs, ignored = _matched(window, MATCH_IOU)
        best = _best(window)
        return WindowScore(
            int(window.asked.sum()),
            len(order) - ignored,
            len(pairs),
            float(best.mean()) if len(best) else float('nan'),
        )

    def merge(self, other: InstanceMetrics) -> None:
        """Append the windows of another metric, in their order.

        Raises:
            MetricError: It was made with other settings.
        """
        mine = self.min_events, self.max_detections, self.per_class
        theirs = other.min_events, other.max_detections, other.per_class
        if mine != theirs:
            msg = f'Metrics with settings {mine!r} and {theirs!r} cannot be merged.'
            raise MetricError(msg)
        self._windows += other._windows

    def result(self) -> dict[str, float]:
        """Return all scores; nan where a score is not defined.

        Keys: ap (mean over IoU .5:.05:.95), ap50, ap75; pq, sq, rq; event_iou; precision50,
        recall50, f1; count_error (mean of predicted - true objects), count_abs_error; and the
        counts windows, true_objects, predicted, matched.

        Raises:
            MissingExtraError: pycocotools is not installed.
        """
        counts = np.zeros(3, np.int64)
        errors = []
        best: list[float] = []
        for window in self._windows:
            pairs, ignored = _matched(window, MATCH_IOU)
            true, predicted = int(window.asked.sum()), len(window.scores) - ignored
            counts += (true, predicted, len(pairs))
            errors.append(predicted - true)
            best += _best(window).tolist()
        true, predicted, matched = counts.tolist()
        return {
            **self._average_precision(),
            **self._panoptic(),
            'event_iou': float(np.mean(best)) if best else float('nan'),
            'precision50': _ratio(matched, predicted),
            'recall50': _ratio(matched, true),
            'f1': _ratio(2 * matched, true + predicted),
            'count_error': float(np.mean(errors)) if errors else float('nan'),
            'count_abs_error': float(np.abs(errors).mean()) if errors else float('nan'),
            'windows': float(len(self._windows)),
            'true_objects': float(true),
            'predicted': float(predicted),
            'matched': float(matched),
        }

    def _classes(self) -> list[int]:
        """Return the classes that are asked for or predicted, in order."""
        found: set[int] = set()
        for window in self._windows:
            found |= set(window.true_classes[window.asked].tolist())
            found |= set(window.predicted_classes.tolist())
        return sorted(found)

    def _panoptic(self) -> dict[str, float]:
        """Return PQ, SQ and RQ; means over the classes that are asked for or predicted."""
        rows = []
        for number in self._classes():
            total, matched, false = 0.0, 0, 0
            for window in self._windows:
                part = _of_class(window, number)
                # A panoptic match needs more than half.
                pairs, ignored = _matched(part, np.nextafter(MATCH_IOU, 1.0))
                total += float(sum(part.iou[pair] for pair in pairs))
                matched += len(pairs)
                false += int(part.asked.sum()) + len(part.scores) - ignored - 2 * len(pairs)
            quality = total / matched if matched else 0.0
            if matched or false:
                found = matched / (matched + false / 2)
                rows.append((quality * found, quality, found))
        means = np.mean(rows, axis=0) if rows else np.full(3, np.nan)
        return dict(zip(('pq', 'sq', 'rq'), means.tolist(), strict=True))

    def _average_precision(self) -> dict[str, float]:
        """Return AP, AP50 and AP75 as COCO defines them."""
        classes = self._classes()
        if not any(window.asked.any() for window in self._windows):
            return dict.fromkeys(('ap', 'ap50', 'ap75'), float('nan'))
        table = _coco_precision(self._windows, classes, self.max_detections)
        rows = []
        for column in range(len(classes)):
            values = table[:, :, column]
            # COCO marks classes without truth by -1.
            if (values > -1).any():
                rows.append(values.mean(1))
        by_threshold = np.mean(rows, axis=0)
        return {
            'ap': float(by_threshold.mean()),
            'ap50': float(by_threshold[0]),
            'ap75': float(by_threshold[5]),
        }


class PixelMetrics(InstanceMetrics):
    """The same scores on sets of pixels, for truths that are silhouettes.

    Args:
        min_pixels: True objects with fewer pixels are ignored.
        max_detections: Predictions per image that count, the highest scores first.
        per_class: Objects match within their class only; AP and PQ are means over classes.
    """

    def __init__(
        self, min_pixels: int = 1, max_detections: int = 100, per_class: bool = False
    ) -> None:
        super().__init__(min_pixels, max_detections, per_class)

    def add_image(
        self,
        predicted: Sequence[Detection],
        instances: NDArray[np.integer],
        classes: dict[int, int] | None = None,
    ) -> WindowScore:
        """Compare the objects of one image with its truth.

        Args:
            predicted: Published objects.
            instances: Instance of each pixel, shape (H, W); 0 = background.
            classes: Class by instance id; 1 where it is not listed.
        """
        height, width = instances.shape
        found = pixel_candidates(predicted, height, width)
        return self.add_sets(found, regions(instances, classes))


def _ratio(part: float, whole: float) -> float:
    """Return part / whole, nan where there is nothing."""
    return part / whole if whole else float('nan')


def _best(window: _Window) -> NDArray[np.float64]:
    """Return the best IoU of every truth that is asked for."""
    columns = window.iou[:, window.asked]
    return np.asarray(columns.max(0, initial=0.0))


def _of_class(window: _Window, number: int) -> _Window:
    """Return the part of a window that belongs to one class."""
    ours, theirs = window.predicted_classes == number, window.true_classes == number
    return _Window(
        window.iou[ours][:, theirs],
        window.scores[ours],
        window.predicted_classes[ours],
        window.true_classes[theirs],
        window.asked[theirs],
    )


def _matched(window: _Window, floor: float) -> tuple[list[tuple[int, int]], int]:
    """Return pairs (prediction, truth) of a window and how many predictions do not count.

    Predictions left over that match an ignored truth do not count.
    """
    columns = np.flatnonzero(window.asked)
    pairs = [(r, int(columns[c])) for r, c in match(window.iou[:, columns], floor)]
    rest = np.setdiff1d(np.arange(len(window.scores)), [r for r, _ in pairs])
    ignored = match(window.iou[rest][:, ~window.asked], floor)
    return pairs, len(ignored)


def _coco_precision(
    windows: Sequence[_Window], classes: Sequence[int], max_detections: int
) -> NDArray[np.float64]:
    """Return COCO's precision, shape (IoU thresholds, recall thresholds, classes)."""
    base: Any = require('pycocotools.cocoeval', 'evaluate').COCOeval
    tables: dict[tuple[int, int], NDArray[np.float64]] = {}
    truths: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for image, window in enumerate(windows, 1):
        for number in classes:
            part = _of_class(window, number)
            if part.iou.size:
                tables[image, number] = part.iou
            common = {'image_id': image, 'category_id': number, 'iscrowd': 0}
            # The area only carries the mark 'ignored': areaRng below admits 1.
            truths += [
                {**common, 'id': len(truths) + 1 + k, 'area': float(asked)}
                for k, asked in enumerate(part.asked)
            ]
            found += [
                {**common, 'id': len(found) + 1 + k, 'area': 1.0, 'score': float(score)}
                for k, score in enumerate(part.scores)
            ]

    class Evaluation(base):  # type: ignore[misc]
        """COCO's matching and ranking on overlaps that are known already."""

        def computeIoU(self, image: int, number: int) -> Any:  # noqa: N802
            return tables.get((image, number), [])

    # pycocotools prints its progress.
    with contextlib.redirect_stdout(io.StringIO()):
        images = [{'id': image} for image in range(1, len(windows) + 1)]
        categories = [{'id': number} for number in classes]
        evaluation = Evaluation(
            _coco(images, categories, truths), _coco(images, categories, found), 'bbox'
        )
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.params.maxDets = [max_detections]
        evaluation.params.areaRng = [[0.5, 2.0]]
        evaluation.params.areaRngLbl = ['all']
        evaluation.evaluate()
        evaluation.accumulate()
    return np.asarray(evaluation.eval['precision'][:, :, :, 0, 0], np.float64)


def _coco(
    images: list[dict[str, Any]],
    categories: list[dict[str, Any]],
    annotations: list[dict[str, Any]],
) -> Any:
    """Return an index of annotations as pycocotools wants it."""
    index: Any = require('pycocotools.coco', 'evaluate').COCO()
    index.dataset = {'images': images, 'categories': categories, 'annotations': annotations}
    index.createIndex()
    return index
