# SPDX-License-Identifier: Apache-2.0
"""The commands ``spikeseg evaluate segmentation`` and ``spikeseg energy``."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm import tqdm

from spikeseg_ros.cli import parser
from spikeseg_ros.datasets import DatasetError, SegmentationDataset, open_dataset
from spikeseg_ros.evaluation.segmentation import as_input, confusion
from spikeseg_ros.models.mfs_seg_weights import MfsSegWeights, load_mfs_seg
from spikeseg_ros.models.weights import WeightsError, packaged_weights
from spikeseg_ros.spiking.energy import (
    AC_PICOJOULE,
    MAC_PICOJOULE,
    EnergyReport,
    measure_energy,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix

MODELS = ('mfs_seg',)


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    result = parser(prog, description)
    result.add_argument('--model', choices=MODELS, default=MODELS[0], help='family')
    result.add_argument(
        '--weights', required=True, help='weight file, or the name of one of the package'
    )
    result.add_argument('--data', required=True, help='folder of the data set')
    result.add_argument('--split', default='val', help='split to judge on')
    result.add_argument(
        '--size',
        help='height and width at which the network sees images, for example 360x480; '
        'that of the training where left out',
    )
    result.add_argument('--output', help='JSON file to write the figures into')
    result.add_argument('--quiet', action='store_true', help='no progress bar')
    return result


def _load(name: str) -> tuple[MfsSegWeights, Path]:
    """Read weights by path, or by the name that they have in the package."""
    path = Path(name)
    if not path.is_file() and path.name == name:
        path = packaged_weights(name)
    return load_mfs_seg(path), path


def _size(text: str | None, weights: MfsSegWeights) -> tuple[int, int]:
    """Return height and width.

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


def _matching(weights: MfsSegWeights, data: str, split: str) -> SegmentationDataset:
    """Open a split whose classes are those of the weights.

    Raises:
        DatasetError: They are not.
    """
    dataset = open_dataset(data, split)
    if tuple(dataset.classes) != weights.classes:
        msg = (
            f'The data set {data!r} has the classes {", ".join(dataset.classes)}, the weights '
            f'know {", ".join(weights.classes)}; take weights trained on these classes.'
        )
        raise DatasetError(msg)
    return dataset


def _energy(
    weights: MfsSegWeights, dataset: SegmentationDataset, size: tuple[int, int], count: int
) -> EnergyReport:
    """Return the mean energy over images that are spread evenly over a split."""
    numbers = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    network = weights.network.folded()
    images = (dataset.sample(int(number)).image for number in numbers)
    return measure_energy(network, (as_input(network, image, size) for image in images))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write(path: str, content: dict[str, Any]) -> None:
    Path(path).write_text(json.dumps(content, indent=1, sort_keys=True) + '\n', encoding='utf-8')


def _energy_figures(report: EnergyReport) -> dict[str, Any]:
    return {
        'macs': round(report.macs),
        'acs': round(report.acs),
        'rate': round(report.rate, 6),
        'millijoule': round(report.millijoule, 9),
        'constants': {'picojoule_per_mac': MAC_PICOJOULE, 'picojoule_per_ac': AC_PICOJOULE},
    }


def run(argv: Sequence[str]) -> int:
    """Judge a segmentation network on labelled images.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    arguments = _parser(
        'evaluate segmentation',
        'Judge a segmentation network: mean IoU of one confusion matrix over a split, by class, '
        'pixel accuracy, parameters, firing rate and energy.',
    )
    arguments.add_argument(
        '--energy-images', type=int, default=16, help='images over which activity is averaged'
    )
    args = arguments.parse_args(list(argv))
    weights, path = _load(args.weights)
    size = _size(args.size, weights)
    dataset = _matching(weights, args.data, args.split)
    network = weights.network.folded().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    numbers = tqdm(range(len(dataset)), desc=args.split, disable=args.quiet)
    matrix = confusion(network, dataset, size, numbers)
    energy = _energy(weights, dataset, size, max(args.energy_images, 1))
    count = weights.network.parameter_count()
    for line in _table(matrix, energy, count, len(dataset), args.split, size):
        sys.stdout.write(line + '\n')
    if args.output:
        figures = {
            'model': args.model,
            'weights': {'name': path.name, 'sha256': _digest(path)},
            'split': args.split,
            'images': len(dataset),
            'size': list(size),
            'parameters': count,
            'metrics': {name: round(value, 6) for name, value in matrix.result().items()},
            'confusion': matrix.counts.tolist(),
            'energy': _energy_figures(energy),
        }
        _write(args.output, figures)
    return 0


def _table(
    matrix: ConfusionMatrix,
    energy: EnergyReport,
    parameters: int,
    images: int,
    split: str,
    size: tuple[int, int],
) -> list[str]:
    """Return the lines that are printed."""
    width = max(len(name) for name in matrix.names)
    rows = [
        f'{name:<{width}}  {100 * value:6.2f}'
        for name, value in zip(matrix.names, matrix.iou.tolist(), strict=True)
    ]
    return [
        f'{"class":<{width}}  IoU [%]',
        *rows,
        f'mIoU {100 * matrix.miou:.2f} %, pixel accuracy {100 * matrix.accuracy:.2f} % '
        f'({images} images of {split!r}, seen at {size[0]} x {size[1]})',
        f'{parameters} parameters; a frame takes {energy.macs / 1e6:.1f} M MAC and '
        f'{energy.acs / 1e6:.1f} M AC at a mean spike count of {energy.rate:.3f}: '
        f'{energy.millijoule:.3f} mJ (45 nm)',
    ]


def run_energy(argv: Sequence[str]) -> int:
    """Print activity and energy of a network layer by layer.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    arguments = _parser('energy', 'Print activity and energy of a network, layer by layer.')
    arguments.add_argument(
        '--images', type=int, default=16, help='images over which activity is averaged'
    )
    args = arguments.parse_args(list(argv))
    weights, path = _load(args.weights)
    size = _size(args.size, weights)
    report = _energy(weights, _matching(weights, args.data, args.split), size, max(args.images, 1))
    for line in report.lines():
        sys.stdout.write(line + '\n')
    if args.output:
        layers = [
            {
                'name': layer.name,
                'macs': round(layer.macs),
                'acs': round(layer.acs),
                'rate': None if layer.rate is None else round(layer.rate, 6),
                'active': round(layer.active, 6),
                'picojoule': round(layer.picojoule),
            }
            for layer in report.layers
        ]
        figures = {
            'model': args.model,
            'weights': {'name': path.name, 'sha256': _digest(path)},
            'split': args.split,
            'size': list(size),
            'layers': layers,
            'total': _energy_figures(report),
        }
        _write(args.output, figures)
    return 0
