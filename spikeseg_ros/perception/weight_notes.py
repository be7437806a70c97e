# SPDX-License-Identifier: Apache-2.0
"""What the notes in weight files say about the input, read without trust."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

LARGEST_SIDE = 8192


def trained_size(metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Return rows and columns for which a network was trained; zeros where it is not said."""
    size = metadata.get('size')
    if (
        isinstance(size, (list, tuple))
        and len(size) == 2
        and all(type(side) is int and 8 <= side <= LARGEST_SIDE for side in size)
    ):
        return size[0], size[1]
    return 0, 0
