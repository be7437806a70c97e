# SPDX-License-Identifier: Apache-2.0
"""Recordings of camera images: every image is evaluated, in recorded order, whatever happens."""

from __future__ import annotations

import csv
import json
import re
import zlib

import cv2
import numpy as np
import pytest
import tiny
from cameras import STAMPS, START, TOPIC, Looker, scene, write_images
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from spikeseg_ros.cli import main
from spikeseg_ros.evaluation.offline import journal
from spikeseg_ros.evaluation.offline import unit as unit_module
from spikeseg_ros.evaluation.offline.pictures import choose_images
from spikeseg_ros.evaluation.offline.sources import reading_length
from spikeseg_ros.evaluation.report import write_report
from spikeseg_ros.images import render_overlay
from spikeseg_ros.perception.segmenter import ImageFrame
from spikeseg_ros.recordings.bags import BagReader, BagWriter
from spikeseg_ros.recordings.definitions import EVENT_PACKET
from spikeseg_ros.recordings.opening import RAW_IMAGE
from spikeseg_ros.recordings.serialization import deserialize, image_message

SMALL = {'model': 'mfs_seg', 'image.height': 96, 'image.width': 128, 'semantic.min_score': 0.0}


def run(bag, output, segmenter=None, **changes):
    """Evaluate with the stub."""
    return tiny.run(bag, output, segmenter=segmenter or Looker(), **changes)


def summary_of(folder):
    return json.loads((folder / 'summary.json').read_text())


def rows_of(folder):
    with (folder / 'windows.csv').open(newline='') as file:
        return list(csv.DictReader(file))


def published(folder, topic):
    """Return the messages of a topic of output/ and their times."""
    with BagReader(folder / 'output') as bag:
        found = list(bag.messages([topic]))
    return [deserialize(kind, raw) for _, kind, _, raw in found], [time for *_, time, _ in found]


@pytest.fixture
def bag(tmp_path):
    return write_images(tmp_path / 'bag')


def test_every_image_is_evaluated_and_kept(tmp_path, bag):
    network = Looker()
    outcome = run(bag, tmp_path / 'out', network)
    assert (outcome.windows, outcome.error) == (10, '')
    for number, image in enumerate(network.seen):
        np.testing.assert_array_equal(image, scene(number))
    summary = summary_of(tmp_path / 'out')
    assert summary['input'] == 'images'
    assert summary['bag']['topic'] == TOPIC
    assert summary['bag']['encoding'] == 'rgb8'
    assert (summary['bag']['width'], summary['bag']['height']) == (120, 100)
    assert (summary['bag']['messages'], summary['bag']['events']) == (10, 0)
    assert (summary['bag']['t_first_ns'], summary['bag']['t_last_ns']) == (STAMPS[0], STAMPS[-1])
    # 20 x 30 of 120 x 100 pixels are bright: 17 rows above the ground, 13 on it.
    shares = {'unknown': 0, 'dark': 0.5 - 340 / 12000, 'grey': 0.5 - 260 / 12000, 'bright': 0.05}
    assert summary['classes'] == pytest.approx(shares, abs=1e-6)
    rows = rows_of(tmp_path / 'out')
    assert [int(row['stamp_ns']) for row in rows] == STAMPS
    assert {row['objects'] for row in rows} == {'1'}
    for name in ('duration_ns', 'events', 'on_events', 'object_events', 'instances', 'dropped'):
        assert {row[name] for row in rows} == {'0'}
    assert {row['spikes_input'] for row in rows} == {''}
    coco = json.loads((tmp_path / 'out/objects.json').read_text())
    assert len(coco['images']) == len(coco['annotations']) == 10
    assert [item['name'] for item in coco['categories']] == ['dark', 'grey', 'bright']
    assert {item['area'] for item in coco['annotations']} == {600}


