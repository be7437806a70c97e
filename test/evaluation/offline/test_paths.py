# SPDX-License-Identifier: Apache-2.0
"""Ground truth that is the paths of points: volumes and points of a run, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.io
import tiny

from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.offline import engine
from spikeseg_ros.evaluation.offline.together import write_together
from spikeseg_ros.evaluation.report import write_report
from spikeseg_ros.events.types import Events

for _package in ('pycocotools', 'motmetrics'):
    pytest.importorskip(_package, reason='needs spikeseg_ros[evaluate]')

SIZE = (240, 180)
START = 5_000
# Time since the first event [us], x, y; slices of 10 ms begin with the first event. The last
# event is behind the last whole slice.
ROWS = [(0, 2, 2), (2_000, 200, 100), (12_000, 200, 100), (13_000, 1, 1), (20_000, 5, 5)]


class Left(tiny.Tiny):
    """Publishes the events of the left half as one object."""

    def segment(self, frame, state):
        result, state = super().segment(frame, state)
        kept = tuple(item for item in result.objects if item.centroid[0] < SIZE[0] / 2)
        return tiny.dataclasses.replace(result, objects=kept), state


def recording(folder, name, rows, label, until=10_000):
    """Write a bag and its MATLAB file; one object rests at the label (x, y) [px]."""
    table = np.array(rows, np.int64)
    t = START + table[:, 0]
    events = Events(
        table[:, 1].astype(np.uint16),
        table[:, 2].astype(np.uint16),
        np.ones(len(table), np.uint8),
        t * 1000,
    )
    bag = tiny.write_bag(folder / name, events, [2], size=SIZE)
    td = {'x': table[:, 1] + 1.0, 'y': table[:, 2] + 1.0, 'p': np.ones(len(t)), 'ts': t * 1.0}
    times = np.array([START, START + until], float)
    place = {axis: np.full(2, value + 1.0) for axis, value in zip('xy', label, strict=True)}
    scipy.io.savemat(
        folder / f'{name}.mat', {'TD': td, 'Obj': {**place, 'ts': times, 'id': np.ones(2)}}
    )
    return bag


def evaluate(folder, name, out, until=10_000, rows=ROWS):
    bag = recording(folder, name, rows, (4, 2), until)
    outcome = tiny.run(
        bag, out, segmenter=Left(), truth=str(folder / f'{name}.mat'), truth_kind='auto'
    )
    return outcome, json.loads((out / 'summary.json').read_text())['metrics']


def test_volumes_by_hand(tmp_path):
    outcome, metrics = evaluate(tmp_path, 'sky', tmp_path / 'out')
    assert not outcome.error
    found = metrics['volumes']
    assert (found['slices'], found['slice_ms']) == (2, 10.0)
    # Within 1 px: tiles of 2x2 pixels, 120 x 90 of them. In slice 1 the disc around (4, 2) takes
    # 3 pixels of one tile, so 10799 are asked. The event at (2, 2) is 2 px away: missed, and
    # like that at (200, 100) dense in an empty volume. In slice 2 nothing is labelled and two
    # tiles are dense. The object holds the events at (2, 2) and (1, 1).
    assert found['raw_events']['1'] == scores(0.0, 21595 / 21599)
    assert found['objects']['1'] == scores(0.0, 21597 / 21599)
    # Within 3 px: tiles of 5x5, 48 x 36. The disc takes 16 of the 25 pixels of the first tile.
    assert found['raw_events']['3'] == scores(1.0, 3452 / 3455)
    assert found['objects']['3'] == scores(1.0, 3454 / 3455)
    # The object is at (2, 2) in slice 1, 2 px from its label, and at (1, 1) in slice 2.
    assert found['points'] == {
        '1': {'precision': 0.0, 'recall': 0.0, 'f1': 0.0},
        '3': {'precision': 0.5, 'recall': 1.0, 'f1': round(2 / 3, 6)},
    }
    text = ' '.join(write_report(tmp_path / 'out').read_text().split())
    cells = ''.join(
        f'<td class="n">{value}</td>' for value in ('1.000', f'{3454 / 3455:.3f}', '1.000')
    )
    assert f'<td>3 px</td><td>events in objects</td>{cells}' in text
    assert 'Informedness' in text
    points = ''.join(f'<td class="n">{value}</td>' for value in ('0.500', '1.000', '0.667'))
    assert f'<td>3 px</td>{points}' in text


def scores(sensitivity, specificity):
    """Return a row of the table as it stands in the file."""
    informed = sensitivity + specificity - 1.0
    return {
        'sensitivity': round(sensitivity, 6),
        'specificity': round(specificity, 6),
        'informedness': round(informed, 6),
    }


def test_windows_need_not_fit_the_slices(tmp_path):
    """Windows of 4 ms: a slice takes the objects of the window that its middle lies in."""
    bag = recording(tmp_path, 'sky', ROWS, (4, 2))
    options = {'truth': str(tmp_path / 'sky.mat'), 'config': tiny.with_window(4.0)}
    assert not tiny.run(bag, tmp_path / 'out', segmenter=Left(), **options).error
    found = json.loads((tmp_path / 'out/summary.json').read_text())['metrics']['volumes']
    assert found['objects']['3'] == scores(1.0, 3454 / 3455)
    # The middle of slice 1 lies in [4, 8) ms, which is empty, that of slice 2 in [12, 16) ms with
    # an object at (1, 1), where nothing is labelled any more.
    assert found['points']['3'] == {'precision': 0.0, 'recall': 0.0, 'f1': 0.0}


def test_several_recordings_are_averaged(tmp_path, monkeypatch, capsys):
    real = engine.run_unit
    monkeypatch.setattr(
        engine, 'run_unit', lambda unit, progress: real(unit, progress, lambda config: Left())
    )
    words = []
    # Of the second one the label lasts for both slices; the object is 2 px away only in one.
    for name, until in (('one', 10_000), ('two', 21_000)):
        recording(tmp_path, name, ROWS, (4, 2), until)
        words += ['--truth', str(tmp_path / f'{name}.mat')]
    bags = [str(tmp_path / name) for name in ('one', 'two')]
    out = tmp_path / 'out'
    assert main(['evaluate', 'bag', *bags, *words, '--output', str(out)]) == 0, capsys.readouterr()
    summary = json.loads((out / 'summary.json').read_text())
    found = summary['metrics']['volumes']
    assert found['recordings'] == 2
    each = [item['metrics']['volumes']['objects']['3'] for item in summary['bags']]
    assert [item['sensitivity'] for item in each] == [1.0, 0.5]
    assert found['objects']['3']['sensitivity'] == {'mean': 0.75, 'low': 0.5, 'high': 1.0}
    recall = found['points']['3']['recall']
    assert recall == {'mean': 0.75, 'low': 0.5, 'high': 1.0}
    text = (out / 'report.html').read_text()
    assert '<td class="n">0.750 [0.500, 1.000]</td>' in text
    before = (out / 'summary.json').read_bytes()
    write_together(out, ['one', 'two'])
    assert (out / 'summary.json').read_bytes() == before


def test_a_recording_without_a_whole_slice_is_told(tmp_path):
    outcome, metrics = evaluate(tmp_path, 'sky', tmp_path / 'out', rows=[(0, 2, 2), (500, 2, 2)])
    assert metrics is None
    assert 'sky.mat' in outcome.error
    assert 'no slice' in outcome.error
