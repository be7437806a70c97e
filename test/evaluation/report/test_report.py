# SPDX-License-Identifier: Apache-2.0
"""The report of a run: content, escaping, missing and broken files."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikeseg_ros.evaluation.report import ReportError, sections, write_report
from spikeseg_ros.evaluation.report.run import load_run
from spikeseg_ros.evaluation.report.settings import changed_options
from spikeseg_ros.evaluation.report.svg import decimate
from spikeseg_ros.evaluation.report.tracks import tracks
from spikeseg_ros.perception.config import PerceptionConfig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    MakeRun = Callable[..., Path]

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>$\\frac{1}{0}$ \u202e\x07&amp;'
VOID = {'meta', 'img', 'br', 'link', 'input'}


class Page(HTMLParser):
    """Collects what a page consists of and checks that its elements are nested."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: dict[str, list[dict[str, str | None]]] = {}
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, []).append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.setdefault(tag, []).append(dict(attrs))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != 'style':
            self.words.append(data)

    @property
    def text(self) -> str:
        """Everything a reader sees, with single blanks."""
        return ' '.join(' '.join(self.words).split())

    def values(self, name: str) -> list[str]:
        """All values of an attribute."""
        return [
            str(attributes[name])
            for found in self.tags.values()
            for attributes in found
            if name in attributes
        ]


def read(path: Path) -> Page:
    """Parse a page that was written."""
    return Page(path.read_text(encoding='utf-8'))


