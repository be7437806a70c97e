# SPDX-License-Identifier: Apache-2.0
"""The command, as users call it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import tiny

from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline.command import make_units
from spikeseg_ros.simulation import demo_scene, simulate_scene, write_recording

COMMAND = ('evaluate', 'bag')


@pytest.fixture(scope='module')
def scene(tmp_path_factory):
    """A simulated recording of 0.6 s and its ground truth."""
    folder = tmp_path_factory.mktemp('scene')
    recording = simulate_scene(demo_scene(160, 120, 0.6), 0.6, camera_hz=0)
    write_recording(folder / 'scene', recording)
    recording.truth.save(folder / 'truth.npz')
    return folder


def evaluate(*arguments):
    return main([*COMMAND, *map(str, arguments), '--no-report'])


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def test_one_recording(tmp_path, scene, capsys):
    out = tmp_path / 'out'
    assert evaluate(scene / 'scene', '--output', out) == 0
    first = tiny.contents(out)
    assert summary_of(out)['windows'] == 12
    assert summary_of(out)['objects'] > 0
    assert summary_of(out)['energy']['picojoule_per_window'] > 0
    assert evaluate(scene / 'scene', '--output', out) == 1
    error = capsys.readouterr().err
    assert '--overwrite' in error
    assert '--resume' in error
    assert evaluate(scene / 'scene', '--output', out, '--resume') == 0
    assert evaluate(scene / 'scene', '--output', out, '--overwrite') == 0
    assert tiny.contents(out) == first


def test_the_last_line_names_the_report(tmp_path, scene, capsys, monkeypatch):
    words = [*COMMAND, str(scene / 'scene'), '--output']
    assert main([*words, str(tmp_path / 'one'), '--no-report']) == 0
    shown = capsys.readouterr()
    found = summary_of(tmp_path / 'one')
    counts = f'12 windows, {found["objects"]} objects, {found["tracks"]} tracks'
    assert shown.out.splitlines()[-1] == f'{counts}: {tmp_path}/one/summary.json'
    assert 'left out' not in shown.err
    # Without matplotlib and Pillow it also says once what is missing, and how to get it.
    for name in ('offline.pictures.has_gif', 'offline.command.has_gif'):
        monkeypatch.setattr(f'spikeseg_ros.evaluation.{name}', lambda: False)
    for name in ('report.sections.has_plots', 'offline.command.has_plots'):
        monkeypatch.setattr(f'spikeseg_ros.evaluation.{name}', lambda: False)
    assert main([*words, str(tmp_path / 'two')]) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[-1] == f'{counts}: {tmp_path}/two/report.html'
    assert (tmp_path / 'two/report.html').is_file()
    assert not (tmp_path / 'two/overlay.gif').exists()
    (note,) = [line for line in shown.err.splitlines() if 'left out' in line]
    assert 'overlay.gif (needs Pillow) and the plots of report.html' in note
    assert "pip install 'spikeseg_ros[evaluate]'" in note


def test_configuration(tmp_path, scene, capsys):
    config = tmp_path / 'node.yaml'
    config.write_text(
        '/**/perception_node:\n  ros__parameters:\n    events_topic: /x\n    use_sim_time: true\n'
        '    events: {window_ms: 100.0}\n    objects: {linkage: average}\n'
    )
    out = tmp_path / 'out'
    options = ('--config', config, '--set', 'objects.fill=2', '--set', 'objects.linkage=argmax')
    assert evaluate(scene / 'scene', '--output', out, *options) == 0
    found = summary_of(out)
    assert found['windows'] == 6
    assert found['config']['events.window_ms'] == 100.0
    assert found['config']['objects.fill'] == 2
    assert found['config']['objects.linkage'] == 'argmax'
    for wrong in ('objects.fill', 'objects.fil=2', 'objects.fill=much', 'objects.linkage=x'):
        assert evaluate(scene / 'scene', '--output', tmp_path / 'new', '--set', wrong) == 1
        assert 'objects.fil' in (text := capsys.readouterr().err) or 'linkage' in text
        assert not (tmp_path / 'new').exists()


def test_ground_truth(tmp_path, scene, capsys):
    pytest.importorskip('pycocotools', reason='needs spikeseg_ros[evaluate]')
    pytest.importorskip('motmetrics', reason='needs spikeseg_ros[evaluate]')
    out = tmp_path / 'out'
    options = ('--truth', scene / 'truth.npz')
    assert evaluate(scene / 'scene', '--output', out, *options) == 0
    metrics = summary_of(out)['metrics']
    assert 0 < metrics['instances']['ap50'] <= 1
    assert 0 < metrics['tracks']['hota'] <= 1
    rows = list(csv.DictReader((out / 'windows.csv').open()))
    assert sum(int(row['true_objects']) for row in rows) == metrics['instances']['true_objects']
    assert sum(int(row['matched']) for row in rows) == metrics['instances']['matched']
    assert evaluate(scene / 'scene', '--output', out, '--resume') == 1
    assert 'ground truth' in capsys.readouterr().err
    # Of another sensor: told before anything is computed.
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(), [])
    assert evaluate(bag, '--output', tmp_path / 'other', *options) == 1
    assert '160x120' in capsys.readouterr().err
    assert not (tmp_path / 'other').exists()
    # Of another time: the results are kept, without metrics.
    events = tiny.random_events(seconds=3.0)
    events = events.select(events.t > 1_000_000_000)
    late = tiny.write_bag(tmp_path / 'late', events, [], size=(160, 120))
    assert evaluate(late, '--output', tmp_path / 'other', *options) == 1
    error = capsys.readouterr().err
    assert error.count('\n') == 1
    assert 'truth.npz' in error
    assert 'without metrics' in error
    assert summary_of(tmp_path / 'other')['metrics'] is None
    assert evaluate(bag, bag, '--output', tmp_path / 'two', *options) == 1
    assert 'once per recording' in capsys.readouterr().err


def test_output_that_is_not_ours(tmp_path, scene, capsys):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out/thesis.txt').write_text('precious')
    for option in ((), ('--overwrite',), ('--resume',)):
        assert evaluate(scene / 'scene', '--output', tmp_path / 'out', *option) == 1
        assert 'another --output' in capsys.readouterr().err
    assert (tmp_path / 'out/thesis.txt').read_text() == 'precious'
    assert evaluate(scene / 'scene', '--output', tmp_path / 'out/thesis.txt') == 1
    assert evaluate(scene / 'scene', '--output', tmp_path / 'out/thesis.txt/x') == 1
    error = capsys.readouterr().err
    assert 'is a file' in error
    assert 'Cannot create' in error


def test_names_are_unique(tmp_path):
    units = make_units(['a/x', 'b/x', 'c/x.mcap'], tmp_path, {}, topic='', resume=False)
    assert [unit.name for unit in units] == ['x', 'x-2', 'x-3']


@pytest.fixture(scope='module')
def several(tmp_path_factory):
    """Recordings: two good ones, one without events, one cut off; and what one worker makes."""
    folder = tmp_path_factory.mktemp('several')
    cuts = list(range(200, 4000, 200))
    bags = [
        tiny.write_bag(folder / 'one', tiny.random_events(seed=1), cuts),
        tiny.write_bag(folder / 'empty', tiny.random_events(0), []),
        tiny.write_bag(folder / 'cut', tiny.random_events(seed=2), cuts),
        tiny.write_bag(folder / 'other' / 'one', tiny.random_events(seed=3), cuts),
    ]
    file = folder / 'cut' / 'cut.mcap'
    file.write_bytes(file.read_bytes()[:-8000])
    assert evaluate(*bags, '--output', folder / 'alone') == 1
    return bags, folder / 'alone'


def all_contents(folder):
    found = tiny.contents(folder)
    for name in ('one', 'one-2', 'cut', 'empty'):
        found |= {f'{name}/{k}': v for k, v in tiny.contents(folder / name).items()}
    return found


def test_several_recordings(several):
    _, alone = several
    summary = summary_of(alone)
    assert [item['bag']['name'] for item in summary['bags']] == ['one', 'cut', 'one-2']
    assert summary['failed'] == ['empty']
    assert summary['windows'] == sum(item['windows'] for item in summary['bags'])
    rows = list(csv.DictReader((alone / 'windows.csv').open()))
    assert len(rows) == summary['windows']
    assert next(iter(rows[0])) == 'bag'
    assert {row['bag'] for row in rows} == {'one', 'cut', 'one-2'}
    assert not (alone / 'empty').exists()


@pytest.mark.slow
def test_workers_change_nothing(tmp_path, several, capsys):
    bags, alone = several
    assert evaluate(*bags, '--output', tmp_path / 'out', '--workers', 2) == 1
    assert all_contents(tmp_path / 'out') == all_contents(alone)
    lines = capsys.readouterr().err.splitlines()
    assert sum("empty'" in line for line in lines) == 1
    assert sum("cut'" in line for line in lines) == 1


@pytest.mark.slow
def test_ray_changes_nothing(tmp_path, several, monkeypatch):
    pytest.importorskip('ray', reason='needs spikeseg_ros[ray]')
    monkeypatch.delenv('RAY_ADDRESS', raising=False)
    bags, alone = several
    out = tmp_path / 'out'
    assert evaluate(*bags, '--output', out, '--workers', 2, '--engine', 'ray') == 1
    assert all_contents(out) == all_contents(alone)


@pytest.mark.slow
@pytest.mark.parametrize(('workers', 'moments'), [(1, (3, 9)), (2, (6,))])
def test_kill_and_resume(tmp_path, several, workers, moments):
    bags, alone = several
    out = tmp_path / 'out'
    words = [*COMMAND, *map(str, bags), '--output', str(out), '--no-report']
    command = [
        sys.executable,
        '-c',
        'import sys; from spikeseg_ros.cli import main; sys.exit(main())',
        *words,
    ]
    command += ['--workers', str(workers)]
    kills = 0
    for windows in moments:
        process = subprocess.Popen(
            [*command, '--resume'] if kills else command,
            start_new_session=True,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None and finished_windows(out) < windows:
            time.sleep(0.002)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills
    done = subprocess.run([*command, '--resume'], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert 'Traceback' not in done.stderr
    assert all_contents(out) == all_contents(alone)


def finished_windows(folder):
    """Return how many windows all journals and finished runs hold."""
    count = sum(path.read_bytes().count(b'\n') - 1 for path in folder.glob('*/windows.csv'))
    for path in folder.glob(f'*/{journal.NAME}'):
        try:
            count += sum(kind == journal.WINDOW for kind, _, _ in journal.records(path))
        except (OSError, ValueError):
            continue
    return count


@pytest.mark.slow
@pytest.mark.skipif(not tiny.REAL.is_dir(), reason=f'the recording is not at {tiny.REAL}')
def test_damaged_recordings_through_the_command(tmp_path, capsys):
    (file,) = tiny.REAL.glob('*.db3')
    data = file.read_bytes()
    bags = []
    for share in (0.0, 0.05, 0.5, 0.97):
        bag = tmp_path / f'cut{round(share * 100)}'
        shutil.copytree(tiny.REAL, bag)
        (bag / file.name).write_bytes(data[: round(share * len(data))])
        bags.append(bag)
    out = tmp_path / 'out'
    assert evaluate(*bags, '--output', out) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    for bag in bags:
        assert sum(f'{bag}/' in line or f'{str(bag)!r}' in line for line in lines) == 1
    assert not any('Traceback' in line for line in lines)
    found = {item['bag']['name']: item['windows'] for item in summary_of(out)['bags']}
    assert found['cut50'] > 5
    assert found['cut97'] > found['cut50']
