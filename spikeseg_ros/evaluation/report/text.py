# SPDX-License-Identifier: Apache-2.0
"""Text for people: escaping of what comes from files, and numbers with units."""

from __future__ import annotations

import html
import math
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NONE = '\u2013'
_PREFIXES = ((1e9, 'G'), (1e6, 'M'), (1e3, 'k'))
_SECONDS = ((1.0, 's'), (1e-3, 'ms'), (1e-6, 'µs'))
_PICOJOULE = ((1e12, 'J'), (1e9, 'mJ'), (1e6, 'µJ'), (1e3, 'nJ'), (1.0, 'pJ'))
# Characters that reorder the text around them could make a name read as another one.
_REORDERING = frozenset('\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f')


def clean(value: object, limit: int = 400) -> str:
    """Return printable text: control, reordering and broken characters become U+FFFD.

    Args:
        value: Anything; its str() is taken.
        limit: Longest text; longer ones are cut with an ellipsis.
    """
    text = str(value)
    if len(text) > limit:
        text = text[: limit - 1] + '…'
    return ''.join(
        '\ufffd' if unicodedata.category(char) in ('Cc', 'Cs') or char in _REORDERING else char
        for char in text
    )


def escape(value: object, limit: int = 400) -> str:
    """Return text that is safe inside HTML elements and quoted attributes."""
    return html.escape(clean(value, limit), quote=True)


def number(value: object, digits: int = 3) -> str:
    """Return a number with at most so many significant digits; a dash where there is none."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        return NONE
    if isinstance(value, int) or value == int(value):
        whole = int(value)
        return f'{whole:,}'.replace(',', '\u202f') if abs(whole) < 10**15 else f'{value:.3g}'
    if abs(value) >= 10**digits:
        return number(round(value))
    text = f'{value:.{digits}g}'
    if 'e' in text and abs(value) >= 1e-4:
        text = f'{value:.{digits + 3}f}'.rstrip('0')
    return text.replace('-', '\u2212', 1)


def short(value: object) -> str:
    """Return a large number with a prefix: 1234567 -> '1.23 M'."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not known or not math.isfinite(value) or abs(value) < 1e4:  # type: ignore[arg-type]
        return number(value)
    return _scaled(float(value), _PREFIXES)  # type: ignore[arg-type]


def seconds(value: float | None) -> str:
    """Return a length of time: '850 µs', '12.3 ms', '4.56 s', '3 min 20 s', '2 h 5 min'."""
    if value is None or not math.isfinite(value):
        return NONE
    size = abs(value)
    if size < 100:
        return _scaled(value, _SECONDS) if value else '0\u202fs'
    if size < 3600:
        return f'{int(size // 60)}\u202fmin {int(size % 60)}\u202fs'
    return f'{int(size // 3600)}\u202fh {int(size % 3600 // 60)}\u202fmin'


def picojoule(value: float | None) -> str:
    """Return an energy given in picojoule with a readable unit."""
    if value is None or not math.isfinite(value):
        return NONE
    return _scaled(value, _PICOJOULE)


def _scaled(value: float, units: Sequence[tuple[float, str]]) -> str:
    """Return three significant digits in the first unit that gives 1 or more, or the last."""
    rounded = float(f'{value:.2e}')
    scale, unit = next((item for item in units if abs(rounded) >= item[0]), units[-1])
    text = f'{value / scale:.3g}' if abs(rounded) < 1e3 * scale else f'{value / scale:.0f}'
    return f'{text}\u202f{unit}'


def plural(count: int, word: str) -> str:
    """Return a count with its word: '1 window', '12 windows'."""
    return f'{number(count)} {word}{"" if count == 1 else "s"}'
