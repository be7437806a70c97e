# SPDX-License-Identifier: Apache-2.0
"""Errors of the algorithms; each is a ValueError whose text says what to do."""

from __future__ import annotations


class AlgorithmError(ValueError):
    """An argument of HULK, ASH, SMASH, grouping or tracking cannot be used."""


class HashError(AlgorithmError):
    """An active spike hash is malformed, or two hashes cannot be compared."""


class BoxError(AlgorithmError):
    """A bounding box is malformed."""


class GroupingError(AlgorithmError):
    """Instances cannot be grouped as asked."""


class TrackingError(AlgorithmError):
    """An option of the tracker cannot be used."""


class HULKError(AlgorithmError):
    """Class spikes cannot be unravelled."""


class HULKConfigError(HULKError):
    """The weights or sizes given to HULK do not fit together."""


class HULKRuntimeError(HULKError):
    """The spikes or pooling indices given to HULK do not fit its weights."""


class EncoderCompatibilityError(HULKConfigError):
    """The encoder does not expose what HULK needs."""
