# SPDX-License-Identifier: Apache-2.0
"""Matplotlib figures as small inline SVG whose colours follow the page's light or dark theme."""

from __future__ import annotations

import hashlib
import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.evaluation.report.text import clean, escape
from spikeseg_ros.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

WIDE = 9.6
NARROW = 4.6
# Placeholder colours of matplotlib, replaced by CSS variables of the page.
INK, MUTED, GRID, PAPER = '#010b01', '#010b02', '#010b03', '#010b04'
ACCENTS = ('#010b05', '#010b06', '#010b07', '#010b08')
VARIABLES = {
    INK: '--ink',
    MUTED: '--muted',
    GRID: '--line',
    PAPER: '--paper',
    **{color: f'--accent-{number}' for number, color in enumerate(ACCENTS, start=1)},
}
_STYLE: dict[Any, Any] = {
    'svg.fonttype': 'none',
    'font.family': 'DejaVu Sans',
    'font.size': 9.0,
    'axes.edgecolor': GRID,
    'axes.labelcolor': MUTED,
    'axes.titlesize': 9.0,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.linewidth': 0.8,
    'axes.grid': True,
    'grid.color': GRID,
    'grid.linewidth': 0.6,
    'xtick.color': GRID,
    'ytick.color': GRID,
    'xtick.labelcolor': MUTED,
    'ytick.labelcolor': MUTED,
    'xtick.major.size': 3.0,
    'ytick.major.size': 0.0,
    'xtick.minor.size': 0.0,
    'ytick.minor.size': 0.0,
    'text.color': INK,
    'legend.frameon': False,
    'legend.labelcolor': INK,
    'lines.linewidth': 1.3,
    'path.simplify': True,
    'path.simplify_threshold': 0.3,
}


def matplotlib(module: str = 'matplotlib') -> Any:
    """Return matplotlib or one of its modules, an extra of the package."""
    return require(module, 'evaluate')


def plain(value: object, limit: int = 60) -> str:
    """Return text that matplotlib draws as it stands, not as a formula."""
    return clean(value, limit).replace('$', r'\$')


class Plot:
    """A figure of one panel, drawn in one width.

    Attributes:
        axes: The matplotlib axes to draw on.
        width: Width [inch]; WIDE or NARROW.
    """

    def __init__(
        self,
        name: str,
        width: float,
        height: float,
        title: str,
        left: float = 0.48,
        legend: bool = False,
    ) -> None:
        """Open a figure.

        Args:
            name: Name that makes its identifiers differ from those of other plots on the page.
            width: Width [inch].
            height: Height [inch].
            title: What is drawn, with its unit; stands above the panel.
            left: Room for the labels of the y axis [inch]; equal for plots that share a time axis.
            legend: Leave room for a legend: beside the title, below it on narrow pages.
        """
        rc_context, figure = matplotlib().rc_context, matplotlib('matplotlib.figure')

        self.name = f'{name}-{round(width * 10)}'
        self.width = width
        self._style: dict[Any, Any] = {**_STYLE, 'svg.hashsalt': self.name}
        with rc_context(self._style):
            self.figure = figure.Figure(figsize=(width, height))
            below, right = 0.46, 0.16
            row = 0.2 if legend and width < WIDE else 0.0
            above, height = 0.32 + row, height + row
            self.figure.set_size_inches(width, height)
            self.axes: Any = self.figure.add_axes(
                (
                    left / width,
                    below / height,
                    (width - left - right) / width,
                    (height - below - above) / height,
                )
            )
            self.axes.grid(visible=False, axis='x')
            self.axes.annotate(
                title,
                (0.0, 1.0),
                xycoords='axes fraction',
                xytext=(2 - left * 72, 8 + row * 72),
                textcoords='offset points',
                color=INK,
                fontweight='bold',
            )

    def legend(self) -> None:
        """Name the curves in a row above the panel."""
        wide = self.width >= WIDE
        with matplotlib().rc_context(self._style):
            self.axes.legend(
                loc='lower right' if wide else 'lower left',
                bbox_to_anchor=(1.0, 1.02) if wide else (0.0, 1.02),
                ncol=4,
                borderaxespad=0.1,
                borderpad=0.1,
                handlelength=1.2,
                columnspacing=1.4,
                handletextpad=0.5,
            )

    def svg(self, title: str) -> str:
        """Return the figure as an <svg> element without identifiers that could clash.

        Args:
            title: What the plot shows, for screen readers.
        """
        stream = io.StringIO()
        with matplotlib().rc_context(self._style):
            # Nothing that depends on date or version may reach the page.
            empty = dict.fromkeys(('Date', 'Creator', 'Format', 'Type'))
            self.figure.savefig(stream, format='svg', metadata=empty, transparent=True)
        return _inline(stream.getvalue(), self.name, title)


