# SPDX-License-Identifier: Apache-2.0
"""From the instances of all scales of a window to its objects, by common fate."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikeseg_ros.algorithms.boxes import BoundingBox
from spikeseg_ros.algorithms.coherence import coherent_objects, label_image
from spikeseg_ros.algorithms.objects import ObjectCandidate, WindowObjects, candidate, closed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.algorithms.coherence import CoherenceOptions, Field
    from spikeseg_ros.algorithms.scales import ScaledBatch


def objects_from_scales(
    scales: Sequence[ScaledBatch],
    field: Field,
    options: CoherenceOptions,
    max_objects: int = 64,
    fill: int = 0,
) -> tuple[WindowObjects, NDArray[np.int16]]:
    """Group the events under the instances of all scales.

    Args:
        scales: Instances of the window.
        field: Its events and their surroundings.
        options: How objects are told apart.
        max_objects: At most this many objects, those with the most events.
        fill: Close gaps of up to 2 * fill pixels in the masks.

    Returns:
        The objects, where of_instance goes through the scales in turn; and the object of every
        pixel with events, -1 elsewhere, shape (H, W), int16, for the next window.
    """
    labels = coherent_objects(field, options)
    counts = np.bincount(labels[labels >= 0])
    n_dropped = max(0, len(counts) - max_objects)
    if n_dropped:
        number = np.full(len(counts) + 1, -1, np.int32)
        kept = np.sort(np.argsort(-counts, kind='stable')[:max_objects])
        number[kept] = np.arange(max_objects, dtype=np.int32)
        labels, counts = number[labels], counts[kept]
    image = label_image(labels, field.x, field.y, field.support.shape)
    owned = [item.owners(image, len(counts)) for item in scales]
    owners = [owner for owner, _ in owned]
    strength = np.sum([part for _, part in owned], axis=0)
    objects = tuple(
        _object(number, int(count), float(strength[number]), image, scales, owners, fill)
        for number, count in enumerate(counts)
    )
    of_instance = np.concatenate(owners) if owners else np.empty(0, np.int32)
    return WindowObjects(objects, of_instance, labels, n_dropped), image


def _object(
    number: int,
    count: int,
    strength: float,
    image: NDArray[np.int16],
    scales: Sequence[ScaledBatch],
    owners: Sequence[NDArray[np.int32]],
    fill: int,
) -> ObjectCandidate:
    """Return one object of a label image."""
    own = image == number
    rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
    box = BoundingBox(int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1]))
    inside = (slice(box.y_min, box.y_max + 1), slice(box.x_min, box.x_max + 1))
    mask = own[inside].copy()
    if fill > 0:
        mask |= closed(mask, fill) & (image[inside] < 0)
    members = [
        item.batch.select(np.flatnonzero(owner == number))
        for item, owner in zip(scales, owners, strict=True)
    ]
    first_ids = [item.first_id for item in scales]
    return candidate(number, box, mask, count, members, first_ids, strength)
