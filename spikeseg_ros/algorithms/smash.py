# SPDX-License-Identifier: Apache-2.0
"""SMASH: similarity of active spike hashes times overlap of boxes, and grouping by it.

SMASH(i, j) = |A_i & A_j| / |A_i | A_j| * IoU(box_i, box_j), within 0 .. 1, symmetric.

Source: Kirkland et al. 2022 (HULK-SMASH).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy.optimize import linear_sum_assignment

from spikeseg_ros.algorithms.ash import ActiveSpikeHash
from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.errors import GroupingError
from spikeseg_ros.algorithms.instances import Instance, Object, compute_smash_score
from spikeseg_ros.algorithms.linkage import LINKAGES, group_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.batch import InstanceBatch

__all__ = [
    'LINKAGES',
    'ActiveSpikeHash',
    'BoundingBox',
    'Instance',
    'Object',
    'compute_smash_score',
    'group_batch',
    'group_instances_to_objects',
    'jaccard_matrix',
    'match_objects_across_sequences',
    'smash_matrix',
    'smash_matrix_pairs',
]


@njit(cache=True, nogil=True)
def _ones(bits: Any) -> Any:
    """Count the ones of a 64-bit word."""
    bits = bits - ((bits >> np.uint64(1)) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


@njit(cache=True, nogil=True)
def _smash_rows(words: Any, boxes: Any, scores: Any) -> None:
    """Write the SMASH scores of all pairs, (N, N) float32."""
    count, n_words = words.shape
    totals = np.zeros(count, np.int64)
    areas = np.empty(count, np.int64)
    for i in range(count):
        for word in range(n_words):
            totals[i] += _ones(words[i, word])
        areas[i] = np.int64(boxes[i, 2] - boxes[i, 0] + 1) * (boxes[i, 3] - boxes[i, 1] + 1)
    # In the order of their left edges, a box can only meet the boxes that start before its end.
    order = np.argsort(boxes[:, 0])
    for a in range(count):
        i = order[a]
        scores[i, i] = 1.0 if totals[i] else 0.0
        for b in range(a + 1, count):
            j = order[b]
            if boxes[j, 0] > boxes[i, 2]:
                break
            top, bottom = max(boxes[i, 1], boxes[j, 1]), min(boxes[i, 3], boxes[j, 3])
            if bottom < top:
                continue
            right = min(boxes[i, 2], boxes[j, 2])
            common = 0
            for word in range(n_words):
                common += _ones(words[i, word] & words[j, word])
            if common == 0:
                continue
            overlap = np.int64(right - boxes[j, 0] + 1) * (bottom - top + 1)
            jaccard = common / (totals[i] + totals[j] - common)
            score = jaccard * (overlap / (areas[i] + areas[j] - overlap))
            scores[i, j] = score
            scores[j, i] = score


def smash_matrix(words: NDArray[np.uint64], boxes: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return the SMASH score of every pair.

    Args:
        words: Hashes, shape (N, W), uint64.
        boxes: Inclusive boxes (x_min, y_min, x_max, y_max), shape (N, 4).

    Returns:
        Scores, shape (N, N), float32, symmetric; 1 on the diagonal (0 for an empty hash).
    """
    scores = np.zeros((len(words), len(words)), np.float32)
    _smash_rows(np.ascontiguousarray(words), np.ascontiguousarray(boxes, np.int64), scores)
    return scores


def smash_matrix_pairs(instances: Sequence[Instance]) -> NDArray[np.float32]:
    """Return the SMASH score of every pair, pair by pair: the definition of smash_matrix."""
    scores = np.zeros((len(instances), len(instances)), np.float32)
    for i, one in enumerate(instances):
        for j, other in enumerate(instances[: i + 1]):
            scores[i, j] = scores[j, i] = one.smash_score(other)
    return scores


