# SPDX-License-Identifier: Apache-2.0
"""CamVid: labels keep their indices, and damaged copies are refused by name."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, Sample, open_dataset, rgb_image

if TYPE_CHECKING:
    import numpy.typing as npt

DATA = Path(__file__).resolve().parents[3] / 'shared/data/camvid'


def palette_png(indices: npt.NDArray[np.uint8]) -> bytes:
    """Return a palette PNG whose colours have nothing to do with the indices."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack('>I', len(body)) + kind + body + struct.pack('>I', zlib.crc32(kind + body))
        )

    height, width = indices.shape
    rows = b''.join(b'\0' + row.tobytes() for row in indices)
    return (
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, 8, 3, 0, 0, 0))
        + chunk(b'PLTE', bytes(range(250, 250 - 3 * 12, -1)))
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for split, count in (('train', 3), ('val', 1)):
        for part in ('images', 'labels'):
            (tmp_path / split / part).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 256, (8, 10, 3), dtype=np.uint8)
            cv2.imwrite(str(tmp_path / split / f'images/{number}.png'), image)
            label = np.arange(80, dtype=np.uint8).reshape(8, 10) % 12
            (tmp_path / split / f'labels/{number}.png').write_bytes(palette_png(label))
    return tmp_path


def test_images_are_rgb_and_labels_are_indices(folder: Path) -> None:
    dataset = open_dataset(folder, 'train')
    assert (len(dataset), dataset.name(2)) == (3, '2')
    image, label = dataset.sample(0)
    stored = cv2.imread(str(folder / 'train/images/0.png'))
    assert stored is not None
    assert np.array_equal(image, stored[..., ::-1])
    assert np.array_equal(label, np.arange(80).reshape(8, 10) % 12)
    assert len(dataset.classes) == len(dataset.colors) == dataset.ignore == 11


def test_gray_labels_are_indices_too(folder: Path) -> None:
    label = np.full((8, 10), 7, dtype=np.uint8)
    cv2.imwrite(str(folder / 'val/labels/0.png'), label)
    assert np.array_equal(open_dataset(folder, 'val').sample(0).label, label)


def _remove(path: Path) -> None:
    path.unlink()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:45])


def _text(path: Path) -> None:
    path.write_text('no picture', encoding='utf-8')


def _color(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((8, 10, 3), np.uint8))


def _small(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((4, 5), np.uint8))


def _class_12(path: Path) -> None:
    cv2.imwrite(str(path), np.full((8, 10), 12, np.uint8))


@pytest.mark.parametrize(
    ('part', 'damage', 'match'),
    [
        ('labels', _remove, 'Cannot read the label'),
        ('labels', _cut, 'damaged'),
        ('labels', _text, 'no PNG'),
        ('labels', _color, 'no PNG of class indices'),
        ('labels', _small, '5 x 4'),
        ('labels', _class_12, 'value 12'),
        ('images', _text, 'Cannot read the image'),
    ],
)
def test_damaged_copies_are_refused_by_name(
    folder: Path, part: str, damage: object, match: str
) -> None:
    damage(folder / f'train/{part}/1.png')  # type: ignore[operator]
    with pytest.raises(DatasetError, match=match) as caught:
        open_dataset(folder, 'train')
    assert '1.png' in str(caught.value)


def test_unknown_folders_say_what_was_expected(folder: Path) -> None:
    with pytest.raises(DatasetError, match='no folder'):
        open_dataset(folder / 'none', 'train')
    with pytest.raises(DatasetError, match="split 'test'"):
        open_dataset(folder, 'test')
    (folder / 'test/images').mkdir(parents=True)
    (folder / 'test/labels').mkdir()
    with pytest.raises(DatasetError, match='no images'):
        open_dataset(folder, 'test')


def test_event_frames_are_no_image() -> None:
    frames = np.zeros((5, 2, 8, 10), np.float32)
    with pytest.raises(DatasetError, match='float32'):
        rgb_image(Sample(frames, np.zeros((8, 10), np.uint8)))


@pytest.mark.skipif(not DATA.is_dir(), reason='CamVid is not here')
def test_the_real_split_has_the_documented_pixels() -> None:
    dataset = open_dataset(DATA, 'val')
    counts = np.zeros(12, dtype=np.int64)
    for number in range(len(dataset)):
        counts += np.bincount(dataset.sample(number).label.ravel(), minlength=12)
    assert len(dataset) == 101
    assert dataset.sample(0).image.shape == (360, 480, 3)
    documented = [1.60, 4.53, 0.10, 5.05, 1.52, 2.85, 0.16, 0.54, 0.30, 0.11, 0.39, 0.30]
    assert np.round(counts / 1e6, 2).tolist() == documented
