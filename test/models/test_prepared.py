# SPDX-License-Identifier: Apache-2.0
"""Networks for inputs of any shape: a graph for each, its memory, and what happens without one.

What decides about graphs runs on any machine: graphs are replaced by records of their calls.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from spikeseg_ros.models import compiled
from spikeseg_ros.models.compiled import SHAPES, CompiledError, Prepared, Segmented
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import MfsSegConfigError
from spikeseg_ros.models.mfs_seg_config import preset as mfs_seg_preset
from spikeseg_ros.models.spike2former import Spike2Former
from spikeseg_ros.models.spike2former import preset as spike2former_preset
from spikeseg_ros.spiking import surrogate
from spikeseg_ros.spiking.energy import EnergyProbe, measure_energy

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SIZES = [(16, 16 + 4 * number) for number in range(SHAPES + 1)]
STEPS = 3


def mfs_seg(name: str = 'base', **changes: Any) -> MfsSeg:
    torch.manual_seed(1)
    count = 3 if name.startswith('literal') else 4
    widths, depths = (8, 8, 12, 16)[-count:], (1,) * count
    shape = {'widths': widths, 'depths': depths, 'classes': 3, **changes}
    return MfsSeg(mfs_seg_preset(name, **shape)).eval()


def mfs_seg_events() -> MfsSeg:
    return mfs_seg(events=True, input_channels=2)


def spike2former(**changes: Any) -> Spike2Former:
    torch.manual_seed(1)
    return Spike2Former(spike2former_preset('tiny', classes=3, **changes)).eval()


NETWORKS: dict[str, Callable[[], Any]] = {
    'mfs_seg': mfs_seg,
    'mfs_seg literal': lambda: mfs_seg('literal'),
    'mfs_seg events': mfs_seg_events,
    'spike2former v2': lambda: spike2former(backbone='v2'),
    'spike2former v3': lambda: spike2former(backbone='v3'),
    'spike2former official': lambda: spike2former(layout='official', backbone_heads=8, heads=8),
}


def inputs_of(network: Any, seed: int, size: Sequence[int] = (16, 16)) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if isinstance(network, MfsSeg) and network.config.events:
        counts = torch.randint(0, 5, (STEPS, 1, 2, *size), generator=generator)
        return network.spikes(counts.float())
    return torch.randn(1, 3, *size, generator=generator)


class Recorded:
    """Stands in for a graph; notes what it was made for and what it was given."""

    made: list[tuple[int, ...]]
    given: list[Any]

    def __init__(self, run: Any, example: Tensor, keep: bool) -> None:
        self.made.append(tuple(example.shape))
        self.run = run

    def __call__(self, x: Tensor, state: Any) -> Segmented:
        self.given.append(state)
        result: Segmented = self.run(x, state)
        return result


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> type[Recorded]:
    """Let this machine take graphs."""
    kind = type('Graph', (Recorded,), {'made': [], 'given': []})
    monkeypatch.setattr(compiled, '_takes_graphs', lambda device: True)
    monkeypatch.setattr(compiled, '_Graph', kind)
    return kind


def test_each_shape_has_a_graph_and_the_last_few_are_kept(graphs: type[Recorded]) -> None:
    network = mfs_seg()
    ready = Prepared(network, 'cpu')
    inputs = [inputs_of(network, number, size) for number, size in enumerate(SIZES)]
    plain = ready.network
    for x in inputs[:SHAPES]:
        with torch.inference_mode():
            assert torch.equal(ready(x).logits, plain(x).logits[-1])
    shapes = [tuple(x.shape) for x in inputs]
    ready(inputs[0])
    assert graphs.made == shapes[:SHAPES], 'a graph serves all inputs of its shape'
    ready(inputs[SHAPES])
    ready(inputs[0])
    assert graphs.made == shapes, 'what was used last stays'
    ready(inputs[1])
    assert graphs.made == [*shapes, shapes[1]], 'what was not used for long has gone'
    assert len(graphs.given) == SHAPES + 4
    assert ready.notes == ()


@pytest.mark.parametrize('make', [mfs_seg_events, spike2former])
def test_a_state_goes_through_the_graph(graphs: type[Recorded], make: Any) -> None:
    network = make()
    ready, plain = Prepared(network, 'cpu', keep=True), network.folded()
    state: Any = None
    want: Any = None
    for seed in range(3):
        x = inputs_of(network, seed)
        got = ready(x, state)
        with torch.inference_mode():
            if isinstance(network, MfsSeg):
                want = plain(x, want, keep=True).potentials
            else:
                want = plain(x, want, keep=True, last_only=True).state
        assert (graphs.given[-1] is None) == (seed == 0)
        for one, other in zip(got.state, want, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        state = got.state
    ready(inputs_of(network, 3), ())
    assert graphs.given[-1] is None, 'no potentials are neurons at rest'


def test_a_shape_without_a_graph_runs_plainly_and_says_why(
    monkeypatch: pytest.MonkeyPatch, graphs: type[Recorded]
) -> None:
    network = mfs_seg()
    bad, good = (inputs_of(network, number, SIZES[number]) for number in range(2))
    tried = []

    class Failing(graphs):  # type: ignore[valid-type, misc]
        def __init__(self, run: Any, example: Tensor, keep: bool) -> None:
            tried.append(tuple(example.shape))
            if example.shape == bad.shape:
                try:
                    raise RuntimeError('CUDA error: no such thing while capturing\nmore lines')
                finally:
                    # As the end of a recording that went wrong does.
                    raise RuntimeError('CUDA error: a previous error')
            super().__init__(run, example, keep)

    monkeypatch.setattr(compiled, '_Graph', Failing)
    ready = Prepared(network, 'cpu')
    want = Prepared(network, 'cpu').network(bad).logits[-1]
    for x in (bad, good, bad):
        got = ready(x)
    assert torch.equal(got.logits, want)
    (note,) = ready.notes
    assert str(tuple(bad.shape)) in note
    assert 'no such thing while capturing' in note
    assert 'more lines' not in note
    assert 'previous' not in note
    for size in SIZES[1:]:
        ready(inputs_of(network, 0, size))
    ready(bad)
    assert tried.count(tuple(bad.shape)) == 1, 'it is not tried again and again'
    assert len(ready.notes) == 1
    assert len(graphs.given) == 1 + len(SIZES[1:]), 'other shapes have their graph'


@pytest.mark.parametrize('name', NETWORKS)
def test_a_network_may_be_folded_before(name: str) -> None:
    network = NETWORKS[name]()
    x = inputs_of(network, 1, (32, 32))
    once, twice = Prepared(network, 'cpu')(x), Prepared(network.folded(), 'cpu')(x)
    assert torch.equal(once.logits, twice.logits)


def test_an_input_that_does_not_fit_is_refused_and_not_hidden(graphs: type[Recorded]) -> None:
    ready = Prepared(mfs_seg(), 'cpu')
    with pytest.raises(MfsSegConfigError, match='takes'):
        ready(torch.zeros(1, 4, 16, 16))
    assert ready.notes == ()


@pytest.mark.parametrize('make', [mfs_seg, spike2former])
def test_what_is_counted_does_not_run_in_a_graph(graphs: type[Recorded], make: Any) -> None:
    network = make()
    ready, x = Prepared(network, 'cpu'), inputs_of(network, 1)
    ready(x)
    with EnergyProbe(ready.network) as probe:
        counted = ready(x)
        report = probe.take()
    assert len(graphs.given) == 1
    assert report == measure_energy(ready.network, [x], ready)
    assert report.acs > 0
    ready(x)
    assert len(graphs.given) == 2
    assert torch.equal(counted.logits, ready(x).logits)


class Replayed:
    """Does what a recorded graph does: computes anew from its input into the same memory."""

    def __init__(self, run: Callable[[], Segmented], output: Segmented) -> None:
        self.run, self.output = run, output

    def replay(self) -> None:
        new = self.run()
        for old, item in zip((self.output.logits, *self.output.state), (new.logits, *new.state),
                             strict=True):  # fmt: skip
            old.copy_(item)


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine take graphs that compute when they are replayed."""

    def record(graph: Any, state: Any) -> tuple[Replayed, Segmented]:
        output = graph._run(graph._input, state)
        return Replayed(lambda: graph._run(graph._input, state), output), output

    monkeypatch.setattr(compiled, '_takes_graphs', lambda device: True)
    monkeypatch.setattr(compiled._Graph, '_record', record)


