# SPDX-License-Identifier: Apache-2.0
"""Ground truth of a recording: which instance caused each event, and masks by window.

The truth of any window can be asked for, because perception chooses its own window borders.
The JSON form follows COCO: images are windows, annotations are objects, masks are uncompressed
run lengths in column order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.events import SimulationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray


@dataclass(frozen=True)
class MaskCrop:
    """A binary mask, cropped to its bounding box.

    Attributes:
        x: Column of the crop's left edge [px].
        y: Row of the crop's top edge [px].
        mask: Pixels inside the crop, shape (h, w), bool; (0, 0) where empty.
    """

    x: int
    y: int
    mask: NDArray[np.bool_]

    @staticmethod
    def of(mask: NDArray[np.bool_]) -> MaskCrop:
        """Return the crop of a full mask, shape (H, W)."""
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return MaskCrop(0, 0, np.zeros((0, 0), np.bool_))
        top, left = int(rows[0]), int(columns[0])
        return MaskCrop(left, top, mask[top : rows[-1] + 1, left : columns[-1] + 1].copy())

    def full(self, height: int, width: int) -> NDArray[np.bool_]:
        """Return the mask at full size, shape (height, width)."""
        image = np.zeros((height, width), np.bool_)
        image[self.y : self.y + self.mask.shape[0], self.x : self.x + self.mask.shape[1]] = (
            self.mask
        )
        return image

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Box as (x, y, width, height) [px], the COCO order."""
        return self.x, self.y, self.mask.shape[1], self.mask.shape[0]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


@dataclass(frozen=True)
class ObjectTruth:
    """One true object in one window.

    Attributes:
        track_id: Instance id of the object, the same in all windows, from 1.
        class_id: Class id as it stands in masks, from 1.
        name: Name of the class or of the shape.
        silhouette: Visible pixels at the end of the window; the event pixels where unknown.
        events: Pixels with at least one event that the object caused in the window.
        n_events: Number of these events.
    """

    track_id: int
    class_id: int
    name: str
    silhouette: MaskCrop
    events: MaskCrop
    n_events: int


@dataclass(frozen=True)
class WindowTruth:
    """True objects of the window [t_start, t_end) in sensor time [ns]."""

    t_start: int
    t_end: int
    objects: tuple[ObjectTruth, ...]


