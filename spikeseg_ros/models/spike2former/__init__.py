# SPDX-License-Identifier: Apache-2.0
"""Spike2Former: spiking semantic segmentation of images with queries."""

from spikeseg_ros.models.spike2former.config import (
    PRESETS,
    Spike2FormerConfig,
    Spike2FormerConfigError,
    preset,
)
from spikeseg_ros.models.spike2former.network import (
    Spike2Former,
    Spike2FormerOutput,
    semantic,
)

__all__ = [
    'PRESETS',
    'Spike2Former',
    'Spike2FormerConfig',
    'Spike2FormerConfigError',
    'Spike2FormerOutput',
    'preset',
    'semantic',
]