@pytest.mark.usefixtures('replayed')
@pytest.mark.parametrize('name', NETWORKS)
def test_buffers_of_a_graph_carry_inputs_states_and_results(name: str) -> None:
    network = NETWORKS[name]()
    size = (32, 32)
    ready = Prepared(network, 'cpu', keep=True)
    inputs = [inputs_of(network, seed, size) for seed in range(3)]
    ready(inputs[2])
    got, kept, want, state, after = [], [], [], None, None
    for x in inputs:
        result = ready(x, state)
        with EnergyProbe(ready.network):
            plain = ready(x, after)
        want.append(plain.logits)
        got.append(result.logits)
        kept.append(result.logits.clone())
        state, after = result.state, plain.state
        for one, other in zip(result.state, plain.state, strict=True):
            assert torch.equal(one, other)
    assert all(torch.equal(one, other) for one, other in zip(got, kept, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(got, want, strict=True))
    assert torch.equal(ready(inputs[0]).logits, got[0]), 'without a state it begins at rest'
    single = [item.flatten()[:1] for item in result.state]
    for wrong in (single, result.state[1:]):
        with pytest.raises(CompiledError, match='begin with a new one'):
            ready(inputs[0], wrong)


@pytest.mark.usefixtures('replayed')
def test_a_state_is_refused_where_none_is_kept() -> None:
    network = mfs_seg_events()
    x = inputs_of(network, 1)
    state = Prepared(network, 'cpu', keep=True)(x).state
    with pytest.raises(CompiledError, match='without keep'):
        Prepared(network, 'cpu')(x, state)


class OnDevice(TorchDispatchMode):
    """Refuses what reads values of the device or brings some from the host."""

    WAITING = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique', 'lift_fresh')

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.__name__.split('.')[0]
        assert not name.startswith(self.WAITING), f'{name} cannot be recorded'
        result = func(*args, **(kwargs or {}))
        seen = [x for x in tree_flatten((args, kwargs, result))[0] if isinstance(x, Tensor)]
        host = [tuple(x.shape) for x in seen if x.device.type == 'cpu']
        assert not host, f'{name} works with tensors of the host: {host}'
        return result


@pytest.mark.parametrize('half', [False, True])
@pytest.mark.parametrize('name', NETWORKS)
def test_passes_neither_wait_for_the_device_nor_copy_from_the_host(
    monkeypatch: pytest.MonkeyPatch, name: str, half: bool
) -> None:
    network = NETWORKS[name]()
    monkeypatch.setattr(compiled, '_takes_graphs', lambda device: True)
    # Tensors without values take the paths of a GPU but for its own kernels of neurons.
    monkeypatch.setattr(surrogate, '_triton', lambda: None)
    monkeypatch.setattr(torch, 'autocast', lambda *args, **options: nullcontext())
    ready = Prepared(network, 'meta', keep=True, half=half)
    x = inputs_of(network, 1, (32, 32)).to('meta')

    def refused(*args: Any, **options: Any) -> None:
        raise AssertionError('values of the host go to the device')

    for place, made in ((torch, 'tensor'), (torch, 'as_tensor'), (torch, 'from_numpy'),
                        (Tensor, 'new_tensor'), (Tensor, 'numpy')):  # fmt: skip
        monkeypatch.setattr(place, made, refused)
    if x.ndim == 4:
        images = torch.empty(1, 3, 32, 32, dtype=torch.uint8, device='meta')
    with torch.inference_mode(), OnDevice():
        if x.ndim == 4:
            x = ready.network.normalised(images)
        first = ready._run(x, None)
        second = ready._run(x, first.state)
    assert second.logits.device.type == 'meta'
    assert second.logits.dtype == torch.float32
    assert first.state


def test_the_check_of_passes_finds_what_it_looks_for() -> None:
    with OnDevice():
        x = torch.empty(3, device='meta')
        with pytest.raises(AssertionError, match='host'):
            x + torch.ones(3)
        for waits in (lambda: x[x > 0], lambda: x.sum().item(), lambda: bool(x.any())):
            # Newer versions refuse some of it by themselves.
            with pytest.raises((AssertionError, RuntimeError)):
                waits()
