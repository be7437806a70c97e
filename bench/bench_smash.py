# SPDX-License-Identifier: Apache-2.0
"""SMASH scores of all pairs of N instances, and their grouping, on one core.

``python -m bench smash [--quick]``. Peers, all with equal scores:

* pair loop, matrices: for every pair the Jaccard index of two dense hash matrices and the IoU of
  two boxes, in Python and torch, as the definition reads.
* pair loop, packed: the same loop over our bit-packed hashes (smash_matrix_pairs).
* matrix: smash_matrix.

Instances: hashes of 41 features x 10 steps with 10% ones; boxes of 12 .. 40 px. 'crowded' spreads
them over 346x260 px as windows of a small sensor do; 'stacked' puts all boxes onto each other, so
that no pair can be skipped.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np
import torch

from spikeseg_ros.algorithms import ActiveSpikeHash, BoundingBox, Instance, smash_matrix
from spikeseg_ros.algorithms.linkage import LINKAGES, group_labels
from spikeseg_ros.algorithms.smash import smash_matrix_pairs

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FEATURES, STEPS = 41, 10


def instances(count: int, stacked: bool) -> list[Instance]:
    """Return random instances."""
    rng = np.random.default_rng(count)
    made = []
    for number in range(count):
        matrix = rng.random((FEATURES, STEPS)) < 0.1
        x, y = (0, 0) if stacked else (rng.integers(0, 306), rng.integers(0, 220))
        width, height = rng.integers(12, 41, 2)
        box = BoundingBox(x, y, x + width - 1, y + height - 1)
        made.append(Instance(number, ActiveSpikeHash(matrix), box))
    return made


def dense_pairs(matrices: list[torch.Tensor], boxes: list[BoundingBox]) -> NDArray[np.float32]:
    """Return the scores, pair by pair on dense matrices."""
    scores = np.zeros((len(boxes), len(boxes)), np.float32)
    for i in range(len(boxes)):
        for j in range(i + 1):
            union = (matrices[i] | matrices[j]).sum().item()
            common = (matrices[i] & matrices[j]).sum().item()
            similarity = common / union if union else 0.0
            scores[i, j] = scores[j, i] = similarity * boxes[i].iou(boxes[j])
    return scores


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """Return the shortest of several runs [s]."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)


def run(quick: bool = False) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    print(f'torch {torch.__version__}, numpy {np.__version__}, 1 thread')
    print(
        '| instances | N | pair loop, matrices s | pair loop, packed s | matrix ms '
        '| matrices / matrix | packed / matrix | + group: ' + ' / '.join(LINKAGES) + ' ms |'
    )
    print('|---|---|---|---|---|---|---|---|')
    for name in ('crowded', 'stacked'):
        for count in (100, 300) if quick else (100, 1000):
            items = instances(count, name == 'stacked')
            words = np.stack([item.ash.words for item in items])
            boxes = np.array([item.bbox.to_xyxy() for item in items], np.int32)
            matrices = [item.ash.hash_matrix for item in items]
            scores = smash_matrix(words, boxes)
            begin = time.perf_counter()
            expected = dense_pairs(matrices, [item.bbox for item in items])
            dense = time.perf_counter() - begin
            assert np.array_equal(scores, expected)
            packed = seconds(lambda i=items: smash_matrix_pairs(i))
            ours = seconds(lambda w=words, b=boxes: smash_matrix(w, b), 10)
            groups = [
                seconds(lambda s=scores, r=rule: group_labels(s, 0.1, r), 3) for rule in LINKAGES
            ]
            print(
                f'| {name} | {count} | {dense:.2f} | {packed:.2f} | {1e3 * ours:.2f} '
                f'| {dense / ours:.0f} | {packed / ours:.0f} '
                f'| {" / ".join(f"{1e3 * s:.1f}" for s in groups)} |',
                flush=True,
            )
