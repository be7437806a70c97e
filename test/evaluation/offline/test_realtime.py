# SPDX-License-Identifier: Apache-2.0
"""Live and offline runs compared."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tiny

from spikeseg_ros.algorithms import BoundingBox
from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.offline.realtime import compare
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.wire import OBJECTS_TYPE, object_array_fields
from spikeseg_ros.recordings.serialization import deserialize, serialize
from spikeseg_ros.simulation import demo_scene, simulate_scene, write_recording

WINDOW = 50_000_000


def array(index, *, columns=(0, 10), shift=0, track=0, shed=0):
    """Return the message of a window with one object of some columns and ten rows."""
    first, stop = columns
    objects = ()
    if stop > first:
        mask = np.ones((10, stop - first), bool)
        box = BoundingBox(first, 5, stop - 1, 14)
        centre = (first / 2 + stop / 2, 9.5)
        objects = (SegmentedObject(0, box, mask, 1, 'x', 0.5, centre, mask.sum(), (), track, 1),)
    stamp = tiny.START + WINDOW * (index + 1) + shift
    result = Result(stamp, WINDOW, 'cam', 40, 30, 'spikeseg', objects, n_events=100)
    fields = object_array_fields(result, sequence=index, shed_windows=shed, lost_packets=2)
    return deserialize(OBJECTS_TYPE, serialize(OBJECTS_TYPE, fields))


def test_the_same_windows_are_identical():
    offline = [array(k) for k in range(5)]
    # Jitter of the stamps, and tracks that began elsewhere, are no difference.
    live = [array(k, shift=(-1) ** k * 2_000_000, track=3) for k in range(5)]
    found = compare(offline, live)
    assert (found['matched'], found['missing_windows']) == (5, 0)
    assert found['identical'] == 1.0
    assert found['event_iou'] == 1.0
    assert found['lost_packets'] == 2


def test_differences_are_counted():
    offline = [array(k, columns=(0, 0) if k == 4 else (0, 10)) for k in range(6)]
    live = [
        array(0),
        array(1, columns=(5, 15)),  # a third of the pixels of both
        # window 2 was shed
        array(3, columns=(0, 0)),
        array(4, columns=(0, 0)),
        array(5, shed=1),
        array(9),  # silence behind the recording
    ]
    found = compare(offline, live)
    assert found['windows'] == 6
    assert found['live_windows'] == 6
    assert found['matched'] == 5
    assert found['missing_windows'] == 1
    assert found['identical'] == pytest.approx(3 / 5)
    assert found['event_iou'] == pytest.approx((1 + 1 / 3 + 0 + 1) / 4)


def test_nothing_live():
    found = compare([array(0)], [])
    assert found['matched'] == 0
    assert found['identical'] is None
    assert found['shed_windows'] is None


@pytest.mark.slow
@pytest.mark.ros
def test_through_the_live_node(tmp_path, capsys):
    recording = simulate_scene(demo_scene(160, 120, 1.5), 1.5, camera_hz=0)
    write_recording(tmp_path / 'scene', recording)
    out = tmp_path / 'out'
    words = [str(tmp_path / 'scene'), '--output', str(out), '--no-report', '--realtime']
    # Without memory and tracks a window does not depend on whether the one before it was shed.
    words += ['--set', 'objects.memory=false', '--set', 'tracking.enabled=false']
    # A machine that lets the player wait must not look like a silent sensor.
    words += ['--set', 'events.silence_ms=10000']
    assert main(['evaluate', 'bag', *words]) == 0, capsys.readouterr().err
    found = json.loads((out / 'timing.json').read_text())['realtime']
    assert found['windows'] == 30
    # A busy machine sheds windows; those that are published are the same.
    assert found['matched'] >= 1
    assert found['matched'] + found['missing_windows'] == 30
    # A packet that the middleware lost is missing in one window or two.
    different = found['matched'] * (1 - found['identical'])
    assert different <= 2 * found['lost_packets'] + 1e-6
    assert found['event_iou'] == 1.0 or found['lost_packets']
    assert not (out / '.live').exists()
    assert 'scene live:' in capsys.readouterr().out


def test_without_ros_it_says_so(tmp_path, capsys, monkeypatch):
    import importlib

    real = importlib.import_module

    def without(name, *rest):
        if name == 'spikeseg_ros.nodes.live':
            raise ModuleNotFoundError("No module named 'rclpy'", name='rclpy')
        return real(name, *rest)

    monkeypatch.setattr(importlib, 'import_module', without)
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(), [])
    words = [str(bag), '--output', str(tmp_path / 'out'), '--realtime']
    assert main(['evaluate', 'bag', *words]) == 1
    assert 'ROS 2' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
