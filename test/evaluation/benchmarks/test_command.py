# SPDX-License-Identifier: Apache-2.0
"""The commands: quick runs, the same files from any number of workers, and clear messages."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
from benchmark_scenes import write_clip

from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.benchmarks import command
from spikeseg_ros.evaluation.benchmarks.sequences import CLIP_SPLITS

pytest.importorskip('pycocotools')
pytest.importorskip('motmetrics')

METHODS = ('components', 'dbscan')
FILES = ('results.json', 'table.md')
BAGS = Path(__file__).resolve().parents[3] / '../shared/data/events/ros2_bags'
NOISE = BAGS / 'event_camera_codecs/test_data_libcaer_rollover'


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(command, 'QUICK_COUNT', 1)


def _composed(nmnist: Path, output: Path, *more: str) -> int:
    words = ['benchmark', 'composed-nmnist', '--data', str(nmnist), '--output', str(output)]
    return main([*words, '--quick', '--methods', *METHODS, *more])


def test_workers_do_not_change_the_results(nmnist, tmp_path, capsys):
    assert _composed(nmnist, tmp_path / 'one') == 0
    table = capsys.readouterr().out
    assert _composed(nmnist, tmp_path / 'two', '--workers', '2') == 0
    for name in FILES:
        assert (tmp_path / 'one' / name).read_bytes() == (tmp_path / 'two' / name).read_bytes()
    assert table == (tmp_path / 'one/table.md').read_text()
    results = json.loads((tmp_path / 'one/results.json').read_text())
    assert list(results['methods']) == list(METHODS)
    separate = results['sets']['separate, 0.2 Hz']
    # Discs far from each other: easy for everybody.
    for name in METHODS:
        assert separate[name]['windows'] == 12
        assert separate[name]['ap50'] > 0.9
        assert separate[name]['hota'] > 0.7
    timing = json.loads((tmp_path / 'one/timing.json').read_text())
    assert timing['dbscan: mixed, 2 Hz']['windows'] == 12


@pytest.mark.skipif(not NOISE.exists(), reason=f'the recording is not at {NOISE}')
def test_recordings_stand_in_the_same_table(nmnist, tmp_path, capsys):
    assert _composed(nmnist, tmp_path, '--noise', str(NOISE)) == 0
    assert '### Recorded noise (39 windows)' in capsys.readouterr().out
    found = json.loads((tmp_path / 'results.json').read_text())['recordings']['noise']
    assert set(found) == set(METHODS)


def test_clips(tmp_path, capsys):
    clip = write_clip(tmp_path / 'data/breakdance')
    for name in CLIP_SPLITS['test'][1:]:
        shutil.copytree(clip, tmp_path / 'data' / name)
    words = ['benchmark', 'davis-events', '--data', str(tmp_path / 'data')]
    words += ['--cache', str(tmp_path / 'cache'), '--output', str(tmp_path / 'out')]
    assert main([*words, '--methods', 'components']) == 0
    results = json.loads((tmp_path / 'out/results.json').read_text())
    assert set(results['subsets']) == {'camera at rest'}
    assert set(results['clips']) == set(CLIP_SPLITS['test'])
    assert results['sets']['DAVIS events']['components']['true_objects'] == 12
    assert set(results['sequences']) == set(CLIP_SPLITS['test'])
    first = (tmp_path / 'out/results.json').read_bytes()
    shutil.rmtree(tmp_path / 'data')
    assert main([*words, '--methods', 'components']) == 0
    assert (tmp_path / 'out/results.json').read_bytes() == first
    capsys.readouterr()
    shutil.rmtree(tmp_path / 'cache')
    assert main(words) == 1
    assert 'lacks the clips breakdance' in capsys.readouterr().err


def test_messages(nmnist, tmp_path, capsys, monkeypatch):
    assert _composed(tmp_path, tmp_path / 'out') == 1
    assert 'Cannot read the index' in capsys.readouterr().err
    assert _composed(nmnist, tmp_path / 'out', '--workers', '0') == 1
    assert '--workers must be at least 1' in capsys.readouterr().err
    assert _composed(nmnist, tmp_path / 'out', '--person', str(tmp_path / 'none')) == 1
    assert 'none' in capsys.readouterr().err
    (tmp_path / 'file').write_text('')
    assert _composed(nmnist, tmp_path / 'file') == 1
    assert 'is a file' in capsys.readouterr().err
    assert main(['benchmark', 'davis-events', '--data', str(tmp_path), '--methods', 'x']) == 1
    assert "Unknown method 'x'" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, 'motmetrics', None)
    assert _composed(nmnist, tmp_path / 'out') == 1
    assert 'spikeseg_ros[evaluate]' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
