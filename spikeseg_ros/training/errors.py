# SPDX-License-Identifier: Apache-2.0
"""The error of the training."""

from __future__ import annotations


class TrainingError(ValueError):
    """Training cannot start or go on like this; the text names the value and what to do."""
