# SPDX-License-Identifier: Apache-2.0
"""Pictures of what the perception saw: events or image, masks, boxes, track ids, velocities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np

from spikeseg_ros.images.classes import blend_classes, draw_legend
from spikeseg_ros.images.colors import class_color, track_color
from spikeseg_ros.images.errors import ImageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from spikeseg_ros.events.types import Events, EventWindow
    from spikeseg_ros.perception.result import Result, SegmentedObject
    from spikeseg_ros.perception.segmenter import ClassLabel

BACKGROUND = (19, 22, 28)
COLOR_ON = (222, 228, 236)
COLOR_OFF = (92, 124, 168)
MASK_ALPHA = 0.5
ARROW_SECONDS = 0.25
_FONT = cv2.FONT_HERSHEY_SIMPLEX


class _Style(NamedTuple):
    """Sizes that follow the image's size."""

    line: int
    font: float
    pad: int
    text: bool


def render_events(
    events: Events, height: int, width: int, image: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Draw events on a dark background or on an image: brighter = white, darker = blue.

    Where both polarities hit a pixel, the later event shows.

    Args:
        events: Events; those outside the picture are not drawn.
        height: Rows [px].
        width: Columns [px].
        image: Picture to draw on, shape (height, width, 3), uint8; it is not changed.

    Returns:
        Picture of shape (height, width, 3), uint8, red-green-blue.

    Raises:
        ImageError: The image has another size.
    """
    canvas = _canvas(image, height, width)
    inside = (events.x < width) & (events.y < height)
    if not inside.all():
        events = events.select(inside)
    on, off = np.array(COLOR_ON, np.uint8), np.array(COLOR_OFF, np.uint8)
    canvas[events.y, events.x] = np.where(events.p[:, None] > 0, on, off)
    return canvas


def render_overlay(
    result: Result,
    events: EventWindow | Events | None = None,
    image: NDArray[np.uint8] | None = None,
    labels: Iterable[ClassLabel] | None = None,
    caption: str = '',
    classes: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Draw a result on its events, on its image, or on both.

    Objects take the colour of their track (of their class where they have no track), their
    mask is tinted and outlined, and an arrow shows where the centroid will be in 0.25 s. Over a
    class mask, which has a legend, objects are outlined only.

    Args:
        result: Objects of one window or frame.
        events: Events of the window.
        image: Camera image of the result's size, shape (H, W, 3), uint8, red-green-blue.
        labels: Classes: names for objects that carry none, and colours of the class mask.
        caption: Text for the lower left corner, for example the time.
        classes: Class mask of the result's size, shape (H, W), uint8, drawn under the objects.

    Returns:
        Picture of shape (H, W, 3), uint8, red-green-blue, a new array.

    Raises:
        ImageError: The image or the class mask has another size than the result.
    """
    height, width = result.height, result.width
    canvas = _canvas(image, height, width)
    known = tuple(labels or ())
    if classes is not None:
        blend_classes(canvas, classes, known)
    if events is not None:
        found: Any = events
        columns = getattr(found, 'events', found)
        drawn = image is not None or classes is not None
        canvas = render_events(columns, height, width, canvas if drawn else None)
    names = {label.id: label.name for label in known}
    style = _style(height, width)
    for item in result.objects:
        _draw_mask(canvas, item, style, MASK_ALPHA if classes is None else 0.0)
    taken: list[tuple[int, int, int, int]] = []
    if classes is not None and style.text:
        legend = draw_legend(canvas, classes, known, style.font)
        taken += [legend] if legend else []
    for item in sorted(result.objects, key=lambda each: each.box.y_min):
        _draw_frame(canvas, item, style)
        if style.text:
            _draw_tag(canvas, item, names.get(item.class_id, ''), style, taken)
    if caption and style.text:
        _draw_caption(canvas, caption, style)
    return canvas


def contact_sheet(
    pictures: Iterable[NDArray[np.uint8]], columns: int = 3, gap: int = 6
) -> NDArray[np.uint8]:
    """Lay pictures of equal size out in rows, left to right.

    Args:
        pictures: Pictures of shape (H, W, 3), uint8.
        columns: Pictures per row.
        gap: Space between them and around [px].

    Raises:
        ImageError: There is no picture, or sizes differ.
    """
    items = list(pictures)
    sizes = {item.shape for item in items}
    if len(sizes) != 1 or columns < 1:
        msg = f'A sheet needs pictures of one size and columns >= 1, got sizes {sizes!r}.'
        raise ImageError(msg)
    height, width, _ = items[0].shape
    columns = min(columns, len(items))
    rows = -(-len(items) // columns)
    shape = (gap + rows * (height + gap), gap + columns * (width + gap), 3)
    sheet = np.empty(shape, np.uint8)
    sheet[:] = np.array((48, 53, 62), np.uint8)
    for number, item in enumerate(items):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = item
    return sheet


def _canvas(image: NDArray[np.uint8] | None, height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture to draw on."""
    if image is None:
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = np.array(BACKGROUND, np.uint8)
        return canvas
    if image.shape != (height, width, 3) or image.dtype != np.uint8:
        msg = (
            f'The picture must have shape {(height, width, 3)!r} and type uint8, got '
            f'{image.shape!r} of {str(image.dtype)!r}.'
        )
        raise ImageError(msg)
    return np.array(image, order='C')


def _style(height: int, width: int) -> _Style:
    """Choose sizes that stay readable from a thumbnail to a full-HD sensor."""
    side = min(height, width)
    return _Style(
        line=max(1, round(side / 400)),
        font=min(1.0, max(0.34, side / 1100)),
        pad=max(2, round(side / 180)),
        text=side >= 96,
    )


def _color(item: SegmentedObject) -> tuple[int, int, int]:
    """Return the colour of an object."""
    return track_color(item.track_id) if item.track_id else class_color(item.class_id)


def _draw_mask(
    canvas: NDArray[np.uint8], item: SegmentedObject, style: _Style, alpha: float
) -> None:
    """Tint and outline the pixels of an object."""
    box = item.box
    top, left = max(0, box.y_min), max(0, box.x_min)
    crop = canvas[top : box.y_max + 1, left : box.x_max + 1]
    mask = item.mask[top - box.y_min :, left - box.x_min :][: crop.shape[0], : crop.shape[1]]
    if not mask.any():
        return
    color = np.array(_color(item), np.float32)
    crop[mask] = crop[mask] * np.float32(1.0 - alpha) + color * np.float32(alpha)
    # Gaps between events would give each event its own outline.
    reach = 2 * (min(canvas.shape[:2]) // 100) + 3
    solid = np.zeros((mask.shape[0] + 2 * reach, mask.shape[1] + 2 * reach), np.uint8)
    solid[reach:-reach, reach:-reach] = mask
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach))
    solid = np.asarray(cv2.morphologyEx(solid, cv2.MORPH_CLOSE, kernel), np.uint8)
    found = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    offset = (left - reach, top - reach)
    cv2.drawContours(canvas, found[-2], -1, _color(item), 1, cv2.LINE_AA, offset=offset)


def _draw_frame(canvas: NDArray[np.uint8], item: SegmentedObject, style: _Style) -> None:
    """Draw box and velocity of an object; boxes without a confirmed track are corners only."""
    box, color = item.box, _color(item)
    if item.track_id:
        low, high = (box.x_min, box.y_min), (box.x_max, box.y_max)
        cv2.rectangle(canvas, low, high, color, style.line, cv2.LINE_AA)
    else:
        reach = max(3, min(box.x_max - box.x_min, box.y_max - box.y_min) // 5)
        for x, dx in ((box.x_min, reach), (box.x_max, -reach)):
            for y, dy in ((box.y_min, reach), (box.y_max, -reach)):
                cv2.line(canvas, (x, y), (x + dx, y), color, style.line, cv2.LINE_AA)
                cv2.line(canvas, (x, y), (x, y + dy), color, style.line, cv2.LINE_AA)
    shift = np.array(item.velocity) * ARROW_SECONDS
    length = float(np.hypot(*shift))
    if not np.isfinite(length) or length < 4 * style.line:
        return
    shift *= min(1.0, max(canvas.shape[:2]) / 3 / length)
    start = np.array(item.centroid)
    tail = (round(float(start[0])), round(float(start[1])))
    head = (round(float(start[0] + shift[0])), round(float(start[1] + shift[1])))
    tip = min(0.4, 7 * style.line / max(1.0, length))
    cv2.arrowedLine(canvas, tail, head, BACKGROUND, style.line + 2, cv2.LINE_AA, tipLength=tip)
    cv2.arrowedLine(canvas, tail, head, (255, 255, 255), style.line, cv2.LINE_AA, tipLength=tip)


def _draw_tag(
    canvas: NDArray[np.uint8],
    item: SegmentedObject,
    name: str,
    style: _Style,
    taken: list[tuple[int, int, int, int]],
) -> None:
    """Write track id, class and score on a plate at the box, clear of other plates."""
    words = [f'#{item.track_id}' if item.track_id else '', item.class_name or name]
    words.append(f'{item.score:.2f}')
    text = _plain(' '.join(word for word in words if word))
    (width, height), below = cv2.getTextSize(text, _FONT, style.font, 1)
    width, height = width + 2 * style.pad, height + below + style.pad
    rows, columns = canvas.shape[:2]
    left = max(0, min(item.box.x_min, columns - width))
    places = [item.box.y_min - height, item.box.y_max + 1, item.box.y_min]
    places += [item.box.y_min + shift * height for shift in (1, -2, 2, -3)]
    fits = [top for top in places if 0 <= top <= rows - height]
    free = [
        top
        for top in fits
        if not any(
            left < x + w and x < left + width and top < y + h and y < top + height
            for x, y, w, h in taken
        )
    ]
    top = (free or fits or [0])[0]
    taken.append((left, top, width, height))
    cv2.rectangle(
        canvas, (left, top), (left + width - 1, top + height - 1), _color(item), cv2.FILLED
    )
    base = (left + style.pad, top + height - below - style.pad // 2)
    cv2.putText(canvas, text, base, _FONT, style.font, BACKGROUND, 1, cv2.LINE_AA)


def _draw_caption(canvas: NDArray[np.uint8], caption: str, style: _Style) -> None:
    """Write a line into the lower left corner."""
    text = _plain(caption)
    (width, height), below = cv2.getTextSize(text, _FONT, style.font, 1)
    rows = canvas.shape[0]
    top = rows - height - below - 2 * style.pad
    plate = canvas[max(0, top) :, : width + 2 * style.pad]
    plate[:] = plate // 4 + np.array(BACKGROUND, np.uint8) // 4 * 3
    base = (style.pad, rows - below - style.pad)
    cv2.putText(canvas, text, base, _FONT, style.font, COLOR_ON, 1, cv2.LINE_AA)


def _plain(text: str) -> str:
    """Replace what OpenCV's fonts cannot show."""
    return text.encode('ascii', 'replace').decode()
