# SPDX-License-Identifier: Apache-2.0
"""Run directories as `spikeseg evaluate bag` leaves them, small and of known content."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from spikeseg_ros.evaluation.offline.coco import compressed, run_lengths
from spikeseg_ros.perception.config import PerceptionConfig, to_flat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WIDTH, HEIGHT = 128, 96
START = 1_700_000_000_000_000_000
LENGTH = 50_000_000
LAYERS = {'input': 900, 'conv1': 400, 'conv2': 200, 'class': 10}
STAGES = ('bin', 'encoder', 'hulk', 'objects', 'tracks', 'total')


def annotation(number: int, window: int, track: int, box: tuple[int, ...]) -> dict[str, Any]:
    """Return an annotation whose mask fills its box (x, y, width, height)."""
    x, y, width, height = box
    counts = run_lengths(np.ones((height, width), np.bool_), x, y, HEIGHT, WIDTH)
    return {
        'id': number,
        'image_id': window,
        'category_id': 1,
        'track_id': track,
        'bbox': list(box),
        'area': width * height,
        'segmentation': {'size': [HEIGHT, WIDTH], 'counts': compressed(counts)},
        'score': 0.9 - 0.01 * window,
        'n_events': 100,
        'velocity': [30.0, 40.0],
        'iscrowd': 0,
    }


def write_json(path: Path, tree: Any) -> None:
    """Write a JSON file."""
    path.write_text(json.dumps(tree, indent=1, sort_keys=True), encoding='utf-8')


def write_csv(path: Path, rows: list[list[Any]]) -> None:
    """Write a CSV file."""
    with path.open('w', newline='', encoding='utf-8') as file:
        csv.writer(file, lineterminator='\n').writerows(rows)


def write_run(
    path: Path,
    *,
    name: str = 'street',
    topic: str = '/event_camera/events',
    windows: int = 12,
    shift: int = 0,
    truth: bool = False,
    options: dict[str, Any] | None = None,
    sha256: str = 'ab' * 32,
) -> Path:
    """Write a run directory.

    Window k holds 1000 + 10 k events and two objects from window 2 on: track 1 moves right by one
    pixel per window, track 2 (from window 4 on) rests.

    Args:
        path: Folder to create.
        name: Recording.
        topic: Its topic.
        windows: Number of windows.
        shift: Pixels by which track 1 lies further down than usual.
        truth: Write metrics and the columns of the ground truth.
        options: Options that differ from the defaults.
        sha256: Checksum of the recording.
    """
    (path / 'overlays').mkdir(parents=True)
    rows: list[list[Any]] = [
        ['index', 'epoch', 'stamp_ns', 'duration_ns', 'events', 'on_events', 'objects', 'tracks']
        + ['object_events', 'instances', *(f'spikes_{layer}' for layer in LAYERS), 'dropped']
        + (['true_objects', 'matched', 'mean_iou'] if truth else [])
    ]
    timing: list[list[Any]] = [['index', *STAGES]]
    images, annotations = [], []
    for window in range(windows):
        boxes = [(1, (10 + window % 80, 20 + shift, 20, 30))] if window >= 2 else []
        boxes += [(2, (90, 60, 12, 12))] if window >= 4 else []
        stamp = START + (window + 1) * LENGTH
        images.append({'id': window, 'width': WIDTH, 'height': HEIGHT, 'stamp_ns': stamp})
        images[-1] |= {'duration_ns': LENGTH, 'n_events': 1000 + 10 * window}
        for track, box in boxes:
            annotations.append(annotation(len(annotations) + 1, window, track, box))
        row = [window, 0, stamp, LENGTH, 1000 + 10 * window, 400, len(boxes), len(boxes)]
        row += [100 * len(boxes), 5, *LAYERS.values(), 0]
        rows.append(row + ([2, 1, f'{0.05 * (window % 20):.6f}'] if truth else []))
        timing.append([window, *(f'{0.001 * (k + 1):.6f}' for k in range(len(STAGES)))])
    write_csv(path / 'windows.csv', rows)
    write_csv(path / 'timing.csv', timing)
    write_json(
        path / 'timing.json',
        {
            'device': 'cpu',
            'started': '2026-01-02T03:04:05+00:00',
            'seconds': 1.5,
            'host': {'python': '3.11.7'},
        },
    )
    write_json(
        path / 'objects.json',
        {
            'info': {},
            'images': images,
            'annotations': annotations,
            'categories': [{'id': 1, 'name': 'moving object'}],
        },
    )
    for window in {0, 1, windows // 2, windows - 1}:
        picture = np.full((HEIGHT, WIDTH, 3), 40 + window % 200, np.uint8)
        cv2.imwrite(str(path / 'overlays' / f'{window:06d}.png'), picture)
    events = sum(row[4] for row in rows[1:])
    summary: dict[str, Any] = {
        'format': 'spikeseg_run/1',
        'bag': {
            'name': name,
            'topic': topic,
            'type': 'event_camera_msgs/msg/EventPacket',
            'encoding': 'evt3',
            'width': WIDTH,
            'height': HEIGHT,
            'sha256': sha256,
            'messages': 77,
            'events': events,
            'on_events': 400 * windows,
            't_first_ns': 5_000_000,
            't_last_ns': 5_000_000 + windows * LENGTH,
            'damaged': '',
        },
        'model': 'spikeseg',
        'weights': {'name': 'spikeseg_default.pt', 'sha256': 'cd' * 32},
        'config': to_flat(PerceptionConfig()) | (options or {}),
        'windows': windows,
        'windows_with_objects': max(0, windows - 2),
        'objects': len(annotations),
        'tracks': 2,
        'events_in_objects': 100 * len(annotations),
        'events_per_window': {'mean': events / windows, 'p50': 1055.0, 'max': 1110},
        'objects_per_window': {'mean': len(annotations) / windows, 'p50': 2.0, 'max': 2},
        'spikes_per_window': LAYERS,
        'energy': {
            'picojoule_per_window': 0.9 * (900 * 100 + 400 * 900 + 200 * 49),
            'constants': {
                'accumulate_pj': 0.9,
                'fan_out': {'input': 100, 'conv1': 900, 'conv2': 49},
            },
        },
        'errors': 0,
        'metrics': None,
        'versions': {'spikeseg_ros': '0.1.0'},
    }
    if truth:
        summary['metrics'] = {
            'instances': {'ap50': 0.75, 'event_iou': 0.625},
            'tracks': {'hota': 0.5, 'id_switches': 3},
            'truth_sha256': 'ef' * 32,
        }
    write_json(path / 'summary.json', summary)
    return path


@pytest.fixture
def make_run() -> Callable[..., Path]:
    """Return the function that writes a run directory."""
    return write_run
