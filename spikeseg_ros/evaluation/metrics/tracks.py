# SPDX-License-Identifier: Apache-2.0
"""How well objects keep their identity over windows: HOTA, MOTA, MOTP, IDF1 and switches.

CLEAR MOT (Bernardin and Stiefelhagen, EURASIP JIVP 2008) and IDF1 (Ristani et al., ECCVW 2016)
come from motmetrics. HOTA is written from its definition: Luiten et al., "HOTA: A higher order
metric for evaluating multi-object tracking", IJCV 2021; windows are matched by the rule of the
authors' evaluation, so that values can be compared with published ones.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.sets import MATCH_IOU, match, overlaps
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.metrics.sets import Candidate, Region

# Localisation thresholds over which HOTA is a mean.
ALPHAS = np.arange(1, 20) / 20
# Overlaps that equal a threshold but for rounding reach it.
_SLACK = 1e-9


@dataclass(frozen=True)
class _Frame:
    """Ids and overlaps of one window."""

    truth: tuple[int, ...]
    predicted: tuple[int, ...]
    iou: NDArray[np.float64]


class TrackMetrics:
    """Scores of tracks, summed over windows and sequences.

    Identities live within their sequence. Predictions without a track id are no tracks: leave
    them out (`add_sets` does).
    """

    def __init__(self) -> None:
        self._sequences: dict[str, dict[int, _Frame]] = {}

    def add(
        self,
        window: int,
        truth_ids: Sequence[int],
        predicted_ids: Sequence[int],
        iou: NDArray[np.floating],
        sequence: str = '',
    ) -> None:
        """Add one window; windows may come in any order.

        Args:
            window: Number of the window within its sequence.
            truth_ids: Ids of the true objects, T.
            predicted_ids: Track ids of the predicted objects, P.
            iou: Intersection over union of every pair, shape (T, P).
            sequence: Name of the sequence.

        Raises:
            MetricError: An id occurs twice, the shape or the values of `iou` do not fit, or the
                window was added before.
        """
        truth, predicted = tuple(map(int, truth_ids)), tuple(map(int, predicted_ids))
        table = np.asarray(iou, np.float64)
        for name, ids in (('true', truth), ('predicted', predicted)):
            if len(set(ids)) != len(ids):
                msg = f'Window {window!r} has {name} ids {ids!r}; each may occur once.'
                raise MetricError(msg)
        if table.size == 0:
            table = table.reshape(len(truth), len(predicted))
        if table.shape != (len(truth), len(predicted)):
            msg = (
                f'Window {window!r} needs overlaps of shape ({len(truth)}, {len(predicted)}), '
                f'got {table.shape!r}.'
            )
            raise MetricError(msg)
        if table.size and not (table.min() >= 0 and table.max() <= 1 + _SLACK):
            msg = f'Overlaps of window {window!r} must lie within 0 .. 1.'
            raise MetricError(msg)
        frames = self._sequences.setdefault(sequence, {})
        if window in frames:
            msg = f'Window {window!r} of the sequence {sequence!r} was added before.'
            raise MetricError(msg)
        frames[window] = _Frame(truth, predicted, table)

    def add_sets(
        self,
        window: int,
        predicted: Sequence[Candidate],
        truth: Sequence[Region],
        min_events: int = 50,
        sequence: str = '',
    ) -> None:
        """Add one window of sets over the same elements.

        True objects smaller than `min_events` are ignored: they are left out, and so are the
        predictions that match them and no other object. Predictions with track id 0 are left out.

        Raises:
            MetricError: The sets are not over the same elements, or an id occurs twice.
        """
        self.add_overlaps(
            window,
            [item.track_id for item in truth],
            [int(np.count_nonzero(item.members)) for item in truth],
            [item.track_id for item in predicted],
            overlaps(truth, predicted),
            min_events,
            sequence,
        )

    def add_overlaps(
        self,
        window: int,
        truth_ids: Sequence[int],
        true_sizes: Sequence[int],
        predicted_ids: Sequence[int],
        iou: NDArray[np.float64],
        min_events: int = 50,
        sequence: str = '',
    ) -> None:
        """Add one window of sets whose overlaps are known already; see `add_sets`.

        Args:
            window: Number of the window within its sequence.
            truth_ids: Ids of the true objects, T.
            true_sizes: Their numbers of elements, T.
            predicted_ids: Track ids of the predicted objects, P; 0 = no track.
            iou: Intersection over union of every pair, shape (T, P).
            min_events: True objects with fewer elements are ignored.
            sequence: Name of the sequence.

        Raises:
            MetricError: As `add`.
        """
        tracks = np.array([k for k, number in enumerate(predicted_ids) if number], np.int64)
        table = iou[:, tracks]
        asked = np.array([size >= max(1, min_events) for size in true_sizes], np.bool_)
        taken = {column for _, column in match(table[asked], MATCH_IOU)}
        rest = np.array([k for k in range(len(tracks)) if k not in taken], np.int64)
        spare = {int(rest[column]) for _, column in match(table[~asked][:, rest], MATCH_IOU)}
        kept = [k for k in range(len(tracks)) if k not in spare]
        self.add(
            window,
            [number for number, keep in zip(truth_ids, asked, strict=True) if keep],
            [predicted_ids[tracks[k]] for k in kept],
            table[asked][:, kept],
            sequence,
        )

    def merge(self, other: TrackMetrics) -> None:
        """Add the windows of another metric.

        Raises:
            MetricError: Both hold the same window of a sequence.
        """
        for name, frames in other._sequences.items():
            mine = self._sequences.setdefault(name, {})
            common = sorted(set(mine) & set(frames))
            if common:
                msg = f'Both metrics hold window {common[0]!r} of the sequence {name!r}.'
                raise MetricError(msg)
            mine.update(frames)

    def result(self) -> dict[str, float]:
        """Return all scores over all sequences; nan where a score is not defined.

        Keys: hota, deta, assa (means over IoU .05:.05:.95); mota, motp (mean IoU of the matched),
        idf1, id_switches at an IoU of 0.5.

        Raises:
            MissingExtraError: motmetrics is not installed.
        """
        sequences = [
            [frames[window] for window in sorted(frames)]
            for _, frames in sorted(self._sequences.items())
        ]
        return {**_hota(sequences), **_clear(sequences)}


def _hota(sequences: Sequence[Sequence[_Frame]]) -> dict[str, float]:
    """Return HOTA, DetA and AssA; counts are summed over sequences before they are divided."""
    parts = [(_lifetimes(frames), _matches(frames)) for frames in sequences]
    total = sum(sum(c.values()) for lifetimes, _ in parts for c in lifetimes)
    if not total:
        return dict.fromkeys(('hota', 'deta', 'assa'), float('nan'))
    rows = []
    for alpha in ALPHAS:
        hits = 0
        association = 0.0
        for (truths, tracks), matches in parts:
            pairs = Counter(pair for pair, iou in matches if iou >= alpha - _SLACK)
            hits += pairs.total()
            association += sum(
                count * count / (truths[i] + tracks[j] - count) for (i, j), count in pairs.items()
            )
        # Every find takes one true and one predicted object: TP + FN + FP.
        whole = total - hits
        detection = hits / whole
        shared = association / hits if hits else 0.0
        rows.append((np.sqrt(detection * shared), detection, shared))
    return dict(zip(('hota', 'deta', 'assa'), np.mean(rows, axis=0).tolist(), strict=True))


def _lifetimes(frames: Sequence[_Frame]) -> tuple[Counter[int], Counter[int]]:
    """Return in how many windows each true object and each track occurs."""
    return (
        Counter(number for frame in frames for number in frame.truth),
        Counter(number for frame in frames for number in frame.predicted),
    )


def _matches(frames: Sequence[_Frame]) -> list[tuple[tuple[int, int], float]]:
    """Return ((true object, track), IoU) of all pairs, each window matched one to one.

    The matching of a window maximises the sum of overlap times alignment. The alignment of two
    identities over the sequence is a soft Jaccard index: P / (windows of the one + windows of the
    other - P), P being the sum of the overlaps, each divided by what both overlap in that window.
    """
    truths, tracks = _lifetimes(frames)
    shared: dict[tuple[int, int], float] = {}
    for frame in frames:
        reach = frame.iou.sum(1, keepdims=True) + frame.iou.sum(0, keepdims=True) - frame.iou
        soft = np.divide(frame.iou, reach, out=np.zeros_like(frame.iou), where=reach > 0)
        for (row, column), value in np.ndenumerate(soft):
            pair = frame.truth[row], frame.predicted[column]
            shared[pair] = shared.get(pair, 0.0) + float(value)
    aligned = {(i, j): p / (truths[i] + tracks[j] - p) for (i, j), p in shared.items()}
    found = []
    for frame in frames:
        factor = [[aligned[i, j] for j in frame.predicted] for i in frame.truth]
        score = np.array(factor, np.float64).reshape(frame.iou.shape) * frame.iou
        for row, column in match(score):
            pair = frame.truth[row], frame.predicted[column]
            found.append((pair, float(frame.iou[row, column])))
    return found


def _clear(sequences: Sequence[Sequence[_Frame]]) -> dict[str, float]:
    """Return MOTA, MOTP, IDF1 and switches of all sequences together."""
    keys = ('mota', 'motp', 'idf1', 'id_switches')
    if not any(frame.truth for frames in sequences for frame in frames):
        return {**dict.fromkeys(keys[:3], float('nan')), 'id_switches': 0.0}
    library: Any = require('motmetrics', 'evaluate')
    accumulators = []
    for frames in sequences:
        accumulator = library.MOTAccumulator(auto_id=True)
        for frame in frames:
            distance = np.where(frame.iou >= MATCH_IOU - _SLACK, 1.0 - frame.iou, np.nan)
            accumulator.update(frame.truth, frame.predicted, distance)
        accumulators.append(accumulator)
    table = library.metrics.create().compute_many(
        accumulators,
        metrics=['mota', 'motp', 'idf1', 'num_switches'],
        names=[str(index) for index in range(len(accumulators))],
        generate_overall=True,
    )
    mota, motp, idf1, switches = (float(value) for value in table.loc['OVERALL'])
    return dict(zip(keys, (mota, 1.0 - motp, idf1, switches), strict=True))
