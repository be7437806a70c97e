# SPDX-License-Identifier: Apache-2.0
"""Neurons against sequences computed by hand, and the fast scan against the definition."""

from __future__ import annotations

import pytest
import torch

from spikeseg_ros.spiking.neurons import (
    NeuronError,
    NeuronParams,
    NeuronState,
    check_params,
    initial_state,
    neuron_scan,
    neuron_scan_,
)


def neurons(
    theta: float | list[float], leak: float = 0.0, mode: str = 'subtractive', **flags: bool
) -> NeuronParams:
    threshold = torch.tensor([theta] if isinstance(theta, float) else theta)
    return NeuronParams(threshold, torch.full_like(threshold, leak), mode, **flags)


def run(values: list[float] | list[list[float]], params: NeuronParams):
    """Scan one position; values by step, or by step and map."""
    currents = torch.tensor(values).reshape(len(values), 1, -1, 1, 1)
    state = initial_state((1, currents.shape[2], 1, 1))
    output, state = neuron_scan(currents, state, params)
    return [part[:, 0, :, 0, 0] for part in output], state


NEVER = 0
TABLE = [
    (0.9, [(0.5, NEVER), (0.9, NEVER), (1.0, 10), (1.1, 5), (1.2, 4), (1.4, 2), (1.9, 1)]),
    (0.1, [(0.5, 3), (0.9, 2), (1.0, 2), (1.1, 1), (1.2, 1), (1.4, 1), (1.9, 1)]),
    (0.0, [(0.5, 2), (0.9, 2), (1.0, 1), (1.1, 1), (1.2, 1), (1.4, 1), (1.9, 1)]),
]


@pytest.mark.parametrize(
    ('leak', 'drive', 'steps'),
    [(leak, drive, steps) for leak, row in TABLE for drive, steps in row],
)
def test_steps_to_the_first_spike_under_constant_drive(
    leak: float, drive: float, steps: int
) -> None:
    # Thresholds of 10 keep all numbers exact.
    (spikes, _, _), _ = run([10 * drive] * 40, neurons(10.0, 10 * leak))
    fired = spikes.flatten().nonzero().flatten().tolist()
    assert (fired[0] + 1 if fired else NEVER) == steps


def test_threshold_is_reached_inclusively_and_the_reset_is_hard() -> None:
    (spikes, potential, _), state = run([10.0, 4.0, 5.5, 9.0], neurons(10.0))
    assert spikes.flatten().tolist() == [True, False, False, True]
    assert potential.flatten().tolist() == [10.0, 4.0, 9.5, 18.5]
    assert float(state.v) == 0.0


def test_potential_never_falls_below_zero_unless_the_neuron_has_no_leak_mode() -> None:
    assert run([-5.0, 3.0], neurons(10.0))[0][1].flatten().tolist() == [0.0, 3.0]
    assert run([-5.0, 3.0], neurons(10.0, mode='none'))[0][1].flatten().tolist() == [-5.0, -2.0]


def test_multiplicative_leak() -> None:
    (_, potential, _), _ = run([4.0, 0.0, 2.0], neurons(10.0, 0.5, 'multiplicative'))
    assert potential.flatten().tolist() == [4.0, 2.0, 3.0]


def test_charge_counts_since_the_last_reset_or_decay() -> None:
    # Step:       0    1    2    3    4    5
    drive = [3.0, 0.0, 6.0, 6.0, 3.0, 9.0]
    (spikes, potential, since), _ = run(drive, neurons(8.0, 2.0))
    assert potential.flatten().tolist() == [1.0, 0.0, 4.0, 8.0, 1.0, 8.0]
    assert spikes.flatten().tolist() == [False, False, False, True, False, True]
    assert since.flatten().tolist() == [0, 0, 2, 2, 4, 4]


def test_fire_once_keeps_a_neuron_at_rest_until_it_is_renewed() -> None:
    params = neurons(2.0, fire_once=True)
    (spikes, _, _), state = run([3.0, 3.0, 3.0], params)
    assert spikes.flatten().tolist() == [True, False, False]
    assert float(state.v) == 0.0
    again = torch.full((1, 1, 1, 1, 1), 3.0)
    assert not bool(neuron_scan(again, state.next_window(), params)[0].spikes.any())
    renewed = state.next_window(renew_fired=True)
    assert bool(neuron_scan(again, renewed, params)[0].spikes.all())


def test_only_the_strongest_map_fires_and_all_maps_are_reset() -> None:
    params = neurons([2.0, 4.0, 8.0], competition=True)
    # V / theta: 1.5, 1.75, .5; then map 2 starts from 0 again.
    (spikes, _, _), state = run([[3.0, 7.0, 4.0], [1.0, 1.0, 4.0]], params)
    assert spikes.tolist() == [[False, True, False], [False, False, False]]
    assert state.v.flatten().tolist() == [1.0, 1.0, 4.0]


def test_ties_of_the_competition_go_to_the_lowest_map() -> None:
    (spikes, _, _), _ = run([[3.0, 6.0, 6.0]], neurons([2.0, 4.0, 4.0], competition=True))
    assert spikes.tolist() == [[True, False, False]]


def test_thresholds_by_map() -> None:
    (spikes, _, _), _ = run([[3.0, 3.0]], neurons([3.0, 3.5]))
    assert spikes.tolist() == [[True, False]]


@pytest.mark.parametrize('fire_once', [False, True])
@pytest.mark.parametrize('competition', [False, True])
@pytest.mark.parametrize(
    ('mode', 'leak'), [('subtractive', 0.75), ('multiplicative', 0.25), ('none', 0.0)]
)
def test_the_fast_scan_equals_the_definition(
    mode: str, leak: float, competition: bool, fire_once: bool
) -> None:
    generator = torch.Generator().manual_seed(3)
    currents = torch.randint(-256, 512, (7, 2, 3, 5, 6), generator=generator) / 256
    params = neurons([2.0, 1.5, 1.75], leak, mode, competition=competition, fire_once=fire_once)
    start = NeuronState(
        torch.randint(0, 300, (2, 3, 5, 6), generator=generator) / 256,
        torch.zeros(2, 3, 5, 6, dtype=torch.int16),
        torch.rand(2, 3, 5, 6, generator=generator) < 0.2,
    )
    kept = start.v.clone()
    expected, expected_state = neuron_scan(currents, start, params)
    output, state = neuron_scan_(currents.clone(), start, params)
    assert int(expected.spikes.sum()) > 20
    for left, right in zip((*output, *state), (*expected, *expected_state), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(start.v, kept)


@pytest.mark.parametrize(
    ('params', 'text'),
    [
        (neurons(0.0), 'Thresholds'),
        (neurons(float('nan')), 'Thresholds'),
        (neurons(1.0, -1.0), 'Leaks'),
        (neurons(1.0, 1.5, 'multiplicative'), 'Leaks'),
        (neurons(1.0, 0.0, 'exponential'), "'exponential'"),
        (NeuronParams(torch.ones(2), torch.zeros(3)), 'shapes'),
    ],
)
def test_impossible_neurons_are_refused(params: NeuronParams, text: str) -> None:
    with pytest.raises(NeuronError, match=text):
        check_params(params)
