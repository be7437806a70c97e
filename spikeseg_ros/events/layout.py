# SPDX-License-Identifier: Apache-2.0
"""State of the decoders between messages, and the limits that keep times inside int64."""

from __future__ import annotations

from typing import Final

import numpy as np

# Slots of the state vector, shape (8,), int64; -1 = not known yet.
Y: Final = 0
BASE: Final = 1
POLARITY: Final = 2
LOW: Final = 3
HIGH: Final = 4
LOOP: Final = 5
SYNC: Final = 6
LAST: Final = 7
STATE_SIZE: Final = 8

# Values of SYNC: nothing known, TIME_HIGH seen, time known.
LOST: Final = 0
HIGH_SEEN: Final = 1
SYNCED: Final = 2

# Slots of the counts vector, shape (4,), int64.
EVENTS: Final = 0
TRIGGERS: Final = 1
SKIPPED: Final = 2
CLIPPED: Final = 3

MAX_SIDE: Final = 8192
# 146 years: room to add windows to any decoded time without leaving int64.
MAX_TIME: Final = (1 << 62) - 1
US: Final = 1000

EVT3_LOOPS: Final = 1 << 28
EVT2_LOOPS: Final = 1 << 18


def new_state() -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the state before the first message."""
    state = np.full(STATE_SIZE, -1, np.int64)
    state[POLARITY] = state[LOW] = state[LOOP] = state[SYNC] = 0
    return state
