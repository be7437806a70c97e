# SPDX-License-Identifier: Apache-2.0
"""The one error of the event path."""

from __future__ import annotations


class EventError(ValueError):
    """Events, packets or settings cannot be used; the text names the bad value and the remedy."""
