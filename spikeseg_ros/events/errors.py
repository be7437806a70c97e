# SPDX-License-Identifier: Apache-2.0
"""The one error of the event path."""

from __future__ import annotations


class EventError(ValueError):
    """Events, packets or settings cannot be used; the text names the bad value and the remedy.

    It is the only exception that a payload can cause, whatever its bytes are. EventStream counts
    it as a bad packet; whoever calls a decoder directly decides what a damaged payload means.
    """


__all__ = ['EventError']
