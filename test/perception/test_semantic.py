# SPDX-License-Identifier: Apache-2.0
"""Semantic families: placement and its inverse, masks, things, tracks, state, errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spikeseg_ros.datasets.camvid import CamVid
from spikeseg_ros.events.frames import Framing, framing_notes, window_frames
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.models.weights import DEFAULTS, WeightsError, packaged_weights
from spikeseg_ros.perception.config import ConfigError, PerceptionConfig, from_flat
from spikeseg_ros.perception.inputs import chosen_topics
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.placing import place_frames, place_image, placement, spread
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.segmenter import ImageFrame, StagedSegmenter
from spikeseg_ros.perception.semantic import SemanticSegmenter
from spikeseg_ros.perception.things import chosen_classes, find_things

CLASSES = ('road', 'car', 'person')
COLORS = ((10, 20, 30), (200, 0, 0), (0, 200, 0))
CAMVID = Path(__file__).resolve().parents[3] / 'shared/data/camvid'
MS = 1_000_000


class Painted:
    """A network that reads the class off the red channel: 0, 100, 200 for road, car, person."""

    family, device, classes, colors = 'painted', 'cpu', CLASSES, COLORS
    framing: Framing | None = None
    fill = (0, 0, 0)
    notes: tuple[str, ...] = ()

    def __init__(self, size: tuple[int, int] = (0, 0), multiple: int = 1, stride: int = 1) -> None:
        self.size, self.multiple, self.stride = size, multiple, stride
        self.seen: list[tuple[int, ...]] = []

    def logits(self, inputs: np.ndarray, state: Any) -> tuple[torch.Tensor, Any]:
        self.seen.append(inputs.shape)
        red = torch.from_numpy(inputs[:, :, 0].astype(np.float32))[None, None]
        red = F.avg_pool2d(red, self.stride)
        scores = [-(((red - value) / 25) ** 2) for value in (0, 100, 200)]
        return torch.cat(scores, dim=1), (state or 0) + 1

    def probabilities(self, scores: torch.Tensor) -> torch.Tensor:
        return scores.softmax(dim=0)


class Source:
    """Gives out what it was made with, once."""

    def __init__(self, ready: list[Any]) -> None:
        self.counters = SimpleNamespace()
        self.ready = ready

    def poll(self, now: int) -> list[Any]:
        ready, self.ready = self.ready, []
        return ready

    def reset(self) -> None:
        self.ready = []


def segmenter(network: Any = None, **options: Any) -> SemanticSegmenter:
    flat = {name.replace('__', '.'): value for name, value in options.items()}
    return SemanticSegmenter(from_flat(flat), network or Painted())


def picture(height: int, width: int, **boxes: tuple[int, int, int, int]) -> np.ndarray:
    """Return a road with a car and a person at boxes (x, y, width, height)."""
    image = np.zeros((height, width, 3), np.uint8)
    for name, (x, y, w, h) in boxes.items():
        image[y : y + h, x : x + w, 0] = {'car': 100, 'person': 200}[name.rstrip('0123456789')]
    return image


def frame(image: np.ndarray, stamp: int = 0, epoch: int = 0, index: int = 0) -> ImageFrame:
    return ImageFrame(image, stamp, 'camera', index, epoch)


def window(index: int = 0, epoch: int = 0, count: int = 400, size: int = 32) -> EventWindow:
    rng = np.random.default_rng(index)
    x, y = (rng.integers(0, size, count).astype(np.uint16) for _ in range(2))
    times = np.sort(rng.integers(0, 50 * MS, count)) + index * 50 * MS
    events = Events(x, y, rng.integers(0, 2, count).astype(np.uint8), times)
    end = (index + 1) * 50 * MS
    return EventWindow(events, end - 50 * MS, end, end, size, size, 'dvs', index, epoch)


def save(path: Path, seed: int = 0, metadata: Any = None, **shape: Any) -> str:
    torch.manual_seed(seed)
    values = {'classes': 3, 'widths': (4, 4, 8, 8), 'depths': (1, 1, 1, 1), **shape}
    network = MfsSeg(MfsSegConfig(**values)).eval()
    save_mfs_seg(path, network, CLASSES, COLORS, metadata)
    return str(path)


@pytest.mark.parametrize('keep_ratio', [False, True])
@pytest.mark.parametrize(
    ('source', 'target', 'multiple'),
    [
        ((37, 53), (0, 0), 4),
        ((120, 161), (60, 80), 1),
        ((45, 301), (64, 64), 4),
        ((301, 45), (33, 64), 1),
        ((1, 1), (8, 8), 8),
        ((50, 70), (0, 35), 1),
    ],
)
def test_masks_have_the_size_of_the_input_and_lie_where_the_image_does(
    source: tuple[int, int], target: tuple[int, int], multiple: int, keep_ratio: bool
) -> None:
    box = placement(source, target, keep_ratio=keep_ratio, multiple=multiple)
    assert not box.target[0] % multiple
    assert not box.target[1] % multiple
    # A picture of its own coordinates comes back as itself.
    rows, columns = np.mgrid[0 : source[0], 0 : source[1]].astype(np.float32)
    place = np.stack(
        [(rows + 0.5) / source[0] * box.size[0], (columns + 0.5) / source[1] * box.size[1]]
    )
    y, x = np.mgrid[0 : box.target[0], 0 : box.target[1]].astype(np.float32) + 0.5
    values = torch.from_numpy(np.stack([y - box.top, x - box.left]))[None]
    back = spread(values, box).numpy()
    assert back.shape == (2, *source)
    inner = np.s_[:, source[0] // 4 : -(source[0] // 4) or None, source[1] // 4 : None]
    np.testing.assert_allclose(back[inner], place[inner], atol=0.51)
    if keep_ratio:
        scale = min(box.target[0] / source[0], box.target[1] / source[1])
        for size, side in zip(box.size, source, strict=True):
            assert size == pytest.approx(scale * side, abs=0.51)


def test_without_padding_the_scores_are_spread_as_in_the_evaluation() -> None:
    values = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 4, 9, 13))).float()
    stretched = placement((31, 57), (18, 26), keep_ratio=False)
    want = F.interpolate(values, (31, 57), mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(spread(values, stretched), want)
    # The way for padded inputs agrees with it where one column is padded or none.
    padded = placement((18, 25), (18, 26), keep_ratio=True)
    assert padded.size != padded.target
    half = F.interpolate(values, (18, 26), mode='bilinear', align_corners=False)[0]
    torch.testing.assert_close(spread(values, padded), half[:, :, padded.left : padded.left + 25])


def test_images_and_frames_are_padded_with_nothing() -> None:
    box = placement((4, 8), (8, 8), keep_ratio=True)
    image = place_image(np.full((4, 8, 3), 9, np.uint8), box, (1, 2, 3))
    assert (image[2:6] == 9).all()
    assert (image[:2] == (1, 2, 3)).all()
    assert (image[6:] == (1, 2, 3)).all()
    counts = place_frames(np.ones((2, 2, 4, 8), np.float32), box)
    assert counts.shape == (2, 2, 8, 8)
    assert counts.sum() == 2 * 2 * 4 * 8


@pytest.mark.parametrize('size', [(37, 53), (120, 160), (61, 200)])
@pytest.mark.parametrize('trained', [(0, 0), (48, 64)])
def test_masks_hold_the_class_of_each_pixel(
    size: tuple[int, int], trained: tuple[int, int]
) -> None:
    network = Painted(trained, multiple=4)
    image = picture(*size, car=(4, 8, 20, 14), person=(32, 4, 12, 26))
    result, _ = segmenter(network, semantic__min_area=20).segment(frame(image), segmenter_state())
    mask = result.class_mask()
    assert (result.height, result.width) == mask.shape == size
    want = 1 + image[:, :, 0].astype(int) // 100
    assert (mask == want).mean() > 0.93
    assert mask.min() >= 1, 'every pixel lies in what the network saw'
    assert {item.class_name for item in result.objects} == {'car', 'person'}
    rows = network.seen[0][0]
    assert rows == (48 if trained[0] else -(-size[0] // 4) * 4)


def segmenter_state() -> Any:
    return segmenter().initial_state()


def test_options_set_the_size_that_the_network_sees() -> None:
    for options, shape in (
        ({'image__height': 24, 'image__width': 40}, (24, 40, 3)),
        ({'image__width': 30}, (20, 30, 3)),
        ({}, (48, 64, 3)),
    ):
        network = Painted((48, 64))
        one = segmenter(network, **options)
        one.segment(frame(picture(60, 90)), one.initial_state())
        assert network.seen == [shape]


def test_objects_are_the_connected_parts_of_the_chosen_classes() -> None:
    cars = {'car1': (2, 2, 20, 10), 'car2': (40, 2, 30, 10), 'car3': (5, 50, 2, 2)}
    image = picture(60, 100, person=(80, 20, 6, 20), **cars)
    result, _ = segmenter(semantic__min_area=10).segment(frame(image, 5), segmenter_state())
    boxes = [(item.class_name, item.box.to_xyxy(), item.object_id) for item in result.objects]
    assert boxes == [
        ('car', (40, 2, 69, 11), 0),
        ('car', (2, 2, 21, 11), 1),
        ('person', (80, 20, 85, 39), 2),
    ]
    first = result.objects[0]
    assert first.class_id == 2
    assert first.centroid == pytest.approx((54.5, 6.5))
    assert first.mask.all()
    assert first.mask.shape == (10, 30)
    assert 0.99 < first.score <= 1
    assert (result.object_mask() > 0).sum() == sum(item.mask.sum() for item in result.objects)


def test_weak_and_surplus_objects_are_left_out_and_options_change_while_running() -> None:
    image = picture(40, 60, car1=(2, 2, 20, 10), car2=(30, 2, 10, 10))
    # Between two classes the probability is one half.
    image[2:12, 30:40, 0] = 51
    one = segmenter(semantic__min_area=4)
    before, state = one.segment(frame(image), one.initial_state())
    assert len(before.objects) == 2
    assert before.objects[1].score < 0.7
    one.reconfigure(from_flat({'semantic.min_area': 4, 'semantic.min_score': 0.8}))
    assert len(one.segment(frame(image), state)[0].objects) == 1
    one.reconfigure(from_flat({'semantic.min_area': 4, 'objects.max_objects': 1}))
    assert [item.box.width for item in one.segment(frame(image), state)[0].objects] == [20]
    one.reconfigure(from_flat({'semantic.min_area': 201}))
    assert not one.segment(frame(image), state)[0].objects


def test_small_objects_are_dropped_by_the_size_of_the_image() -> None:
    image = picture(100, 200, car=(2, 2, 3, 3), person=(50, 50, 4, 3))
    (only,) = segmenter().segment(frame(image), segmenter_state())[0].objects
    assert only.class_name == 'person', 'one pixel in 2000 makes ten'


def test_tracks_keep_their_id_and_never_change_class() -> None:
    one = segmenter(semantic__min_area=10, tracking__min_hits=1)
    state, seen = one.initial_state(), []
    for index in range(8):
        name = 'car' if index < 4 else 'person'
        image = picture(60, 120, **{name: (10 + 4 * index, 20, 16, 10)})
        result, state = one.segment(frame(image, index * 100 * MS), state)
        seen.append(result.objects[0])
    assert [item.track_id for item in seen] == [1, 1, 1, 1, 2, 2, 2, 2]
    assert seen[3].velocity[0] == pytest.approx(40, rel=0.3)
    off = segmenter(semantic__min_area=10, tracking__enabled=False)
    result, _ = off.segment(frame(image), off.initial_state())
    assert result.objects[0].track_id == 0


@pytest.mark.parametrize(
    ('wanted', 'numbers'),
    [('auto', (1, 2)), ('none', ()), ('road', (0,)), ('Person, car', (1, 2)), ('car', (1,))],
)
def test_things_are_chosen_by_name(wanted: str, numbers: tuple[int, ...]) -> None:
    assert chosen_classes(wanted, CLASSES) == numbers


def test_unknown_things_are_named_with_the_classes_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'tram'.*road, car, person"):
        segmenter(semantic__things='car, tram')


def test_everything_but_the_background_counts_where_nothing_is_known_to() -> None:
    assert chosen_classes('auto', ('background', 'blob', 'ring')) == (1, 2)
    assert chosen_classes('auto', ('person; individual', 'wall')) == (0,)
    assert chosen_classes('auto', ('wall', 'floor')) == ()


def test_things_touch_at_corners_too() -> None:
    mask = np.ones((6, 6), np.uint8)
    mask[1, 1] = mask[2, 2] = mask[5, 5] = 2
    things = find_things(mask, np.full((6, 6), 0.75, np.float32), (2,), 1, 0.5, 10)
    assert [(item.area, item.score) for item in things] == [(2, 0.75), (1, 0.75)]


def test_both_halves_are_the_whole() -> None:
    one = segmenter(semantic__min_area=10)
    assert isinstance(one, StagedSegmenter)
    images = [
        frame(picture(50, 80, car=(3 * k, 10, 20, 12)), k * 100 * MS, 0, k) for k in range(5)
    ]

    pipeline, staged = Pipeline(one, Source(images)), []
    while (tick := pipeline.tick(0)) is not None:
        staged.append(tick.result)
    state, whole = one.initial_state(), []
    for item in images:
        result, state = one.segment(item, state)
        whole.append(result)
    assert len(staged) == 5
    for a, b in zip(staged, whole, strict=True):
        assert (a.class_ids == b.class_ids).all()
        assert [(o.box, o.track_id, o.score) for o in a.objects] == [
            (o.box, o.track_id, o.score) for o in b.objects
        ]


def test_a_tiny_network_runs_on_images_of_any_size(tmp_path: Path) -> None:
    weights = save(tmp_path / 'tiny.pt', metadata={'size': [32, 48]})
    one = create(from_flat({'model': 'mfs_seg', 'weights': weights, 'semantic.min_area': 1}))
    assert [label.name for label in one.labels] == ['unknown', *CLASSES]
    assert one.labels[2].color == COLORS[1]
    one.warm_up(64, 48)
    rng = np.random.default_rng(0)
    for size in ((32, 48), (33, 47), (1, 1), (7, 300), (200, 31)):
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        result, state = one.segment(frame(image), one.initial_state())
        mask = result.class_mask()
        assert mask.shape == size
        assert set(np.unique(mask)) <= {1, 2, 3}
        assert state.encoder is None
        assert all(0 <= item.score <= 1 for item in result.objects)


def test_the_live_mask_is_that_of_the_evaluation(tmp_path: Path) -> None:
    from spikeseg_ros.evaluation.segmentation import predict
    from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg

    weights = save(tmp_path / 'tiny.pt', metadata={'size': [32, 48]})
    image = np.random.default_rng(2).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    one = create(from_flat({'model': 'mfs_seg', 'weights': weights}))
    result, _ = one.segment(frame(image), one.initial_state())
    want = predict(load_mfs_seg(weights).network, image, (32, 48))
    assert (result.class_mask() == want + 1).mean() > 0.999


def event_weights(path: Path, **metadata: Any) -> str:
    notes = {'framing': framing_notes(Framing(4, 50 * MS)), **metadata}
    return save(path, metadata=notes, events=True, input_channels=2)


def test_windows_of_events_become_the_frames_of_the_training(tmp_path: Path) -> None:
    from spikeseg_ros.evaluation.segmentation import predict
    from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg

    weights = event_weights(tmp_path / 'events.pt')
    one = create(from_flat({'model': 'mfs_seg', 'weights': weights, 'semantic.things': 'road'}))
    assert one.inputs == ('events',)
    assert one.notes == ()
    item = window(3)
    result, state = one.segment(item, one.initial_state())
    want = predict(load_mfs_seg(weights).network, window_frames(item, 4), (32, 32))
    assert (result.class_mask() == want + 1).mean() > 0.999
    assert (result.n_events, result.duration) == (400, 50 * MS)
    assert state.encoder is None
    inside = [
        np.count_nonzero(result.object_mask()[item.events.y, item.events.x] == k + 1)
        for k in range(len(result.objects))
    ]
    assert [found.n_events for found in result.objects] == inside
    empty, _ = one.segment(window(0, count=0), one.initial_state())
    assert empty.class_mask().shape == (32, 32)


def test_streaming_carries_potentials_until_the_epoch_or_the_size_changes(tmp_path: Path) -> None:
    weights = event_weights(tmp_path / 'events.pt')
    flat = {'model': 'mfs_seg', 'weights': weights, 'semantic.streaming': True}
    one = create(from_flat(flat))
    fresh, first = one.segment(window(1), one.initial_state())
    _, second = one.segment(window(2), first)
    lone, alone = one.segment(window(2), one.initial_state())
    assert first.encoder is not None
    assert any(
        not torch.equal(a, b)
        for a, b in zip(second.encoder.potentials, alone.encoder.potentials, strict=True)
    ), 'what came before matters'
    other, _ = one.segment(window(5, size=40), second)
    again, _ = one.segment(window(5, size=40), one.initial_state())
    assert (other.class_ids == again.class_ids).all(), 'another size begins anew'

    ticks = list(Pipeline(one, Source([window(1), window(2, epoch=1)])).run(0))
    assert (ticks[0].result.class_ids == fresh.class_ids).all()
    assert (ticks[1].result.class_ids == lone.class_ids).all()


def test_the_state_of_a_run_can_be_saved(tmp_path: Path) -> None:
    from spikeseg_ros.evaluation.offline.state import decode_state, encode_state

    weights = event_weights(tmp_path / 'events.pt')
    flat = {'model': 'mfs_seg', 'weights': weights, 'semantic.streaming': True}
    one = create(from_flat(flat))
    _, state = one.segment(window(1), one.initial_state())
    back = decode_state(encode_state(state))
    a, _ = one.segment(window(2), state)
    b, _ = one.segment(window(2), back)
    assert (a.class_ids == b.class_ids).all()
    assert [(o.box, o.track_id) for o in a.objects] == [(o.box, o.track_id) for o in b.objects]


def test_other_windows_than_in_training_are_worth_a_note(tmp_path: Path) -> None:
    weights = event_weights(tmp_path / 'events.pt')
    flat = {'model': 'mfs_seg', 'weights': weights, 'events.window_ms': 20.0}
    (note,) = create(from_flat(flat)).notes
    assert '20' in note
    assert '50 ms' in note


@pytest.mark.parametrize(
    ('events', 'metadata', 'words'),
    [
        (True, {'framing': {'steps': 4, 'window': 50 * MS, 'bins': 2}}, 'channels'),
        (True, {'framing': {'steps': 'many'}}, 'channels'),
        (False, {}, 'channels'),
    ],
)
def test_weights_for_other_inputs_are_refused(
    tmp_path: Path, events: bool, metadata: Any, words: str
) -> None:
    shape: dict[str, Any] = {'events': events, 'input_channels': 2}
    if not events:
        shape |= {'mean': (0.5, 0.5), 'std': (0.3, 0.3)}
    weights = save(tmp_path / 'odd.pt', metadata=metadata, **shape)
    with pytest.raises(WeightsError, match=words):
        create(from_flat({'model': 'mfs_seg', 'weights': weights}))


def test_the_other_kind_of_input_is_refused(tmp_path: Path) -> None:
    images = segmenter()
    with pytest.raises(ConfigError, match='image_topic'):
        images.segment(window(), images.initial_state())  # type: ignore[arg-type]
    events = create(from_flat({'model': 'mfs_seg', 'weights': event_weights(tmp_path / 'e.pt')}))
    with pytest.raises(ConfigError, match='events_topic'):
        events.segment(frame(picture(8, 8)), events.initial_state())


def test_topics_are_those_that_the_network_takes() -> None:
    class Net:
        family = 'net'

        def __init__(self, *inputs: str) -> None:
            self.inputs = inputs

    default = '/event_camera/events'
    both, images, events = Net('events', 'images'), Net('images'), Net('events')
    assert chosen_topics(both, '/e', '/i') == {'events': '/e', 'images': '/i'}
    assert chosen_topics(object(), '/e', '') == {'events': '/e'}
    assert chosen_topics(images, default, '/i') == {'images': '/i'}
    assert chosen_topics(images, '', '/i') == {'images': '/i'}
    assert chosen_topics(events, default, '') == {'events': default}
    for net, topics, words in (
        (images, ('/e', '/i'), 'events_topic'),
        (images, (default, ''), 'set image_topic'),
        (events, ('', '/i'), 'set events_topic'),
        (events, ('/e', '/i'), 'image_topic empty'),
        (events, ('', ''), 'set events_topic'),
        (both, ('', ''), 'Both'),
    ):
        with pytest.raises(ConfigError, match=words):
            chosen_topics(net, *topics)


def test_families_without_weights_say_how_to_get_them() -> None:
    how = r'spikeseg train spike2former.*docs/spike2former\.md.*spike2former_camvid'
    with pytest.raises(WeightsError, match=how):
        create(from_flat({'model': 'spike2former'}))


def test_the_example_of_spike2former_runs_by_its_name() -> None:
    one = create(from_flat({'model': 'spike2former', 'weights': 'spike2former_camvid'}))
    assert [label.name for label in one.labels] == ['unknown', *CamVid.classes]


@pytest.mark.parametrize('family', sorted(DEFAULTS))
def test_default_weights_are_there_and_belong_to_the_family(family: str) -> None:
    assert packaged_weights(DEFAULTS[family]).is_file()
    one = create(from_flat({'model': family}))
    assert one.family == family
    assert len(one.labels) > 1


def test_the_shipped_network_sees_a_street() -> None:
    if not CAMVID.is_dir():
        pytest.skip(f'CamVid is not in {CAMVID}')
    image, label = CamVid(CAMVID, 'val').sample(0)
    one = create(PerceptionConfig(model='mfs_seg'))
    result, _ = one.segment(frame(np.asarray(image, np.uint8)), one.initial_state())
    known = label != CamVid.ignore
    assert (result.class_mask()[known] == label[known] + 1).mean() > 0.8
    names = {item.class_name for item in result.objects}
    assert names
    assert names <= {'car', 'pedestrian', 'bicyclist'}