@dataclass(frozen=True)
class GroundTruth:
    """Instance of every event, and masks over time.

    Attributes:
        width: Columns [px].
        height: Rows [px].
        events: The events.
        instance: Instance that caused each event, shape (N,), uint16; 0 = noise or background.
        classes: Class id (from 1) by instance id.
        names: Name by instance id.
        mask_times: Times of the instance images [ns], shape (M,).
        masks: Instance images, shape (M, H, W), uint8 or uint16; M may be 0.
    """

    width: int
    height: int
    events: Events
    instance: NDArray[np.uint16]
    classes: Mapping[int, int]
    names: Mapping[int, str]
    mask_times: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    masks: NDArray[np.uint8] | NDArray[np.uint16] = field(
        default_factory=lambda: np.empty((0, 0, 0), np.uint8)
    )

    def labels(self, t_start: int, t_end: int) -> tuple[Events, NDArray[np.uint16]]:
        """Return the events with t_start <= t < t_end and their instances."""
        first, last = np.searchsorted(self.events.t, [t_start, t_end])
        return self.events.slice(first, last), self.instance[first:last]

    def mask_at(self, time: int) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
        """Return the last instance image not later than a time, None where there is none."""
        index = int(np.searchsorted(self.mask_times, time, 'right')) - 1
        return self.masks[max(0, index)] if len(self.masks) else None

    def window(self, t_start: int, t_end: int) -> WindowTruth:
        """Return the true objects of a window: every instance that is seen or made events."""
        events, instance = self.labels(t_start, t_end)
        ids = self.mask_at(t_end)
        seen = np.union1d(np.unique(instance), np.unique(ids) if ids is not None else [])
        objects = []
        for number in seen.astype(int).tolist():
            if number == 0:
                continue
            mine = instance == number
            touched = np.zeros((self.height, self.width), np.bool_)
            touched[events.y[mine], events.x[mine]] = True
            crop = MaskCrop.of(touched)
            silhouette = crop if ids is None else MaskCrop.of(ids == number)
            count = int(np.count_nonzero(mine))
            objects.append(
                ObjectTruth(
                    number,
                    self.classes.get(number, 1),
                    self.names.get(number, ''),
                    silhouette,
                    crop,
                    count,
                )
            )
        return WindowTruth(t_start, t_end, tuple(objects))

    def windows(self, length: int, start: int = 0, end: int | None = None) -> list[WindowTruth]:
        """Return the truth of consecutive windows of equal length [ns]."""
        if length <= 0:
            msg = f'Windows need a positive length, got {length!r} ns.'
            raise SimulationError(msg)
        last = end if end is not None else int(self.events.t[-1]) + 1 if len(self.events) else 0
        return [self.window(t, t + length) for t in range(start, last, length)]

    def save(self, path: str | Path) -> None:
        """Write everything to a compressed .npz file."""
        ids = sorted(set(self.classes) | set(self.names))
        np.savez_compressed(
            path,
            size=np.array([self.width, self.height]),
            x=self.events.x,
            y=self.events.y,
            p=self.events.p,
            t=self.events.t,
            instance=self.instance,
            ids=np.array(ids, np.int64),
            classes=np.array([self.classes.get(i, 1) for i in ids], np.int64),
            names=np.array([self.names.get(i, '') for i in ids], np.str_),
            mask_times=self.mask_times,
            masks=self.masks,
        )

    @staticmethod
    def load(path: str | Path) -> GroundTruth:
        """Read what `save` wrote.

        Raises:
            SimulationError: The file cannot be read.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                ids = data['ids'].tolist()
                return GroundTruth(
                    int(data['size'][0]),
                    int(data['size'][1]),
                    Events(data['x'], data['y'], data['p'], data['t']),
                    data['instance'],
                    dict(zip(ids, data['classes'].tolist(), strict=True)),
                    dict(zip(ids, data['names'].tolist(), strict=True)),
                    data['mask_times'],
                    data['masks'],
                )
        except Exception as err:
            msg = f'Cannot read the ground truth {str(path)!r}: {err}'
            raise SimulationError(msg) from None


def encode_rle(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return a full mask, shape (H, W), as run lengths in column order, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order='F'), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], edges, [mask.size]]))
    if len(edges) and edges[-1] == mask.size:
        counts = counts[:-1]
    return {'size': list(mask.shape), 'counts': counts.tolist()}


def decode_rle(code: Mapping[str, Any]) -> NDArray[np.bool_]:
    """Return the full mask, shape (H, W), of run lengths, plain or compressed.

    Raises:
        SimulationError: The runs do not add up to the size.
    """
    height, width = (int(value) for value in code['size'])
    runs = code['counts']
    counts = np.asarray(decode_counts(runs) if isinstance(runs, str) else runs, np.int64)
    if height < 0 or width < 0 or (len(counts) and counts.min() < 0):
        msg = f'A mask of {height}x{width} pixels has negative run lengths or sizes.'
        raise SimulationError(msg)
    if counts.sum() != height * width:
        msg = f'Run lengths add up to {int(counts.sum())!r}, a {height}x{width} mask needs others.'
        raise SimulationError(msg)
    flat = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return flat.reshape((height, width), order='F')


def decode_counts(text: str) -> NDArray[np.int64]:
    """Return the run lengths of COCO's compressed text.

    A number is a chain of characters, each 48 + five bits (lowest group first) + 32 if more
    follow, in two's complement; from the fourth on it is the difference to the last but one.

    Raises:
        SimulationError: The text ends in the middle of a number or holds other characters.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64 or shift > 60:
            msg = f'Compressed run lengths hold {letter!r}; is the mask in COCO form?'
            raise SimulationError(msg)
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        msg = 'Compressed run lengths are cut off.'
        raise SimulationError(msg)
    return np.array(counts, np.int64)


