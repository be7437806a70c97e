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
from spikeseg_ros.algorithms.objects import (
    ObjectCandidate,
    ObjectOptions,
    WindowObjects,
    objects_from_batch,
)
from spikeseg_ros.algorithms.smash import (
    group_batch,
    group_instances_to_objects,
    match_objects_across_sequences,
    smash_matrix,
)
from spikeseg_ros.algorithms.tracking import (
    Track,
    TrackAssignment,
    TrackerOptions,
    TrackerState,
)

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
    'ObjectCandidate',
    'ObjectOptions',
    'Track',
    'TrackAssignment',
    'TrackerOptions',
    'TrackerState',
    'TrackingError',
    'WindowObjects',
    'compute_smash_score',
    'group_batch',
    'group_instances_to_objects',
    'match_objects_across_sequences',
    'objects_from_batch',
    'smash_matrix',
]
