# SPDX-License-Identifier: Apache-2.0
"""Neurons that learn by gradients: reference tensors, fast paths, state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spikeseg_ros.spiking.neurons import NeuronError
from spikeseg_ros.spiking.surrogate import (
    SurrogateParams,
    check_surrogate,
    spike_count,
    surrogate_scan,
    surrogate_scan_fused,
    surrogate_step,
)

PARITY = Path(__file__).resolve().parents[3] / 'shared/data/parity/components_ems.pt'
BOTH = [
    SurrogateParams('lif', decay=0.25, threshold=0.5),
    SurrogateParams('integer', decay=0.25, levels=4),
]


@pytest.fixture(scope='module')
def reference() -> dict[str, Any]:
    if not PARITY.exists():
        pytest.skip('reference tensors of published blocks are not here')
    content: dict[str, Any] = torch.load(PARITY, weights_only=True)
    return content


@pytest.mark.parametrize('scan', [surrogate_scan, surrogate_scan_fused])
def test_lif_equals_the_published_neuron_forwards_and_backwards(
    reference: dict[str, Any], scan: Any
) -> None:
    part = reference['mem_update']
    params = SurrogateParams('lif', reference['decay'], reference['thresh'], reference['lens'])
    currents = part['input'].clone().requires_grad_()
    spikes, _ = scan(currents, torch.zeros_like(currents[0]), params)
    assert torch.equal(spikes, part['output'])
    spikes.backward(part['grad_output'])
    torch.testing.assert_close(currents.grad, part['grad_input'], rtol=0, atol=1e-6)


def test_lif_counts_a_hand_computed_train_of_spikes() -> None:
    # u: 0.4, 0.25 * 0.4 + 0.45 = 0.55 (fires), 0.5 (not above), 0.25 * 0.5 + 0.4 = 0.525 (fires)
    currents = torch.tensor([0.4, 0.45, 0.5, 0.4]).view(4, 1)
    spikes, potential = surrogate_scan(currents, torch.zeros(1), BOTH[0])
    assert spikes.flatten().tolist() == [0, 1, 0, 1]
    assert potential.item() == 0


def test_integer_neuron_counts_and_keeps_the_rest() -> None:
    # u: 2.4 -> 2 (rest 0.4), 0.1 + 9 -> 4 (rest 5.1), 1.275 - 3 -> 0 (rest -1.725)
    currents = torch.tensor([2.4, 9.0, -3.0], dtype=torch.float64).view(3, 1)
    spikes, potential = surrogate_scan(currents, torch.zeros(1, dtype=torch.float64), BOTH[1])
    assert (4 * spikes).flatten().tolist() == [2, 4, 0]
    assert potential.item() == pytest.approx(-1.725, abs=1e-12)


@pytest.mark.parametrize('params', BOTH)
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_fused_scan_equals_the_loop_with_gradients(params: SurrogateParams, layout: Any) -> None:
    torch.manual_seed(1)
    folded = (2 * torch.randn(3 * 2, 4, 5, 6)).contiguous(memory_format=layout)
    start = torch.randn(2, 4, 5, 6)
    grad_spikes, grad_end = torch.randn(3, 2, 4, 5, 6), torch.randn(2, 4, 5, 6)
    results = []
    for scan in (surrogate_scan, surrogate_scan_fused):
        currents, potential = folded.clone().requires_grad_(), start.clone().requires_grad_()
        spikes, end = scan(currents.view(3, 2, 4, 5, 6), potential, params)
        torch.autograd.backward([spikes, end], [grad_spikes, grad_end])
        results.append((spikes, end, currents.grad, potential.grad))
    for slow, fast in zip(*results, strict=True):
        torch.testing.assert_close(fast, slow, rtol=0, atol=1e-6)
    assert torch.equal(results[0][0], results[1][0])


@pytest.mark.parametrize('params', BOTH)
def test_a_scan_goes_on_where_the_one_before_ended(params: SurrogateParams) -> None:
    torch.manual_seed(2)
    currents = 2 * torch.randn(5, 3, 7)
    whole, end = surrogate_scan_fused(currents, torch.zeros(3, 7), params)
    first, middle = surrogate_scan_fused(currents[:2], torch.zeros(3, 7), params)
    second, last = surrogate_scan_fused(currents[2:], middle, params)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last, end)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('levels', [1, 3, 4, 8])
def test_one_pass_count_equals_the_definition(layout: Any, levels: int) -> None:
    torch.manual_seed(3)
    x = (3 * torch.randn(2, 5, 6, 7)).contiguous(memory_format=layout)
    x[0, 0, 0] = torch.arange(7) - 1 + 0.5  # ties and both ends
    x[0, 0, 1] = torch.arange(7) - 1
    grad = torch.randn(x.shape)
    fast = x.clone().requires_grad_()
    spikes = spike_count(fast, levels)
    spikes.backward(grad)
    expected = x.clamp(0, levels).round() / levels
    assert torch.equal(spikes, expected)
    assert spikes.stride() == x.stride()
    assert torch.equal(fast.grad, torch.where((x >= 0) & (x <= levels), grad / levels, 0.0))
    assert torch.equal(spike_count(x, levels), expected)


def test_a_number_that_is_none_stays_one() -> None:
    assert torch.isnan(spike_count(torch.full((1, 1, 2, 2), float('nan')), 4)).all()


def test_mixed_precision_returns_the_same_counts() -> None:
    torch.manual_seed(4)
    x = (3 * torch.randn(2, 5, 6, 7)).requires_grad_()
    grad = torch.randn(2, 5, 6, 7).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        spikes = spike_count(x, 4)
    assert spikes.dtype == torch.bfloat16
    assert torch.equal(spikes.float(), spike_count(x, 4))
    spikes.backward(grad)
    assert x.grad is not None
    assert torch.equal(x.grad, torch.where((x >= 0) & (x <= 4), grad.float() / 4, 0.0))


def test_relaxed_counts_go_from_the_clamp_to_the_spikes() -> None:
    x = torch.linspace(-2, 6, 33).view(1, 1, 3, 11)
    assert torch.equal(spike_count(x, 4, 0.0), x.clamp(0, 4) / 4)
    half = (spike_count(x, 4, 0.0) + spike_count(x, 4, 1.0)) / 2
    torch.testing.assert_close(spike_count(x, 4, 0.5), half)
    for rounding in (0.0, 0.3, 0.8):
        fast, slow = x.clone().requires_grad_(), x.double().requires_grad_()
        results = [spike_count(item, 4, rounding) for item in (fast, slow)]
        torch.testing.assert_close(results[0], results[1].float())
        for item in results:
            item.sum().backward()
        assert slow.grad is not None
        assert torch.equal(fast.grad, slow.grad.float())


def test_counts_stand_for_binary_spikes() -> None:
    x = torch.linspace(-1, 5, 50).view(1, 1, 5, 10)
    counts = 4 * spike_count(x, 4)
    assert torch.equal(sum((counts > d).float() for d in range(4)), counts)


def test_a_step_is_the_first_of_a_scan() -> None:
    x = torch.linspace(-1, 5, 50).view(1, 50)
    for params in BOTH:
        spikes, potential = surrogate_step(x[0], torch.full((50,), 0.3), params)
        scanned, after = surrogate_scan_fused(x, torch.full((50,), 0.3), params)
        assert torch.equal(spikes, scanned[0])
        assert torch.equal(potential, after)


@pytest.mark.parametrize(
    'changes',
    [{'kind': 'relu'}, {'decay': 1.5}, {'threshold': 0.0}, {'width': -1.0}, {'levels': 0}],
)
def test_impossible_parameters_are_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(NeuronError, match=str(next(iter(changes.values()))).replace('.', r'\.')):
        check_surrogate(SurrogateParams()._replace(**changes))
