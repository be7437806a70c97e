# SPDX-License-Identifier: Apache-2.0
"""Simulated events of clips: masks and events fit, clips kept out stay out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, open_dataset
from spikeseg_ros.datasets import clips as clips_module
from spikeseg_ros.datasets.clips import SimulatedClips
from spikeseg_ros.datasets.event_frames import Framing, resized_frames

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Five clips of a bright square that moves over a plain background."""
    still = np.full((40, 50, 3), 80, np.uint8)
    for number in range(5):
        for part in ('images', 'masks'):
            (tmp_path / f'clip{number}' / part).mkdir(parents=True)
        for k in range(5):
            image, mask = still.copy(), np.zeros((40, 50), np.uint8)
            place = np.s_[12 + number : 24 + number, 5 + 3 * k : 17 + 3 * k]
            image[place], mask[place] = 220, 255
            cv2.imwrite(str(tmp_path / f'clip{number}/images/{k:05d}.png'), image)
            cv2.imwrite(str(tmp_path / f'clip{number}/masks/{k:05d}.png'), mask)
    return tmp_path


def test_clips_for_the_test_and_for_choices_are_kept_out_of_training(clips: Path) -> None:
    parts = {split: open_dataset(clips, split) for split in ('train', 'val', 'trainval', 'test')}
    names = {
        split: {data.name(k).split('/')[0] for k in range(len(data))}
        for split, data in parts.items()
    }
    assert names == {
        'train': {'clip0', 'clip2', 'clip4'},
        'val': {'clip3'},
        'trainval': {'clip0', 'clip2', 'clip3', 'clip4'},
        'test': {'clip1'},
    }
    # Images 2, 3 and 4 have 50 ms in front of them at 24 images a second.
    assert [parts['test'].name(k) for k in range(3)] == [f'clip1/0000{k}' for k in (2, 3, 4)]
    assert len(parts['test']) == 3


def test_events_lie_around_the_object(clips: Path) -> None:
    data = SimulatedClips(clips, 'val', noise_hz=0.0, framing=Framing(steps=2))
    for index in range(len(data)):
        frames, label = data.sample(index)
        assert frames.shape == (2, 2, 40, 50)
        assert label.sum() == 12 * 12
        near = cv2.dilate(label, np.ones((15, 15), np.uint8))
        counts = frames.sum(axis=(0, 1))
        assert counts.sum() > 50
        assert counts[near == 0].sum() < 0.05 * counts.sum()


def test_the_same_seed_gives_the_same_events(clips: Path) -> None:
    one, other, third = (SimulatedClips(clips, 'val', seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.sample(0).image, other.sample(0).image)
    assert not np.array_equal(one.sample(0).image, third.sample(0).image)


def test_slices_of_a_step_are_the_steps_of_more_frames(clips: Path) -> None:
    fine = SimulatedClips(clips, 'val', framing=Framing(steps=4))
    packed = SimulatedClips(clips, 'val', framing=Framing(steps=2, bins=2))
    frames, label = packed.sample(1)
    assert frames.shape == (2, 4, 40, 50)
    assert np.array_equal(frames.reshape(4, 2, 40, 50), fine.sample(1).image)
    assert np.array_equal(label, fine.sample(1).label)


def test_a_cache_gives_the_same_samples_and_notices_other_settings(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / 'cache'
    made = open_dataset(clips, 'val', cache=cache)
    plain = open_dataset(clips, 'val')
    assert len(list(cache.iterdir())) == 1
    with monkeypatch.context() as patch:
        patch.setattr(clips_module, '_simulate', None)
        kept = open_dataset(clips, 'val', cache=cache)
        packed = open_dataset(clips, 'val', cache=cache, framing=Framing(1, bins=5))
    assert np.array_equal(packed.sample(1).image[0].reshape(5, 2, 40, 50), plain.sample(1).image)
    for data in (made, kept):
        assert [data.name(k) for k in range(3)] == [plain.name(k) for k in range(3)]
        for k in range(3):
            assert np.array_equal(data.sample(k).image, plain.sample(k).image)
            assert np.array_equal(data.sample(k).label, plain.sample(k).label)
    other = open_dataset(clips, 'val', cache=cache, framing=Framing(steps=1))
    assert other.sample(0).image.shape == (1, 2, 40, 50)
    for path in cache.iterdir():
        path.write_bytes(b'PK no archive')
    with pytest.raises(DatasetError, match='delete the file'):
        open_dataset(clips, 'val', cache=cache)


def test_damaged_clips_are_refused(clips: Path) -> None:
    with pytest.raises(DatasetError, match='trainval'):
        SimulatedClips(clips, 'first')
    (clips / 'clip3/masks/00002.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'00002\.png'):
        SimulatedClips(clips, 'val')
    (clips / 'clip3/masks/00002.png').unlink()
    with pytest.raises(DatasetError, match='no clip'):
        SimulatedClips(clips, 'val')


def test_smaller_frames_keep_all_events_and_larger_ones_repeat_them() -> None:
    frames = np.random.default_rng(2).integers(0, 3, (2, 2, 12, 16)).astype(np.float32)
    small = resized_frames(frames, (6, 8))
    expected = frames.reshape(2, 2, 6, 2, 8, 2).sum(axis=(3, 5))
    assert np.array_equal(small, expected)
    large = resized_frames(frames, (24, 32))
    assert np.array_equal(large, frames.repeat(2, axis=2).repeat(2, axis=3))
    assert resized_frames(frames, (12, 16)) is frames
