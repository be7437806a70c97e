# SPDX-License-Identifier: Apache-2.0
"""DSEC-Semantic on generated files of exactly its format."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, open_dataset
from spikeseg_ros.datasets.dsec import DsecSemantic
from spikeseg_ros.datasets.event_frames import Framing

if TYPE_CHECKING:
    from pathlib import Path

h5py = pytest.importorskip('h5py', reason='extra formats is not installed')
pytest.importorskip('hdf5plugin', reason='extra formats is not installed')

MS = 1_000_000
HEIGHT, WIDTH, ROWS = 12, 16, 11
OFFSET = 5_000_000  # us
DURATION = 200_000  # us


def index_of(times: np.ndarray, last: int) -> np.ndarray:
    """Return the number of the first event at or after each millisecond."""
    return np.searchsorted(times, np.arange(last + 1) * 1000).astype(np.uint64)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One sequence with an event every 500 us, in a view that is moved right by 1.4 px."""
    folder = tmp_path / 'train/zurich_city_00_a'
    (folder / 'events/left').mkdir(parents=True)
    times = np.arange(0, DURATION, 500, dtype=np.uint32)
    number = np.arange(len(times))
    with h5py.File(folder / 'events/left/events.h5', 'w') as file:
        file['events/t'] = times
        file['events/x'] = (number % WIDTH).astype(np.uint16)
        file['events/y'] = (number % HEIGHT).astype(np.uint16)
        file['events/p'] = (number % 2).astype(np.uint8)
        file['ms_to_idx'] = index_of(times, DURATION // 1000 - 1)
        file['t_offset'] = np.int64(OFFSET)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    with h5py.File(folder / 'events/left/rectify_map.h5', 'w') as file:
        file['rectify_map'] = np.stack([x + 1.4, y + 0.3], axis=-1).astype(np.float32)
    for count in (11, 19):
        labels = folder / f'semantic/left/{count}classes/data'
        labels.mkdir(parents=True)
        for index in range(5):
            label = np.full((ROWS, WIDTH), index, np.uint8)
            label[0] = 255
            cv2.imwrite(str(labels / f'{index:06d}.png'), label)
    # The first lies too early, the last behind the end of the events.
    stamps = [OFFSET + ms * 1000 for ms in (30, 80, 130, 180, 230)]
    (folder / 'semantic/timestamps.txt').write_text('\n'.join(map(str, stamps)) + '\n')
    return tmp_path


def test_labels_with_a_whole_window_of_events_are_taken(root: Path) -> None:
    dataset = open_dataset(root, 'train')
    assert isinstance(dataset, DsecSemantic)
    assert [dataset.name(k)[-2:] for k in range(len(dataset))] == ['01', '02', '03']
    assert (len(dataset.classes), len(dataset.colors), dataset.ignore) == (11, 11, 255)
    wide = DsecSemantic(root, 'train', classes=19, framing=Framing(5, 120 * MS))
    assert [wide.name(k)[-2:] for k in range(len(wide))] == ['02', '03']
    assert (len(wide.classes), len(wide.colors)) == (19, 19)


def test_frames_are_rectified_and_end_at_the_label(root: Path) -> None:
    dataset = DsecSemantic(root, 'train', framing=Framing(steps=5, window=50 * MS))
    frames, label = dataset.sample(1)
    assert frames.shape == (5, 2, ROWS, WIDTH)
    assert (label[1:] == 2).all()
    expected = np.zeros_like(frames)
    for number in range(400):
        # The label is at 130 ms: events of 80 .. 129.5 ms, seen one column to the right.
        microseconds, x, y = 500 * number, number % WIDTH + 1, number % HEIGHT
        if 80_000 <= microseconds < 130_000 and x < WIDTH and y < ROWS:
            expected[(microseconds - 80_000) // 10_000, number % 2, y, x] += 1
    assert np.array_equal(frames, expected)
    assert frames.sum() > 50


def test_the_index_only_speeds_things_up(root: Path) -> None:
    dataset = DsecSemantic(root, 'train')
    before = [dataset.sample(k).image for k in range(3)]
    with h5py.File(root / 'train/zurich_city_00_a/events/left/events.h5', 'a') as file:
        del file['ms_to_idx']
        # One that is shorter than the recording, as at its end.
        file['ms_to_idx'] = index_of(np.asarray(file['events/t']), 178)
    again = DsecSemantic(root, 'train')
    assert all(np.array_equal(old, again.sample(k).image) for k, old in enumerate(before))


def test_damaged_sequences_are_refused_by_name(root: Path) -> None:
    left = root / 'train/zurich_city_00_a/events/left'
    with h5py.File(left / 'events.h5', 'a') as file:
        file['events/x'][100] = WIDTH
    with pytest.raises(DatasetError, match='outside'):
        [DsecSemantic(root, 'train').sample(k) for k in range(3)]
    (left / 'events.h5').write_bytes(b'nothing')
    with pytest.raises(DatasetError, match=r'events\.h5'):
        DsecSemantic(root, 'train')
    with h5py.File(left / 'rectify_map.h5', 'w') as file:
        file['rectify_map'] = np.zeros((HEIGHT, WIDTH))
    with pytest.raises(DatasetError, match='shape'):
        DsecSemantic(root, 'train')
    (left / 'rectify_map.h5').unlink()
    with pytest.raises(DatasetError, match='rectify_map'):
        DsecSemantic(root, 'train')


def test_what_is_not_there_is_named(root: Path) -> None:
    with pytest.raises(DatasetError, match='no labelled sequence'):
        DsecSemantic(root, 'test')
    with pytest.raises(DatasetError, match='11 or 19'):
        DsecSemantic(root, 'train', classes=12)
    with pytest.raises(DatasetError, match='No label'):
        DsecSemantic(root, 'train', framing=Framing(5, 10_000 * MS))
    (root / 'train/zurich_city_00_a/semantic/timestamps.txt').unlink()
    with pytest.raises(DatasetError, match='timestamps'):
        DsecSemantic(root, 'train')
