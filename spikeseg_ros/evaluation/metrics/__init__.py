# SPDX-License-Identifier: Apache-2.0
"""Metrics; each is summed over windows, images or recordings and then asked for its result."""

from spikeseg_ros.evaluation.metrics.errors import MetricError
from spikeseg_ros.evaluation.metrics.instances import InstanceMetrics, PixelMetrics, WindowScore
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

__all__ = [
    'Candidate',
    'Detection',
    'InstanceMetrics',
    'MetricError',
    'PixelMetrics',
    'Region',
    'WindowScore',
    'candidates',
    'events_inside',
    'match',
    'overlaps',
    'pixel_candidates',
    'regions',
]
