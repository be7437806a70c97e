# SPDX-License-Identifier: Apache-2.0
"""The plots of two runs: A in one colour, B in the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.plots import TIME_LABEL, plain_log
from spikeseg_ros.evaluation.report.svg import ACCENTS, GRID, Plot, curve, limits, plain

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Series = tuple['NDArray[Any]', 'NDArray[Any]']


def over_time(title: str, series: Sequence[Series], top: float | None, width: float) -> str:
    """Draw a value of both runs over time.

    Args:
        title: What the value is.
        series: Times [s] and values of A and of B.
        top: End of the y axis; None = by the values.
        width: Width [inch].
    """
    plot = Plot(f'paired-{title}', width, 1.9, title, legend=True)
    for name, color, (times, values) in zip('AB', ACCENTS, series, strict=False):
        curve(plot, times, values, color, name, drawstyle='steps-mid')
    plot.axes.set_ylim(0, top)
    plot.legend()
    limits(plot, [times for times, _values in series])
    plot.axes.set_xlabel(TIME_LABEL)
    return plot.svg(f'{title} of both runs over time')


def agreement_over_time(times: NDArray[Any], values: NDArray[Any], width: float) -> str:
    """Draw how well the objects of both runs agree over time."""
    plot = Plot('agreement', width, 1.7, 'Agreement of the objects')
    curve(plot, times, values, ACCENTS[2], drawstyle='steps-mid')
    plot.axes.set_ylim(0, 1.03)
    limits(plot, [times])
    plot.axes.set_xlabel(TIME_LABEL)
    return plot.svg('Agreement of the objects of both runs over time')


def stages(values: Mapping[str, tuple[NDArray[Any], NDArray[Any]]], width: float) -> str:
    """Draw the median time of every stage of both runs."""
    names = list(values)
    height = 0.9 + 0.27 * max(1, len(names))
    plot = Plot('paired-stages', width, height, 'Median time [ms]', left=1.2, legend=True)
    medians = np.array([[np.nanmedian(side) for side in values[name]] for name in names]) * 1e3
    medians = np.maximum(np.nan_to_num(medians), 1e-4)
    rows = np.arange(len(names))
    plot.axes.hlines(rows, medians.min(1), medians.max(1), color=GRID, linewidth=3)
    for side, name in enumerate('AB'):
        plot.axes.plot(medians[:, side], rows, 'o', color=ACCENTS[side], markersize=6, label=name)
    plot.axes.set_xscale('log')
    plain_log(plot.axes)
    plot.axes.set_yticks(rows, [plain(name, 18) for name in names])
    plot.axes.set_ylim(len(names) - 0.4, -0.6)
    plot.axes.grid(visible=False, axis='y')
    plot.axes.grid(visible=True, axis='x')
    plot.legend()
    return plot.svg('Median time of every stage of both runs')
