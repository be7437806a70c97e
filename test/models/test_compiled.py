# SPDX-License-Identifier: Apache-2.0
"""Networks made ready for one shape: equal to the plain network, with and without a state."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from spikeseg_ros.models.compiled import CompiledError, compiled
from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_config import preset

TINY: dict[str, Any] = {'widths': (8, 8, 12, 16), 'depths': (1, 1, 1, 1), 'classes': 5}
MIMO: dict[str, Any] = {
    'architecture': 'mimo', 'block': 'dw', 'widths': (8, 12, 16), 'depths': (1, 1, 1),
    'neuron': 'lif', 'steps': 3,
}  # fmt: skip
EVENTS: dict[str, Any] = {**TINY, 'events': True, 'input_channels': 2}
gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason='no CUDA device')


def network_of(**changes: Any) -> MfsSeg:
    torch.manual_seed(1)
    network = MfsSeg(preset('base', **changes)).train()
    for _ in range(3):
        network(inputs_of(network, seed=9))
    return network.eval()


def inputs_of(network: MfsSeg, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if network.config.events:
        counts = torch.randint(0, 6, (3, 1, 2, 32, 32), generator=generator)
        return network.spikes(counts.to(dtype))
    return torch.randn(1, 3, 32, 32, generator=generator, dtype=dtype)


def test_images_give_what_the_plain_network_gives() -> None:
    for changes in (TINY, MIMO):
        network = network_of(**changes).double()
        first, second = (inputs_of(network, seed, torch.float64) for seed in (2, 3))
        ready = compiled(network, first)
        for x in (first, second, first):
            want = network(x).logits[-1].float()
            torch.testing.assert_close(ready(x).logits, want, rtol=1e-5, atol=1e-6)
        assert ready(first).state == ()


def test_a_state_goes_in_and_out() -> None:
    network = network_of(**EVENTS).double()
    windows = [inputs_of(network, seed, torch.float64) for seed in (4, 5, 6)]
    ready = compiled(network, windows[0], keep=True)
    state: Any = None
    ours: Any = None
    for x in windows:
        want = network(x, state, keep=True)
        got = ready(x, ours)
        torch.testing.assert_close(got.logits, want.logits[-1].float(), rtol=1e-5, atol=1e-6)
        state, ours = want.potentials, got.state
    rested = ready(windows[2])
    assert not torch.equal(rested.logits, got.logits)


def test_the_network_that_is_given_stays_as_it_is() -> None:
    network = network_of(**TINY)
    before = copy.deepcopy(network.state_dict())
    ready = compiled(network, inputs_of(network, 2))
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert ready.network is not network
    assert [name for name, *_ in ready.network.energy_layers()] == [
        name for name, *_ in network.energy_layers()
    ]


def test_other_shapes_and_devices_are_refused() -> None:
    network = network_of(**TINY)
    x = inputs_of(network, 2)
    ready = compiled(network, x)
    with pytest.raises(CompiledError, match='make it ready again'):
        ready(x[..., :16])
    with pytest.raises(CompiledError, match='GPU'):
        compiled(network, x, half=True)


@pytest.mark.gpu
@gpu
@pytest.mark.parametrize('changes', [TINY, MIMO, EVENTS])
def test_a_graph_gives_what_the_plain_network_gives(changes: dict[str, Any]) -> None:
    network = network_of(**changes).cuda()
    keep = network.config.events
    inputs = [inputs_of(network, seed).cuda() for seed in (2, 3, 4)]
    ready = compiled(network, inputs[0], keep=keep)
    folded = network.folded().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    state: Any = None
    ours: Any = None
    kept = []
    with torch.inference_mode():
        for x in inputs:
            want = folded(x, state, keep=keep)
            got = ready(x, ours)
            same = (got.logits - want.logits[-1]).abs() < 1e-3
            # A flipped rounding moves a few places, no more.
            assert same.float().mean() > 0.99
            kept.append((got.logits, got.logits.clone()))
            if keep:
                state, ours = want.potentials, got.state
    assert all(torch.equal(one, other) for one, other in kept), 'results outlive the next call'


@pytest.mark.gpu
@gpu
def test_half_precision_agrees_on_most_classes() -> None:
    network = network_of(**TINY).cuda()
    x = inputs_of(network, 2).cuda()
    exact, half = compiled(network, x), compiled(network, x, half=True)
    same = exact(x).logits.argmax(1) == half(x).logits.argmax(1)
    assert half(x).logits.dtype == torch.float32
    assert same.float().mean() > 0.9


@pytest.mark.gpu
@gpu
def test_a_graph_refuses_a_state_that_it_does_not_keep() -> None:
    network = network_of(**EVENTS).cuda()
    x = inputs_of(network, 2).cuda()
    state = compiled(network, x, keep=True)(x).state
    with pytest.raises(CompiledError, match='without keep'):
        compiled(network, x)(x, state)
