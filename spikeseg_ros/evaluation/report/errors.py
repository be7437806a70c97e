# SPDX-License-Identifier: Apache-2.0
"""Error of the report."""

from __future__ import annotations


class ReportError(ValueError):
    """A run cannot be shown; the text names the file and says what to do."""
