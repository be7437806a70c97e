# SPDX-License-Identifier: Apache-2.0
"""docs/metrics.md explains every score that the metrics return."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.evaluation.metrics import InstanceMetrics
from spikeseg_ros.evaluation.metrics.clustering import GroupingMetrics
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.evaluation.metrics.tracks import TrackMetrics
from spikeseg_ros.evaluation.metrics.volumes import RAW, PointMetrics

DOCS = Path(__file__).resolve().parents[3] / 'docs/metrics.md'


def test_every_score_is_explained() -> None:
    pytest.importorskip('pycocotools')
    text = DOCS.read_text()
    parts = re.split(r'^## ', text, flags=re.M)
    sections = {part.split(':')[0]: set(re.findall(r'`([^`]+)`', part)) for part in parts}
    matrix = ConfusionMatrix(['<class>'])
    matrix.add(np.zeros(1, int), np.zeros(1, int))
    returned = {
        'Objects': set(InstanceMetrics().result()),
        'Tracks': set(TrackMetrics().result()),
        'Classes of pixels': set(matrix.result()),
        'Grouping': set(GroupingMetrics().result()),
        'Volumes of space and time': {*PointMetrics().result(), RAW, 'informedness'},
    }
    for title, keys in returned.items():
        assert keys <= sections[title], title
