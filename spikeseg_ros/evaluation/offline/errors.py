# SPDX-License-Identifier: Apache-2.0
"""The error of offline evaluation."""

from __future__ import annotations


class EvaluationError(ValueError):
    """A recording cannot be evaluated; the text names file, topic and what to do."""
