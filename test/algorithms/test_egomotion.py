# SPDX-License-Identifier: Apache-2.0
"""The motion of the background and what departs from it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from spikeseg_ros.algorithms.egomotion import egomotion
from spikeseg_ros.events import Events
from spikeseg_ros.events.background import block_density

HEIGHT, WIDTH = 160, 240
WINDOW = 50_000_000
OBJECT = (slice(60, 110), slice(90, 150))


def _moving(
    background: tuple[float, float], item: tuple[float, float] | None, seed: int = 0
) -> Events:
    """Return events of random texture that moves by so many pixels in the window.

    Every point of texture makes an event wherever it is, at 30 moments.
    """
    rng = np.random.default_rng(seed)
    parts = []
    places = [(background, (slice(-60, HEIGHT + 60), slice(-60, WIDTH + 60)), True)]
    if item is not None:
        places.append((item, OBJECT, False))
    for velocity, (rows, columns), outside in places:
        count = (rows.stop - rows.start) * (columns.stop - columns.start) // 12
        x0 = rng.uniform(columns.start, columns.stop, count)
        y0 = rng.uniform(rows.start, rows.stop, count)
        for k in range(30):
            x, y = x0 + velocity[0] * k / 30, y0 + velocity[1] * k / 30
            keep = (x >= 0) & (y >= 0) & (x < WIDTH) & (y < HEIGHT)
            if outside and item is not None:
                left, top = item[0] * k / 30, item[1] * k / 30
                hidden = (x > 90 + left) & (x < 150 + left) & (y > 60 + top) & (y < 110 + top)
                keep &= ~hidden
            parts.append((x[keep], y[keep], np.full(int(keep.sum()), k * WINDOW // 30)))
    x, y, t = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(t, kind='stable')
    return Events(
        x[order].astype(np.uint16),
        y[order].astype(np.uint16),
        np.ones(len(t), np.uint8),
        t[order],
    )


def _egomotion(events: Events):  # type: ignore[no-untyped-def]
    density = block_density(events, HEIGHT, WIDTH)
    return egomotion(events, 0, WINDOW, HEIGHT, WIDTH, density)


@pytest.mark.parametrize('velocity', [(12.0, 0.0), (0.0, -9.0), (8.0, 6.0)])
def test_the_velocity_of_the_background_is_found(velocity: tuple[float, float]) -> None:
    found = _egomotion(_moving(velocity, None))
    assert found is not None
    wanted = np.array(velocity) / (WINDOW * 1e-9)
    assert np.hypot(*(np.array(found.velocity) - wanted)) < 0.25 * np.hypot(*wanted)
    assert found.foreground.mean() < 0.1


def test_what_moves_otherwise_is_foreground() -> None:
    found = _egomotion(_moving((12.0, 0.0), (-6.0, 0.0)))
    assert found is not None
    truth = np.zeros((HEIGHT, WIDTH), np.bool_)
    truth[60:110, 87:150] = True
    common = (found.foreground & truth).sum()
    assert common / (found.foreground | truth).sum() > 0.5


def test_a_camera_at_rest_has_no_background_motion() -> None:
    assert _egomotion(_moving((0.0, 0.0), None)) is None
    # One thing that moves before a silent background.
    small = _moving((12.0, 0.0), None)
    inside = (small.x > 90) & (small.x < 150) & (small.y > 60) & (small.y < 110)
    alone = Events(*(column[inside] for column in (small.x, small.y, small.p, small.t)))
    assert _egomotion(alone) is None
    assert _egomotion(Events.empty()) is None


def test_sensors_too_small_for_the_flow_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    xy = rng.integers(0, 40, (2, 20_000)).astype(np.uint16)
    events = Events(
        xy[0], xy[1], np.ones(20_000, np.uint8), np.sort(rng.integers(0, WINDOW, 20_000))
    )
    assert egomotion(events, 0, WINDOW, 40, 40, block_density(events, 40, 40)) is None


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    events = _moving((12.0, 3.0), (-6.0, 0.0))
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = _egomotion(events)
        cv2.setNumThreads(4)
        four = _egomotion(events)
        assert cv2.getNumThreads() == 4
    finally:
        cv2.setNumThreads(before)
    assert one is not None
    assert four is not None
    np.testing.assert_array_equal(one.foreground, four.foreground)
    assert one.velocity == four.velocity