def _inline(text: str, name: str, title: str) -> str:
    """Reduce a stand-alone SVG file to an element of the page."""
    text = text[text.index('<svg') :]
    head, body = text.split('>', 1)
    found = re.search(r'viewBox="([^"]+)"', head)
    box = found.group(1) if found else '0 0 100 100'
    body = re.sub(r'<metadata>.*?</metadata>', '', body, flags=re.DOTALL)
    body = re.sub(r'<defs>\s*<style [^>]*>.*?</style>\s*</defs>', '', body, flags=re.DOTALL)
    body = re.sub(r'<!--.*?-->', '', body, flags=re.DOTALL)
    body = re.sub(r'<g id="[^"]*"', '<g', body)
    for color, variable in VARIABLES.items():
        body = body.replace(color, f'var({variable})')
    body = re.sub(r"'DejaVu Sans'[^;\"]*", 'var(--font)', body)
    # Hashes of equal content are equal in every plot; the name keeps them apart.
    tag = hashlib.sha256(name.encode('utf-8', 'replace')).hexdigest()[:6]
    body = re.sub(r' id="', f' id="{tag}', body)
    body = re.sub(r'="#', f'="#{tag}', body)
    body = body.replace('url(#', f'url(#{tag}')
    body = re.sub(r'\n\s*', '\n', body)
    return (
        f'<svg class="plot" viewBox="{box}" role="img" aria-label="{escape(title)}" '
        f'xmlns:xlink="http://www.w3.org/1999/xlink">{body.strip()}'
    )


def decimate(
    x: NDArray[Any], y: NDArray[Any], limit: int = 600
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Reduce a series to at most `limit` points that keep its extremes.

    Args:
        x: Positions, shape (N,).
        y: Values, shape (N,); nan is left out.
        limit: Largest number of points returned.

    Returns:
        Position, mean, smallest and largest value of each group of neighbours; the series
        itself where it is short enough.
    """
    kept = np.isfinite(np.asarray(y, np.float64)) & np.isfinite(np.asarray(x, np.float64))
    xs, ys = np.asarray(x, np.float64)[kept], np.asarray(y, np.float64)[kept]
    if xs.size <= limit:
        return xs, ys, ys, ys
    starts = np.linspace(0, xs.size, limit, endpoint=False).astype(np.int64)
    sizes = np.diff(np.append(starts, xs.size))
    return (
        np.add.reduceat(xs, starts) / sizes,
        np.add.reduceat(ys, starts) / sizes,
        np.minimum.reduceat(ys, starts),
        np.maximum.reduceat(ys, starts),
    )


def curve(
    plot: Plot,
    x: NDArray[Any],
    y: NDArray[Any],
    color: str,
    label: str = '',
    drawstyle: str = 'default',
) -> None:
    """Draw a series: a line, and for long series the range of the values around it."""
    limit = 500 if plot.width == WIDE else 240
    place, mean, low, high = decimate(x, y, limit)
    if place.size < np.size(x) and np.any(high > low):
        plot.axes.fill_between(place, low, high, color=color, alpha=0.22, linewidth=0)
    style = {'marker': 'o', 'markersize': 3} if place.size < 3 else {}
    plot.axes.plot(place, mean, color=color, label=label or None, drawstyle=drawstyle, **style)


def both(draw: Any, *arguments: Any) -> tuple[str, str]:
    """Return a plot drawn for wide and for narrow pages."""
    return draw(*arguments, WIDE), draw(*arguments, NARROW)


def limits(plot: Plot, spans: Iterable[Sequence[float] | NDArray[Any]]) -> None:
    """Let the time axis run from 0 to the end of the last window, given the windows' middles."""
    tops = [
        float(np.max(span)) + (float(np.median(np.diff(span))) / 2 if len(span) > 1 else 0.0)
        for span in spans
        if len(span)
    ]
    top = max(tops, default=1.0)
    plot.axes.set_xlim(0, top if top > 0 else 1.0)
