# SPDX-License-Identifier: Apache-2.0
"""Hand-made windows and data folders for the tests of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from spikeseg_ros.events.types import Events, EventWindow

WINDOW = 50_000_000
# Events of a tiny recording.
COUNT = 4000


def window_of(
    boxes: list[tuple[int, int, int, int]],
    index: int = 0,
    noise: list[tuple[int, int]] | None = None,
    per_pixel: int = 2,
) -> tuple[EventWindow, np.ndarray]:
    """Return a window of 240 x 180 px with filled boxes (x, y, width, height), and its truth."""
    points: list[tuple[int, int]] = []
    truth: list[int] = []
    for number, (x, y, width, height) in enumerate(boxes, 1):
        part = [(x + i, y + j) for j in range(height) for i in range(width)] * per_pixel
        points += part
        truth += [number] * len(part)
    points += noise or []
    truth += [0] * len(noise or [])
    count = len(points)
    x, y = np.array(points, np.uint16).reshape(-1, 2).T
    start = index * WINDOW
    t = start + np.arange(count) * (WINDOW // max(1, count))
    events = Events(x, y, np.zeros(count, np.uint8), t.astype(np.int64))
    end = start + WINDOW
    return EventWindow(events, start, end, end, 240, 180, index=index), np.array(truth, np.uint16)


def write_nmnist(folder: Path, numbers: range) -> Path:
    """Write tiny recordings in the form of N-MNIST: a disc that flickers all the time."""
    folder.mkdir(parents=True)
    lines = []
    for number in numbers:
        rng = np.random.default_rng(number)
        angle, radius = rng.uniform(0, 6.28, COUNT), 12 * np.sqrt(rng.uniform(0, 1, COUNT))
        time = np.sort(rng.integers(0, 300_000, COUNT))
        rows = np.stack(
            [
                (17 + radius * np.cos(angle)).astype(np.uint8),
                (17 + radius * np.sin(angle)).astype(np.uint8),
                (time >> 16 | rng.integers(0, 2, COUNT) << 7).astype(np.uint8),
                (time >> 8 & 255).astype(np.uint8),
                (time & 255).astype(np.uint8),
            ],
            1,
        )
        (folder / f'{number}.bs2').write_bytes(rows.tobytes())
        lines.append(f'{number} {number % 10}')
    (folder / 'train1K.txt').write_text('\n'.join(lines))
    return folder


def write_clip(folder: Path, count: int = 4) -> Path:
    """Write a clip of 428 x 240 px: a bright square that moves over a quiet background."""
    for name in ('images', 'masks'):
        (folder / name).mkdir(parents=True)
    for k in range(count):
        image = np.full((240, 428, 3), 60, np.uint8)
        mask = np.zeros((240, 428), np.uint8)
        place = (slice(80, 140), slice(100 + 12 * k, 160 + 12 * k))
        image[place], mask[place] = 220, 255
        cv2.imwrite(str(folder / 'images' / f'{k:05}.png'), image)
        cv2.imwrite(str(folder / 'masks' / f'{k:05}.png'), mask)
    return folder
