# SPDX-License-Identifier: Apache-2.0
"""Semantic families on a GPU: graphs behind the segmenters, and what happens without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from spikeseg_ros.events.frames import Framing, framing_notes
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.models import compiled
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig
from spikeseg_ros.models.mfs_seg_weights import save_mfs_seg
from spikeseg_ros.models.spike2former import Spike2Former, preset
from spikeseg_ros.models.spike2former_weights import save_spike2former
from spikeseg_ros.perception.config import ConfigError, from_flat
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.segmenter import ImageFrame
from spikeseg_ros.spiking.energy import EnergyProbe

if TYPE_CHECKING:
    from pathlib import Path

CLASSES, COLORS = ('road', 'car', 'person'), ((1, 2, 3), (200, 0, 0), (0, 200, 0))
FAMILIES = ('mfs_seg', 'spike2former')
MS = 1_000_000
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')


def lively(network: MfsSeg, x: torch.Tensor) -> MfsSeg:
    """Let neurons fire and all classes occur on inputs like x."""
    for _ in range(10):
        network.train()(x)
    with torch.no_grad():
        logits = network.eval()(x).logits[-1]
        network.net.heads[-1].conv.bias -= logits.mean((0, 2, 3))  # type: ignore[operator, union-attr]
    return network


@pytest.fixture(scope='module')
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of small random weights: one file for each family, and one for events."""
    folder = tmp_path_factory.mktemp('weights')
    shape: dict[str, Any] = {'classes': 3, 'widths': (8, 8, 12, 16), 'depths': (1, 1, 1, 1)}
    torch.manual_seed(2)
    images = lively(MfsSeg(MfsSegConfig(**shape)), torch.randn(2, 3, 48, 64))
    save_mfs_seg(folder / 'mfs_seg', images, CLASSES, COLORS, {'size': [48, 64]})
    frames = torch.randint(0, 3, (4, 2, 2, 32, 32)) / 4
    events = lively(MfsSeg(MfsSegConfig(**shape, events=True, input_channels=2)), frames)
    notes = {'framing': framing_notes(Framing(4, 50 * MS))}
    save_mfs_seg(folder / 'events', events, CLASSES, COLORS, notes)
    former = Spike2Former(preset('tiny', classes=3)).eval()
    save_spike2former(folder / 'spike2former', former, CLASSES, COLORS, {'size': [48, 64]})
    return folder


def family(weights: Path, name: str, **options: Any) -> Any:
    flat = {key.replace('__', '.'): value for key, value in options.items()}
    model = 'mfs_seg' if name == 'events' else name
    return create(from_flat({'model': model, 'weights': str(weights / name), **flat}))


def image(seed: int, height: int = 48, width: int = 64) -> ImageFrame:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return ImageFrame(pixels, seed, 'camera')


def street(seed: int) -> ImageFrame:
    """Return a drawing of sky, road, houses and a car, a little noisy."""
    drawn = np.full((120, 160, 3), 200.0)
    drawn[50:] = 90
    drawn[30:70, :60] = 120, 90, 70
    drawn[35:70, 110:] = 60, 90, 50
    drawn[62:80, 70:100] = 30, 30, 60
    noisy = drawn + np.random.default_rng(seed).normal(0, 4, drawn.shape)
    return ImageFrame(noisy.clip(0, 255).astype(np.uint8), seed, 'camera')


def window(index: int, size: int) -> EventWindow:
    rng = np.random.default_rng(index)
    x, y = (rng.integers(0, size, 600).astype(np.uint16) for _ in range(2))
    times = np.sort(rng.integers(0, 50 * MS, 600)) + index * 50 * MS
    events = Events(x, y, rng.integers(0, 2, 600).astype(np.uint8), times)
    end = (index + 1) * 50 * MS
    return EventWindow(events, end - 50 * MS, end, end, size, size, 'dvs', index, 0)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[tuple[int, ...], bool]]:
    """Let this machine take graphs; returns shape, and whether there was a state, by call."""
    seen: list[tuple[tuple[int, ...], bool]] = []

    class Graph:
        def __init__(self, run: Any, example: Any, keep: bool) -> None:
            self.run = run

        def __call__(self, x: Any, state: Any) -> Any:
            seen.append((tuple(x.shape), state is not None))
            return self.run(x, state)

    monkeypatch.setattr(compiled, '_takes_graphs', lambda device: True)
    monkeypatch.setattr(compiled, '_Graph', Graph)
    return seen


@pytest.mark.parametrize('name', FAMILIES)
def test_half_precision_without_a_gpu_is_refused_with_a_remedy(weights: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"semantic\.precision to 'auto'"):
        family(weights, name, device='cpu', semantic__precision='float16')
    for precision in ('auto', 'float32'):
        assert family(weights, name, device='cpu', semantic__precision=precision).notes == ()


