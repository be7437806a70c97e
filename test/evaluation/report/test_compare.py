# SPDX-License-Identifier: Apache-2.0
"""Two runs side by side."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.report import ReportError
from spikeseg_ros.evaluation.report.compare import config_differences, labels
from spikeseg_ros.evaluation.report.pairing import load_pairs, numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeRun = Callable[..., Path]


def test_command_writes_page_and_table(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_run(tmp_path / 'one', truth=True)
    other = make_run(tmp_path / 'other', truth=True, shift=3, options={'objects.fill': 2})
    summary = json.loads((other / 'summary.json').read_text(encoding='utf-8'))
    summary['metrics']['instances']['ap50'] = 0.875
    summary['metrics']['tracks']['id_switches'] = 4
    (other / 'summary.json').write_text(json.dumps(summary), encoding='utf-8')
    target = tmp_path / 'pages' / 'compare.html'
    assert main(['compare', str(one), str(other), '--output', str(target)]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['AP50', '0.750', '0.875', '+0.125'] in lines
    assert ['Tracks', '2', '2', 'equal'] in lines
    assert ['objects.fill:', '0', '->', '2'] in lines
    assert lines[-1] == [str(target)]
    page = target.read_text(encoding='utf-8')
    assert '<span class="good">+0.125, better</span>' in page
    assert '<span class="bad">+1 (+33%), worse</span>' not in page
    assert '<span class="bad">+1, worse</span>' in page
    assert '<code>objects.fill</code>' in page
    assert 'Their objects differ in 10 of 12 shared windows' in page
    assert 'src="http' not in page
    assert '<script' not in page
    # Windows 2 to 7 differ most; 6 has pictures, the other five are drawn from their masks.
    assert page.count('<img') == 12
    assert page.count('Drawn from the masks alone') == 5


def test_agreement_is_that_of_the_masks(tmp_path: Path, make_run: MakeRun) -> None:
    one = make_run(tmp_path / 'one')
    (pair,) = load_pairs(one, make_run(tmp_path / 'other', shift=3))
    # 20 x 30 pixels moved by 3 rows: 27 of 33 rows are common; track 2 rests.
    alone, both = 27 / 33, (27 / 33 + 1) / 2
    assert pair.agreements == pytest.approx(np.array([1, 1, alone, alone] + [both] * 8))
    assert pair.by_difference()[:3] == [2, 3, 4]
    (same,) = load_pairs(one, one)
    assert same.by_difference() == []
    assert all(row.difference == 'equal' and not row.verdict for row in numbers(same))
    assert config_differences(same) == {}


def test_windows_are_paired_by_their_time(tmp_path: Path, make_run: MakeRun) -> None:
    one, other = make_run(tmp_path / 'one'), make_run(tmp_path / 'other')
    lines = (other / 'windows.csv').read_text(encoding='utf-8').splitlines(keepends=True)
    del lines[3]
    (other / 'windows.csv').write_text(''.join(lines), encoding='utf-8')
    (pair,) = load_pairs(one, other)
    assert pair.rows.tolist() == [[0, 0], [1, 1]] + [[k, k - 1] for k in range(3, 12)]
    assert (pair.agreements == 1).all()


def test_wall_clock_noise_is_not_judged(tmp_path: Path, make_run: MakeRun) -> None:
    one, other = make_run(tmp_path / 'one'), make_run(tmp_path / 'other')
    text = (other / 'timing.csv').read_text(encoding='utf-8')
    for value, verdict in (('0.006100', ''), ('0.007000', 'bad'), ('0.005000', 'good')):
        (other / 'timing.csv').write_text(text.replace('0.006000', value), encoding='utf-8')
        rows = {row.name: row for row in numbers(load_pairs(one, other)[0])}
        assert rows['Time per window, p50'].verdict == verdict
        assert rows['Times real time'].verdict == verdict


def test_other_recordings_and_no_runs_are_refused(
    tmp_path: Path, make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    one = make_run(tmp_path / 'one')
    other = make_run(tmp_path / 'other', name='tree', sha256='00' * 32)
    target = tmp_path / 'compare.html'
    assert main(['compare', str(one), str(other), '--output', str(target)]) == 1
    text = capsys.readouterr().err
    assert "runs of different recordings ('street'; 'tree')" in text
    assert text.count('\n') == 1
    assert main(['compare', str(one), str(tmp_path), '--output', str(target)]) == 1
    assert 'is no run: it holds no summary.json' in capsys.readouterr().err
    assert not target.exists()


def test_runs_without_objects_are_not_called_equal(tmp_path: Path, make_run: MakeRun) -> None:
    one, other = make_run(tmp_path / 'one'), make_run(tmp_path / 'other')
    (other / 'objects.json').unlink()
    (other / 'timing.csv').unlink()
    target = tmp_path / 'compare.html'
    assert main(['compare', str(one), str(other), '--output', str(target)]) == 0
    page = target.read_text(encoding='utf-8')
    assert 'Not every run holds its objects.json' in page
    assert 'timing.csv is missing in one of the runs' in page


def test_several_recordings_are_paired_by_content(tmp_path: Path, make_run: MakeRun) -> None:
    for side, order in (('one', 'xyz'), ('other', 'zx')):
        for name in order:
            make_run(tmp_path / side / name, name=f'{side}-{name}', sha256=name * 64)
        tree = {'format': 'spikeseg_run/1', 'bags': list(order)}
        (tmp_path / side / 'summary.json').write_text(json.dumps(tree), encoding='utf-8')
    pairs = load_pairs(tmp_path / 'one', tmp_path / 'other')
    assert [(pair.first.name, pair.second.name) for pair in pairs] == [
        ('one-x', 'other-x'),
        ('one-z', 'other-z'),
    ]
    target = tmp_path / 'compare.html'
    words = ['compare', str(tmp_path / 'one'), str(tmp_path / 'other'), '--output', str(target)]
    assert main(words) == 0
    assert 'id="recording-2"' in target.read_text(encoding='utf-8')


def test_broken_masks_are_an_error(tmp_path: Path, make_run: MakeRun) -> None:
    one, other = make_run(tmp_path / 'one'), tmp_path / 'other'
    shutil.copytree(one, other)
    objects = json.loads((other / 'objects.json').read_text(encoding='utf-8'))
    objects['annotations'][0]['segmentation']['counts'] += '1'
    (other / 'objects.json').write_text(json.dumps(objects), encoding='utf-8')
    with pytest.raises(ReportError, match='the mask of annotation 1 is broken'):
        load_pairs(one, other)


def test_names_tell_directories_apart(tmp_path: Path) -> None:
    assert labels(tmp_path / 'a', tmp_path / 'b') == ('a', 'b')
    assert labels(tmp_path / 'a' / 'run', tmp_path / 'b' / 'run') == ('a/run', 'b/run')
