# SPDX-License-Identifier: Apache-2.0
"""Splits, seeds and missing data of the benchmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmark_scenes import write_clip, write_nmnist

from spikeseg_ros.evaluation.benchmarks import sequences
from spikeseg_ros.evaluation.benchmarks.errors import BenchmarkError
from spikeseg_ros.evaluation.benchmarks.sequences import (
    CLIP_SPLITS,
    CLIPS,
    IDS,
    SEEDS,
    ClipItem,
    background_share,
    check_clips,
    composed_items,
    make_clip,
)
from spikeseg_ros.simulation.truth import GroundTruth

DATA = Path(__file__).resolve().parents[3] / '../shared/data'
DAVIS = DATA / 'davis16'


def test_splits_share_nothing():
    assert not set(IDS['train']) & set(IDS['test'])
    assert abs(SEEDS['train'] - SEEDS['test']) > 10_000
    assert sorted((*CLIP_SPLITS['train'], *CLIP_SPLITS['test'])) == list(CLIPS) == sorted(CLIPS)
    assert CLIP_SPLITS['test'][0] == 'breakdance'
    assert len(CLIP_SPLITS['test']) == 6


def test_composed_sequences_are_the_same_every_time(nmnist):
    items = composed_items(nmnist, 2)
    assert [item.set for item in items[::2]] == [
        f'{kind}, {noise} Hz'
        for kind in ('separate', 'overlapping', 'mixed')
        for noise in ('0.2', '2')
    ]
    first, again = items[0].load(), composed_items(nmnist, 1)[0].load()
    assert np.array_equal(first.events.t, again.events.t)
    assert np.array_equal(first.instance, again.instance)
    assert not np.array_equal(first.events.t, items[1].load().events.t)
    assert (first.width, first.height, items[0].windows) == (240, 180, 12)
    assert 550_000_000 < first.events.t[-1] < 600_000_000
    # The same objects under more noise.
    noisy = items[2].load()
    assert np.array_equal(first.events.x[first.instance > 0], noisy.events.x[noisy.instance > 0])
    assert (noisy.instance == 0).sum() > 5 * (first.instance == 0).sum()


def test_missing_recordings_are_named(tmp_path, nmnist):
    folder = write_nmnist(tmp_path / 'some', range(801, 900))
    with pytest.raises(BenchmarkError, match=r'lacks 101 of the recordings 801 .. 1000.*900.bs2'):
        composed_items(folder, 1)
    with pytest.raises(BenchmarkError, match='lacks 800'):
        composed_items(nmnist, 1, 'train')
    with pytest.raises(ValueError, match='Cannot read the index'):
        composed_items(tmp_path / 'nothing', 1)


def test_missing_clips_are_named(tmp_path):
    write_clip(tmp_path / 'libby', 2)
    with pytest.raises(BenchmarkError, match='lacks the clips cows; give the folder'):
        check_clips(tmp_path, ['libby', 'cows'])
    check_clips(tmp_path, ['libby'])


def test_clips_become_events_once(tmp_path, monkeypatch):
    folder, cache = tmp_path / 'clips', tmp_path / 'cache'
    write_clip(folder / 'libby')
    path = make_clip(folder, 'libby', cache)
    truth = GroundTruth.load(path)
    assert (truth.width, truth.height) == (428, 240)
    assert set(np.unique(truth.instance)) == {0, 1}
    assert background_share(truth) < 0.05
    monkeypatch.setattr(sequences, 'record', None)
    assert make_clip(folder, 'libby', cache) == path
    assert [item.name for item in cache.iterdir()] == ['libby.npz']
    short = ClipItem(str(path), 1).load()
    assert len(short.events) == len(short.instance) == (truth.events.t < 50_000_000).sum()


def test_other_seeds_for_other_clips(tmp_path):
    events = []
    for name in ('cows', 'libby'):
        write_clip(tmp_path / name, 2)
        events.append(GroundTruth.load(make_clip(tmp_path, name, tmp_path)).events)
    assert not np.array_equal(events[0].t, events[1].t)


@pytest.mark.skipif(not DAVIS.is_dir(), reason=f'the clips are not at {DAVIS}')
def test_all_clips_are_known():
    check_clips(DAVIS, CLIPS)
    assert sorted(path.name for path in DAVIS.iterdir() if path.is_dir()) == list(CLIPS)
