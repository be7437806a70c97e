# SPDX-License-Identifier: Apache-2.0
"""Weights, data and figures: what commands that judge segmentation networks read and write."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from spikeseg_ros.datasets import DatasetError, SegmentationDataset, open_dataset
from spikeseg_ros.events.frames import framing_from_notes
from spikeseg_ros.models.weights import WeightsError, find_weights
from spikeseg_ros.spiking.energy_report import AC_PICOJOULE, MAC_PICOJOULE

if TYPE_CHECKING:
    from spikeseg_ros.spiking.energy_report import EnergyReport

LOADERS = {
    'mfs_seg': 'spikeseg_ros.models.mfs_seg_weights:load_mfs_seg',
    'spike2former': 'spikeseg_ros.models.spike2former_weights:open_spike2former',
}
MODELS = tuple(LOADERS)


class Weights(Protocol):
    """What the weight files of all segmentation families hold."""

    @property
    def network(self) -> Any:
        """The network, in evaluation mode."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""

    @property
    def metadata(self) -> dict[str, Any]:
        """Notes: data, size of the images, options, figures."""


def load_network(model: str, name: str) -> tuple[Weights, Path]:
    """Read weights.

    Args:
        model: Family.
        name: Path, name that they have in the package, or empty = the default of the family.

    Raises:
        WeightsError: The family has no default, or the file cannot be used.
    """
    path = find_weights(name, model)
    module, function = LOADERS[model].split(':')
    weights: Weights = getattr(importlib.import_module(module), function)(path)
    return weights, path


def input_size(text: str | None, weights: Weights) -> tuple[int, int]:
    """Return height and width at which a network sees images.

    Args:
        text: HEIGHTxWIDTH; the size of the training where None.
        weights: The network.

    Raises:
        WeightsError: They are no two whole numbers in range, or not known.
    """
    values: Any = weights.metadata.get('size')
    if text is not None:
        values = [int(part) if part.isdigit() else 0 for part in text.split('x')]
    if (
        not isinstance(values, list)
        or len(values) != 2
        or not all(isinstance(value, int) and 8 <= value <= 8192 for value in values)
    ):
        msg = f'The size must be HEIGHTxWIDTH within 8 .. 8192, got {text or values!r}.'
        raise WeightsError(msg)
    return values[0], values[1]


def matching(
    weights: Weights, data: str, split: str, cache: str | None = None
) -> SegmentationDataset:
    """Open a split whose classes are those of the weights, framed as they were trained.

    Args:
        weights: The network.
        data: Folder of the data set.
        split: Name of the split.
        cache: Folder that keeps simulated events for the next time.

    Raises:
        DatasetError: They are not.
    """
    framing = framing_from_notes(weights.metadata.get('framing'))
    dataset = open_dataset(data, split, framing=framing, cache=cache)
    if tuple(dataset.classes) != weights.classes:
        msg = (
            f'The data set {data!r} has the classes {", ".join(dataset.classes)}, the weights '
            f'know {", ".join(weights.classes)}; take weights trained on these classes.'
        )
        raise DatasetError(msg)
    return dataset


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_figures(path: str, content: dict[str, Any]) -> None:
    """Write a JSON file that is the same for the same figures."""
    Path(path).write_text(json.dumps(content, indent=1, sort_keys=True) + '\n', encoding='utf-8')


def energy_figures(report: EnergyReport) -> dict[str, Any]:
    """Return the totals of a report for a JSON file."""
    return {
        'macs': round(report.macs),
        'acs': round(report.acs),
        'rate': round(report.rate, 6),
        'millijoule': round(report.millijoule, 9),
        'constants': {'picojoule_per_mac': MAC_PICOJOULE, 'picojoule_per_ac': AC_PICOJOULE},
    }
