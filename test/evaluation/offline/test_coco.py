# SPDX-License-Identifier: Apache-2.0
"""Masks as COCO's compressed run lengths, and objects.json in the hands of pycocotools."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import tiny

from spikeseg_ros.evaluation.offline.coco import compressed, run_lengths


def encoded(mask, x, y, height, width):
    return compressed(run_lengths(mask, x, y, height, width))


def test_known_masks():
    # COCO's text of a single pixel at column 1, row 2 of 3 x 4: runs 5, 1, 6.
    assert run_lengths(np.ones((1, 1), bool), 1, 2, 3, 4).tolist() == [5, 1, 6]
    assert encoded(np.ones((1, 1), bool), 1, 2, 3, 4) == '516'
    assert encoded(np.ones((3, 4), bool), 0, 0, 3, 4) == '0<'
    assert encoded(np.zeros((0, 0), bool), 0, 0, 3, 4) == '<'


@pytest.mark.parametrize('seed', range(40))
def test_masks_are_those_of_pycocotools(seed):
    masks = pytest.importorskip('pycocotools.mask', reason='needs spikeseg_ros[evaluate]')
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, (5, 40, 700, 1300)[seed % 4], 2).tolist()
    full = rng.random((height, width)) < rng.choice([0.001, 0.1, 0.5, 0.9, 0.9999])
    top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
    full[:top], full[:, :left] = False, False
    crop = full[top:, left:]
    wanted = masks.encode(np.asfortranarray(full.astype(np.uint8)))
    assert encoded(crop, left, top, height, width) == wanted['counts'].decode()


@pytest.mark.parametrize('value', [0, 1, 15, 16, 31, 32, 511, 512, 2**14, 2**20 + 7, 2**30])
def test_long_runs(value):
    masks = pytest.importorskip('pycocotools.mask', reason='needs spikeseg_ros[evaluate]')
    # Differences of either sign, larger than any sensor's.
    counts = [value, 3, 2, value + 5, 1, 7, value]
    size = [1, sum(counts)]
    wanted = masks.frPyObjects({'size': size, 'counts': counts}, *size)['counts'].decode()
    assert compressed(np.array(counts)) == wanted


def test_objects_are_read_by_pycocotools(tmp_path):
    module = pytest.importorskip('pycocotools.coco', reason='needs spikeseg_ros[evaluate]')
    events = tiny.random_events(1000, 0.2)
    bag = tiny.write_bag(tmp_path / 'bag', events, [500])
    tiny.run(bag, tmp_path / 'out')
    with contextlib.redirect_stdout(io.StringIO()):
        coco = module.COCO(str(tmp_path / 'out/objects.json'))
    assert len(coco.getImgIds()) == 4
    assert [item['name'] for item in coco.loadCats(coco.getCatIds())] == ['half']
    for item in coco.loadAnns(coco.getAnnIds()):
        mask = coco.annToMask(item)
        assert mask.sum() == item['area']
        x, y, width, height = item['bbox']
        assert mask[y : y + height, x : x + width].sum() == item['area']
        image = coco.loadImgs(item['image_id'])[0]
        t = (events.t >= image['t_start']) & (events.t < image['t_end'])
        inside = mask[events.y[t], events.x[t]].astype(bool)
        assert inside.sum() >= item['n_events'] > 0
