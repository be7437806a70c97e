# SPDX-License-Identifier: Apache-2.0
"""The progress bar over all recordings ends at its total, whatever happens to them."""

from __future__ import annotations

from typing import ClassVar

import pytest
import tiny

from spikeseg_ros.evaluation.offline import engine
from spikeseg_ros.events.encoder import Evt3Encoder

CUTS = list(range(200, 4000, 200))


class Bar:
    """Stands for the bar of tqdm."""

    made: ClassVar[list[Bar]] = []

    def __init__(self, total=None, desc='', **_):
        self.total, self.desc, self.shown = total, desc, []
        self.made.append(self)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return False

    def update(self, count):
        self.shown.append(count)


@pytest.fixture
def bars(monkeypatch):
    """The bars that were made; recordings are evaluated with the small segmenter."""
    real = engine.run_unit
    monkeypatch.setattr(Bar, 'made', [])
    monkeypatch.setattr(engine, 'tqdm', Bar)
    monkeypatch.setattr(
        engine, 'run_unit', lambda unit, progress: real(unit, progress, lambda _: tiny.Tiny())
    )
    return Bar.made


def test_both_readings_count(tmp_path, bars):
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(), CUTS)
    engine.run_units([tiny.unit(bag, tmp_path / 'out')])
    (bar,) = bars
    assert (bar.total, bar.desc) == (40, 'bag')
    assert bar.shown == [1] * 40 + [0]


def test_the_bar_is_full_at_the_end(tmp_path, bars):
    good, cut, broken = (
        tiny.write_bag(tmp_path / name, tiny.random_events(), CUTS)
        for name in ('good', 'cut', 'broken')
    )
    file = cut / 'cut.mcap'
    file.write_bytes(file.read_bytes()[:-8000])
    units = [tiny.unit(bag, tmp_path / 'out' / bag.name) for bag in (good, cut, broken)]
    (broken / 'broken.mcap').write_bytes((broken / 'broken.mcap').read_bytes()[:3000])
    outcomes = engine.run_units(units)
    assert [bool(item.error) for item in outcomes] == [False, True, True]
    engine.run_units([tiny.unit(good, tmp_path / 'out' / 'good', resume=True)])
    assert [bar.desc for bar in bars] == ['3 recordings', 'good']
    for bar in bars:
        assert bar.total is None or sum(bar.shown) == bar.total
    assert bars[1].total == 40


def test_a_recording_of_unknown_length_only_counts(tmp_path, bars, monkeypatch):
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(), CUTS)
    monkeypatch.setattr(engine, 'reading_length', lambda *_: 0)
    engine.run_units([tiny.unit(bag, tmp_path / 'out')])
    assert bars[0].total is None
    assert sum(bars[0].shown) == 40


def test_an_event_file_counts_by_its_size(tmp_path, bars):
    header = b'% evt 3.0\n% format EVT3;height=80;width=100\n% geometry 100x80\n% end\n'
    words = bytes(Evt3Encoder(100, 80).encode(tiny.random_events(100_000)))
    (tmp_path / 'a.raw').write_bytes(header + words)
    engine.run_units([tiny.unit(tmp_path / 'a.raw', tmp_path / 'out')])
    assert bars[0].total == 2 * (len(header + words) // 4096)
    assert sum(bars[0].shown) == bars[0].total
    assert sum(step > 0 for step in bars[0].shown) > 3
