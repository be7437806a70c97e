# SPDX-License-Identifier: Apache-2.0
"""From a complete journal to the files of a run: one pass, the same bytes every time.

The files are made in a folder of their own and moved into place when all of them are whole;
summary.json comes last and says that the run is finished.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline.coco import CocoWriter
from spikeseg_ros.evaluation.offline.errors import EvaluationError
from spikeseg_ros.evaluation.offline.output_bag import OVERLAY, OutputBag
from spikeseg_ros.evaluation.offline.pictures import (
    choose,
    choose_images,
    frame_numbers,
    overlay_png,
    write_gif,
    write_pictures,
)
from spikeseg_ros.evaluation.offline.tables import (
    FORMAT,
    TRUTH_COLUMNS,
    WINDOW_COLUMNS,
    Totals,
    class_shares,
    counts_summary,
    energy_summary,
    window_row,
    write_summary,
    write_timing,
)
from spikeseg_ros.evaluation.offline.windows import FinishedWindow, from_bytes
from spikeseg_ros.perception.segmenter import IMAGES
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.serialization import deserialize

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from spikeseg_ros.evaluation.offline.checkpoint import Progress
    from spikeseg_ros.evaluation.offline.replay import Replay
    from spikeseg_ros.evaluation.offline.scores import Scores
    from spikeseg_ros.evaluation.offline.windows import Frame
    from spikeseg_ros.perception.segmenter import Segmenter

_PARTIAL = '.partial'


def finish(
    folder: Path,
    identity: dict[str, Any],
    replay: Replay,
    segmenter: Segmenter,
    progress: Progress,
    clock: tuple[str, float],
    scores: Scores | None = None,
) -> None:
    """Write the files of a run.

    Args:
        folder: The run's folder; holds the journal.
        identity: What the run was made of.
        replay: The recording.
        segmenter: Model family.
        progress: What the journal ends with.
        clock: When the run started, ISO 8601, and for how long it ran so far [s].
        scores: Ground truth to compare with.

    Raises:
        TruthError: The ground truth is about another recording; nothing was written.
        EvaluationError: The recording is not the one of the journal any more.
        OSError: The disk refuses.
    """
    partial = folder / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    totals = _write_windows(partial, folder, identity['bag'], replay, segmenter, scores)
    metrics = scores.result() if scores is not None else None
    good = totals.scores if scores is None else scores.mean_ious
    if replay.kind == IMAGES:
        chosen = choose_images(totals.objects, good)
    else:
        chosen = choose(totals.events, totals.objects, good)
    _write_pictures(partial, set(chosen), len(totals.events))
    started, seconds = clock
    write_timing(partial, totals, segmenter.device, started, seconds)
    summary = _summary(identity, progress, totals, segmenter)
    if replay.kind == IMAGES:
        summary |= {'input': IMAGES, 'classes': class_shares(totals, segmenter.labels)}
    write_summary(partial / 'summary.json', {**summary, 'metrics': metrics})
    names = sorted(path.name for path in partial.iterdir() if path.name != 'summary.json')
    (folder / 'summary.json').unlink(missing_ok=True)
    for name in (*names, 'summary.json'):
        target = folder / name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(partial / name, target)
    partial.rmdir()


def read_again(folder: Path, replay: Replay) -> Iterator[tuple[FinishedWindow, Frame]]:
    """Yield the windows of the journal, each with its events or image, which are read again.

    Raises:
        EvaluationError: The recording is not the one of the journal any more.
    """
    frames = iter(replay)
    for kind, body, _ in journal.records(folder / journal.NAME):
        if kind not in (journal.WINDOW, journal.FAILED):
            continue
        frame = next(frames, None)
        window = from_bytes(body) if kind == journal.WINDOW else None
        if frame is None or (window is not None and not window.matches(frame)):
            msg = (
                f'{str(replay.path)!r} is not the recording that {str(folder)!r} was begun '
                'with; start anew with --overwrite.'
            )
            raise EvaluationError(msg)
        if window is not None:
            yield window, frame


def _write_windows(
    partial: Path,
    folder: Path,
    name: str,
    replay: Replay,
    segmenter: Segmenter,
    scores: Scores | None,
) -> Totals:
    """Write windows.csv, objects.json and output/."""
    totals = Totals()
    labels = tuple(segmenter.labels)
    coco = CocoWriter(partial / 'objects.json')
    output = OutputBag(partial / 'output', labels, segmenter.family)
    origin: int | None = None
    with (partial / 'windows.csv').open('w', newline='', encoding='utf-8') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow((*WINDOW_COLUMNS, *(TRUTH_COLUMNS if scores is not None else ())))
        coco.begin(name, labels)
        for window, frame in read_again(folder, replay):
            origin = window.t_start if origin is None else origin
            totals.add(window)
            judged = scores.add(window, frame.events) if scores is not None else []
            table.writerow(window_row(window) + judged)
            coco.add(window)
            output.add(window, overlay_png(window, frame, origin, labels))
    coco.close()
    output.close()
    return totals


def _write_pictures(partial: Path, chosen: set[int], windows: int) -> None:
    """Write overlays/ and overlay.gif from the pictures in output/.

    Args:
        partial: Folder that holds output/.
        chosen: Windows of overlays/.
        windows: Windows of the run.
    """
    shown = frame_numbers(windows)
    pictures: dict[int, bytes] = {}
    frames: list[bytes] = []
    with BagReader(partial / 'output') as bag:
        for index, (_, kind, _, raw) in enumerate(bag.messages([OVERLAY])):
            if index in chosen or index in shown:
                data = bytes(deserialize(kind, raw).data)
                if index in chosen:
                    pictures[index] = data
                if index in shown:
                    frames.append(data)
    write_pictures(partial / 'overlays', pictures)
    write_gif(partial / 'overlay.gif', frames)


def _summary(
    identity: dict[str, Any], progress: Progress, totals: Totals, segmenter: Segmenter
) -> dict[str, Any]:
    """Return the content of summary.json."""
    facts = progress.facts
    summary = {
        'format': FORMAT,
        'bag': {
            'name': identity['bag'],
            'topic': facts.topic,
            'type': facts.type,
            'encoding': facts.encoding,
            'width': facts.width,
            'height': facts.height,
            'sha256': progress.sha256,
            'messages': facts.messages,
            'events': facts.events,
            'on_events': facts.on_events,
            't_first_ns': facts.t_first,
            't_last_ns': facts.t_last,
            'damaged': facts.damaged,
        },
        'model': segmenter.family,
        'weights': identity['weights'],
        'config': identity['config'],
        'errors': progress.failed,
        'versions': identity['versions'],
        **counts_summary(totals),
    }
    fan_out = getattr(segmenter, 'fan_out', None)
    if fan_out:
        summary['energy'] = energy_summary(summary['spikes_per_window'], fan_out)
    return json.loads(json.dumps(summary))  # type: ignore[no-any-return]
