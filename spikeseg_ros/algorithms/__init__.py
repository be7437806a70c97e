# SPDX-License-Identifier: Apache-2.0
"""From spikes to objects: HULK, ASH, SMASH, grouping and tracking."""

from spikeseg_ros.algorithms.ash import ActiveSpikeHash
from spikeseg_ros.algorithms.batch import InstanceBatch
from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import (
    AlgorithmError,
    BoxError,
    EncoderCompatibilityError,
    GroupingError,
    HashError,
    HULKConfigError,
    HULKError,
    HULKRuntimeError,
    TrackingError,
)
from spikeseg_ros.algorithms.hulk import HULKDecoder
from spikeseg_ros.algorithms.hulk_result import HULKResult
from spikeseg_ros.algorithms.instances import Instance, Object, compute_smash_score

__all__ = [
    'ActiveSpikeHash',
    'AlgorithmError',
    'BoundingBox',
    'BoxError',
    'EncoderCompatibilityError',
    'GroupingError',
    'HULKConfigError',
    'HULKDecoder',
    'HULKError',
    'HULKResult',
    'HULKRuntimeError',
    'HashError',
    'Instance',
    'InstanceBatch',
    'Object',
    'TrackingError',
    'compute_smash_score',
]