def to_coco(truth: GroundTruth, windows: Iterable[WindowTruth]) -> dict[str, Any]:
    """Return windows as a COCO-like dictionary.

    Each annotation has the visible silhouette (bbox, segmentation, area) and the pixels of the
    events it caused (event_bbox, event_segmentation, n_events), and its track_id.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, window in enumerate(windows):
        images.append(
            {
                'id': index,
                'width': truth.width,
                'height': truth.height,
                't_start': window.t_start,
                't_end': window.t_end,
            }
        )
        for item in window.objects:
            full = item.silhouette.full(truth.height, truth.width)
            touched = item.events.full(truth.height, truth.width)
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': index,
                    'category_id': item.class_id,
                    'track_id': item.track_id,
                    'name': item.name,
                    'bbox': list(item.silhouette.box),
                    'area': item.silhouette.area,
                    'segmentation': encode_rle(full),
                    'event_bbox': list(item.events.box),
                    'event_segmentation': encode_rle(touched),
                    'n_events': item.n_events,
                    'iscrowd': 0,
                }
            )
    categories = sorted(set(truth.classes.values()) | {1})
    return {
        'info': {'description': 'ground truth of an event recording, one image per window'},
        'images': images,
        'annotations': annotations,
        'categories': [{'id': number, 'name': f'class {number}'} for number in categories],
    }


def from_coco(tree: Mapping[str, Any]) -> list[WindowTruth]:
    """Return the windows of a COCO-like dictionary.

    What other tools leave out is filled in: without `segmentation` the silhouette is the box,
    without `event_segmentation` the event pixels are the silhouette.
    """
    objects: dict[int, list[ObjectTruth]] = {image['id']: [] for image in tree['images']}
    sizes = {image['id']: (image['height'], image['width']) for image in tree['images']}
    names = {item['id']: item.get('name', '') for item in tree.get('categories', ())}
    for item in tree['annotations']:
        size = sizes[item['image_id']]
        silhouette = MaskCrop.of(_mask(item, 'segmentation', size))
        events = silhouette
        if 'event_segmentation' in item:
            events = MaskCrop.of(_mask(item, 'event_segmentation', size))
        class_id = item.get('category_id', 1)
        name = item.get('name', names.get(class_id, ''))
        objects[item['image_id']].append(
            ObjectTruth(
                item['track_id'], class_id, name, silhouette, events, item.get('n_events', 0)
            )
        )
    return [
        WindowTruth(image['t_start'], image['t_end'], tuple(objects[image['id']]))
        for image in tree['images']
    ]


def _mask(item: Mapping[str, Any], key: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask of an annotation: run lengths, polygons, or its box.

    Raises:
        SimulationError: It does not fit the image.
    """
    code = item.get(key)
    image = np.zeros(size, np.uint8)
    if isinstance(code, dict):
        mask = decode_rle(code)
        if mask.shape != size:
            msg = (
                f'The mask of annotation {item.get("id")!r} has {mask.shape[1]}x{mask.shape[0]} '
                f'pixels, its image {size[1]}x{size[0]}.'
            )
            raise SimulationError(msg)
        return mask
    if code:
        corners = [np.round(np.reshape(part, (-1, 2))).astype(np.int32) for part in code]
        cv2.fillPoly(image, corners, 1)
    else:
        x, y, width, height = (round(value) for value in item['bbox'])
        image[max(0, y) : max(0, y + height), max(0, x) : max(0, x + width)] = 1
    return image.astype(np.bool_)


def save_coco(path: str | Path, truth: GroundTruth, windows: Iterable[WindowTruth]) -> None:
    """Write windows as COCO-like JSON."""
    Path(path).write_text(json.dumps(to_coco(truth, windows)), encoding='utf-8')


def load_coco(path: str | Path) -> list[WindowTruth]:
    """Read windows from COCO-like JSON.

    Raises:
        SimulationError: The file cannot be read or is none of ours.
    """
    try:
        return from_coco(json.loads(Path(path).read_text(encoding='utf-8')))
    except (OSError, ValueError, KeyError, TypeError) as err:
        msg = f'Cannot read the ground truth {str(path)!r}: {err!r}'
        raise SimulationError(msg) from None