@pytest.mark.parametrize('name', FAMILIES)
def test_without_a_graph_the_masks_are_the_same_and_a_note_says_why(
    monkeypatch: pytest.MonkeyPatch, weights: Path, name: str
) -> None:
    plain = family(weights, name, device='cpu')
    want, _ = plain.segment(image(3), plain.initial_state())

    def full(run: Any, example: Any, keep: bool) -> None:
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2 GiB.')

    monkeypatch.setattr(compiled, '_takes_graphs', lambda device: True)
    monkeypatch.setattr(compiled, '_Graph', full)
    one = family(weights, name, device='cpu')
    assert one.notes == ()
    one.warm_up(64, 48)
    (note,) = one.notes
    assert 'without a CUDA graph' in note
    assert 'out of memory' in note
    got, _ = one.segment(image(3), one.initial_state())
    assert (got.class_ids == want.class_ids).all()
    assert one.notes == (note,)


@pytest.mark.parametrize('name', FAMILIES)
def test_warming_up_makes_the_graph_that_images_of_any_size_take(
    calls: list[Any], weights: Path, name: str
) -> None:
    one = family(weights, name, device='cpu')
    one.warm_up(346, 260)
    for size in ((48, 64), (61, 83), (20, 90)):
        one.segment(image(1, *size), one.initial_state())
    assert set(calls) == {((1, 3, 48, 64), False)}


def test_potentials_of_another_size_do_not_reach_the_graph(
    calls: list[Any], weights: Path
) -> None:
    one = family(weights, 'events', device='cpu', semantic__streaming=True)
    state = one.initial_state()
    for index, size in enumerate((32, 32, 40, 40, 32)):
        _, state = one.segment(window(index, size), state)
    assert [had for _, had in calls] == [False, True, False, True, False]


@pytest.mark.parametrize('name', FAMILIES)
def test_counting_goes_around_the_graph_and_counts_the_same(
    calls: list[Any], monkeypatch: pytest.MonkeyPatch, weights: Path, name: str
) -> None:
    one = family(weights, name, device='cpu')
    result, _ = one.segment(image(5), one.initial_state())
    assert result.energy == {}
    assert len(calls) == 1
    counting = from_flat({'energy': True}, one.config)
    one.reconfigure(counting)
    counted, _ = one.segment(image(5), one.initial_state())
    assert len(calls) == 1
    assert (counted.class_ids == result.class_ids).all()
    monkeypatch.undo()
    plain = family(weights, name, device='cpu', energy=True)
    want, _ = plain.segment(image(5), plain.initial_state())
    assert counted.energy == want.energy
    assert want.energy


def trained(name: str, **options: Any) -> Any:
    """Return the family with the weights of the package, for small images on a GPU."""
    flat = {key.replace('__', '.'): value for key, value in options.items()}
    flat |= {'model': name, 'weights': f'{name}_camvid', 'device': 'cuda'}
    return create(from_flat({'image.height': 120, 'image.width': 160, **flat}))


def graph_of(one: Any) -> Any:
    """Return what runs on inputs of the shape that came last."""
    return list(one.network._prepared._ready.values())[-1]._run


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize('streaming', [False, True])
@pytest.mark.parametrize('name', FAMILIES)
def test_logits_of_a_graph_are_those_without_one(name: str, streaming: bool) -> None:
    one = trained(name, semantic__streaming=streaming)
    one.warm_up(160, 120)
    assert one.notes == ()
    assert isinstance(graph_of(one), compiled._Graph)
    state = after = None
    with torch.inference_mode():
        for seed in range(3):
            pixels = street(seed).image
            got, state = one.network.logits(pixels, state)
            with EnergyProbe(one.network.network) as probe:
                want, after = one.network.logits(pixels, after)
                assert probe.take().totals()
            near = torch.isclose(got, want, rtol=1e-3, atol=1e-3)
            # A flipped rounding moves a few places, no more.
            assert near.float().mean() > 0.95
            assert want.std() > 0.1
            assert (state is not None) == streaming


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize('name', FAMILIES)
def test_masks_in_half_precision_agree_with_those_in_full(name: str) -> None:
    full, half = (
        trained(name, semantic__precision=precision) for precision in ('float32', 'float16')
    )
    for one in (full, half):
        one.warm_up(160, 120)
        assert one.notes == ()
    for seed in range(3):
        want, got = (
            one.segment(street(seed), one.initial_state())[0].class_mask() for one in (full, half)
        )
        assert len(np.unique(want)) > 3
        # Drawn, not photographed: many places are hard to tell. On CPUs it is 0.66 to 0.96.
        assert (got == want).mean() > 0.55


@pytest.mark.gpu
@gpu
def test_events_stream_through_a_graph(weights: Path) -> None:
    masks = []
    for device in ('cuda', 'cpu'):
        one = family(weights, 'events', device=device, semantic__streaming=True)
        state = one.initial_state()
        for index, size in enumerate((32, 32, 40, 32)):
            result, state = one.segment(window(index, size), state)
            masks.append(result.class_mask())
            assert len(np.unique(masks[-1])) == len(CLASSES)
        assert one.notes == ()
    for got, want in zip(masks[:4], masks[4:], strict=True):
        assert (got == want).mean() > 0.95
