# SPDX-License-Identifier: Apache-2.0
"""ADE20K, Cityscapes and VOC 2012: folders of the original layouts, read lazily."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from spikeseg_ros.datasets import DatasetError, open_dataset
from spikeseg_ros.datasets.ade20k import Ade20k
from spikeseg_ros.datasets.cityscapes import Cityscapes
from spikeseg_ros.datasets.voc import Voc2012

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Bytes = npt.NDArray[np.uint8]

SIZE = (8, 10)


def image(path: Path, number: int) -> None:
    """Write a picture of one red tone, so that a wrong order of channels is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((*SIZE, 3), (0, 0, 100 + number), np.uint8))


def gray(path: Path, values: Bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), values)


def palette(path: Path, values: Bytes) -> None:
    """Write a palette PNG with colours that have nothing to do with the indices."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack('>I', zlib.crc32(kind + body))
        return struct.pack('>I', len(body)) + kind + body + check

    head = struct.pack('>IIBBBBB', values.shape[1], values.shape[0], 8, 3, 0, 0, 0)
    rows = b''.join(b'\0' + bytes(row) for row in values)
    colors = bytes((7 * k) % 256 for k in range(768))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n'
        + chunk(b'IHDR', head)
        + chunk(b'PLTE', colors)
        + chunk(b'IDAT', zlib.compress(rows))
        + chunk(b'IEND', b'')
    )


def ramp(*values: int) -> Bytes:
    """Return a label with the values in its first row and 0 elsewhere."""
    label = np.zeros(SIZE, np.uint8)
    label[0, : len(values)] = values
    return label


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    root = tmp_path / 'ADEChallengeData2016'
    for split, count in (('training', 2), ('validation', 1)):
        for number in range(count):
            name = f'ADE_{split[:5]}_{number:08d}'
            image(root / f'images/{split}/{name}.jpg', number)
            gray(root / f'annotations/{split}/{name}.png', ramp(0, 1, 150))
    return root


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    root = tmp_path / 'cityscapes'
    for split, city in (('train', 'zurich'), ('train', 'aachen'), ('val', 'ulm')):
        for number in range(2):
            name = f'{city}_{number:06d}_000019'
            image(root / f'leftImg8bit/{split}/{city}/{name}_leftImg8bit.png', number)
            folder = root / f'gtFine/{split}/{city}'
            gray(folder / f'{name}_gtFine_labelIds.png', ramp(0, 6, 7, 8, 11, 30, 33))
            gray(folder / f'{name}_gtFine_labelTrainIds.png', ramp(255, 255, 0, 1, 2, 255, 18))
    return root


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / 'VOCdevkit/VOC2012'
    for number in range(3):
        image(root / f'JPEGImages/2007_00000{number}.jpg', number)
    for number in range(2):
        palette(root / f'SegmentationClass/2007_00000{number}.png', ramp(0, 1, 20, 255))
    lists = root / 'ImageSets/Segmentation'
    lists.mkdir(parents=True)
    (lists / 'train.txt').write_text('2007_000001\n2007_000000\n', encoding='ascii')
    (lists / 'val.txt').write_text('2007_000000\n', encoding='ascii')
    return tmp_path


def test_ade20k_counts_its_classes_from_0_and_ignores_other(ade20k: Path) -> None:
    data = open_dataset(ade20k, 'train')
    assert isinstance(data, Ade20k)
    assert len(data) == 2
    assert len(open_dataset(ade20k.parent, 'validation')) == len(open_dataset(ade20k, 'val')) == 1
    assert len(data.classes) == len(data.colors) == len(set(data.classes)) == 150
    assert (data.classes[0], data.classes[12], data.classes[149]) == ('wall', 'person', 'flag')
    assert (data.colors[0], data.colors[149]) == ((120, 120, 120), (92, 0, 255))
    sample = data.sample(1)
    assert data.name(1) == 'ADE_train_00000001'
    assert sample.label[0, :4].tolist() == [255, 0, 149, 255]
    assert sample.image.shape == (*SIZE, 3)
    red, green, blue = sample.image[4, 5].astype(int)
    assert (abs(red - 101) < 4, green < 4, blue < 4) == (True, True, True)


def test_cityscapes_maps_its_ids_to_19_classes(cityscapes: Path) -> None:
    data = open_dataset(cityscapes, 'train')
    assert isinstance(data, Cityscapes)
    assert [data.name(k)[:6] for k in range(4)] == ['aachen', 'aachen', 'zurich', 'zurich']
    assert len(data.classes) == len(data.colors) == 19
    assert (data.classes[10], data.colors[10]) == ('sky', (70, 130, 180))
    expected = [255, 255, 0, 1, 2, 255, 18, 255]
    assert data.sample(0).label[0, :8].tolist() == expected
    for path in cityscapes.glob('gtFine/*/*/*_labelIds.png'):
        path.unlink()
    # Beyond the ramp lies 0, which is a road in this kind of label.
    assert open_dataset(cityscapes, 'val').sample(0).label[0, :8].tolist() == [*expected[:7], 0]
    for path in cityscapes.glob('gtFine/*/*/*.png'):
        path.unlink()
    with pytest.raises(DatasetError, match='unpack gtFine'):
        open_dataset(cityscapes, 'val')


def test_voc_reads_indices_of_palettes_in_the_order_of_the_list(voc: Path) -> None:
    data = open_dataset(voc, 'train')
    assert isinstance(data, Voc2012)
    assert [data.name(0), data.name(1)] == ['2007_000001', '2007_000000']
    assert (len(data.classes), len(data.colors)) == (21, 21)
    assert data.colors[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert (data.classes[15], data.colors[15]) == ('person', (192, 128, 128))
    assert data.colors[20] == (0, 64, 128)
    assert data.sample(0).label[0, :5].tolist() == [0, 1, 20, 255, 0]
    assert len(open_dataset(voc / 'VOCdevkit/VOC2012', 'val')) == 1


def test_nothing_is_read_before_it_is_asked_for(voc: Path) -> None:
    data = open_dataset(voc, 'train')
    (voc / 'VOCdevkit/VOC2012/JPEGImages/2007_000001.jpg').unlink()
    assert data.sample(1).label.shape == SIZE
    with pytest.raises(DatasetError, match=r'2007_000001\.jpg'):
        data.sample(0)
    with pytest.raises(IndexError):
        data.sample(2)


def _unlabelled(root: Path) -> None:
    next(root.glob('annotations/training/*0.png')).unlink()


def _value(root: Path) -> None:
    gray(next(root.glob('annotations/training/*0.png')), ramp(151))


def _small(root: Path) -> None:
    gray(next(root.glob('annotations/training/*0.png')), np.zeros((4, 5), np.uint8))


def _text(root: Path) -> None:
    next(root.glob('annotations/training/*0.png')).write_text('no image', encoding='ascii')


@pytest.mark.parametrize(
    ('damage', 'match'),
    [
        (_unlabelled, 'Cannot read the label'),
        (_value, 'value 151'),
        (_small, '5 x 4'),
        (_text, 'no PNG'),
    ],
)
def test_damaged_files_are_refused_by_name(
    ade20k: Path, damage: Callable[[Path], None], match: str
) -> None:
    damage(ade20k)
    with pytest.raises(DatasetError, match=match) as caught:
        open_dataset(ade20k, 'train').sample(0)
    assert '00000000.png' in str(caught.value)


def test_wrong_splits_are_named(ade20k: Path, cityscapes: Path, voc: Path) -> None:
    with pytest.raises(DatasetError, match='test'):
        open_dataset(ade20k, 'test')
    with pytest.raises(DatasetError, match='leftImg8bit/test'):
        open_dataset(cityscapes, 'test')
    with pytest.raises(DatasetError, match=r'test\.txt'):
        open_dataset(voc / 'VOCdevkit', 'test')
    lists = voc / 'VOCdevkit/VOC2012/ImageSets/Segmentation'
    (lists / 'val.txt').write_text('../../secret\n', encoding='ascii')
    with pytest.raises(DatasetError, match='must list names'):
        open_dataset(voc / 'VOCdevkit', 'val')
