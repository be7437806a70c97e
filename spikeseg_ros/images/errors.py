# SPDX-License-Identifier: Apache-2.0
"""The error of the image path."""

from __future__ import annotations


class ImageError(ValueError):
    """An image message cannot be used; the text names the bad value and what to do."""
