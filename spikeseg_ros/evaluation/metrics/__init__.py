# SPDX-License-Identifier: Apache-2.0
"""Metrics; each is summed over windows, images or recordings and then asked for its result."""

from spikeseg_ros.evaluation.metrics.clustering import GroupingMetrics
from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.instances import InstanceMetrics, PixelMetrics, WindowScore
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.evaluation.metrics.sets import (
    Candidate,
    Detection,
    Region,
    candidates,
    events_inside,
    match,
    overlaps,
    pixel_candidates,
    regions,
)
from spikeseg_ros.evaluation.metrics.tracks import TrackMetrics
from spikeseg_ros.evaluation.metrics.volumes import (
    LabelledRecording,
    PointMetrics,
    Trajectory,
    VolumeMetrics,
)

__all__ = [
    'Candidate',
    'ConfusionMatrix',
    'Detection',
    'GroupingMetrics',
    'InstanceMetrics',
    'LabelledRecording',
    'MetricError',
    'PixelMetrics',
    'PointMetrics',
    'Region',
    'TrackMetrics',
    'Trajectory',
    'VolumeMetrics',
    'WindowScore',
    'candidates',
    'events_inside',
    'match',
    'overlaps',
    'pixel_candidates',
    'regions',
]
