# SPDX-License-Identifier: Apache-2.0
"""A pipeline that takes over another one's progress goes on as that one would."""

from __future__ import annotations

import numpy as np
import pytest

from spikeseg_ros.evaluation.offline.state import decode_state, encode_state
from spikeseg_ros.events.stream import EventStream
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.registry import create

WINDOW = 50_000_000


def windows(count: int, epochs: int = 1) -> list[EventWindow]:
    """Return windows in which a square of dense events moves to the right."""
    rng = np.random.default_rng(0)
    found = []
    for k in range(count):
        t = np.sort(rng.integers(k * WINDOW, (k + 1) * WINDOW, 1500))
        share = (t - k * WINDOW) / WINDOW + k
        x = (20 + 4 * share + rng.integers(0, 14, 1500)).astype(np.uint16)
        y = (30 + rng.integers(0, 14, 1500)).astype(np.uint16)
        p = rng.integers(0, 2, 1500).astype(np.uint8)
        epoch = k * epochs // count
        end = (k + 1) * WINDOW
        found.append(
            EventWindow(Events(x, y, p, t), k * WINDOW, end, end, 120, 90, index=k, epoch=epoch)
        )
    return found


def seen(tick):
    return [
        (item.box, item.score, item.track_id, item.track_age, item.velocity, item.mask.tobytes())
        for item in tick.result.objects
    ]


@pytest.mark.parametrize('streaming', [False, True])
@pytest.mark.parametrize('at', [0, 1, 5, 7])
def test_progress_is_all_that_is_needed(streaming: bool, at: int) -> None:
    segmenter = create(from_flat({'spikeseg.streaming': streaming, 'device': 'cpu'}))
    frames = windows(8, epochs=2)
    whole = Pipeline(segmenter, EventStream())
    wanted = [seen(whole.process(frame)) for frame in frames]
    assert sum(len(objects) for objects in wanted) > 4
    first = Pipeline(segmenter, EventStream())
    for frame in frames[:at]:
        first.process(frame)
    saved = encode_state(first.progress)
    second = Pipeline(segmenter, EventStream())
    second.progress = decode_state(saved)
    assert [seen(second.process(frame)) for frame in frames[at:]] == wanted[at:]