def test_the_output_plays_beside_the_input(tmp_path, bag):
    network = Looker()
    run(bag, tmp_path / 'out', network)
    results = []
    state = network.initial_state()
    for number, stamp in enumerate(STAMPS):
        frame = ImageFrame(scene(number), stamp, 'camera', number)
        result, state = network.segment(frame, state)
        results.append(result)
    masks, times = published(tmp_path / 'out', '/spikeseg/mask')
    assert times == [START + 5_000_000 + k * 3_000_000 for k in range(10)]
    pictures, _ = published(tmp_path / 'out', '/spikeseg/overlay/compressed')
    for number, (mask, picture, result) in enumerate(zip(masks, pictures, results, strict=True)):
        assert mask.content == 0
        pixels = np.frombuffer(zlib.decompress(mask.data.tobytes()), np.uint8)
        np.testing.assert_array_equal(pixels.reshape(100, 120), result.class_ids)
        caption = f'image {number}  {number / 10:.2f} s  1 objects'
        drawn = render_overlay(
            result, None, scene(number), network.labels, caption, result.class_ids
        )
        shown = cv2.imdecode(np.asarray(picture.data), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(shown[:, :, ::-1], drawn)
    (labels,), _ = published(tmp_path / 'out', '/spikeseg/labels')
    assert labels.names == ['unknown', 'dark', 'grey', 'bright']
    assert (tmp_path / 'out/overlay.gif').stat().st_size > 1000
    assert len(list((tmp_path / 'out/overlays').iterdir())) >= 4


def test_compressed_images_are_the_same_images(tmp_path, bag):
    packed = write_images(tmp_path / 'packed', packed=True, topic='/camera/jpegs')
    networks = Looker(), Looker()
    run(bag, tmp_path / 'raw', networks[0])
    assert run(packed, tmp_path / 'out', networks[1]).windows == 10
    for one, other in zip(networks[0].seen, networks[1].seen, strict=True):
        np.testing.assert_array_equal(one, other)
    for name in ('windows.csv', 'overlay.gif'):
        assert (tmp_path / 'raw' / name).read_bytes() == (tmp_path / 'out' / name).read_bytes()
    assert summary_of(tmp_path / 'out')['bag']['encoding'] == 'png'


def test_a_ros_1_bag(tmp_path, bag):
    run(bag, tmp_path / 'new')
    store = get_typestore(Stores.ROS1_NOETIC)
    kinds = store.types
    with Ros1Writer(tmp_path / 'bag.bag') as writer:
        connection = writer.add_connection(TOPIC, RAW_IMAGE, typestore=store)
        for number, stamp in enumerate(STAMPS):
            time = kinds['builtin_interfaces/msg/Time'](stamp // 10**9, stamp % 10**9)
            header = kinds['std_msgs/msg/Header'](number, time, 'camera')
            data = scene(number).reshape(-1)
            image = kinds[RAW_IMAGE](header, 100, 120, 'rgb8', 0, 360, data)
            raw = store.serialize_ros1(image, RAW_IMAGE)
            writer.write(connection, START + 5_000_000 + number * 3_000_000, raw)
    assert run(tmp_path / 'bag.bag', tmp_path / 'old').windows == 10
    for name in ('windows.csv', 'output/output.mcap', 'overlay.gif'):
        assert (tmp_path / 'old' / name).read_bytes() == (tmp_path / 'new' / name).read_bytes()


@pytest.mark.parametrize('share', [0.0, 0.2, 0.55, 0.9, 1.0])
def test_a_killed_run_goes_on_with_its_state(tmp_path, bag, share, monkeypatch):
    run(bag, tmp_path / 'whole')
    whole = Looker()
    with monkeypatch.context() as patch:
        patch.setattr(unit_module, 'finish', _killed)
        with pytest.raises(KeyboardInterrupt):
            run(bag, tmp_path / 'out', whole)
    path = tmp_path / 'out' / journal.NAME
    data = path.read_bytes()
    path.write_bytes(data[: max(len(journal.MAGIC), round(share * len(data)))])
    second = Looker()
    assert not run(bag, tmp_path / 'out', second, resume=True).error
    assert second.calls == pytest.approx(10 * (1 - share), abs=2)
    assert tiny.contents(tmp_path / 'out') == tiny.contents(tmp_path / 'whole')
    third = Looker()
    assert run(bag, tmp_path / 'out', third, resume=True).windows == 10
    assert third.calls == 0


def _killed(*_):
    raise KeyboardInterrupt


def test_potentials_survive_a_kill(tmp_path, monkeypatch):
    """The shipped network with membrane potentials that are kept from image to image."""
    bag = write_images(tmp_path / 'bag', STAMPS[:5])
    config = tiny.with_window(50.0) | SMALL | {'semantic.streaming': True}
    monkeypatch.setattr(unit_module, '_SMALL_STATE', 1 << 30)
    whole = tiny.unit(bag, tmp_path / 'whole', config=config)
    assert unit_module.run_unit(whole).windows == 5
    cut = tiny.unit(bag, tmp_path / 'out', config=config)
    with monkeypatch.context() as patch:
        patch.setattr(unit_module, 'finish', _killed)
        with pytest.raises(KeyboardInterrupt):
            unit_module.run_unit(cut)
    path = tmp_path / 'out' / journal.NAME
    states = [place for kind, _, place in journal.records(path) if kind == journal.STATE]
    path.write_bytes(path.read_bytes()[: states[2] + 100])
    again = tiny.unit(bag, tmp_path / 'out', config=config, resume=True)
    assert unit_module.run_unit(again).windows == 5
    assert tiny.contents(tmp_path / 'out') == tiny.contents(tmp_path / 'whole')
    at_rest = tiny.unit(bag, tmp_path / 'rest', config=config | {'semantic.streaming': False})
    unit_module.run_unit(at_rest)
    masks = [published(tmp_path / name, '/spikeseg/mask')[0] for name in ('whole', 'rest')]
    assert masks[0][0].data.tobytes() == masks[1][0].data.tobytes()
    assert masks[0][4].data.tobytes() != masks[1][4].data.tobytes(), 'potentials are kept'


def test_time_that_runs_backwards_begins_an_epoch(tmp_path):
    stamps = [*STAMPS[:4], *STAMPS[:4], STAMPS[9]]
    bag = write_images(tmp_path / 'bag', stamps)
    assert run(bag, tmp_path / 'out').windows == 9
    rows = rows_of(tmp_path / 'out')
    assert [int(row['epoch']) for row in rows] == [0] * 4 + [1] * 5
    assert [int(row['stamp_ns']) for row in rows] == stamps
    arrays, _ = published(tmp_path / 'out', '/spikeseg/objects')
    assert [item.sequence for item in arrays] == list(range(9)), 'in recorded order'
    assert [item.objects[0].track_age for item in arrays] == [1, 2, 3, 4, 1, 2, 3, 4, 5]
    pictures, _ = published(tmp_path / 'out', '/spikeseg/overlay/compressed')
    for path in (tmp_path / 'out/overlays').iterdir():
        assert path.read_bytes() == pictures[int(path.stem)].data.tobytes()
    assert write_report(tmp_path / 'out').is_file()


@pytest.mark.parametrize('packed', [True, False])
def test_images_that_cannot_be_decoded_are_told(tmp_path, packed):
    bag = write_images(tmp_path / 'bag', packed=packed, bad=(0, 4))
    outcome = run(bag, tmp_path / 'out')
    assert outcome.windows == 8
    assert '\n' not in outcome.error
    assert '8 images are in' in outcome.error
    summary = summary_of(tmp_path / 'out')
    assert "2 of 10 messages of '/camera/image_raw' in 'bag'" in summary['bag']['damaged']
    assert summary['bag']['messages'] == 10
    rows = rows_of(tmp_path / 'out')
    assert [int(row['stamp_ns']) for row in rows] == STAMPS[1:4] + STAMPS[5:]
    assert run(bag, tmp_path / 'out', resume=True) == outcome
    text = write_report(tmp_path / 'out').read_text()
    assert '2 of 10 messages' in text


def test_not_one_image_can_be_decoded(tmp_path):
    bag = write_images(tmp_path / 'bag', bad=range(10))
    outcome = run(bag, tmp_path / 'out')
    assert outcome.windows == 0
    assert 'no image that can be read' in outcome.error
    assert not (tmp_path / 'out').exists()
    empty = write_images(tmp_path / 'empty', ())
    assert 'holds no images' in run(empty, tmp_path / 'out').error


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_images_in_front_of_the_damage_are_kept(tmp_path, storage):
    bag = write_images(tmp_path / 'bag', storage=storage)
    (file,) = [path for path in bag.iterdir() if path.suffix in ('.mcap', '.db3')]
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 6 // 10])
    outcome = run(bag, tmp_path / 'out')
    assert 3 <= outcome.windows <= 7
    assert 'damaged' in outcome.error
    assert str(tmp_path) not in json.dumps(summary_of(tmp_path / 'out'))
    assert run(bag, tmp_path / 'out', resume=True) == outcome


def test_an_image_that_fails_costs_itself(tmp_path, bag):
    outcome = run(bag, tmp_path / 'out', Looker(fails_at=3))
    assert outcome.windows == 9
    assert '1 images of' in outcome.error
    assert 'lens cap' in outcome.error
    assert summary_of(tmp_path / 'out')['errors'] == 1


def test_a_change_of_size(tmp_path):
    images = [scene(k) if k < 6 else scene(k, 160, 140) for k in range(10)]
    bag = write_images(tmp_path / 'bag', images=images)
    assert run(bag, tmp_path / 'out').windows == 10
    assert [int(row['epoch']) for row in rows_of(tmp_path / 'out')] == [0] * 6 + [1] * 4
    coco = json.loads((tmp_path / 'out/objects.json').read_text())
    sizes = [(item['width'], item['height']) for item in coco['images']]
    assert sizes == [(120, 100)] * 6 + [(160, 140)] * 4
    masks, _ = published(tmp_path / 'out', '/spikeseg/mask')
    assert [(mask.width, mask.height) for mask in masks] == sizes
    assert write_report(tmp_path / 'out').is_file()


def test_which_topic_is_read(tmp_path):
    with BagWriter(tmp_path / 'bag') as writer:
        for topic in ('/few', '/many'):
            writer.add_topic(topic, RAW_IMAGE)
        writer.add_topic('/events', EVENT_PACKET)
        for number, stamp in enumerate(STAMPS):
            writer.write('/many', stamp, image_message(scene(number), stamp))
        writer.write('/few', stamp, image_message(scene(0), stamp))
    bag = tmp_path / 'bag'
    assert run(bag, tmp_path / 'many').windows == 10
    assert run(bag, tmp_path / 'few', topic='/few').windows == 1
    assert reading_length(bag, '', {'model': 'mfs_seg'}) == 10
    assert reading_length(bag, '/few', {'model': 'mfs_seg'}) == 1
    assert reading_length(bag, '', {}) == 0, 'there are no events'
    for topic in ('/events', '/none'):
        outcome = run(bag, tmp_path / 'out', topic=topic)
        assert f'no image topic {topic!r}' in outcome.error
        assert '/many' in outcome.error
        assert not (tmp_path / 'out').exists()


def test_an_event_file_holds_no_images(tmp_path):
    (tmp_path / 'a.raw').write_bytes(b'% evt 3.0\n% geometry 100x80\n% end\n' + bytes(64))
    outcome = run(tmp_path / 'a.raw', tmp_path / 'out')
    assert 'is an event file' in outcome.error
    assert not (tmp_path / 'out').exists()


def test_ground_truth_of_events_is_refused_before_the_network_runs(tmp_path, bag):
    network = Looker()
    outcome = run(bag, tmp_path / 'out', network, truth=str(tmp_path / 'truth.json'))
    assert 'spikeseg evaluate segmentation' in outcome.error
    assert outcome.windows == network.calls == 0
    assert not (tmp_path / 'out').exists()


def test_the_command(tmp_path, capsys):
    bags = [
        str(write_images(tmp_path / name, STAMPS[:count])) for name, count in (('a', 3), ('b', 4))
    ]
    words = [f'--set={name}={value}' for name, value in SMALL.items()]
    for workers in ('1', '2'):
        out = str(tmp_path / workers)
        assert main(['evaluate', 'bag', *bags, *words, '--output', out, '--workers', workers]) == 0
        assert '2 recordings, 7 images, ' in capsys.readouterr().out
    for name in ('a', 'b'):
        one, two = tmp_path / '1' / name, tmp_path / '2' / name
        assert tiny.contents(one) == tiny.contents(two)
        assert summary_of(one)['model'] == 'mfs_seg'
        assert sum(summary_of(one)['classes'].values()) == pytest.approx(1.0, abs=1e-4)
    for name in ('summary.json', 'windows.csv'):
        assert (tmp_path / '1' / name).read_bytes() == (tmp_path / '2' / name).read_bytes()
    text = re.sub(r'<[^>]*>', ' ', (tmp_path / '1/report.html').read_text())
    assert re.search(r'7\s+images', text)
    words += ['--truth', bags[0], '--output', str(tmp_path / 'judged')]
    assert main(['evaluate', 'bag', bags[0], *words]) == 1
    assert 'spikeseg evaluate segmentation' in capsys.readouterr().err
    assert not (tmp_path / 'judged').exists()


def test_the_report_speaks_of_images(tmp_path, bag):
    run(bag, tmp_path / 'out')
    page = write_report(tmp_path / 'out').read_text()
    text = ' '.join(re.sub(r'<style.*?</style>|<[^>]*>', ' ', page, flags=re.DOTALL).split())
    for words in (
        'In 900 ms of recording (10 images)',
        'Best and worst images',
        'Image 0 , at 0 s, 1 object',
        'Objects per image',
        'SHA-256 of images of the recording',
        'time between images',
        'one every 100 ms',
    ):
        assert words in text
    assert re.search(r'grey 47\.8% dark 47\.2% bright 5\.0% unknown 0\.0%', text)
    for words in ('Event rate', 'Events', 'window length', 'Spikes'):
        assert words not in page
    run(bag, tmp_path / 'other', Looker(fails_at=4))
    words = [str(tmp_path / 'out'), str(tmp_path / 'other')]
    assert main(['compare', *words, '--output', str(tmp_path / 'compare.html')]) == 0
    page = (tmp_path / 'compare.html').read_text()
    assert 'Images that differ most' in page
    assert 'Share of grey' in page


def test_pictures_show_all_of_the_recording():
    assert choose_images([0] * 31, [None] * 31) == [0, 10, 20, 30]
    objects = [1] * 30 + [5]
    scores = [0.5 + k / 100 for k in range(31)]
    chosen = choose_images(objects, scores)
    assert {0, 1, 10, 20, 28, 29, 30} <= set(chosen)
    assert len(chosen) <= 12


@pytest.mark.slow
@pytest.mark.ros
def test_through_the_live_node(tmp_path, capsys):
    # The topic of compressed images has no name by which a node would know.
    stamps, topic = [START + k * 500_000_000 for k in range(6)], '/camera/pictures'
    bag = write_images(tmp_path / 'bag', stamps, packed=True, topic=topic, step=500_000_000)
    words = [str(bag), '--output', str(tmp_path / 'out'), '--no-report', '--realtime']
    words += [f'--set={name}={value}' for name, value in SMALL.items()]
    assert main(['evaluate', 'bag', *words]) == 0, capsys.readouterr().err
    found = json.loads((tmp_path / 'out/timing.json').read_text())['realtime']
    assert found['windows'] == 6
    # A busy machine drops images; those that are published are the same.
    assert found['matched'] >= 1
    assert found['identical'] == 1.0
    assert 'images as offline' in capsys.readouterr().out
