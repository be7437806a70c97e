# SPDX-License-Identifier: Apache-2.0
"""Class masks on pictures: colours laid over, and a legend of the classes that can be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.images.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.perception.segmenter import ClassLabel

# Share of the class colour in a pixel; the picture must stay recognisable.
CLASS_ALPHA = 0.45
# Classes with a smaller share of the picture do not stand in the legend.
LEAST_SHARE = 0.001
MAX_ROWS = 14
# Background and one class: the mask of such a network says no more than its objects.
FEW_CLASSES = 2
_PLATE = (19, 22, 28)
_TEXT = (222, 228, 236)
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def blend_classes(
    canvas: NDArray[np.uint8], mask: NDArray[np.uint8], labels: Sequence[ClassLabel]
) -> None:
    """Lay the colours of classes over a picture, in place; unknown pixels stay as they are.

    Args:
        canvas: Picture, shape (H, W, 3), uint8, red-green-blue.
        mask: Class ids, shape (H, W), uint8; 0 = unknown.
        labels: Colours of the ids; ids without one stay as they are.

    Raises:
        ImageError: Mask and picture differ in size.
    """
    if mask.shape != canvas.shape[:2] or mask.dtype != np.uint8:
        msg = (
            f'A class mask of {mask.shape!r} {mask.dtype} does not fit a picture of '
            f'{canvas.shape!r}; take mask and picture of one frame.'
        )
        raise ImageError(msg)
    colors = np.zeros((256, 3), np.float32)
    share = np.zeros(256, np.float32)
    for label in labels:
        if 0 < label.id < 256:
            colors[label.id] = label.color
            share[label.id] = CLASS_ALPHA
    canvas[:] = canvas * (1 - share[mask])[..., None] + (colors * share[:, None])[mask]


def draw_legend(
    canvas: NDArray[np.uint8], mask: NDArray[np.uint8], labels: Sequence[ClassLabel], font: float
) -> tuple[int, int, int, int] | None:
    """Write the names of the classes in a mask into the upper right corner, in place.

    Classes stand in the order of their ids, so that the legend changes little from frame to
    frame; where there are many, the most common are kept.

    Args:
        canvas: Picture, shape (H, W, 3), uint8, red-green-blue.
        mask: Class ids, shape (H, W), uint8.
        labels: Names and colours.
        font: Scale of the font.

    Returns:
        Column, row, width and height of the legend; None where there is no room or no class.
    """
    counts = np.bincount(mask.ravel(), minlength=256)
    seen = [
        label
        for label in labels
        if 0 < label.id < 256 and counts[label.id] > LEAST_SHARE * mask.size
    ]
    seen = sorted(sorted(seen, key=lambda item: -counts[item.id])[:MAX_ROWS], key=lambda i: i.id)
    texts = [label.name.encode('ascii', 'replace').decode() for label in seen]
    if not seen:
        return None
    sizes = [cv2.getTextSize(text, _FONT, font, 1) for text in texts]
    line = max(size[0][1] + size[1] for size in sizes) + 3
    box = line - 5
    width = max(size[0][0] for size in sizes) + box + 14
    height = line * len(seen) + 6
    rows, columns = canvas.shape[:2]
    if width > columns // 2 or height > rows * 0.8:
        return None
    left = columns - width
    plate = canvas[:height, left:]
    plate[:] = plate // 4 + np.array(_PLATE, np.uint8) // 4 * 3
    for number, (label, text) in enumerate(zip(seen, texts, strict=True)):
        top = 3 + number * line
        corner = (left + 4 + box, top + 1 + box)
        cv2.rectangle(canvas, (left + 4, top + 1), corner, label.color, cv2.FILLED)
        cv2.rectangle(canvas, (left + 4, top + 1), corner, _TEXT, 1)
        place = (left + box + 10, top + box)
        cv2.putText(canvas, text, place, _FONT, font, _TEXT, 1, cv2.LINE_AA)
    return left, 0, width, height
