# SPDX-License-Identifier: Apache-2.0
"""Pictures of windows: why each was chosen, and their bytes inside the page."""

from __future__ import annotations

import base64
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from spikeseg_ros.evaluation.report.errors import ReportError
from spikeseg_ros.evaluation.report.facts import show_value
from spikeseg_ros.evaluation.report.page import Markup, heading, html, join, paragraph
from spikeseg_ros.evaluation.report.text import plural, seconds, short
from spikeseg_ros.evaluation.report.tracks import objects_by_window

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from spikeseg_ros.evaluation.report.run import Run

PNG_BYTES = 160_000
PICTURES_TOPIC = '/spikeseg/overlay/compressed'
MAX_PICTURES = 12
MAX_WIDTH = 720
_BEST, _WORST, _BUSY, _OTHER = 'Best', 'Worst', 'Busiest', 'Other'
_ORDER = (_BEST, _WORST, _BUSY, _OTHER)
_RANKED = 3


def gallery(run: Run) -> Markup:
    """Return the pictures of a run, grouped by why they were chosen.

    Raises:
        ReportError: objects.json holds something that a run does not write.
    """
    score, meaning, values = window_scores(run)
    about = {index: _reason(run, index, score, values) for index in run.overlays}
    parts: list[object] = [paragraph(meaning, 'note')]
    left = MAX_PICTURES
    for group in _ORDER:
        chosen = sorted((rank, index) for index, (name, rank, _) in about.items() if name == group)
        chosen = chosen[:left]
        left -= len(chosen)
        if not chosen:
            continue
        figures = [
            f'<figure>{picture(run, index)}<figcaption>{caption(run, index)}'
            f'<br>{html(about[index][2])}</figcaption></figure>'
            for _rank, index in chosen
        ]
        parts += [
            heading(f'{group} {run.word}s'),
            Markup(f'<div class="pictures">{"".join(figures)}</div>'),
        ]
    return join(parts)


def window_scores(run: Run) -> tuple[str, str, dict[int, float]]:
    """Return how windows are judged: name, explanation, value by window index.

    With ground truth it is the mean IoU, without it the mean score of the objects.
    """
    indices, ious = run.column('index'), run.column('mean_iou')
    if indices is not None and ious is not None and np.isfinite(ious).any():
        found = {
            int(index): float(value)
            for index, value in zip(indices, ious, strict=True)
            if math.isfinite(value)
        }
        return 'mean IoU', 'Judged by the mean IoU with the ground truth.', found
    found = {}
    for index, items in objects_by_window(run).items():
        scores = [item.get('score') for item in items]
        known = [float(value) for value in scores if isinstance(value, (int, float))]
        if known:
            found[index] = float(np.mean(known))
    text = (
        f'There is no ground truth: {run.word}s are judged by the mean score of their objects, '
        'which says how sure the network is and not whether it is right.'
    )
    return 'mean score', text, found


def caption(run: Run, index: int) -> Markup:
    """Return the facts of a window: number, time, events, objects."""
    indices, times = run.column('index'), run.times()
    facts = [f'<b>{run.word.capitalize()} {index}</b>']
    rows = np.flatnonzero(indices == index) if indices is not None else np.zeros(0, np.int64)
    if rows.size:
        row = int(rows[0])
        if times.size:
            end = float(times[row]) + float(run.windows['duration_ns'][row]) / 2e9
            facts.append(str(html(f'{"at" if run.of_images else "until"} {seconds(end)}')))
        for name, word in (('events', 'event'), ('objects', 'object')):
            values = run.column(name)
            if values is not None and not (run.of_images and name == 'events'):
                count = int(values[row])
                text = plural(count, word) if name == 'objects' else f'{short(count)} events'
                facts.append(str(html(text)))
    return Markup(', '.join(facts))


def picture(run: Run, index: int) -> Markup:
    """Return the picture file of a window as <img> with its bytes.

    Raises:
        ReportError: It cannot be read.
    """
    path = run.overlays[index]
    try:
        data = path.read_bytes()
    except OSError as err:
        msg = f'Cannot read the picture {str(path)!r}: {err}; evaluate the recording again.'
        raise ReportError(msg) from None
    return embed(data, str(path), _alt(run, index))


def _alt(run: Run, index: int) -> str:
    """Return what a picture shows, for those who cannot see it."""
    return f'{"Classes" if run.of_images else "Events"} and objects of {run.word} {index}'


