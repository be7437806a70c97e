# SPDX-License-Identifier: Apache-2.0
"""What the demonstration says at its end: what was published, and how well it agrees."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.evaluation.agreement import Agreement
from spikeseg_ros.images.overlay import contact_sheet
from spikeseg_ros.nodes.demo_input import START_STAMP, Played, street_time
from spikeseg_ros.perception.segmenter import IMAGES
from spikeseg_ros.perception.wire import to_nanoseconds
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.serialization import deserialize
from spikeseg_ros.simulation import GroundTruth
from spikeseg_ros.simulation.street import CLASSES, StreetScene

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikeseg_ros.nodes.monitor import Monitor
    from spikeseg_ros.perception.result import Result

SHEET_PICTURES = 12
MASK_TOPIC, LABELS_TOPIC = '/spikeseg/mask', '/spikeseg/labels'
CLASS_IDS = 0


@dataclass
class Summary:
    """What the demonstration ends with.

    Attributes:
        lines: Pairs of a name and a value, in order.
        problems: What went wrong; empty where all is well.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the summary as one screen of text."""
        width = max((len(name) for name, _ in self.lines), default=0)
        rows = [f'  {name:<{width}}  {value}' for name, value in self.lines]
        rows += [f'  PROBLEM: {problem}' for problem in self.problems]
        return '\n'.join(rows)


def judge(
    monitor: Monitor,
    played: Played,
    out: Path,
    truth: GroundTruth | StreetScene | None,
    problems: list[str],
) -> Summary:
    """Write the sheet of pictures and return the summary."""
    summary = Summary(problems=problems)
    seen = played.within(monitor.results)
    objects = [item for result in seen for item in result.objects]
    tracks = {item.track_id for item in objects if item.track_id}
    counted = f'{len(objects)} in all, {len(tracks)} tracks'
    if played.kind == IMAGES:
        left = played.count - len(seen)
        text = f'{played.count} played, {len(seen)} segmented, {left} left for newer ones'
        summary.lines += [('images', text), ('objects', counted)]
        summary.lines.append(('latency', monitor.latency_text()))
        summary.lines += _class_lines(out, truth if isinstance(truth, StreetScene) else None)
    else:
        summary.lines += _window_lines(monitor, seen, counted)
        if isinstance(truth, GroundTruth):
            summary.lines += _agreement_lines(seen, truth)
    end = played.start + played.duration
    pictures = [picture for stamp, picture in monitor.pictures if stamp <= end]
    if pictures:
        picks = np.linspace(0, len(pictures) - 1, min(SHEET_PICTURES, len(pictures)))
        sheet = contact_sheet(
            [pictures[int(index)] for index in picks], columns=4 if played.kind != IMAGES else 3
        )
        cv2.imwrite(str(out / 'overlay.png'), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    summary.lines.append(('written', f'{out}: output/ overlay.mp4 overlay.png summary.txt logs/'))
    if not seen:
        said = '; '.join(f'{name}: {text}' for name, text in monitor.health.items())
        problems.append(f'nothing was published on /spikeseg/objects ({said or "no diagnostics"})')
    elif not objects and played.kind != IMAGES:
        problems.append('windows were published, but not one object in them')
    if not pictures:
        problems.append('the visualizer published no picture')
    return summary


def _window_lines(monitor: Monitor, seen: Sequence[Result], counted: str) -> list[tuple[str, str]]:
    """Return what happened to windows of events."""
    busy = sum(bool(result.objects) for result in seen)
    events = sum(result.n_events for result in seen)
    span = sum(result.duration for result in seen) / 1e9
    rate = events / 1e6 / max(span, 1e-9)
    return [
        ('windows', f'{len(seen)} published, {busy} with objects, {monitor.shed} shed'),
        ('events', f'{events} in these windows ({rate:.2f} Mev/s)'),
        ('objects', counted),
        ('latency', monitor.latency_text()),
        ('drops', f'{monitor.dropped} packets dropped, {monitor.lost} lost'),
    ]


def _agreement_lines(results: Sequence[Result], truth: GroundTruth) -> list[tuple[str, str]]:
    """Compare published windows with the simulated truth."""
    score = Agreement()
    for result in results:
        end = result.stamp - START_STAMP
        events, labels = truth.labels(end - result.duration, end)
        score.add(result.objects, events, labels)
    return [
        (
            'agreement',
            f'recall {score.recall:.2f}, precision {score.precision:.2f} at IoU 0.5; '
            f'mean IoU {score.mean_iou:.2f}',
        ),
        (
            '',
            f'{score.coverage:.0%} of the events of true objects lie on published ones; '
            f'{score.switches} changes of track',
        ),
    ]


def _class_lines(out: Path, scene: StreetScene | None) -> list[tuple[str, str]]:
    """Return shares of the classes in the recorded masks, and how they agree with the drawing."""
    names, masks = _recorded(out / 'output')
    share = np.zeros(256, np.int64)
    table = np.zeros((len(CLASSES), 256), np.int64)
    for stamp, mask in masks:
        share += np.bincount(mask.ravel(), minlength=256)
        if scene is not None:
            truth = scene.render(street_time(stamp))[1]
            if truth.shape == mask.shape:
                joined = truth.astype(np.int64).ravel() * 256 + mask.ravel()
                table += np.bincount(joined, minlength=table.size).reshape(table.shape)
    total = max(1, int(share.sum()))
    order = [number for number in np.argsort(-share) if share[number] * 100 >= total]
    shares = ', '.join(f'{names.get(int(k), int(k))} {share[k] / total:.0%}' for k in order)
    lines = [('pixels', shares or 'no mask was recorded')]
    number_of = {name: number for number, name in names.items()}
    if scene is None or not table.any() or not set(CLASSES) & set(number_of):
        return lines
    scores = {}
    for row, name in enumerate(CLASSES):
        column = number_of.get(name)
        if column is not None and table[row].any():
            hit = table[row, column]
            scores[name] = hit / (table[row].sum() + table[:, column].sum() - hit)
    right = sum(table[k, number_of[name]] for k, name in enumerate(CLASSES) if name in number_of)
    listed = ', '.join(f'{name} {value:.2f}' for name, value in scores.items())
    return [
        *lines,
        (
            'agreement',
            f'{right / table.sum():.0%} of the pixels of the drawn street; mean IoU '
            f'{np.mean(list(scores.values())):.2f}',
        ),
        ('', listed),
        ('', 'a drawing is not what the network was trained on: see real streets with --images'),
    ]


def _recorded(bag: Path) -> tuple[dict[int, str], Iterator[tuple[int, NDArray[np.uint8]]]]:
    """Return the names of the classes and the class masks, with stamps, of a recording."""
    names: dict[int, str] = {}
    with BagReader(bag) as recording:
        if LABELS_TOPIC in recording.topics:
            for _, kind, _, raw in recording.messages([LABELS_TOPIC]):
                message = deserialize(kind, raw)
                names = {int(k): n for k, n in zip(message.ids, message.names, strict=True)}
    return names, _masks(bag)


def _masks(bag: Path) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield (stamp [ns], class ids) of the masks in a recording."""
    with BagReader(bag) as recording:
        if MASK_TOPIC not in recording.topics:
            return
        for _, kind, _, raw in recording.messages([MASK_TOPIC]):
            message = deserialize(kind, raw)
            if message.content != CLASS_IDS or message.encoding != 'mono8':
                continue
            stamp = to_nanoseconds(message.header.stamp)
            data = bytes(message.data)
            if message.compression:
                data = zlib.decompress(data)
            shape = (message.height, message.width)
            yield stamp, np.frombuffer(data, np.uint8).reshape(shape)
