# SPDX-License-Identifier: Apache-2.0
"""Bad recordings give one clear line, and what is in front of the damage stays."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pytest
import tiny

from spikeseg_ros.evaluation.offline import finish
from spikeseg_ros.recordings.bags import BagWriter
from spikeseg_ros.recordings.definitions import EVENT_PACKET

EVENTS = tiny.random_events(20_000)


@pytest.fixture
def bag(tmp_path):
    return tiny.write_bag(tmp_path / 'bag', EVENTS, list(range(500, 20_000, 500)))


def assert_refused(outcome, folder, *words):
    """Check that there is one line with these words, and nothing on the disk."""
    assert outcome.windows == 0
    assert '\n' not in outcome.error
    for word in words:
        assert word in outcome.error
    assert not (folder / 'summary.json').exists()
    assert not (folder / 'journal.bin').exists()


def test_missing_recording(tmp_path):
    assert_refused(tiny.run(tmp_path / 'no', tmp_path / 'out'), tmp_path / 'out', 'does not exist')


def test_missing_topic(tmp_path, bag):
    outcome = tiny.run(bag, tmp_path / 'out', topic='/other')
    assert_refused(outcome, tmp_path / 'out', str(bag), "'/other'", '/event_camera/events')


def test_no_event_topic(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        writer.add_topic('/camera', 'sensor_msgs/msg/Image')
    outcome = tiny.run(tmp_path / 'bag', tmp_path / 'out')
    assert_refused(outcome, tmp_path / 'out', '/camera (sensor_msgs/msg/Image)', EVENT_PACKET)
    outcome = tiny.run(tmp_path / 'bag', tmp_path / 'out', topic='/camera')
    assert_refused(outcome, tmp_path / 'out', "'/camera'", 'carries no events')


def test_no_events(tmp_path):
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(0), [])
    outcome = tiny.run(bag, tmp_path / 'out')
    assert_refused(outcome, tmp_path / 'out', str(bag), 'no events', '--topic')


@pytest.mark.parametrize('size', [(0, 80), (100, 0), (9000, 80)])
def test_wrong_geometry(tmp_path, size, monkeypatch):
    real = tiny.Packet
    monkeypatch.setattr(
        tiny, 'Packet', lambda data, kind, width, height, *rest: real(data, kind, *size, *rest)
    )
    bag = tiny.write_bag(tmp_path / 'bag', EVENTS, [9000])
    outcome = tiny.run(bag, tmp_path / 'out')
    side = 'width' if size[0] != 100 else 'height'
    assert_refused(outcome, tmp_path / 'out', str(bag), 'could not be decoded', side)


def test_output_that_cannot_be_written(tmp_path, bag):
    (tmp_path / 'file').write_text('in the way')
    outcome = tiny.run(bag, tmp_path / 'file' / 'out')
    assert outcome.windows == 0
    assert str(tmp_path / 'file') in outcome.error
    assert '--resume' in outcome.error


def test_a_full_disk_loses_nothing(tmp_path, bag, monkeypatch):
    tiny.run(bag, tmp_path / 'whole')

    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(finish, 'write_pictures', full)
    outcome = tiny.run(bag, tmp_path / 'out')
    assert 'No space left' in outcome.error
    assert '--resume' in outcome.error
    monkeypatch.undo()
    second = tiny.Tiny()
    assert not tiny.run(bag, tmp_path / 'out', segmenter=second, resume=True).error
    assert second.calls == 0
    assert tiny.contents(tmp_path / 'out') == tiny.contents(tmp_path / 'whole')


def test_a_packet_that_cannot_be_decoded_is_told(tmp_path, monkeypatch):
    real = tiny.Packet

    def packet(data, kind, width, height, stamp, seq, *rest):
        return real(data, 'evt9' if seq == 20 else kind, width, height, stamp, seq, *rest)

    monkeypatch.setattr(tiny, 'Packet', packet)
    bag = tiny.write_bag(tmp_path / 'bag', EVENTS, list(range(500, 20_000, 500)))
    outcome = tiny.run(bag, tmp_path / 'out')
    assert outcome.windows == 10
    assert '1 of 40 messages' in outcome.error
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert '1 of 40 messages' in summary['bag']['damaged']
    assert 'evt9' in summary['bag']['damaged']


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_windows_in_front_of_the_damage_are_kept(tmp_path, storage):
    bag = tiny.write_bag(tmp_path / 'bag', EVENTS, list(range(500, 20_000, 500)), storage=storage)
    tiny.run(bag, tmp_path / 'whole')
    (file,) = [path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3')]
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    outcome = tiny.run(bag, tmp_path / 'out')
    assert 3 <= outcome.windows <= 7
    for word in (str(bag), 'damaged', str(tmp_path / 'out')):
        assert word in outcome.error
    whole = (tmp_path / 'whole/windows.csv').read_text().splitlines()
    rows = (tmp_path / 'out/windows.csv').read_text().splitlines()
    assert rows == whole[: outcome.windows + 1]
    summary = json.loads((tmp_path / 'out/summary.json').read_text())
    assert 'damaged' in summary['bag']['damaged']
    assert str(tmp_path) not in json.dumps(summary)
    before = tiny.contents(tmp_path / 'out')
    assert tiny.run(bag, tmp_path / 'out', resume=True) == outcome
    shutil.rmtree(tmp_path / 'out')
    tiny.run(bag, tmp_path / 'out')
    assert tiny.contents(tmp_path / 'out') == before


@pytest.mark.slow
@pytest.mark.parametrize('change', ['truncated', 'flipped'])
@pytest.mark.parametrize('source', ['real sqlite3', 'small mcap'])
def test_200_random_damages(tmp_path, source, change, monkeypatch):
    if source == 'real sqlite3':
        bag = tiny.REAL
        if not bag.is_dir():
            pytest.skip(f'the recording is not at {bag}')
    else:
        bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(), list(range(200, 4000, 200)))
    # Drawing is what takes time, and has nothing to do with the damage.
    monkeypatch.setattr(finish, 'overlay_png', lambda *_: b'')
    monkeypatch.setattr(finish, 'write_gif', lambda *_: True)
    options = {'config': tiny.with_window(1000.0 if bag == tiny.REAL else 100.0), 'name': 'bag'}
    tiny.run(bag, tmp_path / 'whole', **options)
    whole = (tmp_path / 'whole/windows.csv').read_text().splitlines()
    (file,) = [path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3')]
    data, metadata = file.read_bytes(), (bag / 'metadata.yaml').read_bytes()
    rng = random.Random(f'{source} {change}')
    broken, out = tmp_path / 'broken', tmp_path / 'out'
    kept = 0
    for _ in range(200):
        shutil.rmtree(broken, ignore_errors=True)
        shutil.rmtree(out, ignore_errors=True)
        broken.mkdir()
        (broken / 'metadata.yaml').write_bytes(metadata)
        place = rng.randrange(len(data))
        changed = bytearray(data[:place] if change == 'truncated' else data)
        if change == 'flipped':
            changed[place] ^= 1 << rng.randrange(8)
        (broken / file.name).write_bytes(changed)
        outcome = tiny.run(broken, out, **options)
        kept += outcome.windows
        assert '\n' not in outcome.error
        assert (out / 'summary.json').exists() == (outcome.windows > 0)
        if outcome.windows:
            rows = (out / 'windows.csv').read_text().splitlines()
            assert len(rows) == outcome.windows + 1
            assert len(json.loads((out / 'objects.json').read_text())['images']) == len(rows) - 1
        if change == 'truncated':
            # Behind the last message stands nothing but the index.
            assert outcome.error or outcome.windows == len(whole) - 1
            if outcome.windows:
                assert rows == whole[: len(rows)]
    # A cut leaves the complete windows in front of it, a flipped bit nearly all of them.
    share = kept / 200 / (len(whole) - 1)
    assert share > (0.1 if change == 'truncated' else 0.9)


def test_many_small_damages_in_every_place_of_a_message(tmp_path):
    """The fields of a message are where a wrong number hurts most."""
    bag = tiny.write_bag(tmp_path / 'bag', tiny.random_events(60, 0.1), [30], storage='sqlite3')
    (file,) = [path for path in bag.iterdir() if path.suffix == '.db3']
    data = file.read_bytes()
    place = data.index(b'evt3') - 48
    rng = np.random.default_rng(0)
    for offset in range(0, 60, 2):
        changed = bytearray(data)
        changed[place + offset] ^= 1 << int(rng.integers(0, 8))
        file.write_bytes(changed)
        shutil.rmtree(tmp_path / 'out', ignore_errors=True)
        outcome = tiny.run(bag, tmp_path / 'out')
        assert '\n' not in outcome.error
        assert outcome.windows or outcome.error
