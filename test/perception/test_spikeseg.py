# SPDX-License-Identifier: Apache-2.0
"""The SpikeSEG family as a whole: what it finds, that it repeats exactly, and how it fails."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.images.contrast import contrast_spikes
from spikeseg_ros.perception.config import ConfigError, PerceptionConfig, from_flat
from spikeseg_ros.perception.pipeline import Pipeline
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.result import Result
from spikeseg_ros.perception.segmenter import ImageFrame, Segmenter
from spikeseg_ros.perception.spikeseg import SpikeSegSegmenter
from spikeseg_ros.simulation.recording import simulate_scene
from spikeseg_ros.simulation.scene import random_scene
from spikeseg_ros.simulation.truth import GroundTruth

WINDOW = 50_000_000


@cache
def _truth() -> GroundTruth:
    scene = random_scene(
        160, 120, 3, objects=2, sizes=(12.0, 20.0), speeds=(80.0, 160.0), seconds=0.3, gap=20.0
    )
    return simulate_scene(scene, 0.3, camera_hz=0).truth


def _windows() -> list[EventWindow]:
    truth = _truth()
    made = []
    for index, start in enumerate(range(50_000_000, 300_000_000, WINDOW)):
        events, _ = truth.labels(start, start + WINDOW)
        made.append(
            EventWindow(events, start, start + WINDOW, start + WINDOW, 160, 120, 'cam', index)
        )
    return made


@cache
def _segmenter() -> Segmenter:
    return create(PerceptionConfig(device='cpu'))


def _run(segmenter: Segmenter) -> list[Result]:
    state, results = segmenter.initial_state(), []
    for window in _windows():
        result, state = segmenter.segment(window, state)
        results.append(result)
    return results


def test_moving_objects_are_found_and_keep_their_track() -> None:
    results = _run(_segmenter())
    assert all(result.objects for result in results)
    covered = total = 0
    for result, window in zip(results, _windows(), strict=True):
        _, labels = _truth().labels(window.t_start, window.t_end)
        mask = result.object_mask()
        on_object = mask[window.events.y, window.events.x] > 0
        covered += int((on_object & (labels > 0)).sum())
        total += int((labels > 0).sum())
    assert covered > 0.7 * total
    confirmed = [{item.track_id for item in result.objects} - {0} for result in results]
    assert confirmed[-1]
    assert confirmed[-1] & confirmed[-2]


def test_results_are_consistent() -> None:
    for result in _run(_segmenter()):
        assert result.model == 'spikeseg'
        assert result.duration == WINDOW
        ids = {instance.instance_id for instance in result.instances}
        for number, item in enumerate(result.objects):
            assert item.object_id == number
            assert item.mask.shape == (item.box.height, item.box.width)
            for edge in (item.mask[0], item.mask[-1], item.mask[:, 0], item.mask[:, -1]):
                assert edge.any()
            assert 0 < item.score <= 1
            assert item.class_id == 1
            assert item.class_name == 'moving object'
            assert set(item.instance_ids) <= ids
            for instance in item.instance_ids:
                assert result.object_of_instance[instance] == number
        assert set(result.timings) == {'motion', 'bin', 'encoder', 'hulk', 'objects', 'tracks'}
        assert result.spikes['conv3'] >= len(result.instances)


def test_same_windows_give_the_same_results() -> None:
    first, again = _run(_segmenter()), _run(create(PerceptionConfig(device='cpu')))
    for one, two in zip(first, again, strict=True):
        assert len(one.objects) == len(two.objects)
        for a, b in zip(one.objects, two.objects, strict=True):
            assert a.box == b.box
            assert (a.mask == b.mask).all()
            assert (a.score, a.centroid, a.track_id, a.velocity) == (
                b.score,
                b.centroid,
                b.track_id,
                b.velocity,
            )


def test_the_state_is_not_changed_by_a_call() -> None:
    segmenter = _segmenter()
    windows = _windows()
    _, state = segmenter.segment(windows[0], segmenter.initial_state())
    first, _ = segmenter.segment(windows[1], state)
    second, _ = segmenter.segment(windows[1], state)
    assert [a.track_age for a in first.objects] == [a.track_age for a in second.objects]


def test_streaming_keeps_potentials_between_windows() -> None:
    segmenter = create(from_flat({'device': 'cpu', 'spikeseg.streaming': True}))
    _, state = segmenter.segment(_windows()[0], segmenter.initial_state())
    assert state.encoder is not None
    warm, _ = segmenter.segment(_windows()[1], state)
    cold, _ = segmenter.segment(_windows()[1], segmenter.initial_state())
    assert warm.spikes['conv1'] >= cold.spikes['conv1']


@pytest.mark.parametrize('count', [0, 300])
def test_silence_and_sparse_noise_give_no_objects(count: int) -> None:
    rng = np.random.default_rng(count)
    events = Events(
        rng.integers(0, 160, count).astype(np.uint16),
        rng.integers(0, 120, count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        np.sort(rng.integers(0, WINDOW, count)),
    )
    window = EventWindow(events, 0, WINDOW, WINDOW, 160, 120)
    segmenter = _segmenter()
    result, _ = segmenter.segment(window, segmenter.initial_state())
    assert result.objects == ()
    assert not result.class_mask().any()


@pytest.mark.parametrize('size', [(4, 4), (8, 8), (13, 40), (41, 27)])
def test_sensors_of_any_size_are_taken(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    count = 500
    events = Events(
        rng.integers(0, size[0], count).astype(np.uint16),
        rng.integers(0, size[1], count).astype(np.uint16),
        rng.integers(0, 2, count).astype(np.uint8),
        np.sort(rng.integers(0, WINDOW, count)),
    )
    window = EventWindow(events, 0, WINDOW, WINDOW, *size)
    segmenter = _segmenter()
    result, _ = segmenter.segment(window, segmenter.initial_state())
    assert result.class_mask().shape == (size[1], size[0])


def test_thresholds_change_at_run_time() -> None:
    segmenter = create(PerceptionConfig(device='cpu'))
    window = _windows()[0]
    normal, _ = segmenter.segment(window, segmenter.initial_state())
    segmenter.reconfigure(from_flat({'device': 'cpu', 'spikeseg.threshold_scale': 4.0}))
    strict, _ = segmenter.segment(window, segmenter.initial_state())
    assert strict.spikes['conv3'] < normal.spikes['conv3']
    segmenter.reconfigure(from_flat({'device': 'cpu', 'objects.min_events': 1_000_000}))
    nothing, _ = segmenter.segment(window, segmenter.initial_state())
    assert nothing.objects == ()


def test_images_pass_the_same_network() -> None:
    image = np.full((96, 128, 3), 60, np.uint8)
    image[30:70, 40:90] = 200
    image[40:60:4, 40:90] = 20
    segmenter = _segmenter()
    result, _ = segmenter.segment(ImageFrame(image, 7, 'cam'), segmenter.initial_state())
    assert (result.stamp, result.frame_id, result.duration) == (7, 'cam', 0)
    for item in result.objects:
        assert item.box.x_min >= 20
        assert item.box.x_max <= 110
    flat, _ = segmenter.segment(ImageFrame(np.full_like(image, 90), 8), segmenter.initial_state())
    assert flat.objects == ()


def test_contrast_spikes_fire_once_in_order_of_contrast() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    image[5:10, 5:10] = 255
    image[13:16, 13:16] = 16
    spikes = contrast_spikes(image, 5)
    assert spikes.shape == (5, 20, 20, 2)
    assert spikes.sum(0).max() == 1
    strong = np.argwhere(spikes[0].any(-1))
    assert (strong.max(0) < 12).all()
    per_step = spikes.sum((1, 2, 3))
    assert per_step.max() - per_step.min() <= 1
    assert not contrast_spikes(np.full((9, 9, 3), 128, np.uint8), 4).any()


def test_missing_cuda_is_refused_when_the_network_is_loaded() -> None:
    torch = pytest.importorskip('torch')
    if torch.cuda.is_available():
        pytest.skip('this machine has a GPU')
    with pytest.raises(ConfigError, match="set device to 'auto' or 'cpu'"):
        create(replace(PerceptionConfig(), device='cuda'))


@pytest.mark.parametrize('name', ['/nowhere/weights.pt', 'README.md'])
def test_bad_weights_are_refused_when_the_network_is_loaded(name: str) -> None:
    with pytest.raises(ValueError, match=name.split('/')[-1].split('.')[0]):
        create(replace(PerceptionConfig(), weights=name))


class _Source:
    """Gives out windows in portions, as a stream would."""

    def __init__(self, portions: list[list[EventWindow]]) -> None:
        self.portions = portions
        self.counters = object()

    def poll(self, now: int) -> list[EventWindow]:
        return self.portions.pop(0) if self.portions else []

    def reset(self) -> None:
        self.portions.clear()


@pytest.mark.parametrize('portions', [[5], [1, 1, 1, 1, 1], [2, 0, 3], [1, 4]])
@pytest.mark.parametrize('streaming', [False, True])
def test_overlapping_windows_give_the_same_results(portions: list[int], streaming: bool) -> None:
    config = from_flat({'device': 'cpu', 'spikeseg.streaming': streaming})
    expected = _run(create(config))
    windows = _windows()
    given = [[windows.pop(0) for _ in range(count)] for count in portions]
    pipeline = Pipeline(create(config), _Source(given))
    found = []
    for _ in range(20):
        tick = pipeline.tick(0)
        if tick is not None:
            found.append(tick.result)
    assert pipeline.counters.processed == len(expected) == len(found)
    assert pipeline.counters.errors == 0
    for one, two in zip(expected, found, strict=True):
        assert (one.index, one.spikes) == (two.index, two.spikes)
        assert (one.object_mask() == two.object_mask()).all()
        assert [a.track_id for a in one.objects] == [b.track_id for b in two.objects]


def test_a_window_that_fails_costs_that_window_and_the_state_only() -> None:
    windows = _windows()
    windows[2] = replace(windows[2], width=2, height=2)
    pipeline = Pipeline(_segmenter(), _Source([[window] for window in windows]))
    found = [tick.result.index for _ in range(20) if (tick := pipeline.tick(0)) is not None]
    assert found == [0, 1, 3, 4]
    assert pipeline.counters.errors == 1
    assert 'too small' in pipeline.counters.last_error


def test_a_new_epoch_starts_with_new_tracks() -> None:
    windows = [replace(w, epoch=int(w.index >= 4)) for w in _windows()]
    pipeline = Pipeline(_segmenter(), _Source([windows]))
    ages = []
    for _ in range(10):
        if (tick := pipeline.tick(0)) is not None:
            ages.append(max(item.track_age for item in tick.result.objects))
    assert ages == [1, 2, 3, 4, 1]


@pytest.mark.parametrize('scale', [1.0, 1.3])
def test_the_path_of_gpus_gives_the_same_results_on_the_cpu(scale: float) -> None:
    config = from_flat({'device': 'cpu', 'spikeseg.threshold_scale': scale})
    dense = create(config)
    assert isinstance(dense, SpikeSegSegmenter)
    dense._events = None
    for one, two in zip(_run(create(config)), _run(dense), strict=True):
        assert one.spikes == two.spikes
        assert [item.box for item in one.objects] == [item.box for item in two.objects]
        assert (one.object_mask() == two.object_mask()).all()


@pytest.mark.gpu
def test_cpu_and_gpu_give_the_same_results() -> None:
    torch = pytest.importorskip('torch')
    if not torch.cuda.is_available():
        pytest.skip('no CUDA device')
    on_cpu = _run(_segmenter())
    on_gpu = _run(create(PerceptionConfig(device='cuda')))
    for one, two in zip(on_cpu, on_gpu, strict=True):
        assert [item.box for item in one.objects] == [item.box for item in two.objects]
        assert (one.object_mask() == two.object_mask()).all()


def test_operations_are_counted_on_request() -> None:
    segmenter = SpikeSegSegmenter(PerceptionConfig(device='cpu', energy=True))
    results = _run(segmenter)
    for result, plain in zip(results, _run(_segmenter()), strict=True):
        want = sum(result.spikes[name] * fan for name, fan in segmenter.fan_out.items())
        assert result.energy == {'macs': 0, 'acs': want, 'millijoule': pytest.approx(want * 9e-10)}
        assert result.spikes == plain.spikes
    assert plain.energy == {}
    segmenter.reconfigure(PerceptionConfig(device='cpu'))
    assert _run(segmenter)[0].energy == {}
