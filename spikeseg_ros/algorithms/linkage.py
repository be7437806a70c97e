# SPDX-License-Identifier: Apache-2.0
"""Linkage rules: from the scores of pairs to groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from scipy.cluster.hierarchy import fcluster
from scipy.cluster.hierarchy import linkage as hierarchy
from scipy.spatial.distance import squareform

from spikeseg_ros.algorithms.errors import GroupingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

LINKAGES = ('threshold', 'average', 'argmax')


def group_labels(scores: NDArray[np.float32], threshold: float, rule: str) -> NDArray[np.int32]:
    """Group by the scores of pairs; pairs with a score of 0 are never linked.

    Args:
        scores: Symmetric scores, shape (N, N), 0 .. 1; the diagonal is ignored.
        threshold: Score from which a pair is linked, 0 .. 1.
        rule: 'threshold', 'argmax' or 'average' (see smash.group_instances_to_objects).

    Returns:
        Group numbers, shape (N,), int32, from 0 in the order of each group's first member.

    Raises:
        GroupingError: Unknown rule, or a threshold outside 0 .. 1.
    """
    if rule not in LINKAGES:
        msg = f'Unknown linkage {rule!r}; use one of {", ".join(LINKAGES)}.'
        raise GroupingError(msg)
    if not 0.0 <= threshold <= 1.0:
        msg = f'smash_threshold must lie within 0 .. 1, got {threshold!r}.'
        raise GroupingError(msg)
    if len(scores) == 0:
        return np.empty(0, np.int32)
    # A threshold that float32 cannot hold must not shut out scores equal to it.
    linked = (scores >= np.float32(threshold)) & (scores > 0)
    np.fill_diagonal(linked, False)
    if rule == 'argmax':
        best = np.where(linked, scores, 0).argmax(axis=1)
        partner = np.zeros_like(linked)
        partner[np.arange(len(scores)), best] = True
        linked &= partner
    if rule == 'average':
        return _average(scores, threshold)
    return _components(linked)


def _components(linked: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Return the connected components, numbered by their first member."""
    labels = np.full(len(linked), -1, np.int32)
    _flood(linked, labels, np.empty(len(linked), np.int64))
    return labels


@njit(cache=True, nogil=True)
def _flood(linked: Any, labels: Any, waiting: Any) -> None:
    """Number the connected components of a graph.

    Args:
        linked: Which pairs are linked, in either direction, (N, N), bool.
        labels: -1, receives the numbers, by the first member, (N,), int32.
        waiting: Room for nodes whose neighbours are not numbered yet, (N,), int64.
    """
    groups = 0
    for first in range(len(labels)):
        if labels[first] >= 0:
            continue
        labels[first] = groups
        waiting[0], count = first, 1
        while count > 0:
            count -= 1
            node = waiting[count]
            for other in range(len(labels)):
                if labels[other] < 0 and (linked[node, other] or linked[other, node]):
                    labels[other] = groups
                    waiting[count] = other
                    count += 1
        groups += 1


def _average(scores: NDArray[np.float32], threshold: float) -> NDArray[np.int32]:
    """Return groups of average linkage, each part of the graph on its own."""
    parts = _components(scores > 0)
    labels = np.zeros(len(scores), np.int64)
    for part in range(int(parts.max()) + 1):
        members = np.flatnonzero(parts == part)
        groups = np.ones(len(members), np.int64)
        if len(members) > 1:
            distances = 1.0 - scores[np.ix_(members, members)].astype(np.float64)
            np.fill_diagonal(distances, 0.0)
            tree = hierarchy(squareform(distances, checks=False), 'average')
            groups = fcluster(tree, 1.0 - float(np.float32(threshold)), 'distance')
        labels[members] = labels.max() + 1 + groups
    return _by_first_member(labels)


def _by_first_member(labels: NDArray[np.integer[Any]]) -> NDArray[np.int32]:
    """Renumber groups from 0 in the order of their first members."""
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int32)
    rank[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return np.asarray(rank[inverse.reshape(-1)])
