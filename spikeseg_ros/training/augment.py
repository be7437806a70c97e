# SPDX-License-Identifier: Apache-2.0
"""Random views of labelled images and event frames: a pure function of their seed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.datasets.event_frames import resized_frames

if TYPE_CHECKING:
    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]
    Floats = npt.NDArray[np.float32]

_ATTEMPTS = 10
_LUMA = np.array([0.299, 0.587, 0.114])


class Augmentation(NamedTuple):
    """Ranges of the random changes.

    Attributes:
        scale_min: Smallest magnification beyond that of the plain resize.
        scale_max: Largest magnification.
        aspect: Largest stretch of one side against the other, as a share.
        flip: Whether to mirror half of the views.
        color: Strength of brightness, contrast, saturation, tint and gamma; 0 = none.
        short_min: Smallest short edge to which an image is resized in front of the cut [px].
        short_max: Largest short edge [px]; 0 = magnify by scale_min .. scale_max instead.
        cat_max: A cut is drawn again, at most ten times, while one class fills more of it.
    """

    scale_min: float = 0.5
    scale_max: float = 2.0
    aspect: float = 0.1
    flip: bool = True
    color: float = 1.0
    short_min: int = 0
    short_max: int = 0
    cat_max: float = 1.0


class _Cut(NamedTuple):
    """A random cut of an image: rows and columns taken, and where they come to lie in the view."""

    source: tuple[slice, slice]
    target: tuple[slice, slice]
    shrinks: bool

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width of what is seen."""
        rows, columns = self.target
        return rows.stop - rows.start, columns.stop - columns.start


