# SPDX-License-Identifier: Apache-2.0
"""MFS-Seg style networks: size, spikes, equal paths, state, initialisation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_blocks import EfsResBlock, Pass, RepBlock
from spikeseg_ros.models.mfs_seg_config import MfsSegConfig, MfsSegConfigError, preset
from spikeseg_ros.spiking.neurons import NeuronError
from spikeseg_ros.spiking.surrogate import SurrogateParams

TINY: dict[str, dict[str, Any]] = {
    'ushape': {'widths': (8, 8, 12, 16), 'depths': (1, 1, 1, 2), 'classes': 5},
    'mimo': {'architecture': 'mimo', 'widths': (8, 12, 16), 'depths': (1, 1, 1), 'classes': 5},
}
KINDS = [{'neuron': 'integer'}, {'neuron': 'lif', 'steps': 3}, {'neuron': 'integer', 'steps': 3}]


def tiny(architecture: str = 'ushape', **changes: Any) -> MfsSeg:
    """Return a small network whose normalisation has seen data, in evaluation mode."""
    torch.manual_seed(5)
    network = MfsSeg(preset('base', **{**TINY[architecture], **changes}))
    network.train()
    for _ in range(3):
        network(torch.randn(2, network.config.input_channels, 24, 32))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.bias.uniform_(-0.1, 0.3)
    return network.eval()


@pytest.mark.parametrize(
    ('name', 'count'),
    [
        ('small', 405_465),
        ('base', 973_561),
        ('large', 2_078_809),
        ('base_dw', 948_625),
        ('literal', 992_677),
        ('literal_integer', 992_677),
    ],
)
def test_presets_have_the_size_that_is_documented(name: str, count: int) -> None:
    assert MfsSeg(preset(name)).parameter_count() == count


@pytest.mark.parametrize(('expansion', 'count'), [(1, 719_176), (2, 811_016), (6, 1_178_376)])
def test_literal_skeleton_counts_for_12_classes(expansion: int, count: int) -> None:
    network = MfsSeg(preset('literal', classes=12, expansion=expansion))
    assert network.parameter_count() == count


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
@pytest.mark.parametrize('block', ['rep', 'dw'])
@pytest.mark.parametrize('kind', KINDS)
def test_convolutions_see_only_spikes_but_the_first_of_each_scale(
    architecture: str, block: str, kind: dict[str, Any]
) -> None:
    network = tiny(architecture, block=block, expansion=2, **kind)
    real, checked = [], []

    def watch(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        counts = inputs[0].detach() * (4 if network.config.neuron == 'integer' else 1)
        spikes = bool((counts == counts.round()).all()) and float(counts.min()) >= 0
        (checked if spikes and float(inputs[0].detach().max()) <= 1 else real).append(module)

    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_pre_hook(watch)
    network(torch.randn(1, 3, 24, 32))
    assert len(real) == (1 if architecture == 'ushape' else 3)
    assert all(module.in_channels == 3 for module in real)  # type: ignore[union-attr]
    convolutions = (nn.Conv2d, nn.ConvTranspose2d)
    total = sum(isinstance(module, convolutions) for module in network.modules())
    assert len(checked) == total - len(real)


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
@pytest.mark.parametrize('neuron', ['integer', 'lif'])
def test_a_network_for_events_sees_nothing_but_spikes(architecture: str, neuron: str) -> None:
    torch.manual_seed(5)
    changes = {**TINY[architecture], 'neuron': neuron, 'events': True, 'input_channels': 2}
    network = MfsSeg(preset('base', **changes)).eval()
    seen: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    frames = torch.randint(0, 7, (3, 2, 2, 24, 32)).float()
    network(network.spikes(frames))
    for x in seen:
        counts = x.detach() * (4 if neuron == 'integer' else 1)
        assert torch.equal(counts, counts.round())
        assert 0 <= float(counts.min()) <= float(x.detach().max()) <= 1


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
def test_outputs_lie_at_the_scales_that_are_promised(architecture: str) -> None:
    network = tiny(architecture)
    shapes = [tuple(item.shape) for item in network(torch.randn(2, 3, 48, 64)).logits]
    assert shapes == [(2, 5, 48 // scale, 64 // scale) for scale in network.scales]
    assert network.scales == {'ushape': (8, 4, 2), 'mimo': (4, 2, 1)}[architecture]


def test_ushape_takes_sizes_that_do_not_divide() -> None:
    logits = tiny()(torch.randn(1, 3, 45, 61)).logits
    assert [tuple(item.shape[-2:]) for item in logits] == [(6, 8), (12, 16), (23, 31)]


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
@pytest.mark.parametrize('kind', KINDS)
def test_folded_network_equals_the_plain_one(architecture: str, kind: dict[str, Any]) -> None:
    network = tiny(architecture, **kind).double()
    folded = network.folded()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    x = torch.randn(2, 3, 24, 32, dtype=torch.float64)
    plain, fast = network(x, rates=True), folded(x, rates=True)
    assert torch.equal(torch.stack(plain.rates), torch.stack(fast.rates))
    for one, other in zip(plain.logits, fast.logits, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-10)
    assert isinstance(next(m for m in network.modules() if hasattr(m, 'bn')).bn, nn.BatchNorm2d)


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
@pytest.mark.parametrize('kind', KINDS)
def test_time_in_the_batch_equals_the_loop_over_steps(
    architecture: str, kind: dict[str, Any]
) -> None:
    network = tiny(architecture, **kind).double()
    folded = network.folded()
    frames = torch.randn(4, 2, 3, 24, 32, dtype=torch.float64)
    together = folded(frames, keep=True)
    state, logits = None, []
    for frame in frames:
        output = network(frame.unsqueeze(0), state, keep=True)
        state = output.potentials
        logits.append(output.logits[-1])
    torch.testing.assert_close(
        together.logits[-1], torch.stack(logits).mean(0), rtol=0, atol=1e-10
    )
    for one, other in zip(state or (), together.potentials, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-10)
    assert len(together.potentials) == len(network.neuron_layers())


@pytest.mark.parametrize('kind', KINDS[1:])
def test_an_image_is_shown_in_every_step(kind: dict[str, Any]) -> None:
    network = tiny(**kind).double()
    image = torch.randn(2, 3, 24, 32, dtype=torch.float64)
    shown = network(image).logits[-1]
    frames = network(image.expand(3, -1, -1, -1, -1)).logits[-1]
    torch.testing.assert_close(shown, frames, rtol=0, atol=1e-12)


def test_state_carries_over_and_must_fit() -> None:
    network = tiny(steps=1)
    frame = torch.randn(1, 1, 3, 24, 32)
    first = network(frame, keep=True)
    assert not torch.equal(network(frame, first.potentials).logits[-1], first.logits[-1])
    with pytest.raises(NeuronError, match='begin with a new state'):
        network(torch.randn(1, 1, 3, 32, 32), first.potentials)


@pytest.mark.parametrize('architecture', ['ushape', 'mimo'])
@pytest.mark.parametrize('block', ['rep', 'dw'])
def test_spike_counts_equal_their_binary_sub_steps(architecture: str, block: str) -> None:
    network = tiny(architecture, block=block, expansion=2).double().folded()
    image = torch.randn(1, 3, 24, 32, dtype=torch.float64)
    seen: list[list[Tensor]] = [[], []]
    for layer in network.neuron_layers():
        layer.register_forward_hook(lambda *call: seen[run].append(call[2]))
    logits = []
    for run in range(2):
        logits.append(network(image, unrolled=bool(run)).logits[-1])
    assert len(seen[0]) == len(network.neuron_layers())
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert any(bool((item * 4 > 1).any()) for item in seen[0])
    torch.testing.assert_close(logits[1], logits[0], rtol=0, atol=1e-10)


def test_rates_are_the_mean_spikes() -> None:
    network = tiny()
    means: list[Tensor] = []
    for layer in network.neuron_layers():
        layer.register_forward_hook(lambda *call: means.append(call[2].mean()))
    output = network(torch.randn(1, 3, 24, 32), rates=True)
    assert torch.equal(torch.stack(output.rates), torch.stack(means))
    assert 0.01 < float(torch.stack(means).detach().mean()) < 0.9


@pytest.mark.parametrize('kind', ['integer', 'lif'])
@pytest.mark.parametrize('block', ['rep', 'dw'])
def test_blocks_begin_close_to_an_isometry(kind: str, block: str) -> None:
    torch.manual_seed(6)
    params = SurrogateParams(kind)
    layer = RepBlock(16, params) if block == 'rep' else EfsResBlock(16, params, 4)
    x = torch.randn(4, 16, 20, 20).requires_grad_()
    y = layer(x, Pass())
    assert float(y.detach().square().mean()) == pytest.approx(1, abs=0.1)
    direction = torch.randn_like(y)
    y.backward(direction)
    assert x.grad is not None
    # Mean squared singular value of the block's Jacobian.
    assert float(x.grad.square().sum() / direction.square().sum()) == pytest.approx(1, abs=0.1)


def test_every_parameter_learns_at_the_start() -> None:
    for architecture in TINY:
        for kind in KINDS:
            torch.manual_seed(7)
            network = MfsSeg(preset('base', **{**TINY[architecture], **kind})).train()
            logits = network(torch.randn(2, 3, 24, 32)).logits
            sum(item.square().mean() for item in logits).backward()  # type: ignore[union-attr]
            silent = [
                name
                for name, value in network.named_parameters()
                if value.grad is None or not bool(value.grad.any())
            ]
            assert silent == []


@pytest.mark.parametrize(
    ('changes', 'match'),
    [
        ({'widths': (8, 8, 8)}, 'widths'),
        ({'architecture': 'mimo', 'widths': (8, 8, 10), 'depths': (1, 1, 1)}, 'multiples of 4'),
        ({'block': 'plain'}, 'block'),
        ({'classes': 1}, 'classes'),
        ({'classes': True}, 'classes'),
        ({'mean': (0.5,)}, 'mean'),
        ({'depht': 3}, 'depht'),
    ],
)
def test_impossible_networks_are_refused_by_name(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(MfsSegConfigError, match=match):
        preset('base', **changes)


def test_inputs_that_do_not_fit_are_refused() -> None:
    with pytest.raises(MfsSegConfigError, match='takes'):
        tiny()(torch.randn(1, 2, 24, 32))
    with pytest.raises(MfsSegConfigError, match='multiples of 4'):
        tiny('mimo')(torch.randn(1, 3, 25, 32))


def test_defaults_are_those_of_the_base_preset() -> None:
    assert preset('base') == MfsSegConfig()
    with pytest.raises(MfsSegConfigError, match='small'):
        preset('tiny')
