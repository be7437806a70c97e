# SPDX-License-Identifier: Apache-2.0
"""N-MNIST files and scenes composed from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from spikeseg_ros.events.types import Events
from spikeseg_ros.simulation.events import SimulationError
from spikeseg_ros.simulation.nmnist import (
    Dataset,
    Placement,
    compose,
    random_composition,
    read_recording,
)

MS = 1_000_000
DATA = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'events' / 'nmnist'
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f'N-MNIST is not at {DATA}')


def test_bytes_of_one_event(tmp_path):
    path = tmp_path / '1.bs2'
    path.write_bytes(bytes([3, 33, 0x80 | 0x01, 0x02, 0x03, 0, 0, 0, 0, 9]))
    events = read_recording(path)
    assert events.x.tolist() == [3, 0]
    assert events.y.tolist() == [33, 0]
    assert events.p.tolist() == [1, 0]
    assert events.t.tolist() == [0x010203 * 1000, 9000]


@pytest.mark.parametrize(
    ('data', 'reason'), [(b'\x01\x02\x03', 'whole number'), (b'\x22\x00\x00\x00\x00', '34x34')]
)
def test_damaged_files_are_refused(tmp_path, data, reason):
    path = tmp_path / '7.bs2'
    path.write_bytes(data)
    with pytest.raises(SimulationError, match=reason):
        read_recording(path)
    with pytest.raises(SimulationError, match=r'8\.bs2'):
        read_recording(tmp_path / '8.bs2')


def test_index_says_what_is_missing(tmp_path):
    with pytest.raises(SimulationError, match=r'train1K\.txt'):
        Dataset.open(tmp_path)


def test_composition_keeps_instance_and_class():
    t = np.arange(10, dtype=np.int64) * MS
    one = np.ones(10, np.uint8)
    events = Events((one * 5).astype(np.uint16), (one * 6).astype(np.uint16), one, t)
    truth = compose(
        [
            Placement(events, 10, 20, class_id=4),
            Placement(events, 100, 0, begin=5 * MS, velocity=(1000.0, 0.0)),
            Placement(events, -8, 0),
        ],
        120,
        60,
        8 * MS,
    )
    first, second = truth.instance == 1, truth.instance == 2
    assert first.sum() == 8
    assert set(truth.events.x[first]) == {15}
    assert set(truth.events.y[first]) == {26}
    assert truth.events.t[second].tolist() == [0, MS, 2 * MS, 3 * MS, 4 * MS]
    assert truth.events.x[second].tolist() == [105, 106, 107, 108, 109]
    assert not (truth.instance == 3).any()
    assert truth.classes == {1: 4, 2: 1, 3: 1}
    item = truth.window(0, 8 * MS).objects[0]
    assert (item.class_id, item.name, item.n_events) == (4, 'digit 3', 8)
    assert item.silhouette.box == (15, 26, 1, 1)


@needs_data
def test_the_data_set_is_what_its_description_says():
    dataset = Dataset.open(DATA)
    labels = np.bincount(list(dataset.classes.values()))
    assert labels.tolist() == [97, 116, 99, 93, 105, 92, 94, 117, 87, 100]
    events = dataset.read(1)
    assert (np.diff(events.t) >= 0).all()


@needs_data
def test_random_compositions():
    dataset = Dataset.open(DATA)
    ids = list(range(1, 801))
    apart = random_composition(dataset, ids, 3, count=5, noise_hz=0.2)
    again = random_composition(dataset, ids, 3, count=5, noise_hz=0.2)
    assert np.array_equal(apart.events.t, again.events.t)
    assert apart.events.t.max() < 50 * MS
    boxes = [item.events.box for item in apart.window(0, 50 * MS).objects]
    assert len(boxes) == 5
    for k, (x, y, w, h) in enumerate(boxes):
        for a, b, c, d in boxes[k + 1 :]:
            assert a >= x + w or x >= a + c or b >= y + h or y >= b + d
    noise = (apart.instance == 0).sum()
    assert noise == pytest.approx(0.2 * 240 * 180 * 0.05, rel=0.25)
    with pytest.raises(SimulationError, match='lasts'):
        random_composition(dataset, ids, 3, duration=10**10)
