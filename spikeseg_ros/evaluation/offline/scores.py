# SPDX-License-Identifier: Apache-2.0
"""How good the objects of a run are, where there is ground truth."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.metrics import InstanceMetrics, candidates, regions
from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.tracks import TrackMetrics
from spikeseg_ros.evaluation.offline.paths import PathScores
from spikeseg_ros.evaluation.truth import TruthError, check_truth, load_truth
from spikeseg_ros.evaluation.truth.ebssa import TrajectoryTruth
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from spikeseg_ros.evaluation.offline.replay import RecordingFacts, Replay
    from spikeseg_ros.evaluation.offline.windows import FinishedWindow
    from spikeseg_ros.events.types import Events

MIN_EVENTS = 50


def require_metrics() -> None:
    """Check that the packages of the metrics are installed.

    Raises:
        MissingExtraError: One of them is not; the text says how to install it.
    """
    for module in ('pycocotools.mask', 'motmetrics'):
        require(module, 'evaluate')


class Scores:
    """Compares finished windows with the ground truth of their recording.

    Args:
        path: File or folder of the truth.
        kind: Its kind, see load_truth.

    Raises:
        TruthError: It cannot be read.
    """

    def __init__(self, path: str, kind: str = 'auto') -> None:
        self.path = Path(path)
        self.truth = load_truth(path, kind)
        self.mean_ious: list[float | None] = []
        self._instances = InstanceMetrics(MIN_EVENTS)
        self._tracks = TrackMetrics()
        self._paths: PathScores | None = None
        if isinstance(self.truth, TrajectoryTruth):
            self._paths = PathScores(self.truth.recording)
        self._unlabelled = 0

    def check_size(self, replay: Replay) -> None:
        """Refuse another sensor before the network has worked.

        Raises:
            TruthError: The recording has another size.
        """
        for frame in replay:
            # Times are compared when all of the recording is known.
            start, end = self.truth.t_start, self.truth.t_end
            check_truth(self.truth, frame.width, frame.height, start, end - 1)
            return

    def check(self, facts: RecordingFacts) -> None:
        """Refuse a truth that is about another recording.

        Raises:
            TruthError: Another size, or no common time.
        """
        check_truth(self.truth, facts.width, facts.height, facts.t_first, facts.t_last)

    def add(self, window: FinishedWindow, events: Events) -> list[Any]:
        """Compare one window.

        Returns:
            The columns true_objects, matched and mean_iou of windows.csv; empty where the
            window is not labelled.

        Raises:
            TruthError: The truth is about other events.
        """
        result = window.result
        if (result.width, result.height) != (self.truth.width, self.truth.height):
            msg = (
                f'Window {window.index} has {result.width}x{result.height} pixels, the ground '
                f'truth {str(self.path)!r} has {self.truth.width}x{self.truth.height}.'
            )
            raise TruthError(msg)
        if self._paths is not None:
            self._paths.add(window, events)
        if not self.truth.covers(window.t_start, window.t_end):
            self._unlabelled += 1
            self.mean_ious.append(None)
            return ['', '', '']
        labels = self.truth.labels(events, window.t_start, window.t_end)
        truth = regions(labels, self.truth.classes)
        score = self._instances.add(result.objects, truth, events)
        self._tracks.add_sets(
            window.index,
            candidates(result.objects, events),
            truth,
            MIN_EVENTS,
            f'{result.epoch}',
        )
        defined = math.isfinite(score.mean_iou)
        self.mean_ious.append(score.mean_iou if defined else None)
        return [
            score.true_objects,
            score.matched,
            f'{score.mean_iou:.6f}' if defined else '',
        ]

    def result(self) -> dict[str, Any]:
        """Return all metrics.

        Raises:
            TruthError: Not one window is labelled, or the recording is too short.
        """
        if self._unlabelled == len(self.mean_ious):
            msg = (
                f'The ground truth {str(self.path)!r} labels none of the {self._unlabelled} '
                'windows; give the truth of this recording, with times on the clock of the sensor.'
            )
            raise TruthError(msg)
        found = {
            'truth_sha256': content_hash(self.path),
            'truth_min_events': MIN_EVENTS,
            'unlabelled_windows': self._unlabelled,
            'instances': self._instances.result(),
            'tracks': self._tracks.result(),
        }
        if self._paths is not None:
            try:
                found['volumes'] = self._paths.result()
            except MetricError as err:
                msg = f'The ground truth {str(self.path)!r} cannot be judged by: {err}'
                raise TruthError(msg) from None
        return found


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file, or of the files of a folder in the order of their names."""
    digest = hashlib.sha256()
    files = sorted(item for item in path.rglob('*') if item.is_file()) if path.is_dir() else [path]
    for item in files:
        if path.is_dir():
            digest.update(item.relative_to(path).as_posix().encode() + b'\0')
        with item.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
