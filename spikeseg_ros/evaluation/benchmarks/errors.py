# SPDX-License-Identifier: Apache-2.0
"""Errors of the benchmarks."""

from __future__ import annotations


class BenchmarkError(ValueError):
    """A benchmark cannot run as asked; the message names the data or option and what to do."""
