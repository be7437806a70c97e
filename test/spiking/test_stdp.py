# SPDX-License-Identifier: Apache-2.0
"""Order-only STDP: update counts derived by hand, silence, padding, convergence."""

from __future__ import annotations

import pytest
import torch

from spikeseg_ros.spiking.stdp import (
    StdpError,
    adapt_thresholds,
    convergence,
    spike_times,
    stdp_update,
)
from spikeseg_ros.spiking.wta import Winner, select_winners

WINNER = Winner(feature=0, row=1, column=1, time=4)
K18 = (0.004, 0.003)
I23 = (0.04, 0.03)


def single(value: float) -> torch.Tensor:
    return torch.full((1, 1, 1, 1), value, dtype=torch.float64)


@pytest.mark.parametrize(('rates', 'updates'), [(I23, 79), (K18, 801)])
def test_potentiation_takes_the_derived_number_of_updates(
    rates: tuple[float, float], updates: int
) -> None:
    weight, count = single(0.8), 0
    early = torch.zeros(1, 3, 3)
    while float(weight) < 0.99:
        weight = stdp_update(weight, early, [WINNER], *rates)
        count += 1
    assert count == updates


@pytest.mark.parametrize(('rates', 'updates'), [(I23, 198), (K18, 1993)])
def test_depression_takes_the_derived_number_of_updates(
    rates: tuple[float, float], updates: int
) -> None:
    weight, count = single(0.8), 0
    late = torch.full((1, 3, 3), 5.0)
    while float(weight) > 0.01:
        weight = stdp_update(weight, late, [WINNER], *rates)
        count += 1
    assert count == updates


@pytest.mark.parametrize(('rates', 'low', 'high'), [(I23, 144, 191), (K18, 1448, 1914)])
def test_one_map_converges_within_the_derived_range(
    rates: tuple[float, float], low: int, high: int
) -> None:
    counts = []
    for early in (80, 20):
        weights = torch.full((1, 4, 5, 5), 0.8, dtype=torch.float64)
        times = torch.full((4, 5, 5), 9.0)
        times.view(-1)[:early] = 0.0
        count = 0
        while convergence(weights).c >= 0.01:
            weights = stdp_update(weights, times, [Winner(0, 2, 2, 4)], *rates)
            count += 1
        counts.append(count)
    assert (min(counts), max(counts)) == (low, high)


@pytest.mark.parametrize('never', [-1.0, float('inf')])
def test_an_input_that_never_fired_is_depressed(never: float) -> None:
    times = torch.zeros(1, 3, 3)
    times[0, 1, 1] = never
    after = stdp_update(single(0.8), times, [WINNER], 0.04, 0.03)
    assert float(after) == pytest.approx(0.8 - 0.03 * 0.16)


def test_equal_times_potentiate_and_padding_depresses() -> None:
    weights = torch.full((1, 1, 3, 3), 0.5)
    times = torch.full((1, 3, 3), 4.0)
    after = stdp_update(weights, times, [Winner(0, 0, 0, 4)], 0.04, 0.03)[0, 0]
    inside = torch.zeros(3, 3, dtype=torch.bool)
    inside[1:, 1:] = True
    assert torch.allclose(after[inside], torch.tensor(0.51))
    assert torch.allclose(after[~inside], torch.tensor(0.4925))


def test_only_the_map_of_the_winner_learns_and_the_argument_stays() -> None:
    weights = torch.full((3, 1, 3, 3), 0.5)
    after = stdp_update(weights, torch.zeros(1, 4, 4), [Winner(1, 1, 1, 2)])
    assert torch.equal(after[[0, 2]], weights[[0, 2]])
    assert float(weights.min()) == float(weights.max()) == 0.5
    assert float(after[1].min()) > 0.5


@pytest.mark.parametrize('bad', [float('nan'), -2.0])
def test_invalid_times_are_refused(bad: float) -> None:
    with pytest.raises(StdpError, match='times'):
        spike_times(torch.tensor([0.0, bad]))


