# SPDX-License-Identifier: Apache-2.0
"""Masks of objects.json: decoding, agreement of two runs in a window, and pictures of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy.optimize import linear_sum_assignment

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.run import lookup
from spikeseg_ros.evaluation.report.text import clean
from spikeseg_ros.simulation.truth import decode_counts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

MAX_PIXELS = 1 << 26


def mask_pixels(annotation: dict[str, Any], path: Path) -> NDArray[np.int64]:
    """Return the pixels of a mask, ascending, counted down the columns as COCO does.

    Args:
        annotation: Annotation of objects.json.
        path: The file, for messages.

    Returns:
        Shape (N,); empty where the annotation has no mask.

    Raises:
        ReportError: The run lengths are broken.
    """
    counts = lookup(annotation, 'segmentation.counts', (str, list), path)
    size = lookup(annotation, 'segmentation.size', list, path)
    if counts is None or size is None:
        return np.zeros(0, np.int64)
    try:
        height, width = (int(side) for side in size)
        lengths = decode_counts(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (TypeError, ValueError, OverflowError):
        raise _broken(annotation, path) from None
    total = int(lengths.sum()) if lengths.size else 0
    if min(height, width) < 1 or height * width > MAX_PIXELS or total != height * width:
        raise _broken(annotation, path)
    if (lengths < 0).any():
        raise _broken(annotation, path)
    values = np.arange(lengths.size) % 2 == 1
    return np.flatnonzero(np.repeat(values, lengths))


def _broken(annotation: dict[str, Any], path: Path) -> ReportError:
    """Return the error of a mask that cannot be read."""
    return ReportError(
        f'{str(path)!r}: the mask of annotation {clean(annotation.get("id"), 30)} is broken; '
        'evaluate the recording again.'
    )


def agreement(first: Sequence[NDArray[np.int64]], second: Sequence[NDArray[np.int64]]) -> float:
    """Return how well two sets of masks agree: 1 = the same objects, 0 = nothing in common.

    Objects are matched one to one; the sum of the IoUs is divided by the larger number of
    objects.
    """
    if not first and not second:
        return 1.0
    if not first or not second:
        return 0.0
    table = np.array([[_iou(one, other) for other in second] for one in first])
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum()) / max(len(first), len(second))


def _iou(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Return intersection over union of two sets of pixels."""
    if not one.size or not other.size or one[-1] < other[0] or other[-1] < one[0]:
        return 0.0
    common = np.intersect1d(one, other, assume_unique=True).size
    return common / (one.size + other.size - common)


def draw_masks(
    annotations: Sequence[dict[str, Any]], width: int, height: int, path: Path
) -> bytes:
    """Return a PNG of the objects of a window without its events.

    Args:
        annotations: Annotations of the window.
        width: Columns [px].
        height: Rows [px].
        path: objects.json, for messages.

    Raises:
        ReportError: A mask is broken, or the size cannot be drawn.
    """
    from spikeseg_ros.algorithms import BoundingBox
    from spikeseg_ros.images.overlay import render_overlay
    from spikeseg_ros.perception.result import Result, SegmentedObject

    if not (width > 0 and height > 0 and width * height <= MAX_PIXELS):
        msg = f'{str(path)!r}: an image of {width} x {height} pixels cannot be drawn.'
        raise ReportError(msg)
    items = []
    for number, annotation in enumerate(annotations):
        pixels = mask_pixels(annotation, path)
        if not pixels.size or lookup(annotation, 'segmentation.size', list, path) != [
            height,
            width,
        ]:
            continue
        x, y = pixels // height, pixels % height
        box = BoundingBox(int(x.min()), int(y.min()), int(x.max()), int(y.max()))
        mask = np.zeros((box.height, box.width), np.bool_)
        mask[y - box.y_min, x - box.x_min] = True
        items.append(
            SegmentedObject(
                object_id=number,
                box=box,
                mask=mask,
                class_id=int(lookup(annotation, 'category_id', int, path) or 1),
                class_name='',
                score=float(lookup(annotation, 'score', (int, float), path) or 0.0),
                centroid=(float(x.mean()), float(y.mean())),
                track_id=int(lookup(annotation, 'track_id', int, path) or 0),
            )
        )
    picture = render_overlay(Result(0, 0, '', width, height, '', tuple(items)))
    encoded = cv2.imencode('.png', np.ascontiguousarray(picture[:, :, ::-1]))[1]
    return bytes(encoded.tobytes())
