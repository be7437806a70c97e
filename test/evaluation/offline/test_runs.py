# SPDX-License-Identifier: Apache-2.0
"""Runs repeat byte for byte, whatever happens around them."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
import tiny

from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline import unit as unit_module
from spikeseg_ros.events.encoder import Evt3Encoder
from spikeseg_ros.perception.config import PerceptionConfig, to_flat
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.recordings.serialization import deserialize

EVENTS = tiny.random_events()


@pytest.fixture
def bag(tmp_path):
    return tiny.write_bag(tmp_path / 'bag', EVENTS, list(range(100, 4000, 100)))


def test_files_of_a_run(tmp_path, bag):
    outcome = tiny.run(bag, tmp_path / 'out')
    assert outcome == unit_module.Outcome('bag', 10)
    names = {path.name for path in (tmp_path / 'out').iterdir()}
    assert names >= {'windows.csv', 'objects.json', 'summary.json', 'timing.csv', 'timing.json'}
    assert names >= {'output', 'overlays'}
    assert not names & {journal.NAME, '.partial'}
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert (summary['windows'], summary['errors'], summary['metrics']) == (10, 0, None)
    assert summary['events_per_window']['mean'] == pytest.approx(400.0)
    assert summary['objects'] == 20
    assert summary['bag']['events'] == 4000
    assert summary['bag']['messages'] == 40
    assert summary['bag']['damaged'] == ''
    rows = list(csv.DictReader((tmp_path / 'out/windows.csv').open()))
    assert sum(int(row['events']) for row in rows) == 4000
    assert sum(int(row['on_events']) for row in rows) == int(EVENTS.p.sum())
    assert sum(int(row['object_events']) for row in rows) == summary['events_in_objects']
    assert [int(row['index']) for row in rows] == list(range(10))
    start = tiny.START + int(EVENTS.t[0])
    assert [int(row['stamp_ns']) - start for row in rows] == [k * 50_000_000 for k in range(1, 11)]


def test_output_plays_beside_the_input(tmp_path, bag):
    tiny.run(bag, tmp_path / 'out')
    tree = json.loads((tmp_path / 'out/objects.json').read_text())
    with BagReader(tmp_path / 'out/output') as found:
        kinds = {t.name: (t.type.split('/')[-1], t.count, t.qos) for t in found.topics.values()}
        assert kinds == {
            '/spikeseg/objects': ('SegmentedObjectArray', 10, 'reliable'),
            '/spikeseg/mask': ('SegmentationMask', 10, 'reliable'),
            '/spikeseg/labels': ('LabelMap', 1, 'latched'),
            '/spikeseg/overlay/compressed': ('CompressedImage', 10, 'reliable'),
        }
        messages = [
            (time, deserialize(kind, raw))
            for _, kind, time, raw in found.messages(['/spikeseg/objects'])
        ]
    for (time, message), image in zip(messages, tree['images'], strict=True):
        stamp = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        assert stamp == time == image['stamp_ns']
        mine = [item for item in tree['annotations'] if item['image_id'] == image['id']]
        assert [item.n_events for item in message.objects] == [item['n_events'] for item in mine]
        boxes = [[o.box.x, o.box.y, o.box.width, o.box.height] for o in message.objects]
        assert boxes == [item['bbox'] for item in mine]


def test_reruns_are_identical(tmp_path, bag):
    tiny.run(bag, tmp_path / 'first')
    tiny.run(bag, tmp_path / 'deep' / 'er' / 'second')
    first = tiny.contents(tmp_path / 'first')
    assert len(first) > 10
    assert tiny.contents(tmp_path / 'deep' / 'er' / 'second') == first
    # In place, as --overwrite does it.
    shutil.rmtree(tmp_path / 'first')
    tiny.run(bag, tmp_path / 'first')
    assert tiny.contents(tmp_path / 'first') == first


def test_the_place_of_the_recording_does_not_matter(tmp_path, bag):
    tiny.run(bag, tmp_path / 'first')
    (tmp_path / 'elsewhere').mkdir()
    shutil.copytree(bag, tmp_path / 'elsewhere' / 'bag')
    tiny.run(tmp_path / 'elsewhere' / 'bag', tmp_path / 'second')
    assert tiny.contents(tmp_path / 'second') == tiny.contents(tmp_path / 'first')
    for name, data in tiny.contents(tmp_path / 'first').items():
        assert str(tmp_path).encode() not in data, name


@pytest.mark.parametrize('seed', range(4))
def test_results_do_not_depend_on_packets(tmp_path, bag, seed):
    tiny.run(bag, tmp_path / 'first')
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, 4000), (1, 7, 300, 1500)[seed], replace=False))
    other = tiny.write_bag(tmp_path / 'other' / 'bag', EVENTS, cuts.tolist())
    tiny.run(other, tmp_path / 'second')
    found = tiny.contents(tmp_path / 'second', without=('summary.json',))
    assert found == tiny.contents(tmp_path / 'first', without=('summary.json',))
    first, second = (
        json.loads((tmp_path / name / 'summary.json').read_text()) for name in ('first', 'second')
    )
    # How the driver cut its packets is a fact about the recording.
    for key in ('messages', 'sha256'):
        assert first['bag'].pop(key) != second['bag'].pop(key)
    assert first == second


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it."""


