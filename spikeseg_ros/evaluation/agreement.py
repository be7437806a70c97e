# SPDX-License-Identifier: Apache-2.0
"""How well published objects agree with known ones, counted on events.

An object of a window is the set of events inside its mask. It is compared with the events that a
simulated object caused in the same window: intersection over union, one-to-one matching.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.evaluation.metrics.sets import (
    MATCH_IOU,
    Candidate,
    Region,
    events_inside,
    match,
    overlaps,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events
    from spikeseg_ros.perception.result import SegmentedObject


@dataclass
class Agreement:
    """Counts over windows; add() them up, then read the ratios.

    Attributes:
        windows: Windows compared.
        true_objects: Known objects with enough events, summed over windows.
        found: Known objects matched with an IoU of at least MATCH_IOU.
        published: Published objects, summed over windows.
        ious: IoU of the best published object, one value per known object and window.
        covered: Events of known objects that lie inside any published object.
        object_events: Events of known objects.
        switches: Times a known object's track id changed to another one.
    """

    windows: int = 0
    true_objects: int = 0
    found: int = 0
    published: int = 0
    ious: list[float] = field(default_factory=list)
    covered: int = 0
    object_events: int = 0
    switches: int = 0
    _tracks: dict[int, int] = field(default_factory=dict)

    def add(
        self,
        objects: Sequence[SegmentedObject],
        events: Events,
        labels: NDArray[np.integer],
        min_events: int = 50,
    ) -> None:
        """Compare the objects of one window with the truth.

        Args:
            objects: Published objects.
            events: Events of the window, N.
            labels: Known object of each event, shape (N,); 0 = background or noise.
            min_events: Known objects with fewer events in the window are not asked for.
        """
        self.windows += 1
        self.published += len(objects)
        inside = np.stack([events_inside(item, events) for item in objects]) if objects else None
        names, counts = np.unique(labels[labels > 0], return_counts=True)
        kept = [
            int(name) for name, count in zip(names, counts, strict=True) if count >= min_events
        ]
        self.true_objects += len(kept)
        known = np.isin(labels, kept)
        self.object_events += int(known.sum())
        if inside is None:
            self.ious += [0.0] * len(kept)
            return
        self.covered += int((inside.any(0) & known).sum())
        if not kept:
            return
        table = overlaps(
            [Region(labels == name) for name in kept], [Candidate(row) for row in inside]
        )
        self.ious += table.max(1).tolist()
        for row, column in match(table):
            if table[row, column] < MATCH_IOU:
                continue
            self.found += 1
            track = objects[column].track_id
            if track:
                before = self._tracks.get(kept[row])
                self.switches += before is not None and before != track
                self._tracks[kept[row]] = track

    @property
    def recall(self) -> float:
        """Known objects found / known objects; nan where there are none."""
        return self.found / self.true_objects if self.true_objects else float('nan')

    @property
    def precision(self) -> float:
        """Published objects that match a known one / published objects; nan without any."""
        return self.found / self.published if self.published else float('nan')

    @property
    def mean_iou(self) -> float:
        """Mean over known objects and windows of the best object's IoU; nan without any."""
        return float(np.mean(self.ious)) if self.ious else float('nan')

    @property
    def coverage(self) -> float:
        """Events of known objects inside published ones / events of known objects."""
        return self.covered / self.object_events if self.object_events else float('nan')
