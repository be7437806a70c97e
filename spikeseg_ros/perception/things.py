# SPDX-License-Identifier: Apache-2.0
"""Objects out of class masks: connected regions of the classes that can be counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.perception.option import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

BACKGROUND = 'background'
# Names of common data sets for what moves on its own or is handled one by one.
COUNTABLE = frozenset((
    'aeroplane', 'airplane', 'animal', 'bicycle', 'bicyclist', 'bike', 'bird', 'boat',
    'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'cyclist', 'dog', 'human', 'horse',
    'minibike', 'motorbike', 'motorcycle', 'motorcyclist', 'object', 'pedestrian', 'person',
    'rider', 'ship', 'sheep', 'train', 'truck', 'van', 'vehicle',
))  # fmt: skip
# One pixel of this many makes the smallest object by default.
SMALLEST_SHARE = 2000


@dataclass(frozen=True)
class Thing:
    """A connected region of one class.

    Attributes:
        class_id: Its class as it stands in masks.
        box: Its tight box.
        mask: Its pixels inside the box, shape (box.height, box.width), bool.
        area: Number of its pixels.
        centroid: Mean (x, y) of its pixels [px].
        score: Mean probability of its class over its pixels.
        relative_words: Empty; there are no spike hashes here.
    """

    class_id: int
    box: BoundingBox
    mask: NDArray[np.bool_]
    area: int
    centroid: tuple[float, float]
    score: float
    relative_words: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))


def chosen_classes(wanted: str, names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the classes of which objects are made, from 0, ascending.

    Args:
        wanted: Names separated by commas, 'auto' or 'none' (the option semantic.things).
        names: Names of the classes. Of a list of synonyms the first one counts.

    Raises:
        ConfigError: A name is unknown.
    """
    known = {_first(name): number for number, name in reversed(list(enumerate(names)))}
    if wanted.strip() == 'none':
        return ()
    if wanted.strip() == 'auto':
        countable = [number for name, number in known.items() if name in COUNTABLE]
        if not countable and BACKGROUND in known:
            countable = [number for name, number in known.items() if name != BACKGROUND]
        return tuple(sorted(countable))
    numbers = set()
    for name in (part.strip().lower() for part in wanted.split(',')):
        if name not in known:
            msg = (
                f'semantic.things names {name!r}, which the network does not know; its classes: '
                f'{", ".join(_first(each) for each in names)}. Or take auto or none.'
            )
            raise ConfigError(msg)
        numbers.add(known[name])
    return tuple(sorted(numbers))


def find_things(
    mask: NDArray[np.uint8],
    probability: NDArray[np.float32],
    class_ids: Sequence[int],
    min_area: int,
    min_score: float,
    limit: int,
) -> tuple[Thing, ...]:
    """Return the objects of a class mask, the largest first.

    Args:
        mask: Class ids, shape (H, W).
        probability: Probability of the class that the mask shows, shape (H, W); only read at
            pixels of the given classes.
        class_ids: Classes of which objects are made.
        min_area: Smallest object [px].
        min_score: Least mean probability.
        limit: Objects returned at most.
    """
    found: list[Thing] = []
    for class_id in class_ids:
        region = (mask == class_id).view(np.uint8)
        if not region.any():
            continue
        _, labels, stats, centres = cv2.connectedComponentsWithStats(region, connectivity=8)
        for number in np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= min_area) + 1:
            x, y, width, height, area = (int(value) for value in stats[number])
            inside = np.asarray(labels[y : y + height, x : x + width] == number)
            crop = probability[y : y + height, x : x + width]
            score = float(crop[inside].mean(dtype=np.float64))
            if score < min_score:
                continue
            box = BoundingBox(x, y, x + width - 1, y + height - 1)
            centre = (float(centres[number][0]), float(centres[number][1]))
            found.append(Thing(class_id, box, inside, area, centre, score))
    found.sort(key=lambda item: (-item.area, item.class_id, item.box.to_xyxy()))
    return tuple(found[:limit])


def smallest_area(option: int, height: int, width: int) -> int:
    """Return the area an object needs [px]; the option's value, or by image size where 0."""
    return option or max(1, round(height * width / SMALLEST_SHARE))


def _first(name: str) -> str:
    """Return the first of a list of synonyms, in lower case."""
    return name.replace(';', ',').split(',')[0].strip().lower()