def jaccard_matrix(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the Jaccard index of every pair of hashes, shape (N, M); 0 for two empty ones.

    Args:
        first: Hashes, shape (N, W), uint64.
        second: Hashes, shape (M, W), uint64.
    """
    a = np.unpackbits(np.ascontiguousarray(first).view(np.uint8), axis=1).astype(np.float32)
    b = np.unpackbits(np.ascontiguousarray(second).view(np.uint8), axis=1).astype(np.float32)
    common = (a @ b.T).astype(np.float64)
    union = a.sum(axis=1)[:, None] + b.sum(axis=1)[None] - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def group_batch(
    batch: InstanceBatch,
    smash_threshold: float = 0.1,
    linkage: str = 'threshold',
    separate_classes: bool = True,
    *,
    time_align: str = 'absolute',
    include: Sequence[str] = ('conv1', 'conv2', 'class'),
) -> NDArray[np.int32]:
    """Group the instances of a window.

    Args:
        batch: The instances.
        smash_threshold: Score from which two instances belong together, 0 .. 1.
        linkage: See group_instances_to_objects.
        separate_classes: Never group instances of different classes.
        time_align: Columns of the hashes that are compared, see InstanceBatch.hashes.
        include: Layers of the hashes that are compared, see InstanceBatch.hashes.

    Returns:
        Number of the object of every instance, from 0, by its first instance, shape (N,), int32.

    Raises:
        GroupingError: Unknown linkage, or a threshold outside 0 .. 1.
        HashError: Unknown alignment or layer.
    """
    scores = smash_matrix(batch.hashes(time_align, include), batch.boxes)
    if separate_classes:
        scores[batch.class_id[:, None] != batch.class_id[None]] = 0.0
    return group_labels(scores, smash_threshold, linkage)


def group_instances_to_objects(
    instances: Sequence[Instance],
    smash_threshold: float = 0.1,
    linkage: str = 'threshold',
    separate_classes: bool = True,
) -> list[Object]:
    """Group instances that belong together. Pairs without any overlap never do.

    Linkages:

    * 'threshold': connected components of all pairs with a score >= smash_threshold.
    * 'argmax': every instance is joined with its best partner alone, where that pair reaches the
      threshold (rule of the paper); splits 'threshold' groups, never joins them.
    * 'average': groups are joined while the mean score between them is >= smash_threshold; for
      crowded scenes of objects of one known size.

    Args:
        instances: Instances of one window, in any order.
        smash_threshold: Score from which two instances belong together, 0 .. 1.
        linkage: 'threshold', 'argmax' or 'average'.
        separate_classes: Never group instances of different classes.

    Returns:
        Objects numbered from 0 in the order of their smallest instance_id, each with its
        instances in the order of instance_id.

    Raises:
        GroupingError: Unknown linkage, or a threshold outside 0 .. 1.
        HashError: The hashes have different shapes.
    """
    ordered = sorted(instances, key=lambda item: item.instance_id)
    if not ordered:
        group_labels(np.zeros((0, 0), np.float32), smash_threshold, linkage)
        return []
    for item in ordered:
        ordered[0].ash.similarity(item.ash)
    words = np.stack([item.ash.words for item in ordered])
    boxes = np.array([item.bbox.to_xyxy() for item in ordered], np.int32)
    scores = smash_matrix(words, boxes)
    if separate_classes:
        classes = np.array([item.class_id for item in ordered])
        scores[classes[:, None] != classes[None]] = 0.0
    labels = group_labels(scores, smash_threshold, linkage)
    groups: list[list[Instance]] = [[] for _ in range(int(labels.max()) + 1)]
    for item, label in zip(ordered, labels, strict=True):
        groups[label].append(item)
    return [Object(number, group) for number, group in enumerate(groups)]


def match_objects_across_sequences(
    current_objects: Sequence[Object],
    previous_objects: Sequence[Object],
    similarity_threshold: float = 0.0,
) -> dict[int, int]:
    """Match the objects of two windows one to one by the similarity of their hashes.

    Args:
        current_objects: Objects of the later window.
        previous_objects: Objects of the earlier window.
        similarity_threshold: Pairs must be more similar than this, 0 .. 1.

    Returns:
        object_id of the earlier object by object_id of the later one; objects without a match
        are left out. The sum of the similarities is the largest possible.

    Raises:
        GroupingError: An object has no hash.
        HashError: The hashes have different shapes.
    """
    hashes: list[list[ActiveSpikeHash]] = []
    for objects in (current_objects, previous_objects):
        hashes.append([])
        for item in objects:
            if item.combined_ash is None:
                msg = f'{item!r} has no hash to be matched by; add its instances first.'
                raise GroupingError(msg)
            hashes[-1].append(item.combined_ash)
    similarity = np.array([[one.similarity(other) for other in hashes[1]] for one in hashes[0]])
    if similarity.size == 0:
        return {}
    similarity[similarity <= similarity_threshold] = 0.0
    rows, columns = linear_sum_assignment(-similarity)
    return {
        current_objects[row].object_id: previous_objects[column].object_id
        for row, column in zip(rows, columns, strict=True)
        if similarity[row, column] > 0.0
    }