def recorded(run: Run, indices: Collection[int]) -> dict[int, Markup]:
    """Return pictures of windows from the run's output recording, as far as it can be read.

    Args:
        run: The run.
        indices: Indices of the windows.
    """
    from spikeseg_ros.perception.wire import to_nanoseconds
    from spikeseg_ros.recordings.bags import BagReader
    from spikeseg_ros.recordings.serialization import deserialize

    stamps, known = run.column('stamp_ns'), run.column('index')
    path = run.path / 'output'
    if stamps is None or known is None or not indices or not path.is_dir():
        return {}
    wanted = {
        int(stamp): int(index)
        for stamp, index in zip(stamps, known, strict=True)
        if int(index) in indices
    }
    found: dict[int, Markup] = {}
    # A broken recording costs the pictures and nothing else: masks are drawn instead.
    with suppress(ValueError, OSError), BagReader(path) as bag:
        for _topic, kind, _time, raw in bag.messages([PICTURES_TOPIC]):
            message = deserialize(kind, raw)
            index = wanted.get(to_nanoseconds(message.header.stamp))
            if index is not None:
                found[index] = embed(bytes(message.data), str(path), _alt(run, index))
    return found


def embed(data: bytes, source: str, alt: str) -> Markup:
    """Return a PNG as <img>; large ones become JPEG.

    Raises:
        ReportError: The data are no picture.
    """
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if pixels is None:
        msg = f'{source!r} is no picture (or cut off); evaluate the recording again.'
        raise ReportError(msg)
    height, width = pixels.shape[:2]
    kind = 'png'
    if len(data) > PNG_BYTES or not data.startswith(b'\x89PNG'):
        kind = 'jpeg'
        if width > MAX_WIDTH:
            size = (MAX_WIDTH, max(1, round(height * MAX_WIDTH / width)))
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
        encoded = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 82])[1]
        data = bytes(encoded.tobytes())
    return image(data, kind, width, height, alt)


def image(data: bytes, kind: str, width: int, height: int, alt: str) -> Markup:
    """Return an <img> element that holds its data."""
    code = base64.b64encode(data).decode('ascii')
    return Markup(
        f'<img alt="{html(alt)}" width="{width}" height="{height}" '
        f'src="data:image/{kind};base64,{code}">'
    )


def _reason(run: Run, index: int, score: str, values: dict[int, float]) -> tuple[str, int, str]:
    """Return why the picture of a window is shown: group, place in it, sentence."""
    if index in values:
        ranked = sorted(values, key=lambda key: (-values[key], key))
        place, count, value = ranked.index(index) + 1, len(ranked), show_value(values[index])
        if place <= _RANKED:
            return _BEST, place, f'{_ordinal(place, "highest")} {score} of {count}: {value}.'
        if count - place < _RANKED:
            back = count - place + 1
            return _WORST, back, f'{_ordinal(back, "lowest")} {score} of {count}: {value}.'
    table: dict[str, dict[int, float]] = {}
    indices = run.column('index')
    for name in ('events', 'objects'):
        column = run.column(name)
        if indices is not None and column is not None:
            table[name] = dict(zip(indices.tolist(), column.tolist(), strict=True))
    counts, found = table.get('events', {}), table.get('objects', {})
    if run.of_images:
        return _image_reason(index, found)
    if index in counts and found.get(index) == 0:
        rank = _rank(counts, index, lambda key: found.get(key) == 0)
        text = f'{_ordinal(rank, "most")} events without any object: something may be missed.'
        if rank <= _RANKED:
            return _WORST, 10 + rank, text
    if index in counts and (rank := _rank(counts, index)) <= _RANKED:
        return _BUSY, rank, f'{_ordinal(rank, "most")} events of all windows.'
    if index in found and (rank := _rank(found, index)) <= _RANKED and found[index]:
        return _BUSY, 10 + rank, f'{_ordinal(rank, "most")} objects of all windows.'
    if index in counts:
        rank = _rank(counts, index)
        return _OTHER, rank, f'An ordinary window: place {rank} of {len(counts)} by events.'
    return _OTHER, index, ''


def _image_reason(index: int, objects: dict[int, float]) -> tuple[str, int, str]:
    """Return why the picture of an image is shown that is neither among the best nor the worst."""
    if objects.get(index) == 0:
        return _WORST, 10, 'No object was found: something may be missed.'
    if index in objects and (rank := _rank(objects, index)) <= _RANKED:
        return _BUSY, rank, f'{_ordinal(rank, "most")} objects of all images.'
    return _OTHER, index, 'An ordinary image, chosen by its place in the recording.'


def _rank(
    table: dict[int, Any], index: int, keep: Callable[[int], bool] = lambda _key: True
) -> int:
    """Return the place of a window among others by value, the largest first."""
    limit = table[index]
    return 1 + sum(1 for key, value in table.items() if keep(key) and value > limit)


def _ordinal(place: int, word: str) -> str:
    """Return 'Highest', 'Second highest', ..."""
    words = {1: '', 2: 'second ', 3: 'third '}
    return (words.get(place, f'{place}th ') + word).capitalize()
