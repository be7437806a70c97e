# SPDX-License-Identifier: Apache-2.0
"""The demonstration: the whole graph in separate processes, and how it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip('rclpy', reason='ROS 2 is not installed')
pytest.importorskip('spikeseg_ros.msg', reason='the messages are not built')

import cv2

from spikeseg_ros.nodes.domains import free_domain
from spikeseg_ros.recordings import BagReader
from spikeseg_ros.recordings.serialization import deserialize
from spikeseg_ros.simulation.street import StreetScene

pytestmark = pytest.mark.ros
RECORDING = Path(__file__).resolve().parents[3] / 'shared/data/events/ros2_bags'


def _demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = dict(os.environ, ROS_DOMAIN_ID=str(free_domain()))
    return subprocess.run(
        [sys.executable, '-m', 'spikeseg_ros.cli', 'demo', *arguments],
        capture_output=True,
        text=True,
        timeout=420,
        env=environment,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.timeout(450)
def test_the_simulated_scene_is_seen(tmp_path: Path) -> None:
    done = _demo('--out', str(tmp_path), '--seconds', '3')
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (tmp_path / 'summary.txt').read_text()
    for word in ('windows', 'objects', 'latency', 'drops', 'agreement'):
        assert word in summary
    assert 'PROBLEM' not in summary
    with BagReader(tmp_path / 'output') as bag:
        assert bag.topics['/spikeseg/objects'].count > 5
        assert bag.topics['/spikeseg/mask'].count > 0
    sheet = cv2.imread(str(tmp_path / 'overlay.png'))
    assert sheet is not None
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > 10
    video = cv2.VideoCapture(str(tmp_path / 'overlay.mp4'))
    assert video.read()[0]


@pytest.mark.slow
@pytest.mark.timeout(450)
def test_a_recording_of_a_person_is_seen(tmp_path: Path) -> None:
    bag = RECORDING / 'event_camera_py' / 'test_events_1'
    if not bag.exists():
        pytest.skip(f'the recording {bag} is not here')
    done = _demo('--out', str(tmp_path), '--bag', str(bag), '--rate', '0.5')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'PROBLEM' not in (tmp_path / 'summary.txt').read_text()


@pytest.mark.slow
@pytest.mark.timeout(450)
@pytest.mark.parametrize(
    ('model', 'source'),
    [('mfs_seg', 'street'), ('mfs_seg', 'images'), ('spike2former', 'street')],
)
def test_a_street_is_segmented(tmp_path: Path, model: str, source: str) -> None:
    arguments = ['--out', str(tmp_path / 'out'), '--model', model, '--seconds', '2']
    if source == 'images':
        folder = tmp_path / 'pictures'
        folder.mkdir()
        for number in range(12):
            picture, _ = StreetScene(320, 240).render(number / 4)
            cv2.imwrite(str(folder / f'{number:03d}.png'), picture[:, :, ::-1])
        arguments += ['--images', str(folder), '--fps', '4']
    done = _demo(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (tmp_path / 'out/summary.txt').read_text()
    for word in ('played', 'segmented', 'latency', 'road'):
        assert word in summary
    assert ('agreement' in summary) is (source == 'street')
    assert 'PROBLEM' not in summary
    size = (360, 480) if source == 'street' else (240, 320)
    with BagReader(tmp_path / 'out/output') as bag:
        masks = [deserialize(kind, raw) for _, kind, _, raw in bag.messages(['/spikeseg/mask'])]
    assert masks
    assert all((item.height, item.width, item.content) == (*size, 0) for item in masks)
    assert cv2.imread(str(tmp_path / 'out/overlay.png')) is not None


@pytest.mark.parametrize(
    ('arguments', 'word'),
    [
        (['--images', '/nowhere/pictures'], '/nowhere/pictures'),
        (['--images', '/nowhere/pictures', '--bag', '/x'], '--bag'),
        (['--model', 'mfs_seg', '--weights', '/nowhere/w.pt'], '/nowhere/w.pt'),
        (['--bag', '/nowhere/bag'], '/nowhere/bag'),
        (['--seconds', '0'], '--seconds'),
    ],
)
def test_bad_arguments_are_named(arguments: list[str], word: str, tmp_path: Path) -> None:
    done = _demo('--out', str(tmp_path), *arguments)
    assert done.returncode == 1
    assert word in done.stderr
    assert 'Traceback' not in done.stderr


def test_a_missing_weight_file_ends_the_demo_with_its_reason(tmp_path: Path) -> None:
    parameters = tmp_path / 'p.yaml'
    parameters.write_text('/**:\n  ros__parameters:\n    weights: /nowhere/w.pt\n')
    done = _demo('--out', str(tmp_path), '--seconds', '0.5', '--params', str(parameters))
    assert done.returncode == 1
    assert '/nowhere/w.pt' in done.stderr
