# SPDX-License-Identifier: Apache-2.0
"""The section about a live run is there where timing.json tells of one."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from spikeseg_ros.evaluation.report import ReportError, write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIVE: dict[str, Any] = {
    'windows': 12,
    'live_windows': 14,
    'matched': 10,
    'missing_windows': 2,
    'identical': 0.9,
    'event_iou': 0.875,
    'shed_windows': 2,
    'dropped_packets': 3,
    'lost_packets': 0,
    'latency': {'p50_ms': 12.5, 'p99_ms': 48.25},
}


def _text(run: Path, live: Any) -> str:
    """Return the text of the report of a run with this live run."""
    path = run / 'timing.json'
    timing = json.loads(path.read_text(encoding='utf-8'))
    path.write_text(json.dumps({**timing, 'realtime': live}), encoding='utf-8')
    page = write_report(run).read_text(encoding='utf-8')
    return ' '.join(html.unescape(re.sub(r'<[^>]*>', ' ', page)).replace('\u202f', ' ').split())


def test_a_live_run_is_shown(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path / 'run')
    assert 'Live run' not in write_report(run).read_text(encoding='utf-8')
    text = _text(run, LIVE)
    for row in (
        'Latency, median 12.5 ms',
        'Latency, p99 48.2 ms',
        'Windows of the recording 12',
        'Windows published 14',
        'Windows that are in both runs 10',
        'Windows shed 2',
        'Packets dropped 3',
        'Packets lost 0',
        'Windows with the same result 90.0%',
        'IoU of the object pixels 0.875',
        '2 windows of the recording did not come out of the live node.',
    ):
        assert row in text


def test_a_live_run_that_gave_nothing(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    nothing = dict.fromkeys(LIVE) | {'windows': 12, 'live_windows': 0, 'matched': 0, 'latency': {}}
    text = _text(make_run(tmp_path / 'run'), nothing)
    assert 'Latency, median \u2013' in text
    assert 'Windows with the same result \u2013' in text
    assert '12 windows of the recording did not come out of the live node.' in text


@pytest.mark.parametrize('broken', [5, {'latency': {'p50_ms': 'fast'}}, {'windows': []}])
def test_a_broken_live_run_is_named(
    tmp_path: Path, make_run: Callable[..., Path], broken: Any
) -> None:
    with pytest.raises(ReportError, match=r'timing\.json'):
        _text(make_run(tmp_path / 'run'), broken)
