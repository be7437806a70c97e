# SPDX-License-Identifier: Apache-2.0
"""Merging neighbouring cells whose events rise and fall together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray


@njit(cache=True, nogil=True)
def information(counts: Any) -> Any:
    """Return sum n_k log(n_k / n) of a histogram: the log-likelihood of its events."""
    total = 0.0
    result = 0.0
    for value in counts:
        if value > 0:
            total += value
            result += value * np.log(value)
    return result - (total * np.log(total) if total > 0 else 0.0)


@njit(cache=True, nogil=True)
def discord(first: Any, second: Any, prior: Any) -> Any:
    """Return how differently two histograms of events are shaped.

    The statistic of the G-test of two multinomials over the harmonic mean of their events, drawn
    towards 0 by `prior` events: 0 for equal shapes, up to 2 log 2 for disjoint ones.
    """
    one, other = first.sum(), second.sum()
    if one <= 0 or other <= 0:
        return 0.0
    statistic = 2 * (information(first) + information(second) - information(first + second))
    return statistic / (2 * one * other / (one + other) + prior)


@njit(cache=True, nogil=True)
def _cost(rhythm: Any, before: Any, first: Any, second: Any, prior: Any) -> Any:
    """Return the discord of two cells: of their rhythms, and of the objects they were part of.

    The second is in units of the events of now, so that a faint memory weighs little.
    """
    one, other = rhythm[first].sum(), rhythm[second].sum()
    weight = 2 * one * other / (one + other) + prior
    gain = information(rhythm[first]) + information(rhythm[second])
    gain -= information(rhythm[first] + rhythm[second])
    if before[first].sum() > 0 and before[second].sum() > 0:
        gain += information(before[first]) + information(before[second])
        gain -= information(before[first] + before[second])
    return 2 * gain / weight


@njit(cache=True, nogil=True)
def merge_cells(
    rhythm: NDArray[Any],
    before: NDArray[Any],
    first: NDArray[Any],
    second: NDArray[Any],
    limit: float,
    prior: float,
    least: float,
) -> NDArray[Any]:
    """Merge neighbouring cells, the most alike first, until all neighbours are discordant.

    Groups with few events are then merged with the neighbour they are most like, whatever the
    discord.

    Args:
        rhythm: Events by cell and step, shape (N, T), float64; is changed.
        before: Weighted events by cell and object of the window before, shape (N, K), float64;
            is changed.
        first: One cell of every pair of neighbours, shape (E,), int64; is changed.
        second: The other cell, shape (E,), int64; is changed.
        limit: Discord from which neighbours stay apart.
        prior: See discord.
        least: Groups with fewer events do not stand alone.

    Returns:
        Group of every cell: the number of one of its cells, shape (N,), int64.
    """
    count = rhythm.shape[0]
    group = np.arange(count)
    cost = np.empty(first.shape[0])
    for pair in range(first.shape[0]):
        cost[pair] = _cost(rhythm, before, first[pair], second[pair], prior)
    small_only = False
    while True:
        best, lowest = -1, np.inf
        for pair in range(first.shape[0]):
            if cost[pair] < lowest and (
                not small_only
                or rhythm[first[pair]].sum() < least
                or rhythm[second[pair]].sum() < least
            ):
                best, lowest = pair, cost[pair]
        if best < 0 or (not small_only and lowest > limit):
            if small_only:
                break
            small_only = True
            continue
        kept, gone = first[best], second[best]
        rhythm[kept] += rhythm[gone]
        before[kept] += before[gone]
        for cell in range(count):
            if group[cell] == gone:
                group[cell] = kept
        for pair in range(first.shape[0]):
            if cost[pair] == np.inf:
                continue
            if first[pair] == gone:
                first[pair] = kept
            if second[pair] == gone:
                second[pair] = kept
            if first[pair] == second[pair]:
                cost[pair] = np.inf
            elif first[pair] == kept or second[pair] == kept:
                cost[pair] = _cost(rhythm, before, first[pair], second[pair], prior)
    return group


@njit(cache=True, nogil=True)
def by_label(labels: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Sort by label, keeping the order within each (counting sort).

    Args:
        labels: Labels 0 .. count - 1, shape (N,).
        count: Number of labels.

    Returns:
        Positions ordered by label, shape (N,), and the first of every label and N, shape
        (count + 1,), int64.
    """
    bounds = np.zeros(count + 1, np.int64)
    for label in labels:
        bounds[label + 1] += 1
    for label in range(count):
        bounds[label + 1] += bounds[label]
    order = np.empty(labels.shape[0], np.int64)
    place = bounds[:-1].copy()
    for i in range(labels.shape[0]):
        order[place[labels[i]]] = i
        place[labels[i]] += 1
    return order, bounds
