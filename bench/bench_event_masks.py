# SPDX-License-Identifier: Apache-2.0
"""Masks of the SpikeSEG chain on the clips that segmentation networks for events are tested on.

``python -m bench event_masks [--quick]``. The windows are those of ``spikeseg evaluate
segmentation`` on the same clips: 50 ms of simulated events in front of each image. The chain runs
with its defaults and keeps its memory from window to window. It looks for things that move on
their own and marks pixels with events; here all its objects together are compared with the mask of
the labelled object, once as they are and once with gaps up to 25 px filled.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from spikeseg_ros.datasets.clips import SPLITS, SimulatedClips
from spikeseg_ros.datasets.event_frames import Framing
from spikeseg_ros.evaluation.event_segmentation import CLOSING
from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
from spikeseg_ros.events.types import EventWindow
from spikeseg_ros.perception.config import PerceptionConfig
from spikeseg_ros.perception.registry import create
from spikeseg_ros.simulation.events import SECOND, SensorConfig
from spikeseg_ros.simulation.recording import record
from spikeseg_ros.simulation.video import clip_files, clip_frames

DATA = Path(__file__).resolve().parents[1] / '../shared/data/davis16'
FPS = 24.0


def run(quick: bool = False) -> None:
    """Print the table."""
    folders = sorted(path.parent for path in DATA.glob('*/masks'))
    if not folders:
        print(f'left out: there are no clips in {DATA}')
        return
    length, names = Framing().window, SimulatedClips.classes
    totals = [ConfusionMatrix(names), ConfusionMatrix(names)]
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (CLOSING, CLOSING))
    print(f'{"IoU [%] of object":<20} {"as it is":>9} {"filled":>9}')
    for number, folder in enumerate(folders):
        if not SPLITS['test'](number):
            continue
        files = clip_files(folder)[1][: 12 if quick else None]
        masks = [np.asarray(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)) > 0 for path in files]
        height, width = masks[0].shape
        sensor = SensorConfig(width, height, noise_hz=0.1, seed=number)
        events = record(clip_frames(folder, FPS), sensor, camera_hz=0, mask_hz=1).events
        segmenter = create(PerceptionConfig())
        state = segmenter.initial_state()
        parts = [ConfusionMatrix(names), ConfusionMatrix(names)]
        for k, mask in enumerate(masks):
            end = round(k / FPS * SECOND)
            if end < length:
                continue
            begin, stop = np.searchsorted(events.t, [end - length, end])
            seen = events.slice(int(begin), int(stop))
            window = EventWindow(seen, end - length, end, end, width, height, index=k)
            result, state = segmenter.segment(window, state)
            found = (result.object_mask() > 0).astype(np.uint8)
            filled = np.asarray(cv2.morphologyEx(found, cv2.MORPH_CLOSE, kernel))
            for part, pixels in zip(parts, (found, filled), strict=True):
                part.add(pixels, mask.astype(np.uint8))
        for total, part in zip(totals, parts, strict=True):
            total.merge(part)
        cells = ' '.join(f'{100 * part.iou[1]:>9.2f}' for part in parts)
        print(f'{folder.name:<20} {cells}', flush=True)
    print(f'{"all":<20} {" ".join(f"{100 * total.iou[1]:>9.2f}" for total in totals)}')
