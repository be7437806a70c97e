# SPDX-License-Identifier: Apache-2.0
"""Tables and files of a benchmark."""

from __future__ import annotations

import json
import math

from spikeseg_ros.evaluation.benchmarks.tables import markdown, rounded, write_results

SCORES = {
    'ap50': 0.5,
    'ap': 0.25,
    'pq': 0.125,
    'event_iou': 1.0,
    'count_error': 1.0,
    'hota': math.nan,
    'idf1': 1 / 3,
    'id_switches': 2.0,
    'windows': 12.0,
    'predicted': 3.0,
}
RESULTS = {
    'methods': {'a': {'title': 'First'}, 'b': {'title': 'Second'}},
    'sets': {
        'one': {'a': {**SCORES, 'hota': 0.25}, 'b': {**SCORES, 'ap50': 0.75, 'predicted': 0.0}},
        'two': {'a': SCORES, 'b': {**SCORES, 'predicted': 0.0}},
    },
    'recordings': {
        'person': {
            'a': {
                'motion': 13.0,
                'quiet': 14.0,
                'union_iou': 0.875,
                'pieces': 1.5,
                'stray': 0.0,
                'quiet_objects': 0.0,
            }
        },
        'noise': {'a': {'windows': 20.0, 'objects_per_window': 0.05}},
    },
}


def test_tables_by_hand():
    lines = markdown(RESULTS).splitlines()
    assert '| method | mean | one | two |' in lines
    assert '| First | 0.500 / n/a | 0.500 / **0.250** | **0.500** / n/a |' in lines
    assert '| Second | **0.625** / n/a | **0.750** / n/a | **0.500** / n/a |' in lines
    assert '### one' in lines
    assert '| First | 0.500 | 0.250 | 0.125 | 1.000 | +1.00 | 0.250 | 0.333 | 2 |' in lines
    assert '### Recorded person (13 windows with motion, 14 quiet ones)' in lines
    assert '| First | 0.88 | 1.50 | 0.00 | 0.00 |' in lines
    assert '| First | 0.05 |' in lines
    assert lines[-1] == 'Stayed silent, no object in any window: Second.'


def test_one_set_has_no_mean():
    one = {'methods': RESULTS['methods'], 'sets': {'one': RESULTS['sets']['one']}}
    assert '| method | one |' in markdown(one)


def test_files(tmp_path):
    write_results(tmp_path / 'new', RESULTS, {'a: one': {'median_ms': 1.5}})
    read = json.loads((tmp_path / 'new/results.json').read_text())
    assert read['sets']['one']['a']['idf1'] == 0.333333
    assert read['sets']['two']['a']['hota'] is None
    assert json.loads((tmp_path / 'new/timing.json').read_text()) == {'a: one': {'median_ms': 1.5}}
    assert (tmp_path / 'new/table.md').read_text() == markdown(RESULTS)
    assert rounded((1.23456789, math.inf)) == [1.234568, None]
