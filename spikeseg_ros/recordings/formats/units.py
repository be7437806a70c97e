# SPDX-License-Identifier: Apache-2.0
"""Which unit the times of a file without a description are in, and exact conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spikeseg_ros.recordings.formats.source import TIME_UNITS

# Years 2001 .. 2128 since 1970, in seconds.
_EPOCH = (1e9, 5e9)
# Fewer events per second than this are not believed of a whole recording.
_SLOWEST = 100.0
_ENOUGH = 1000
_FAR = 1 << 62


def detect_unit(first: float, last: float, count: int, whole: bool) -> str:
    """Return the most plausible unit of a file's times.

    Args:
        first: First time of the file, in its own unit.
        last: Last time that is known.
        count: Number of events between the two.
        whole: Whether the times are whole numbers.
    """
    for unit, size in TIME_UNITS.items():
        scale = TIME_UNITS['s'] / size
        if _EPOCH[0] * scale <= first < _EPOCH[1] * scale:
            return unit
    if not whole:
        return 's'
    span = last - first
    # As microseconds the recording would be so slow that they must be nanoseconds.
    if count >= _ENOUGH and span > 0 and count / (span * 1e-6) < _SLOWEST:
        return 'ns'
    return 'us'


def to_nanoseconds(t: NDArray[Any], unit: str) -> NDArray[np.int64]:
    """Return times in nanoseconds, shape (N,), int64; -1 where a time cannot be expressed.

    Floating-point times are rounded to microseconds, which is what a float64 of seconds since
    1970 can hold.
    """
    factor = TIME_UNITS[unit]
    if t.dtype.kind == 'f':
        with np.errstate(invalid='ignore', over='ignore'):
            micro = np.rint(t.astype(np.float64) * (factor / TIME_UNITS['us']))
            good = (micro >= 0) & (micro < _FAR // 1000)
        return np.where(good, np.where(good, micro, 0).astype(np.int64) * 1000, -1)
    good = (t >= 0) & (t <= _FAR // factor)
    return np.where(good, np.where(good, t, 0).astype(np.int64) * factor, -1)