def random_view(
    image: Bytes,
    label: Bytes,
    size: tuple[int, int],
    ignore: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[Bytes, Bytes]:
    """Cut a random view out of a labelled image.

    Args:
        image: RGB, shape (H, W, 3).
        label: Classes, shape (H, W).
        size: Height and width of the view.
        ignore: Label of what lies outside of the image.
        settings: Ranges of the changes.
        rng: Source of all random numbers.

    Returns:
        View, shape (*size, 3), and its label, shape size.
    """
    cut = _varied_cut(label, size, ignore, settings, rng)
    smooth = cv2.INTER_AREA if cut.shrinks else cv2.INTER_LINEAR
    seen = np.asarray(
        cv2.resize(image[cut.source], cut.inner[::-1], interpolation=smooth), dtype=np.uint8
    )
    view = np.empty((*size, 3), dtype=np.uint8)
    view[:] = cv2.mean(image)[:3]
    view[cut.target] = recolored(seen, settings.color, rng)
    target = _cut_label(label, cut, size, ignore)
    if settings.flip and rng.random() < 0.5:
        view, target = view[:, ::-1], target[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(target)


def with_small_things(
    view: Bytes, label: Bytes, other: Bytes, other_label: Bytes, ignore: int
) -> tuple[Bytes, Bytes]:
    """Paste small things of one view onto another: the half of its classes that fill least of it.

    Rare classes then appear more often, and in surroundings that no image shows.

    Args:
        view: RGB, shape (H, W, 3).
        label: Its classes, shape (H, W).
        other: The view things are taken from, of the same shape.
        other_label: Its classes.
        ignore: Label of pixels without a class; never pasted.

    Returns:
        The changed view and its label; copies.
    """
    classes, counts = np.unique(other_label[other_label != ignore], return_counts=True)
    chosen = classes[np.argsort(counts, kind='stable')][: len(classes) // 2]
    taken = np.isin(other_label, chosen)
    view = np.where(taken[:, :, None], other, view)
    return view, np.where(taken, other_label, label)


def random_event_view(
    frames: Floats,
    label: Bytes,
    size: tuple[int, int],
    ignore: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> tuple[Floats, Bytes]:
    """Cut a random view out of labelled event frames; colours do not apply.

    Args:
        frames: Counts of events, shape (T, C, H, W).
        label: Classes, shape (H, W).
        size: Height and width of the view.
        ignore: Label of what lies outside of the frames.
        settings: Ranges of the changes.
        rng: Source of all random numbers.

    Returns:
        View, shape (T, C, *size), and its label, shape size.
    """
    cut = _varied_cut(label, size, ignore, settings, rng)
    view = np.zeros((*frames.shape[:2], *size), dtype=np.float32)
    view[:, :, cut.target[0], cut.target[1]] = resized_frames(
        frames[:, :, cut.source[0], cut.source[1]], cut.inner
    )
    target = _cut_label(label, cut, size, ignore)
    if settings.flip and rng.random() < 0.5:
        view, target = view[..., ::-1], target[:, ::-1]
    return np.ascontiguousarray(view), np.ascontiguousarray(target)


def _varied_cut(
    label: Bytes,
    size: tuple[int, int],
    ignore: int,
    settings: Augmentation,
    rng: np.random.Generator,
) -> _Cut:
    """Choose a cut that no class fills alone, if one is found in ten attempts."""
    cut = _random_cut(label.shape, size, settings, rng)
    for _ in range(_ATTEMPTS - 1 if settings.cat_max < 1 else 0):
        counts = np.bincount(label[cut.source].ravel(), minlength=256)
        counts[ignore] = 0
        if np.count_nonzero(counts) > 1 and counts.max() < settings.cat_max * counts.sum():
            break
        cut = _random_cut(label.shape, size, settings, rng)
    return cut


def _random_cut(
    shape: tuple[int, ...],
    size: tuple[int, int],
    settings: Augmentation,
    rng: np.random.Generator,
) -> _Cut:
    """Choose magnification, stretch and place."""
    height, width = shape
    if settings.short_max:
        short = int(rng.integers(settings.short_min, settings.short_max + 1))
        factor = short / min(height, width)
        return _placed_cut(shape, (size[0] / factor, size[1] / factor), size, rng)
    scale = math.exp(rng.uniform(math.log(settings.scale_min), math.log(settings.scale_max)))
    stretch = math.exp(rng.uniform(-settings.aspect, settings.aspect) / 2)
    # Rows and columns of the image that the view shows; more than there are when zoomed out.
    wanted = height / (scale * stretch), width * stretch / scale
    return _placed_cut(shape, wanted, size, rng)


def _placed_cut(
    shape: tuple[int, ...],
    wanted: tuple[float, float],
    size: tuple[int, int],
    rng: np.random.Generator,
) -> _Cut:
    """Choose the place of a cut with a number of rows and columns of the image."""
    height, width = shape
    rows, y = _span(height, wanted[0], rng)
    columns, x = _span(width, wanted[1], rng)
    down, across = size[0] / rows, size[1] / columns
    vertical = _axis(y, rows, height, down)
    horizontal = _axis(x, columns, width, across)
    return _Cut((vertical[0], horizontal[0]), (vertical[1], horizontal[1]), down < 1)


def _axis(begin: int, count: int, length: int, factor: float) -> tuple[slice, slice]:
    """Return what is taken along one axis, and where it comes to lie."""
    first, last = max(0, begin), min(length, begin + count)
    start, stop = round((first - begin) * factor), round((last - begin) * factor)
    return slice(first, last), slice(start, max(stop, start + 1))


def _cut_label(label: Bytes, cut: _Cut, size: tuple[int, int], ignore: int) -> Bytes:
    """Return the label of a view."""
    target = np.full(size, ignore, dtype=np.uint8)
    target[cut.target] = cv2.resize(
        label[cut.source], cut.inner[::-1], interpolation=cv2.INTER_NEAREST_EXACT
    )
    return target


def _span(length: int, wanted: float, rng: np.random.Generator) -> tuple[int, int]:
    """Return the number of rows (or columns) of a crop and where it begins, maybe below 0."""
    count = max(round(wanted), 8)
    spare = length - count
    begin = int(rng.integers(min(spare, 0), max(spare, 0) + 1))
    return count, begin


def recolored(image: Bytes, strength: float, rng: np.random.Generator) -> Bytes:
    """Change brightness, contrast, saturation, tint and gamma of an RGB image."""
    if strength == 0:
        return image
    contrast = 1 + strength * rng.uniform(-0.3, 0.3)
    saturation = 1 + strength * rng.uniform(-0.5, 0.5)
    tint = 1 + strength * rng.uniform(-0.1, 0.1, 3)
    shift = strength * rng.uniform(-30, 30) + 128 * (1 - contrast)
    gamma = math.exp(strength * rng.uniform(-0.3, 0.3))
    mix = saturation * np.eye(3) + (1 - saturation) * np.outer(np.ones(3), _LUMA)
    matrix = np.column_stack([contrast * tint[:, None] * mix, np.full(3, shift)])
    curve = np.round(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.transform(image, matrix), curve), dtype=np.uint8)
