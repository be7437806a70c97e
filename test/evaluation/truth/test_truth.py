# SPDX-License-Identifier: Apache-2.0
"""Ground truth: every kind answers windows and events, and says clearly what does not fit."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.io

from spikeseg_ros.evaluation.metrics.volumes import volume_counts
from spikeseg_ros.evaluation.truth import (
    EventTruth,
    TrajectoryTruth,
    TruthError,
    TruthSource,
    WindowsTruth,
    check_truth,
    load_truth,
)
from spikeseg_ros.evaluation.weights import recorded_windows
from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.bag import write_recording
from spikeseg_ros.simulation.events import SensorConfig
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import random_scene
from spikeseg_ros.simulation.truth import GroundTruth, encode_rle, save_coco

DOCS = Path(__file__).resolve().parents[3] / 'docs/ground_truth.md'
CLIPS = Path(__file__).resolve().parents[4] / 'shared/data/davis16'
MS = 1_000_000


def _simulated() -> GroundTruth:
    scene = random_scene(
        96, 72, 3, objects=2, sizes=(8.0, 14.0), speeds=(40.0, 90.0), seconds=0.1, gap=5.0
    )
    sensor = SensorConfig(96, 72, noise_hz=1.0, seed=3)
    return simulate_scene(scene, 0.1, sensor, camera_hz=0).truth


@pytest.fixture(scope='module')
def truth() -> GroundTruth:
    return _simulated()


def _decoded(events: Events, width: int, height: int) -> Events:
    """Return events as they come back from an EVT3 recording."""
    payload = Evt3Encoder(width, height).encode(events)
    return EventDecoder('evt3', width, height).decode(payload)


def test_events_of_a_recording_get_their_exact_instances(
    truth: GroundTruth, tmp_path: Path
) -> None:
    truth.save(tmp_path / 'scene.npz')
    source = load_truth(tmp_path / 'scene.npz')
    assert (source.width, source.height) == (96, 72)
    assert source.classes == truth.classes
    events, labels = truth.labels(20 * MS, 70 * MS)
    assert len(events) > 300
    assert set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(source.labels(events, 20 * MS, 70 * MS), labels)
    # An encoding keeps microseconds and may order the events of one anew.
    window = _decoded(events, 96, 72)
    found = source.labels(window, 20 * MS, 70 * MS)
    assert np.array_equal(np.bincount(found), np.bincount(labels))
    order = np.lexsort((events.p, events.x, events.y, events.t // 1000))
    other = np.lexsort((window.p, window.x, window.y, window.t // 1000))
    assert np.array_equal(found[other], labels[order])
    # A part of the events, too, and none at all.
    part = events.select(np.arange(0, len(events), 3))
    assert np.array_equal(source.labels(part, 20 * MS, 70 * MS), labels[::3])
    assert source.labels(Events.empty(), 20 * MS, 70 * MS).shape == (0,)
    boxes = [item.silhouette.box for item in source.window(0, 50 * MS).objects]
    assert boxes == [item.silhouette.box for item in truth.window(0, 50 * MS).objects]
    assert len(boxes) == 2
    assert source.covers(0, 50 * MS)
    assert not source.covers(10**12, 10**12 + MS)


def test_moved_events_take_the_instance_of_their_pixel(truth: GroundTruth) -> None:
    source = EventTruth(truth)
    events, labels = truth.labels(20 * MS, 70 * MS)
    late = events.t.copy()
    late[::4] += 3000
    found = source.labels(replace(events, t=late), 20 * MS, 70 * MS)
    assert np.array_equal(found[1::4], labels[1::4])
    assert np.mean(found == labels) > 0.9


def test_events_of_another_recording_are_refused(truth: GroundTruth) -> None:
    rng = np.random.default_rng(0)
    events, _ = truth.labels(20 * MS, 70 * MS)
    count = len(events)
    other = Events(
        rng.integers(0, 96, count).astype(np.uint16),
        rng.integers(0, 72, count).astype(np.uint16),
        events.p,
        events.t,
    )
    with pytest.raises(TruthError, match='give the truth of this recording'):
        EventTruth(truth, 'scene.npz').labels(other, 20 * MS, 70 * MS)


def test_json_of_the_simulator_answers_windows_and_events(
    truth: GroundTruth, tmp_path: Path
) -> None:
    save_coco(tmp_path / 'scene.json', truth, truth.windows(50 * MS))
    source = load_truth(tmp_path / 'scene.json')
    assert isinstance(source, WindowsTruth)
    assert (source.t_start, source.t_end) == (0, 100 * MS)
    events, labels = truth.labels(50 * MS, 100 * MS)
    found = source.labels(events, 50 * MS, 100 * MS)
    # By pixel only: every event of an object is found, noise on its pixels comes along.
    assert np.mean(found[labels > 0] == labels[labels > 0]) > 0.97
    assert np.mean(found == labels) > 0.9
    # The window that shares most time answers; less than half of it does not count.
    assert source.window(60 * MS, 110 * MS).objects == source.windows[1].objects
    assert source.covers(75 * MS, 125 * MS)
    assert not source.covers(76 * MS, 126 * MS)
    assert source.window(80 * MS, 130 * MS).objects == ()
    assert not source.labels(events, 200 * MS, 250 * MS).any()


def _tree() -> dict[str, Any]:
    """Return a small truth in the documented form, with all ways to write a mask."""
    mask = np.zeros((6, 8), bool)
    mask[1:3, 1:4] = True
    return {
        'images': [{'id': 5, 'width': 8, 'height': 6, 't_start': 0, 't_end': 50 * MS}],
        'categories': [{'id': 2, 'name': 'car'}],
        'annotations': [
            {
                'id': 1, 'image_id': 5, 'category_id': 2, 'track_id': 1, 'bbox': [1, 1, 3, 2],
                'segmentation': encode_rle(mask),
            },
            {'id': 2, 'image_id': 5, 'category_id': 2, 'track_id': 2, 'bbox': [5, 0, 2, 3]},
            {
                'id': 3, 'image_id': 5, 'category_id': 2, 'track_id': 3, 'bbox': [5, 4, 2, 1],
                'segmentation': [[5, 4, 6, 4, 6, 5, 5, 5]],
            },
        ],
    }  # fmt: skip


def _write(tmp_path: Path, tree: Any) -> Path:
    path = tmp_path / 'truth.json'
    path.write_text(json.dumps(tree))
    return path


def test_masks_may_be_runs_boxes_or_polygons(tmp_path: Path) -> None:
    source = load_truth(_write(tmp_path, _tree()))
    (first, second, third) = source.window(0, 50 * MS).objects
    assert first.silhouette.box == (1, 1, 3, 2)
    assert (first.name, first.class_id) == ('car', 2)
    assert second.silhouette.box == (5, 0, 2, 3)
    assert third.silhouette.box == (5, 4, 2, 2)
    x, y = np.mgrid[0:8, 0:6].reshape(2, -1).astype(np.uint16)
    events = Events(x, y, np.ones(48, np.uint8), np.zeros(48, np.int64))
    labels = source.labels(events, 0, 50 * MS).reshape(8, 6).T
    assert np.bincount(labels.ravel()).tolist() == [48 - 6 - 6 - 4, 6, 6, 4]
    assert (labels[1:3, 1:4] == 1).all()


def test_compressed_runs_are_read(tmp_path: Path) -> None:
    run_lengths = pytest.importorskip('pycocotools.mask')
    rng = np.random.default_rng(0)
    for _ in range(20):
        mask = rng.random((60, 80)) < rng.random() ** 3
        mask[3, 3] = True
        tree = _tree()
        tree['images'][0].update(width=80, height=60)
        code = run_lengths.encode(np.asfortranarray(mask, np.uint8))
        code = {'size': code['size'], 'counts': code['counts'].decode()}
        tree['annotations'] = [{**tree['annotations'][0], 'segmentation': code}]
        (item,) = load_truth(_write(tmp_path, tree)).window(0, 50 * MS).objects
        assert np.array_equal(item.silhouette.full(60, 80), mask)


def test_overlapping_objects_share_their_events_by_what_is_visible(tmp_path: Path) -> None:
    tree = _tree()
    back, front = np.zeros((6, 8), bool), np.zeros((6, 8), bool)
    back[:, :6] = front[2:4, 4:8] = True
    common = {'image_id': 5, 'category_id': 2, 'bbox': [0, 0, 1, 1]}
    tree['annotations'] = [
        {
            **common, 'id': 1, 'track_id': 1, 'segmentation': encode_rle(front),
            'event_segmentation': encode_rle(front),
        },
        {
            **common, 'id': 2, 'track_id': 2, 'segmentation': encode_rle(back & ~front),
            'event_segmentation': encode_rle(back),
        },
    ]  # fmt: skip
    source = load_truth(_write(tmp_path, tree))
    x, y = np.array([[4, 0, 7], [2, 0, 2]], np.uint16)
    events = Events(x, y, np.ones(3, np.uint8), np.zeros(3, np.int64))
    assert source.labels(events, 0, 50 * MS).tolist() == [1, 2, 1]


def _broken(change: str) -> Any:
    tree = _tree()
    image, item = tree['images'][0], tree['annotations'][0]
    if change == 'no images':
        del tree['images']
    elif change == 'empty':
        tree['annotations'] = []
    elif change == 'unknown image':
        item['image_id'] = 9
    elif change == 'mask of another size':
        item['segmentation'] = encode_rle(np.ones((3, 3), bool))
    elif change == 'runs that do not add up':
        item['segmentation']['counts'] = [3]
    elif change == 'track 0':
        item['track_id'] = 0
    elif change == 'same track twice':
        item['track_id'] = 2
    elif change == 'no time':
        del image['t_end']
    elif change == 'time as text':
        image['t_end'] = 'late'
    elif change == 'backwards':
        image['t_end'] = -1
    elif change == 'two windows at once':
        tree['images'].append({**image, 'id': 6})
    elif change == 'two sizes':
        other = {'id': 6, 't_start': 50 * MS, 't_end': 100 * MS}
        tree['images'].append({**image, **other, 'width': 9})
    elif change == 'a list':
        return [1, 2]
    return tree


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ('no images', "lacks the field 'images'"),
        ('empty', 'holds no object in any of 1 windows'),
        ('unknown image', 'unknown image 9'),
        ('mask of another size', 'annotation 1 has 3x3 pixels, its image 8x6'),
        ('runs that do not add up', 'add up to 3'),
        ('track 0', 'track_id 0'),
        ('same track twice', 'track ids'),
        ('no time', "lacks the field 't_end'"),
        ('time as text', "'late'"),
        ('backwards', 't_end must be later'),
        ('two windows at once', 'two windows at 0 ns'),
        ('two sizes', 'need one size'),
        ('a list', 'Cannot read'),
    ],
)
def test_damaged_json_gets_one_clear_message(tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(TruthError, match=re.escape(message)) as err:
        load_truth(_write(tmp_path, _broken(change)))
    assert 'truth.json' in str(err.value)
    assert '\n' not in str(err.value)


def test_bytes_that_are_no_truth_get_one_clear_message(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = _simulated()
    truth.save(tmp_path / 'good.npz')
    save_coco(tmp_path / 'good.json', truth, truth.windows(50 * MS))
    for name in ('good.npz', 'good.json'):
        content = (tmp_path / name).read_bytes()
        for _ in range(60):
            damaged = bytearray(content[: rng.integers(len(content))])
            for place in rng.integers(0, max(1, len(damaged)), 3):
                if len(damaged):
                    damaged[place] ^= int(rng.integers(1, 256))
            path = tmp_path / f'bad{Path(name).suffix}'
            path.write_bytes(damaged)
            with pytest.raises(TruthError, match='bad'):
                load_truth(path)


def _clip(folder: Path) -> Path:
    """Write a clip of three images whose square moves 4 px per image."""
    for name in ('images', 'masks'):
        (folder / name).mkdir(parents=True)
    for k in range(3):
        mask = np.zeros((20, 30), np.uint8)
        mask[8:12, 4 + 4 * k : 8 + 4 * k] = 255
        cv2.imwrite(str(folder / f'masks/{k:05d}.png'), mask)
        cv2.imwrite(str(folder / f'images/{k:05d}.jpg'), np.zeros((20, 30, 3), np.uint8))
    return folder


def test_masks_of_a_clip_become_windows_by_its_rate(tmp_path: Path) -> None:
    source = load_truth(_clip(tmp_path / 'clip'), fps=20.0)
    assert (source.width, source.height, source.t_end) == (30, 20, 150 * MS)
    # The last mask that is not later than the window's end.
    for end, left in ((49, 4), (50, 8), (99, 8), (100, 12), (140, 12)):
        (item,) = source.window(end * MS - 30 * MS, end * MS).objects
        assert item.silhouette.box == (left, 8, 4, 4)
        assert item.track_id == 1
    # Events take the mask nearest in time, one pixel wider.
    x = np.array([7, 7, 15, 8, 9], np.uint16)
    t = np.array([24, 26, 76, 10, 10], np.int64) * MS
    events = Events(x, np.full(5, 9, np.uint16), np.ones(5, np.uint8), t)
    assert source.labels(events, 0, 100 * MS).tolist() == [1, 1, 1, 1, 0]
    assert not source.covers(150 * MS, 200 * MS)
    assert source.window(150 * MS, 200 * MS).objects == ()
    assert not source.labels(events, 150 * MS, 200 * MS).any()


def test_a_clip_without_masks_or_objects_is_refused(tmp_path: Path) -> None:
    clip = _clip(tmp_path / 'clip')
    with pytest.raises(TruthError, match='positive rate'):
        load_truth(clip, fps=0.0)
    (clip / 'masks/00001.png').write_bytes(b'nothing')
    with pytest.raises(TruthError, match=r'00001\.png'):
        load_truth(clip)
    cv2.imwrite(str(clip / 'masks/00001.png'), np.zeros((5, 5), np.uint8))
    with pytest.raises(TruthError, match='5x5 pixels, the first one 30x20'):
        load_truth(clip)
    for k in range(3):
        cv2.imwrite(str(clip / f'masks/{k:05d}.png'), np.zeros((20, 30), np.uint8))
    with pytest.raises(TruthError, match='hold no object'):
        load_truth(clip)
    (clip / 'masks/00002.png').unlink()
    with pytest.raises(TruthError, match='equally many files'):
        load_truth(clip)


def test_a_clip_of_davis() -> None:
    if not (CLIPS / 'libby').exists():
        pytest.skip(f'clip {CLIPS / "libby"} is not here')
    source = load_truth(CLIPS / 'libby')
    assert (source.width, source.height) == (428, 240)
    assert source.t_end == round(49 / 24 * 1e9)
    (item,) = source.window(0, 50 * MS).objects
    assert 0.01 < item.silhouette.area / (428 * 240) < 0.046


def _mat(path: Path, *, without: str = '', **changes: Any) -> Path:
    """Write a labelled recording as EBSSA has it: pixels from 1, microseconds."""
    rng = np.random.default_rng(0)
    ts = np.sort(rng.integers(0, 200_000, 500)).astype(float)
    td = {
        'x': rng.integers(1, 241, 500).astype(float)[:, None],
        'y': rng.integers(1, 181, 500).astype(float)[:, None],
        'p': rng.choice([-1.0, 1.0], 500)[:, None],
        'ts': ts[:, None],
    }
    time = np.repeat(np.arange(0, 200_001, 10_000), 2).astype(float)
    ids = np.tile([4.0, 9.0], 21)
    obj = {
        'x': np.where(ids == 4, 21 + time / 10_000, 101.0),
        'y': np.where(ids == 4, 31.0, 121.0),
        'ts': time,
        'id': ids,
    }
    tree: dict[str, Any] = {'TD': {**td, **changes.get('td', {})}, 'Obj': obj}
    if without in tree:
        del tree[without]
    elif without:
        struct, name = without.split('.')
        del tree[struct][name]
    scipy.io.savemat(path, tree)
    return path


def test_a_recording_of_ebssa(tmp_path: Path) -> None:
    source = load_truth(_mat(tmp_path / 'sky.mat'))
    assert isinstance(source, TrajectoryTruth)
    assert (source.width, source.height) == (240, 180)
    recording = source.recording
    assert len(recording.events) == 500
    assert int(recording.events.x.max()) <= 239
    assert int(recording.events.x.min()) == 0
    assert set(np.unique(recording.events.p)) == {0, 1}
    assert recording.events.t[-1] <= 200 * MS
    assert [item.track_id for item in recording.trajectories] == [1, 2]
    assert recording.trajectories[0].at(50 * MS) == (25.0, 30.0)
    (first, second) = source.window(40 * MS, 60 * MS).objects
    assert first.silhouette.box == (22, 27, 7, 7)
    assert first.silhouette.area == 29
    assert second.track_id == 2
    x, y = np.array([[25, 28, 29, 100], [30, 30, 30, 123]], np.uint16)
    events = Events(x, y, np.ones(4, np.uint8), np.full(4, 50 * MS))
    assert source.labels(events, 40 * MS, 60 * MS).tolist() == [1, 1, 0, 2]
    counts = volume_counts(recording, recording.events, 3)
    assert counts.tp + counts.fn > 30


@pytest.mark.parametrize(
    ('without', 'message'),
    [
        ('TD', r'no field TD\.x'),
        ('TD.ts', r'no field TD\.ts'),
        ('Obj', 'no labelled object'),
        ('Obj.id', r'no field Obj\.id'),
    ],
)
def test_incomplete_recordings_of_ebssa(tmp_path: Path, without: str, message: str) -> None:
    with pytest.raises(TruthError, match=message) as err:
        load_truth(_mat(tmp_path / 'sky.mat', without=without))
    assert 'sky.mat' in str(err.value)


def test_damaged_recordings_of_ebssa(tmp_path: Path) -> None:
    path = _mat(tmp_path / 'sky.mat', td={'x': np.full((500, 1), 400.0)})
    with pytest.raises(TruthError, match='no sensor of EBSSA'):
        load_truth(path)
    with pytest.raises(TruthError, match='equally many events'):
        load_truth(_mat(path, td={'x': np.ones((3, 1))}))
    with pytest.raises(TruthError, match='no numbers'):
        load_truth(_mat(path, td={'ts': np.full((500, 1), np.nan)}))
    content = _mat(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(TruthError, match=r'sky\.mat'):
        load_truth(path)


def test_truth_that_does_not_fit_the_recording_is_refused(truth: GroundTruth) -> None:
    source: TruthSource = EventTruth(truth, 'scene.npz')
    assert check_truth(source, 96, 72, 0, 100 * MS) is source
    with pytest.raises(TruthError, match=r"'scene.npz' is for 96x72 pixels.* has 640x480"):
        check_truth(source, 640, 480, 0, 100 * MS)
    with pytest.raises(TruthError, match=r'scene.npz.*5\.000000 \.\. 6\.000000 s'):
        check_truth(source, 96, 72, 5000 * MS, 6000 * MS)


def test_what_is_no_truth_is_refused(tmp_path: Path, truth: GroundTruth) -> None:
    with pytest.raises(TruthError, match='There is no ground truth'):
        load_truth(tmp_path / 'nothing.npz')
    (tmp_path / 'truth.txt').write_text('1')
    with pytest.raises(TruthError, match='expected one of npz, coco, davis, ebssa'):
        load_truth(tmp_path / 'truth.txt')
    with pytest.raises(TruthError, match="got 'voc'"):
        load_truth(tmp_path / 'truth.txt', 'voc')
    with pytest.raises(TruthError, match=r'Write it with GroundTruth\.save'):
        load_truth(tmp_path / 'truth.txt', 'npz')
    empty = replace(truth, instance=np.zeros_like(truth.instance))
    empty.save(tmp_path / 'empty.npz')
    with pytest.raises(TruthError, match=r'empty\.npz.*no object'):
        load_truth(tmp_path / 'empty.npz')


def test_the_documented_example_is_valid(tmp_path: Path) -> None:
    (example,) = re.findall(r'```json\n(.*?)```', DOCS.read_text(), re.S)
    source = load_truth(_write(tmp_path, json.loads(example)))
    assert (source.width, source.height) == (8, 6)
    (ball, car) = source.window(0, 50 * MS).objects
    assert ball.silhouette.box == (1, 1, 3, 2)
    assert ball.silhouette.area == ball.n_events == 6
    assert (car.name, car.silhouette.box) == ('car', (5, 2, 2, 3))
    assert len(source.window(50 * MS, 100 * MS).objects) == 1


def test_truth_fits_the_recording_that_the_simulator_writes(tmp_path: Path) -> None:
    scene = random_scene(
        96, 72, 3, objects=2, sizes=(8.0, 14.0), speeds=(40.0, 90.0), seconds=0.2, gap=5.0
    )
    recording = simulate_scene(scene, 0.2, SensorConfig(96, 72, seed=3), camera_hz=0)
    write_recording(tmp_path / 'bag', recording)
    recording.truth.save(tmp_path / 'scene.npz')
    source = load_truth(tmp_path / 'scene.npz')
    windows = recorded_windows(tmp_path / 'bag')
    assert len(windows) >= 3
    for window in windows:
        check_truth(source, window.width, window.height, window.t_start, window.t_end)
        labels = source.labels(window.events, window.t_start, window.t_end)
        _, known = recording.truth.labels(window.t_start, window.t_end)
        assert np.array_equal(np.bincount(labels), np.bincount(known))
