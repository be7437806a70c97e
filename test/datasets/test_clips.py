# SPDX-License-Identifier: Apache-2.0
"""Simulated events of clips: masks and events fit, clips kept out stay out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, open_dataset
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


def test_every_fourth_clip_is_kept_out(clips: Path) -> None:
    parts = {split: open_dataset(clips, split) for split in ('train', 'val')}
    names = {
        split: {data.name(k).split('/')[0] for k in range(len(data))}
        for split, data in parts.items()
    }
    assert names == {'train': {'clip0', 'clip2', 'clip3', 'clip4'}, 'val': {'clip1'}}
    # Images 2, 3 and 4 have 50 ms in front of them at 24 images a second.
    assert [parts['val'].name(k) for k in range(3)] == [f'clip1/0000{k}' for k in (2, 3, 4)]
    assert len(parts['val']) == 3


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


def test_damaged_clips_are_refused(clips: Path) -> None:
    with pytest.raises(DatasetError, match='train and val'):
        SimulatedClips(clips, 'test')
    (clips / 'clip1/masks/00002.png').write_bytes(b'no picture')
    with pytest.raises(DatasetError, match=r'00002\.png'):
        SimulatedClips(clips, 'val')
    (clips / 'clip1/masks/00002.png').unlink()
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
