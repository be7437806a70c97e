# SPDX-License-Identifier: Apache-2.0
"""DDD17 in both layouts, on generated files of exactly these formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, open_dataset
from spikeseg_ros.datasets.ddd17 import Ddd17Images, Ddd17Recordings
from spikeseg_ros.datasets.event_frames import Framing

if TYPE_CHECKING:
    from pathlib import Path

MS = 1_000_000
HEIGHT, WIDTH = 20, 34  # a tenth of the labels of DDD17


def write_label(path: Path, seed: int) -> np.ndarray[Any, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    label = np.random.default_rng(seed).integers(0, 6, (HEIGHT, WIDTH)).astype(np.uint8)
    label[0, 0] = 255
    cv2.imwrite(str(path), label)
    return label


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for split, count in (('train', 3), ('test', 1)):
        (tmp_path / 'events' / split).mkdir(parents=True)
        for number in range(count):
            name = f'rec1487417411_export_{number}'
            write_label(tmp_path / 'labels' / split / f'{name}.png', number)
            values = rng.uniform(-1, 1, (HEIGHT, WIDTH, 6))
            np.save(tmp_path / 'events' / split / f'{name}.npy', values)
    return tmp_path


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Seven recordings of 300 ms with an event each ms; the masks are of images 3 and 5."""
    for number in range(7):
        folder = tmp_path / f'dir{number}'
        (folder / 'index').mkdir(parents=True)
        times = np.arange(300, dtype=np.int64) * MS + number
        columns = np.zeros((300, 3), np.int16)
        columns[:, 0], columns[:, 1] = np.arange(300) % WIDTH, np.arange(300) % (HEIGHT + 6)
        columns[:, 2] = np.arange(300) % 2
        times.tofile(folder / 'events.dat.t')
        columns.tofile(folder / 'events.dat.xyp')
        # Row j: time of image j + 1, its last event, the event 50 ms before.
        index = [[50 * MS * (j + 1), 50 * (j + 1), 50 * j] for j in range(5)]
        np.save(folder / 'index/index_50ms.npy', np.array(index, np.int64))
        for image in (3, 5):
            path = folder / f'segmentation_masks/segmentation_{image:08d}.png'
            write_label(path, 10 * number + image)
    return tmp_path


def test_event_images_come_with_their_labels(images: Path) -> None:
    dataset = open_dataset(images, 'train')
    assert isinstance(dataset, Ddd17Images)
    assert (len(dataset), dataset.name(1)) == (3, 'rec1487417411_export_1')
    frame, label = dataset.sample(1)
    stored = np.load(images / 'events/train/rec1487417411_export_1.npy')
    assert frame.shape == (1, 6, HEIGHT, WIDTH)
    assert frame.dtype == np.float32
    assert np.array_equal(frame[0, 4], stored[:, :, 4].astype(np.float32))
    assert label[0, 0] == dataset.ignore == 255
    assert len(dataset.classes) == len(dataset.colors) == 6


@pytest.mark.parametrize(
    ('values', 'match'),
    [
        (np.zeros((HEIGHT, WIDTH)), 'numbers of shape'),
        (np.zeros((HEIGHT, WIDTH + 1, 6)), 'numbers of shape'),
        (np.array([{'a': 1}]), 'Cannot read'),
    ],
)
def test_damaged_event_images_are_refused(images: Path, values: Any, match: str) -> None:
    np.save(images / 'events/test/rec1487417411_export_0.npy', values, allow_pickle=True)
    dataset = Ddd17Images(images, 'test')
    with pytest.raises(DatasetError, match=match):
        dataset.sample(0)


def test_labels_need_event_images_and_known_classes(images: Path) -> None:
    label = images / 'labels/test/rec1487417411_export_0.png'
    cv2.imwrite(str(label), np.full((HEIGHT, WIDTH), 6, np.uint8))
    with pytest.raises(DatasetError, match='value 6'):
        Ddd17Images(images, 'test').sample(0)
    (images / 'events/test/rec1487417411_export_0.npy').unlink()
    with pytest.raises(DatasetError, match='missing'):
        Ddd17Images(images, 'test')
    with pytest.raises(DatasetError, match='no labels'):
        Ddd17Images(images, 'val')


def test_recordings_are_split_as_published(recordings: Path) -> None:
    parts = {split: open_dataset(recordings, split) for split in ('train', 'val', 'test')}
    assert [len(parts[name]) for name in ('train', 'val', 'test')] == [10, 2, 2]
    assert parts['val'].name(0) == 'dir1/segmentation_00000003'
    assert parts['test'].name(1) == 'dir4/segmentation_00000005'
    with pytest.raises(DatasetError, match='dev'):
        Ddd17Recordings(recordings, 'dev')


def test_frames_hold_the_events_in_front_of_the_label(recordings: Path) -> None:
    dataset = Ddd17Recordings(recordings, 'val', Framing(steps=5, window=50 * MS))
    frames, label = dataset.sample(0)
    assert frames.shape == (5, 2, HEIGHT, WIDTH)
    assert label.shape == (HEIGHT, WIDTH)
    # Image 3 is at 150 ms and events are 1 ns late: those of 100 .. 149 ms, rows below left out.
    expected = np.zeros_like(frames)
    for number in range(100, 150):
        if number % (HEIGHT + 6) < HEIGHT:
            step = (number - 100) // 10
            expected[step, number % 2, number % (HEIGHT + 6), number % WIDTH] += 1
    assert np.array_equal(frames, expected)
    assert frames.sum() > 30


def test_damaged_recordings_are_refused(recordings: Path) -> None:
    with (recordings / 'dir1/events.dat.xyp').open('ab') as file:
        file.write(b'\0')
    with pytest.raises(DatasetError, match='int16'):
        Ddd17Recordings(recordings, 'val')
    (recordings / 'dir4/events.dat.t').unlink()
    with pytest.raises(DatasetError, match='Cannot read the events'):
        Ddd17Recordings(recordings, 'test')
    (recordings / 'dir0/index/index_50ms.npy').write_bytes(b'')
    with pytest.raises(DatasetError, match='times of the images'):
        Ddd17Recordings(recordings, 'train')


@pytest.mark.parametrize('framing', [Framing(steps=0), Framing(window=0), Framing(steps=300)])
def test_framings_out_of_range_are_refused(recordings: Path, framing: Framing) -> None:
    with pytest.raises(DatasetError, match='Framing'):
        Ddd17Recordings(recordings, 'val', framing)
