# SPDX-License-Identifier: Apache-2.0
"""Scenes, recordings and their ground truth."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from spikeseg_ros.simulation.events import SensorConfig, SimulationError
from spikeseg_ros.simulation.recording import record, scene_frames, simulate_scene
from spikeseg_ros.simulation.scene import demo_scene, random_scene
from spikeseg_ros.simulation.shapes import Bar, Blob, Disc, Motion, Polygon
from spikeseg_ros.simulation.truth import (
    GroundTruth,
    MaskCrop,
    decode_rle,
    encode_rle,
    load_coco,
    save_coco,
)
from spikeseg_ros.simulation.video import clip_frames, video_frames

MS = 1_000_000


@pytest.fixture(scope='module')
def recording():
    scene = demo_scene(160, 120, 1.0)
    return simulate_scene(scene, 0.3, SensorConfig(160, 120, noise_hz=0.5, seed=1))


def test_rendering_places_objects_and_occludes():
    scene = demo_scene(160, 120, 1.0)
    image, ids, touch = scene.render(0.5)
    assert image.shape == (120, 160)
    assert image.min() >= 0
    assert image.max() <= 1
    assert set(np.unique(ids)) == {0, 1, 2, 3, 4, 5}
    assert ((ids == 0) | (touch >= ids)).all()
    color = scene.color(image, ids)
    assert color.dtype == np.uint8
    assert color.shape == (120, 160, 3)
    # The background does not move: pixels no object has touched stay as they were.
    later, _, touched = scene.render(0.9)
    still = (touch == 0) & (touched == 0)
    assert np.array_equal(image[still], later[still])


@pytest.mark.parametrize(
    'shape', [Disc(9.0), Bar(20.0, 6.0), Polygon(5, 9.0), Blob(8.0, ((3, 0.1, 0.2),))]
)
def test_shapes_stay_within_their_radius(shape):
    v, u = np.mgrid[-30:31, -30:31].astype(np.float32)
    distance = shape.distance(u, v)
    assert distance[30, 30] < 0
    assert (np.hypot(u, v)[distance <= 0] <= shape.radius + 1e-3).all()


def test_motion_rests():
    motion = Motion((0.0, 0.0), (10.0, 0.0), rest=(1.0, 3.0))
    assert [motion.pose(t)[0] for t in (0.5, 1.0, 2.0, 3.0, 4.0)] == [5, 10, 10, 10, 20]


def test_random_scenes_are_reproducible_and_keep_their_gap():
    assert random_scene(160, 120, 3) == random_scene(160, 120, 3)
    assert random_scene(160, 120, 3) != random_scene(160, 120, 4)
    scene = random_scene(320, 240, 5, objects=6, sizes=(8.0, 20.0), gap=10.0)
    _, _, touch = scene.render(0.5)
    apart = [np.argwhere(touch == k) for k in np.unique(touch) if k]
    for i, first in enumerate(apart):
        for second in apart[i + 1 :]:
            gap = np.abs(first[:, None] - second[None]).max(-1).min()
            assert gap >= 5
    with pytest.raises(SimulationError, match='sizes'):
        random_scene(160, 120, 0, sizes=(0.0, 5.0))


def test_events_lie_on_the_object_that_caused_them(recording):
    truth = recording.truth
    kernel = np.ones((5, 5), np.uint8)
    for begin in range(0, 300 * MS, 100 * MS):
        events, instance = truth.labels(begin, begin + 10 * MS)
        at = [truth.mask_at(t) for t in (begin, begin + 10 * MS)]
        for number in np.unique(instance):
            if number == 0:
                continue
            swept = cv2.dilate(np.maximum(*[(m == number).astype(np.uint8) for m in at]), kernel)
            mine = instance == number
            assert swept[events.y[mine], events.x[mine]].mean() > 0.98


def test_only_noise_lies_off_the_objects(recording):
    truth = recording.truth
    ever = np.zeros((120, 160), bool)
    for frame in scene_frames(demo_scene(160, 120, 1.0), 0.3):
        ever |= frame.touch > 0
    off = ~ever[truth.events.y, truth.events.x]
    assert not truth.instance[off].any()
    # 0.5 Hz on the pixels no object ever touches.
    assert off.sum() / ((~ever).sum() * 0.3) == pytest.approx(0.5, rel=0.15)


def test_recordings_are_ordered_in_whole_microseconds_and_reproducible(recording):
    events = recording.events
    assert (np.diff(events.t) >= 0).all()
    assert (events.t % 1000 == 0).all()
    again = simulate_scene(
        demo_scene(160, 120, 1.0), 0.3, SensorConfig(160, 120, noise_hz=0.5, seed=1)
    )
    assert np.array_equal(again.events.t, events.t)
    assert np.array_equal(again.truth.instance, recording.truth.instance)
    assert len(recording.images) == 7
    assert recording.image_times == tuple(range(0, 301 * MS, 50 * MS))


def test_windows_count_every_event_once(recording):
    windows = recording.truth.windows(50 * MS)
    total = sum(item.n_events for window in windows for item in window.objects)
    assert total == int((recording.truth.instance > 0).sum())
    item = windows[2].objects[0]
    assert item.name == 'blob'
    assert item.events.area <= item.n_events
    assert item.silhouette.area > 300


def test_truth_survives_files(recording, tmp_path):
    truth = recording.truth
    truth.save(tmp_path / 'truth.npz')
    loaded = GroundTruth.load(tmp_path / 'truth.npz')
    assert np.array_equal(loaded.events.t, truth.events.t)
    assert dict(loaded.names) == dict(truth.names)
    windows = truth.windows(100 * MS)
    save_coco(tmp_path / 'truth.json', truth, windows)
    read = load_coco(tmp_path / 'truth.json')
    for first, second in zip(windows, read, strict=True):
        assert (first.t_start, first.t_end) == (second.t_start, second.t_end)
        for a, b in zip(first.objects, second.objects, strict=True):
            assert (a.track_id, a.class_id, a.n_events) == (b.track_id, b.class_id, b.n_events)
            assert a.silhouette.box == b.silhouette.box
            assert np.array_equal(a.events.mask, b.events.mask)


def test_damaged_truth_is_refused(tmp_path):
    path = tmp_path / 'truth.npz'
    path.write_bytes(b'PK\x03\x04nonsense')
    with pytest.raises(SimulationError, match=r'truth\.npz'):
        GroundTruth.load(path)
    (tmp_path / 'truth.json').write_text('{"images": 3}')
    with pytest.raises(SimulationError, match=r'truth\.json'):
        load_coco(tmp_path / 'truth.json')


def test_run_lengths_are_those_of_coco():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    assert encode_rle(mask) == {'size': [2, 3], 'counts': [2, 1, 1, 2]}
    rng = np.random.default_rng(0)
    for density in (0.0, 0.2, 1.0):
        mask = rng.random((9, 7)) < density
        assert np.array_equal(decode_rle(encode_rle(mask)), mask)
    with pytest.raises(SimulationError, match='add up'):
        decode_rle({'size': [2, 2], 'counts': [3]})


def test_crops():
    mask = np.zeros((6, 8), bool)
    mask[2:4, 3:6] = True
    crop = MaskCrop.of(mask)
    assert crop.box == (3, 2, 3, 2)
    assert np.array_equal(crop.full(6, 8), mask)
    assert MaskCrop.of(np.zeros((4, 4), bool)).box == (0, 0, 0, 0)


def clip(frames=4, step=4):
    rng = np.random.default_rng(0)
    texture = cv2.GaussianBlur(rng.integers(0, 255, (60, 90, 3)).astype(np.uint8), (0, 0), 2)
    images, masks = [], []
    for k in range(frames):
        image, mask = texture // 3 + 60, np.zeros((60, 90), np.uint8)
        left = 10 + step * k
        image[20:40, left : left + 20] = 255 - texture[20:40, 30:50] // 3
        mask[20:40, left : left + 20] = 255
        images.append(image)
        masks.append(mask)
    return images, masks


def test_video_events_belong_to_the_moving_object():
    images, masks = clip()
    frames = list(video_frames(images, masks, fps=25.0, between=8))
    assert len(frames) == 3 * 8 + 1
    assert [frame.time for frame in frames[::8]] == [0, 40 * MS, 80 * MS, 120 * MS]
    assert np.array_equal(frames[8].ids, (masks[1] > 0).astype(np.uint16))
    result = record(frames, SensorConfig(90, 60, noise_hz=0.0), camera_hz=25.0)
    assert len(result.events) > 500
    assert (result.truth.instance == 1).mean() > 0.8
    # In-between masks move with the flow instead of jumping.
    lefts = [np.flatnonzero(frame.ids.any(0))[0] for frame in frames[:9]]
    assert lefts[0] == 10
    assert lefts[8] == 14
    assert all(0 <= b - a <= 2 for a, b in itertools.pairwise(lefts))


def test_clips_on_disk(tmp_path):
    with pytest.raises(SimulationError, match='no clip'):
        list(clip_frames(tmp_path))
    images, masks = clip(2)
    for name, items in (('images', images), ('masks', masks)):
        (tmp_path / name).mkdir()
        for k, item in enumerate(items):
            cv2.imwrite(str(tmp_path / name / f'{k:05d}.png'), item)
    frames = list(clip_frames(tmp_path, between=2))
    assert len(frames) == 3
    assert np.array_equal(frames[0].color(), images[0][..., ::-1])
    (tmp_path / 'images' / '00001.png').write_bytes(b'no image')
    with pytest.raises(SimulationError, match='00001'):
        list(clip_frames(tmp_path))
