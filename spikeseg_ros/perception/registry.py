# SPDX-License-Identifier: Apache-2.0
"""Model families by name. A new family is one more line here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from spikeseg_ros.memory import keep_freed_memory
from spikeseg_ros.perception.config import MODELS, ConfigError

if TYPE_CHECKING:
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.perception.segmenter import Segmenter

FAMILIES = {
    'spikeseg': 'spikeseg_ros.perception.spikeseg:SpikeSegSegmenter',
    'mfs_seg': 'spikeseg_ros.perception.mfs_seg:MfsSegSegmenter',
    'spike2former': 'spikeseg_ros.perception.spike2former:Spike2FormerSegmenter',
}


def create(config: PerceptionConfig) -> Segmenter:
    """Load the model family that the configuration names.

    Raises:
        ConfigError: The family is unknown, or an option cannot be used here.
        ValueError: The weights cannot be used (the family's own error, a ValueError).
    """
    target = FAMILIES.get(config.model)
    if target is None:
        msg = f'Unknown model {config.model!r}; known: {", ".join(MODELS)}.'
        raise ConfigError(msg)
    if config.model != 'spikeseg':
        # Layer by layer these networks allocate and free large maps; a quarter of their time
        # would go into fresh pages.
        keep_freed_memory()
    module, name = target.split(':')
    family: Segmenter = getattr(importlib.import_module(module), name)(config)
    return family
