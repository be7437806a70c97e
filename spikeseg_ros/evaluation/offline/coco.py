# SPDX-License-Identifier: Apache-2.0
"""objects.json: windows and objects in the form of COCO, masks as its compressed run lengths."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.offline.windows import FinishedWindow
    from spikeseg_ros.perception.result import SegmentedObject
    from spikeseg_ros.perception.segmenter import ClassLabel

_DIGITS = 6


def run_lengths(
    mask: NDArray[np.bool_], x: int, y: int, height: int, width: int
) -> NDArray[np.int64]:
    """Return the run lengths of a mask in column order, zeros first, as COCO counts them.

    Args:
        mask: Crop of the mask, shape (h, w), bool.
        x: Column of its left edge in the image [px].
        y: Row of its top edge in the image [px].
        height: Rows of the image [px].
        width: Columns of the image [px].
    """
    columns, rows = np.nonzero(mask.T)
    pixels = (columns + x) * height + rows + y
    if not len(pixels):
        return np.array([height * width], np.int64)
    breaks = np.flatnonzero(np.diff(pixels) != 1)
    starts = pixels[np.concatenate([[0], breaks + 1])]
    ends = pixels[np.concatenate([breaks, [len(pixels) - 1]])] + 1
    edges = np.empty(2 * len(starts) + 1, np.int64)
    edges[0] = 0
    edges[1::2], edges[2::2] = starts, ends
    counts = np.diff(edges)
    rest = height * width - int(edges[-1])
    return np.concatenate([counts, [rest]]) if rest else counts


def compressed(counts: NDArray[np.int64]) -> str:
    """Return run lengths as COCO's text.

    From the fourth run on the difference to the run before the last one is written. A number
    takes groups of five bits, the lowest first, in two's complement; the sixth bit of a
    character says that another group follows, and 48 is added to make it printable.

    Args:
        counts: Run lengths, shape (N,), each below 2^31.
    """
    values = counts.astype(np.int64)
    values[3:] -= counts[1:-2]
    # A group is the last one when the value, its sign bit included, fits into the groups so far.
    groups = np.ones(len(values), np.int64)
    for number in range(1, 8):
        bound = np.int64(1) << (5 * number - 1)
        groups += (values >= bound) | (values < -bound)
    place = np.arange(8)
    bits = (values[:, None] >> (5 * place)) & 31
    bits |= np.where(place < groups[:, None] - 1, 32, 0)
    used = place < groups[:, None]
    return (bits[used] + 48).astype(np.uint8).tobytes().decode('ascii')


def segmentation(item: SegmentedObject, height: int, width: int) -> dict[str, Any]:
    """Return the mask of an object as COCO's compressed run lengths."""
    counts = run_lengths(item.mask, item.box.x_min, item.box.y_min, height, width)
    return {'size': [height, width], 'counts': compressed(counts)}


class CocoWriter:
    """Writes objects.json window by window, without holding it in memory.

    Args:
        path: The file to create.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._spool = path.with_suffix('.annotations')
        self._images: TextIO = path.open('w', encoding='utf-8')
        self._annotations: TextIO = self._spool.open('w', encoding='utf-8')
        self._count = 0
        self._windows = 0

    def begin(self, name: str, labels: Iterable[ClassLabel]) -> None:
        """Write what stands in front of the windows."""
        info = {'description': f'objects found in {name}', 'format': 'spikeseg_run/1'}
        categories = [{'id': item.id, 'name': item.name} for item in labels if item.id]
        self._images.write(f'{{"info":{_json(info)},\n"categories":{_json(categories)},\n')
        self._images.write('"images":[')

    def add(self, window: FinishedWindow) -> None:
        """Write one window and its objects."""
        result = window.result
        image = {
            'id': window.index,
            'width': result.width,
            'height': result.height,
            'stamp_ns': result.stamp,
            'duration_ns': result.duration,
            't_start': window.t_start,
            't_end': window.t_end,
            'n_events': result.n_events,
        }
        self._images.write((',\n' if self._windows else '\n') + _json(image))
        self._windows += 1
        for item in result.objects:
            box = item.box
            annotation = {
                'id': self._count + 1,
                'image_id': window.index,
                'category_id': item.class_id,
                'track_id': item.track_id,
                'bbox': [box.x_min, box.y_min, box.width, box.height],
                'area': int(np.count_nonzero(item.mask)),
                'segmentation': segmentation(item, result.height, result.width),
                'score': round(item.score, _DIGITS),
                'n_events': item.n_events,
                'velocity': [round(value, _DIGITS) for value in item.velocity],
                'iscrowd': 0,
            }
            self._annotations.write((',\n' if self._count else '\n') + _json(annotation))
            self._count += 1

    def close(self) -> None:
        """Put the parts together."""
        self._annotations.close()
        self._images.write('],\n"annotations":[')
        with self._spool.open(encoding='utf-8') as spool:
            shutil.copyfileobj(spool, self._images)
        self._images.write(']}\n')
        self._images.close()
        self._spool.unlink()


def _json(tree: Any) -> str:
    """Return plain data as one line."""
    return json.dumps(tree, separators=(',', ':'), sort_keys=True)
