# SPDX-License-Identifier: Apache-2.0
"""Errors of the metrics."""

from __future__ import annotations


class MetricError(ValueError):
    """What was given to a metric cannot be compared; the message says why."""
