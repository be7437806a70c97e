# SPDX-License-Identifier: Apache-2.0
"""The plots of a run. All plots over time share one axis and one left margin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.svg import (
    ACCENTS,
    GRID,
    INK,
    MUTED,
    PAPER,
    WIDE,
    Plot,
    curve,
    decimate,
    limits,
    matplotlib,
    plain,
)
from spikeseg_ros.images.colors import track_color

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.report.tracks import Track

LANES = 40
SEGMENTS = 1500
# What the time that there is for a window or an image is called.
_BUDGETS = {'window': 'window length', 'image': 'time between images'}
TIME_LABEL = 'Time in the recording [s]'


def event_rate(
    times: NDArray[Any], rates: NDArray[Any], on_rates: NDArray[Any] | None, width: float
) -> str:
    """Draw events per second over time; of brighter pixels too where known."""
    top = float(np.max(rates)) if rates.size else 0.0
    scale, unit = (1e6, 'million/s') if top >= 1e6 else (1e3, 'thousand/s')
    plot = Plot('rate', width, 2.0, f'Events [{unit}]', legend=on_rates is not None)
    curve(plot, times, rates / scale, ACCENTS[0], 'all events')
    if on_rates is not None:
        curve(plot, times, on_rates / scale, ACCENTS[1], 'brighter (ON)')
        plot.legend()
    plot.axes.set_ylim(0, None)
    return _over_time(plot, times, 'Event rate over time')


def objects_over_time(
    times: NDArray[Any],
    series: Sequence[tuple[str, NDArray[Any]]],
    word: str,
    width: float,
) -> str:
    """Draw numbers of objects per window (or whatever the word says) over time."""
    ticker = matplotlib('matplotlib.ticker')
    plot = Plot('objects', width, 1.8, f'Objects per {word}', legend=True)
    for number, (label, values) in enumerate(series):
        color = (ACCENTS[0], ACCENTS[1], MUTED)[number % 3]
        curve(plot, times, values, color, label, drawstyle='steps-mid')
        if not number:
            place, mean = decimate(times, values)[:2]
            plot.axes.fill_between(place, mean, step='mid', color=color, alpha=0.18, linewidth=0)
    plot.axes.set_ylim(0, None)
    plot.axes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    plot.legend()
    return _over_time(plot, times, f'Objects per {word} over time')


def track_lanes(tracks: Sequence[Track], end: float, width: float) -> str:
    """Draw every track as a lane that is filled while it was seen."""
    shown = sorted(tracks, key=lambda item: len(item.spans), reverse=True)[:LANES]
    shown.sort(key=lambda item: (item.first, item.number))
    gap = end * 0.001 if sum(len(item.merged()) for item in shown) > SEGMENTS else 1e-6
    plot = Plot('lanes', width, 0.8 + 0.21 * max(1, len(shown)), 'Tracks')
    for lane, track in enumerate(shown):
        color = '#{:02x}{:02x}{:02x}'.format(*track_color(track.number))
        plot.axes.plot(
            [track.first, track.last], [lane, lane], color=GRID, linewidth=1.4, zorder=0.5
        )
        # A window of a long recording would be thinner than a hair.
        least = end / (700 if width == WIDE else 300)
        bars = [(begin, max(last - begin, least)) for begin, last in track.merged(gap)]
        plot.axes.broken_barh(bars, (lane - 0.36, 0.72), color=color, linewidth=0)
    plot.axes.set_yticks(range(len(shown)), [f'#{item.number}' for item in shown])
    plot.axes.set_ylim(len(shown) - 0.4, -0.6)
    plot.axes.grid(visible=False, axis='y')
    return _over_time(plot, np.array([end]), 'Tracks over time')


def spikes_over_time(times: NDArray[Any], layers: Mapping[str, NDArray[Any]], width: float) -> str:
    """Draw spikes per window of every layer over time, on a logarithmic axis that holds 0."""
    ticker = matplotlib('matplotlib.ticker')
    plot = Plot('spikes', width, 2.3, 'Spikes per window', legend=True)
    for number, (layer, values) in enumerate(layers.items()):
        curve(plot, times, values, (*ACCENTS, INK, MUTED)[number % 6], plain(layer))
    plot.axes.set_yscale('symlog', linthresh=1.0, linscale=0.5)
    top = max((float(values.max()) for values in layers.values() if values.size), default=1.0)
    plot.axes.set_ylim(0, max(10.0, top * 1.3))
    plot.axes.yaxis.set_major_locator(ticker.SymmetricalLogLocator(base=10, linthresh=1.0))
    plot.axes.yaxis.set_major_formatter(ticker.FuncFormatter(_power))
    plot.legend()
    return _over_time(plot, times, 'Spikes per layer over time')


def energy_over_time(times: NDArray[Any], picojoules: NDArray[Any], width: float) -> str:
    """Draw the estimated energy of every window over time."""
    top = float(np.nanmax(picojoules)) if picojoules.size else 0.0
    scale, unit = (1e6, 'µJ') if top >= 1e6 else (1e3, 'nJ')
    plot = Plot('energy', width, 1.8, f'Energy per window [{unit}]')
    curve(plot, times, picojoules / scale, ACCENTS[0])
    plot.axes.set_ylim(0, None)
    return _over_time(plot, times, 'Estimated energy over time')


def iou_over_time(times: NDArray[Any], values: NDArray[Any], width: float) -> str:
    """Draw the mean IoU with the ground truth over time."""
    plot = Plot('iou', width, 1.8, 'Mean IoU with the ground truth')
    curve(plot, times, values, ACCENTS[0])
    plot.axes.set_ylim(0, 1)
    plot.axes.set_yticks([0, 0.25, 0.5, 0.75, 1.0], ['0', '', '0.5', '', '1'])
    return _over_time(plot, times, 'Mean IoU with the ground truth over time')


def latency_stages(
    stages: Mapping[str, NDArray[Any]], budget: float | None, word: str, width: float
) -> str:
    """Draw the distribution of the seconds of every stage: quartiles, 1 % to 99 %, median.

    Args:
        stages: Seconds by stage.
        budget: Time that there is [s].
        word: 'window' or 'image'.
        width: Width of the plot [in].
    """
    names = list(stages)
    height = 0.9 + 0.27 * max(1, len(names))
    plot = Plot('stages', width, height, f'Time per {word} and stage [ms]', left=1.2)
    axes = plot.axes
    for row, name in enumerate(names):
        values = np.maximum(stages[name][np.isfinite(stages[name])] * 1e3, 1e-4)
        if not values.size:
            continue
        low, first, median, third, high = np.percentile(values, (1, 25, 50, 75, 99))
        color = ACCENTS[1] if name == 'total' else ACCENTS[0]
        axes.plot([low, high], [row, row], color=color, linewidth=1.4)
        axes.plot([first, third], [row, row], color=color, linewidth=7, solid_capstyle='butt')
        axes.plot([median], [row], 'o', color=PAPER, markersize=4, markeredgecolor=INK)
    axes.set_xscale('log')
    plain_log(axes)
    if budget:
        _mark(axes, budget * 1e3, _BUDGETS[word], 0)
    axes.set_yticks(range(len(names)), [plain(name, 18) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis='y')
    axes.grid(visible=True, axis='x')
    return plot.svg('Distribution of the latency of every stage')


def latency_histogram(total: NDArray[Any], budget: float | None, word: str, width: float) -> str:
    """Draw how often a window took how long; arguments as latency_stages."""
    ticker = matplotlib('matplotlib.ticker')
    values = total[np.isfinite(total)] * 1e3
    plot = Plot('latency', width, 2.25, f'{word.capitalize()}s by total time [ms]')
    top = 1.0
    if values.size:
        median, late = np.percentile(values, (50, 97))
        top = max(float(late) * 1.3, float(median) * 1.6)
    bins = np.linspace(0, top, 41)
    counts, edges = np.histogram(np.minimum(values, bins[-1]), bins)
    plot.axes.stairs(counts, edges, fill=True, color=ACCENTS[0], alpha=0.85, linewidth=0)
    plot.axes.set_xlim(0, top)
    plot.axes.set_ylim(0, max(1, counts.max()) * 1.12)
    plot.axes.yaxis.set_major_locator(ticker.MaxNLocator(5, integer=True))
    shown = []
    if values.size:
        shown = [(float(np.percentile(values, share)), f'p{share}') for share in (50, 99)]
    if budget and budget * 1e3 <= top * 1.6:
        shown.append((budget * 1e3, _BUDGETS[word]))
        plot.axes.set_xlim(0, max(top, budget * 1e3 * 1.3))
    for row, (place, label) in enumerate(sorted(shown)):
        if place <= plot.axes.get_xlim()[1]:
            _mark(plot.axes, place, label, row)
    return plot.svg('Histogram of the total time per window')


def _over_time(plot: Plot, times: NDArray[Any], title: str) -> str:
    """Finish a plot over time."""
    limits(plot, [times])
    plot.axes.set_xlabel(TIME_LABEL)
    return plot.svg(title)


def _mark(axes: Any, place: float, label: str, row: int) -> None:
    """Mark a place of the x axis; rows keep neighbouring labels apart."""
    axes.axvline(place, color=MUTED, linewidth=1, linestyle=(0, (3, 2)))
    right = axes.transData.transform((place, 0.0))[0]
    late = axes.transAxes.inverted().transform((right, 0.0))[0] > 0.72
    axes.annotate(
        label,
        (place, 1.0),
        xycoords=('data', 'axes fraction'),
        xytext=(-4 if late else 4, -8 - 12 * row),
        textcoords='offset points',
        ha='right' if late else 'left',
        color=MUTED,
        fontsize=8.5,
    )


def _power(value: float, _position: int) -> str:
    """Label a power of ten."""
    if value < 1e3:
        return f'{value:.0f}'
    return f'{value / 1e3:.0f}k' if value < 1e6 else f'{value / 1e6:.0f}M'


def plain_log(axes: Any) -> None:
    """Label a logarithmic axis with plain numbers."""
    ticker = matplotlib('matplotlib.ticker')
    axes.xaxis.set_major_locator(ticker.LogLocator(numticks=8))
    axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f'{value:g}'))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