class Mortal(tiny.Tiny):
    """Dies at its n-th window."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def segment(self, frame, state):
        if self.calls == self.at:
            raise Killed
        return super().segment(frame, state)


@pytest.mark.parametrize('at', [0, 1, 4, 9])
def test_a_killed_run_goes_on(tmp_path, bag, at):
    tiny.run(bag, tmp_path / 'whole')
    with pytest.raises(Killed):
        tiny.run(bag, tmp_path / 'out', segmenter=Mortal(at))
    second = tiny.Tiny()
    assert tiny.run(bag, tmp_path / 'out', segmenter=second, resume=True).windows == 10
    assert second.calls == 10 - at, 'what was finished is not done again'
    assert tiny.contents(tmp_path / 'out') == tiny.contents(tmp_path / 'whole')


@pytest.mark.parametrize('share', np.linspace(0.0, 1.0, 24))
def test_a_journal_may_end_anywhere(tmp_path, bag, share, monkeypatch):
    tiny.run(bag, tmp_path / 'whole')

    def stop(*_):
        raise Killed

    monkeypatch.setattr(unit_module, 'finish', stop)
    with pytest.raises(Killed):
        tiny.run(bag, tmp_path / 'out')
    monkeypatch.undo()
    path = tmp_path / 'out' / journal.NAME
    data = path.read_bytes()
    path.write_bytes(data[: round(share * len(data))])
    if round(share * len(data)) < len(journal.MAGIC):
        path.write_bytes(b'')
    assert not tiny.run(bag, tmp_path / 'out', resume=True).error
    assert tiny.contents(tmp_path / 'out') == tiny.contents(tmp_path / 'whole')


def test_a_kill_while_files_are_written(tmp_path, bag, monkeypatch):
    from spikeseg_ros.evaluation.offline import finish

    tiny.run(bag, tmp_path / 'whole')
    real = finish.overlay_png
    for at in (0, 3, 9):
        out = tmp_path / f'out{at}'

        def overlay(window, *rest, at=at):
            if window.index == at:
                raise Killed
            return real(window, *rest)

        monkeypatch.setattr(finish, 'overlay_png', overlay)
        with pytest.raises(Killed):
            tiny.run(bag, out)
        monkeypatch.undo()
        assert not (out / 'summary.json').exists(), 'a run is finished or it is not'
        second = tiny.Tiny()
        tiny.run(bag, out, segmenter=second, resume=True)
        assert second.calls == 0
        assert tiny.contents(out) == tiny.contents(tmp_path / 'whole')


def test_resuming_a_finished_run_changes_nothing(tmp_path, bag):
    tiny.run(bag, tmp_path / 'out')
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')}
    segmenter = tiny.Tiny()
    again = tiny.run(bag, tmp_path / 'out', segmenter=segmenter, resume=True)
    assert again == unit_module.Outcome('bag', 10)
    assert segmenter.calls == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / 'out').rglob('*')} == before


@pytest.mark.parametrize('finished', [True, False])
def test_resuming_something_else_is_refused(tmp_path, bag, finished):
    out = tmp_path / 'out'
    if finished:
        tiny.run(bag, out)
    else:
        with pytest.raises(Killed):
            tiny.run(bag, out, segmenter=Mortal(5))
    before = {path: path.read_bytes() for path in out.rglob('*') if path.is_file()}
    config = {**to_flat(PerceptionConfig()), 'objects.fill': 3}
    outcome = tiny.run(bag, out, resume=True, config=config)
    assert 'objects.fill' in outcome.error
    assert '--overwrite' in outcome.error
    shutil.rmtree(bag)
    tiny.write_bag(bag, tiny.random_events(seed=1), list(range(100, 4000, 100)))
    outcome = tiny.run(bag, out, resume=True)
    assert 'recording' in outcome.error
    assert '--overwrite' in outcome.error
    assert {path: path.read_bytes() for path in out.rglob('*') if path.is_file()} == before


class Failing(tiny.Tiny):
    """Fails in some windows."""

    def segment(self, frame, state):
        result = super().segment(frame, state)
        if frame.index in (2, 3, 7):
            msg = 'no luck'
            raise RuntimeError(msg)
        return result


def test_windows_that_fail_are_left_out_and_counted(tmp_path, bag):
    outcome = tiny.run(bag, tmp_path / 'out', segmenter=Failing())
    assert outcome.windows == 7
    assert 'no luck' in outcome.error
    assert json.loads((tmp_path / 'out/summary.json').read_text())['errors'] == 3
    rows = list(csv.DictReader((tmp_path / 'out/windows.csv').open()))
    stamps = [int(row['stamp_ns']) - tiny.START - int(EVENTS.t[0]) for row in rows]
    assert stamps == [k * 50_000_000 for k in (1, 2, 5, 6, 7, 9, 10)]


def test_event_files_are_read_directly(tmp_path, bag):
    header = b'% evt 3.0\n% format EVT3;height=80;width=100\n% geometry 100x80\n% end\n'
    (tmp_path / 'bag.raw').write_bytes(header + bytes(Evt3Encoder(100, 80).encode(EVENTS)))
    assert tiny.run(bag, tmp_path / 'first').windows == 10
    assert tiny.run(tmp_path / 'bag.raw', tmp_path / 'second', name='bag').windows == 10
    first, second = (
        list(csv.DictReader((tmp_path / name / 'windows.csv').open()))
        for name in ('first', 'second')
    )
    for mine, theirs in zip(first, second, strict=True):
        # A file has no time of the day.
        mine.pop('stamp_ns'), theirs.pop('stamp_ns')
        assert mine == theirs