@pytest.mark.parametrize(
    ('weights', 'times', 'rates'),
    [
        (torch.full((1, 2, 3, 3), 0.5), torch.zeros(1, 4, 4), (0.1, 0.1)),
        (torch.full((1, 1, 3, 3), 0.5), torch.zeros(1, 4, 4), (-0.1, 0.1)),
        (torch.full((1, 1, 3, 3), 1.5), torch.zeros(1, 4, 4), (0.1, 0.1)),
        (torch.full((1, 1, 3, 3), float('nan')), torch.zeros(1, 4, 4), (0.1, 0.1)),
    ],
)
def test_invalid_learning_is_refused(
    weights: torch.Tensor, times: torch.Tensor, rates: tuple[float, float]
) -> None:
    with pytest.raises(StdpError):
        stdp_update(weights, times, [WINNER], *rates)


def test_convergence_tells_dead_maps_from_learnt_ones() -> None:
    weights = torch.full((4, 1, 5, 5), 0.8) + 0.01 * torch.linspace(-3, 3, 25).view(1, 1, 5, 5)
    weights[1, 0, :2] = 0.01
    weights[1, 0, 2:] = 0.99
    weights[2] = 1.0
    result = convergence(weights)
    assert result.dead_maps == 2
    assert result.c_live < 0.01 < 0.07 < result.c
    assert result.per_map[0] == pytest.approx(0.16, abs=0.002)


def test_homeostasis_raises_winners_and_keeps_the_level() -> None:
    before = torch.full((36,), 8.0)
    after = adapt_thresholds(before, [Winner(3, 0, 0, 1), Winner(5, 4, 4, 2)], rate=0.05)
    assert after[3] == after[5] == pytest.approx(8.0 * 1.05 * (1 - 0.05 * 2 / 36))
    assert after[0] == pytest.approx(8.0 * (1 - 0.05 * 2 / 36))
    assert float(adapt_thresholds(before, [Winner(3, 0, 0, 1)], 0.05, high=8.0).max()) == 8.0


def test_winners_come_by_time_then_potential_and_clear_map_and_square() -> None:
    times = torch.full((3, 9, 9), -1)
    potentials = torch.zeros(3, 9, 9)
    for feature, row, column, time, potential in [
        (0, 4, 4, 2, 1.0),
        (1, 4, 6, 2, 3.0),
        (1, 0, 0, 1, 1.0),
        (2, 1, 2, 1, 0.5),
        (2, 8, 8, 3, 9.0),
        (0, 0, 8, 3, 1.0),
    ]:
        times[feature, row, column] = time
        potentials[feature, row, column] = potential
    # Map 1 wins at step 1; its square (radius 2) silences (2, 1, 2), its map silences (1, 4, 6).
    assert select_winners(times, potentials, 5, 2) == [
        Winner(1, 0, 0, 1),
        Winner(0, 4, 4, 2),
        Winner(2, 8, 8, 3),
    ]
    assert select_winners(times, potentials, 1, 2) == [Winner(1, 0, 0, 1)]
    assert select_winners(times, potentials, 5, 1)[1] == Winner(2, 1, 2, 1)


def test_winners_understand_both_marks_of_silence_and_ties_go_to_the_lowest() -> None:
    times = torch.tensor([[[float('inf'), 1.0]], [[1.0, -1.0]]])
    assert select_winners(times, torch.ones(2, 1, 2), 4, 0) == [
        Winner(0, 0, 1, 1),
        Winner(1, 0, 0, 1),
    ]
    assert select_winners(torch.full((2, 3, 3), -1), torch.ones(2, 3, 3), 4, 0) == []


def test_winner_selection_refuses_nonsense() -> None:
    with pytest.raises(StdpError, match='shape'):
        select_winners(torch.zeros(2, 3, 3), torch.zeros(2, 3, 4), 1, 0)
    with pytest.raises(StdpError, match='k=0'):
        select_winners(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3), 0, 0)
