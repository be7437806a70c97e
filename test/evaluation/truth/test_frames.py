# SPDX-License-Identifier: Apache-2.0
"""Labelled frames of DSEC-Semantic, DDD17 and CamVid, on generated files of their layouts."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from spikeseg_ros.evaluation.metrics import ConfusionMatrix
from spikeseg_ros.evaluation.truth import TruthError, load_frames

CAMVID = Path(__file__).resolve().parents[4] / 'shared/data/camvid'
MS = 1_000_000


def _labels(folder: Path, names: list[str], shape: tuple[int, int], classes: int) -> None:
    """Write label images whose pixels are random classes and some unlabelled ones."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(names))
    for name in names:
        image = rng.integers(0, classes, shape).astype(np.uint8)
        image[0, :3] = 255
        cv2.imwrite(str(folder / f'{name}.png'), image)


@pytest.mark.parametrize(
    ('below', 'data', 'times'),
    [
        ('.', '', 'zurich_city_13_a_semantic_timestamps.txt'),
        ('semantic', '', 'semantic/semantic_timestamps.txt'),
        ('semantic/left', 'data', 'semantic/timestamps.txt'),
    ],
)
@pytest.mark.parametrize('classes', [11, 19])
def test_a_sequence_of_dsec(
    tmp_path: Path, below: str, data: str, times: str, classes: int
) -> None:
    root = tmp_path / 'zurich_city_13_a'
    names = [f'{k:06d}' for k in range(3)]
    _labels(root / below / f'{classes}classes' / data, names, (44, 64), classes)
    (root / times).write_text('1000000\n1050000\n1100000\n')
    frames = load_frames(root, 'dsec', classes=classes)
    assert (len(frames), frames.width, frames.height) == (3, 64, 44)
    assert len(frames.classes) == classes
    assert frames.nearest(1_049 * MS, 2 * MS) == 1
    assert frames.nearest(1_025 * MS - 1, 30 * MS) == 0
    assert frames.nearest(1_049 * MS, MS // 2) is None
    # The sensor has more rows below than the labels.
    prediction = np.zeros((48, 64), np.uint8)
    prediction[:44] = np.where(frames.label(2) == 255, 0, frames.label(2))
    prediction[44:] = 1
    matrix = ConfusionMatrix(frames.classes, frames.ignore)
    matrix.add(frames.crop(prediction), frames.label(2))
    assert matrix.accuracy == 1.0
    assert matrix.counts.sum() == 44 * 64 - 3
    with pytest.raises(TruthError, match='does not cover the 64x44 labels'):
        frames.crop(prediction[:40])


def test_damaged_sequences_of_dsec(tmp_path: Path) -> None:
    root = tmp_path / 'sequence'
    root.mkdir()
    with pytest.raises(TruthError, match='11classes/ is missing'):
        load_frames(root, 'dsec')
    _labels(root / '11classes', ['000000', '000001'], (4, 6), 11)
    with pytest.raises(TruthError, match=r'timestamps\.txt is missing'):
        load_frames(root, 'dsec')
    times = root / 'sequence_semantic_timestamps.txt'
    for text, message in (
        ('1\n', 'holds 2 label images, but 1 times'),
        ('5\n4\n', 'run backwards'),
        ('1\nx\n', 'Cannot read the times'),
    ):
        times.write_text(text)
        with pytest.raises(TruthError, match=message):
            load_frames(root, 'dsec')
    times.write_text('1\n2\n')
    frames = load_frames(root, 'dsec')
    cv2.imwrite(str(root / '11classes/000001.png'), np.full((4, 6), 12, np.uint8))
    with pytest.raises(TruthError, match=r'000001\.png.*value 12'):
        frames.label(1)
    cv2.imwrite(str(root / '11classes/000001.png'), np.zeros((5, 6), np.uint8))
    with pytest.raises(TruthError, match='6x5 pixels, the first one 6x4'):
        frames.label(1)
    content = (root / '11classes/000000.png').read_bytes()
    for damaged in (b'', b'no picture', content[:20], content[:40], content[:-20]):
        (root / '11classes/000001.png').write_bytes(damaged)
        with pytest.raises(TruthError, match=r'000001\.png'):
            frames.label(1)
    with pytest.raises(TruthError, match='11 or 19'):
        load_frames(root, 'dsec', classes=12)


def test_a_recording_of_ddd17_with_an_index(tmp_path: Path) -> None:
    root = tmp_path / 'dir0'
    names = ['segmentation_00000002', 'segmentation_00000010']
    _labels(root / 'segmentation_masks', names, (20, 34), 6)
    (root / 'index').mkdir()
    table = np.stack([np.arange(12) * 50 * MS + 7, np.arange(12) * 100, np.arange(12) * 90], 1)
    np.save(root / 'index/index_50ms.npy', table)
    frames = load_frames(root, 'ddd17')
    assert frames.times is not None
    # Image n stands in row n - 1.
    assert frames.times.tolist() == [50 * MS + 7, 450 * MS + 7]
    assert frames.nearest(450 * MS, MS) == 1
    assert frames.classes[5] == 'vehicle'
    assert set(np.unique(frames.label(0))) <= {0, 1, 2, 3, 4, 5, 255}
    np.save(root / 'index/index_50ms.npy', table[:5])
    with pytest.raises(TruthError, match=r'index_50ms\.npy'):
        load_frames(root, 'ddd17')
    (root / 'segmentation_masks/segmentation_00000002.png').rename(
        root / 'segmentation_masks/second.png'
    )
    with pytest.raises(TruthError, match=r'second\.png.*number of its image'):
        load_frames(root, 'ddd17')


def test_a_split_of_ev_segnet_has_no_times(tmp_path: Path) -> None:
    _labels(tmp_path / 'labels/test', ['rec1487417411_export_3772'], (200, 346), 6)
    frames = load_frames(tmp_path / 'labels/test', 'ddd17')
    assert (frames.width, frames.height, frames.times) == (346, 200, None)
    assert frames.name(0) == 'rec1487417411_export_3772'
    with pytest.raises(TruthError, match='without times'):
        frames.nearest(0, MS)


def test_what_holds_no_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TruthError, match='There is no folder'):
        load_frames(tmp_path / 'nothing', 'dsec')
    with pytest.raises(TruthError, match='no label images'):
        load_frames(tmp_path, 'camvid')
    with pytest.raises(TruthError, match="is called 'voc'"):
        load_frames(tmp_path, 'voc')


def test_the_labelled_video_of_camvid() -> None:
    if not (CAMVID / 'val').exists():
        pytest.skip(f'data set {CAMVID} is not here')
    frames = load_frames(CAMVID / 'val', 'camvid')
    assert (len(frames), frames.width, frames.height) == (101, 480, 360)
    assert frames.nearest(round(100 / 15 * 1e9), MS) == 100
    assert set(np.unique(frames.label(50))) <= set(range(12))