def test_page_shows_what_the_files_hold(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run', truth=True, options={'objects.fill': 2})
    page = read(write_report(run))
    assert page.text.startswith('street Evaluation report street In 600 ms of recording')
    assert '(12 windows) spikeseg found objects in 10 windows and followed 2 tracks' in page.text
    # 50 ms of recording take 6 ms.
    assert 'at 8.3 times the speed of the recording' in page.text
    for words in (
        'AP50 0.750',
        'HOTA 0.500',
        'Id switches 3',
        'objects.fill 2 0 Close gaps',
        '1 option of',
        'spikeseg evaluate bag street --topic /event_camera/events --config config.yaml --truth',
        'objects: fill: 2',
        'ef' * 32,
        '2026-01-02T03:04:05+00:00',
        '#1 moving object 100 ms 600 ms 10 100% 1 000 600 50 0.84',
        '#2 moving object 200 ms 600 ms 8 100% 800 144 50 0.83',
    ):
        assert words in page.text, words
    titles = ['Metrics', 'Best and worst windows', 'Over time', 'Tracks', 'Latency']
    titles += ['Energy estimate', 'Configuration', 'Recording, versions, device', 'Reproduce']
    assert [item.split('#')[1] for item in page.values('href')[: len(titles)]] == [
        item['id'] for item in page.tags['section']
    ]
    assert 'Missing files' not in page.text


def test_page_loads_and_runs_nothing(tmp_path: Path, make_run: MakeRun) -> None:
    page = read(write_report(make_run(tmp_path / 'run', truth=True)))
    assert not {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'} & page.tags.keys()
    assert all(value.startswith('data:image/') for value in page.values('src'))
    assert all(value.startswith('#') for value in page.values('href'))
    assert not [
        name for tag in page.tags.values() for item in tag for name in item if name[:2] == 'on'
    ]
    assert 'url(http' not in (tmp_path / 'run' / 'report.html').read_text(encoding='utf-8')
    policy = [item.get('content') for item in page.tags['meta'] if 'http-equiv' in item]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]


def test_plots_refer_to_themselves_alone(tmp_path: Path, make_run: MakeRun) -> None:
    path = write_report(make_run(tmp_path / 'run', truth=True))
    page = read(path)
    names = page.values('id')
    assert len(names) == len(set(names))
    used = page.values('xlink:href') + page.values('href')
    used += re.findall(r'url\((#[^)]+)\)', path.read_text(encoding='utf-8'))
    assert len(used) > 50
    assert {item[1:] for item in used} <= set(names)
    # Wide and narrow: rate, objects, lanes, IoU, spikes, energy; the two of latency once.
    assert len(page.tags['svg']) == 14
    assert all(item['aria-label'] for item in page.tags['svg'])
    # Placeholder colours are all replaced by the theme's.
    assert '#010b0' not in path.read_text(encoding='utf-8')


def test_same_files_give_the_same_page(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'one')
    first = write_report(run).read_bytes()
    shutil.move(run, tmp_path / 'other')
    assert write_report(tmp_path / 'other').read_bytes() == first


def test_names_cannot_become_markup(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run', name=HOSTILE, topic=HOSTILE, options={HOSTILE: HOSTILE})
    for file, old in (('objects.json', 'moving object'), ('timing.json', 'cpu')):
        text = (run / file).read_text(encoding='utf-8')
        (run / file).write_text(text.replace(f'"{old}"', json.dumps(HOSTILE)), encoding='utf-8')
    columns = (run / 'timing.csv').read_text(encoding='utf-8')
    (run / 'timing.csv').write_text(columns.replace('hulk', '<b>$x$</b>'), encoding='utf-8')
    windows = (run / 'windows.csv').read_text(encoding='utf-8')
    (run / 'windows.csv').write_text(
        windows.replace('spikes_conv1', 'spikes_<i>$'), encoding='utf-8'
    )
    page = read(write_report(run))
    assert 'script' not in page.tags
    assert len(page.tags['img']) == 4
    # Six tiles and the captions of four pictures.
    assert len(page.tags['b']) == 10
    assert 'i' not in page.tags
    assert '<script>alert(1)</script>' in page.text
    assert '<b>$x$</b>' in page.text
    assert '\u202e' not in page.text
    assert '\x07' not in page.text


@pytest.mark.parametrize(
    ('file', 'note'),
    [
        ('windows.csv', 'nothing can be shown over time'),
        ('timing.csv', 'the latency of this run is not known'),
        ('timing.json', 'timing.json is missing'),
        ('objects.json', 'the tracks are not known'),
        ('overlays', 'holds no pictures'),
    ],
)
def test_missing_files_are_said(tmp_path: Path, make_run: MakeRun, file: str, note: str) -> None:
    run = make_run(tmp_path / 'run')
    shutil.rmtree(run / file) if file == 'overlays' else (run / file).unlink()
    page = read(write_report(run))
    assert note in page.text
    assert 'Missing files' in page.text
    assert file in page.text


def test_a_summary_alone_is_enough(tmp_path: Path) -> None:
    (tmp_path / 'summary.json').write_text('{"format": "spikeseg_run/1"}', encoding='utf-8')
    page = read(write_report(tmp_path))
    assert tmp_path.name in page.text
    assert 'summary.json does not hold the configuration' in page.text
    assert 'cannot be estimated' in page.text


@pytest.mark.parametrize(
    ('file', 'content'),
    [
        ('summary.json', '{"format": "spikeseg_run/1", '),
        ('summary.json', '[]'),
        ('summary.json', '{"format": "spikeseg_run/2"}'),
        ('summary.json', '{"format": "spikeseg_run/1", "bag": 5}'),
        ('summary.json', '{"format": "spikeseg_run/1", "config": []}'),
        ('summary.json', '{"format": "spikeseg_run/1", "energy": {"picojoule_per_window": "x"}}'),
        ('summary.json', '{"format": "spikeseg_run/1", "bags": ["../other"]}'),
        ('summary.json', '[' * 100_000),
        ('summary.json', '{"format": "spikeseg_run/1", "objects": 1' + '0' * 400 + '}'),
        ('windows.csv', ''),
        ('windows.csv', 'a,b\n1,2\n'),
        ('windows.csv', 'index,index\n1,2\n'),
        ('windows.csv', 'index,events\n1,2,3\n'),
        ('windows.csv', 'index,events\n1,many\n'),
        ('windows.csv', 'index,stamp_ns\n0,99999999999999999999\n'),
        ('timing.csv', 'index,total\n0,fast\n'),
        ('timing.json', 'null'),
        ('objects.json', '{"annotations": 5}'),
        ('objects.json', '{"annotations": [7]}'),
        ('objects.json', '{"annotations": [{"image_id": "x"}]}'),
        ('objects.json', '{"images": [{"id": 1, "stamp_ns": "x"}]}'),
        ('overlays/000000.png', 'no picture'),
        ('overlays/000000.png', ''),
    ],
)
def test_broken_files_are_named(
    tmp_path: Path, make_run: MakeRun, file: str, content: str
) -> None:
    run = make_run(tmp_path / 'run')
    (run / file).write_text(content, encoding='utf-8')
    with pytest.raises(ReportError, match=re.escape(str(run / file))):
        write_report(run)
    assert not (run / 'report.html').exists()


def test_files_cut_anywhere_give_a_page_or_a_message(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(11)
    whole = make_run(tmp_path / 'whole', windows=3, truth=True)
    messages = []
    for number in range(60):
        run = tmp_path / f'cut{number}'
        shutil.copytree(whole, run)
        # Plots take most of the time; some runs are enough for them.
        monkeypatch.setattr(sections, 'has_plots', lambda number=number: number % 5 == 0)
        file = run / ('summary.json', 'windows.csv', 'timing.csv', 'objects.json')[number % 4]
        data = bytearray(file.read_bytes())
        place = int(rng.integers(len(data)))
        if number % 8 < 4:
            data = data[:place]
        else:
            data[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(data)
        try:
            read(write_report(run))
        except ReportError as err:
            messages.append((file.name, str(err)))
    assert 15 < len(messages) < 60
    assert all(name in text and '\n' not in text for name, text in messages)


def test_numbers_out_of_range_count_as_missing(tmp_path: Path) -> None:
    text = '{"format": "spikeseg_run/1", "objects": NaN, "bag": {"t_last_ns": 1e999}}'
    (tmp_path / 'summary.json').write_text(text, encoding='utf-8')
    assert 'In 0 windows the model found objects.' in read(write_report(tmp_path)).text


def test_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r'is no run: it holds no summary\.json'):
        write_report(tmp_path)
    with pytest.raises(ReportError, match=r'is no run'):
        write_report(tmp_path / 'nothing')


def test_a_killed_run_loses_only_its_last_line(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run')
    text = (run / 'windows.csv').read_text(encoding='utf-8')
    (run / 'windows.csv').write_text(text[: text.rindex('\n', 0, -1) + 20], encoding='utf-8')
    assert load_run(run).n_windows == 11
    assert 'windows.csv ends in the middle of a line' in read(write_report(run)).text


def test_damage_is_not_hidden(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run')
    summary = json.loads((run / 'summary.json').read_text(encoding='utf-8'))
    summary['bag']['damaged'] = 'cut off after 70 messages'
    summary['errors'] = 2
    (run / 'summary.json').write_text(json.dumps(summary), encoding='utf-8')
    text = read(write_report(run)).text
    assert 'The recording is damaged: cut off after 70 messages' in text
    assert '2 windows could not be processed' in text


def test_captions_say_why(tmp_path: Path, make_run: MakeRun) -> None:
    text = read(write_report(make_run(tmp_path / 'truth', truth=True))).text
    assert 'Judged by the mean IoU with the ground truth.' in text
    # Mean IoU grows by 0.05 from window to window.
    assert re.search(r'Best windows.*Window 11 , until 600 ms, 1 110 events, 2 objects', text)
    assert 'Highest mean IoU of 12: 0.550.' in text
    assert re.search(r'Worst windows.*Window 0 .*Lowest mean IoU of 12: 0.000\.', text)
    text = read(write_report(make_run(tmp_path / 'none'))).text
    assert 'There is no ground truth' in text
    assert 'Lowest mean score of 10: 0.790.' in text
    assert re.search(r'Window 1 .{30,60} Most events without any object: something', text)
    assert 'Second most events without any object: something may be missed.' in text


def test_tracks_by_hand(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run')
    objects = json.loads((run / 'objects.json').read_text(encoding='utf-8'))
    objects['annotations'] = [item for item in objects['annotations'] if item['image_id'] != 5]
    (run / 'objects.json').write_text(json.dumps(objects), encoding='utf-8')
    first, second = tracks(load_run(run))
    assert (first.number, first.category, first.events) == (1, 'moving object', 900)
    assert [round(t, 9) for span in first.merged() for t in span] == [0.1, 0.25, 0.3, 0.6]
    assert first.share == pytest.approx(0.9)
    assert second.speeds == [50.0] * 7


def test_several_recordings(tmp_path: Path, make_run: MakeRun) -> None:
    names = ['first', 'a&b #2']
    for name in names:
        make_run(tmp_path / name, name=name, truth=name == 'first')
    tree = {'format': 'spikeseg_run/1', 'bags': names}
    (tmp_path / 'summary.json').write_text(json.dumps(tree), encoding='utf-8')
    page = read(write_report(tmp_path))
    assert '2 recordings, 1.2 s in all, 24 windows, 36 objects.' in page.text
    assert 'first 600 ms 12 12.7 k 18 2 8.3\u00d7 0.750 0.500' in page.text
    links = page.values('href')
    assert {'#bag-1', '#bag-2', 'first/report.html', 'a%26b%20%232/report.html'} <= set(links)
    assert all((tmp_path / name / 'report.html').is_file() for name in names)
    # The summary may also describe its recordings in full.
    tree['bags'] = [{'bag': {'name': name}, 'windows': 12} for name in names]
    (tmp_path / 'summary.json').write_text(json.dumps(tree), encoding='utf-8')
    assert read(write_report(tmp_path)).text == page.text
    tree['failed'] = ['<third>']
    (tmp_path / 'summary.json').write_text(json.dumps(tree), encoding='utf-8')
    assert 'No results of <third>: it could not be' in read(write_report(tmp_path)).text
    (tmp_path / 'first' / 'summary.json').unlink()
    with pytest.raises(ReportError, match='first'):
        write_report(tmp_path)


def test_long_runs_stay_small(tmp_path: Path, make_run: MakeRun) -> None:
    run = make_run(tmp_path / 'run', windows=10_000, truth=True)
    path = write_report(run)
    assert path.stat().st_size < 5_000_000
    assert len(read(path).tags['img']) == 4


def test_series_are_thinned_without_losing_extremes() -> None:
    x = np.arange(10_007) / 7
    y = np.sin(x)
    y[5003] = 9.0
    y[17] = np.nan
    place, mean, low, high = decimate(x, y, 300)
    assert place.size == mean.size == 300
    assert high.max() == 9.0
    assert low.min() == np.nanmin(y)
    assert (low <= mean).all()
    assert (mean <= high).all()
    assert np.array_equal(decimate(x[:20], x[:20])[1], x[:20])


def test_changed_options_are_found() -> None:
    default = PerceptionConfig()
    config: dict[str, Any] = {
        'threads': default.threads,
        'events.window_ms': 20.0,
        'old.option': True,
    }
    changed = changed_options(config)
    assert list(changed) == ['events.window_ms', 'old.option']
    assert changed['events.window_ms'] == (20.0, default.events.window_ms)


def test_without_matplotlib_the_page_says_so(
    tmp_path: Path, make_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, 'has_plots', lambda: False)
    page = read(write_report(make_run(tmp_path / 'run')))
    assert "pip install 'spikeseg_ros[evaluate]'" in page.text
    assert 'svg' not in page.tags
    assert '#1 moving object' in page.text
