# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg evaluate segmentation``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from spikeseg_ros.cli import parser
from spikeseg_ros.datasets import DatasetError
from spikeseg_ros.evaluation.energy_command import image_energy
from spikeseg_ros.evaluation.event_segmentation import (
    PLAIN,
    HalfPrecision,
    NetworkPredictor,
    Predictor,
    baselines,
    confusions,
    merged,
    recording_figures,
    recording_lines,
    recording_of,
)
from spikeseg_ros.evaluation.segmentation_files import (
    MODELS,
    digest,
    energy_figures,
    input_size,
    load_network,
    matching,
    write_figures,
)
from spikeseg_ros.perception.devices import choose_device

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.evaluation.metrics.semantic import ConfusionMatrix
    from spikeseg_ros.spiking.energy_report import EnergyReport

DEVICES = ('auto', 'cuda', 'cpu')
PRECISIONS = ('float32', 'bfloat16', 'float16')


def _parser(prog: str, description: str) -> argparse.ArgumentParser:
    result = parser(prog, description)
    result.add_argument('--model', choices=MODELS, default=MODELS[0], help='family')
    result.add_argument(
        '--weights', default='', help='weight file or name of the package; empty = the default'
    )
    result.add_argument('--data', required=True, help='folder of the data set')
    result.add_argument('--split', default='val', help='split to judge on')
    result.add_argument('--cache', help='folder that keeps simulated events for the next time')
    result.add_argument(
        '--streaming',
        action='store_true',
        help='recordings: judge also with the potentials carried from sample to sample',
    )
    result.add_argument(
        '--baselines',
        action='store_true',
        help='events with two classes: judge trivial answers on the same windows too',
    )
    result.add_argument(
        '--size',
        help='height and width at which the network sees images, for example 360x480; '
        'that of the training where left out',
    )
    result.add_argument('--device', default='auto', choices=DEVICES, help='where it runs')
    result.add_argument(
        '--precision',
        default='float32',
        choices=PRECISIONS,
        help='of convolutions and products; a half precision is compared with float32',
    )
    result.add_argument('--output', help='JSON file to write the figures into')
    result.add_argument('--quiet', action='store_true', help='no progress bar')
    return result


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
    weights, path = load_network(args.model, args.weights)
    size = input_size(args.size, weights)
    dataset = matching(weights, args.data, args.split, args.cache)
    device = choose_device(args.device)
    network = weights.network.folded().to(device, memory_format=torch.channels_last)
    judged = _judged(args, network, dataset, size)
    columns = {
        name: confusions(
            item,
            dataset,
            tqdm(
                range(len(dataset)),
                name,
                disable=args.quiet,
                mininterval=0.5 if sys.stderr.isatty() else 10,
            ),
        )
        for name, item in judged.items()
    }
    matrix = merged(columns[PLAIN], dataset)
    energy = image_energy(weights, dataset, size, max(args.energy_images, 1))
    count = weights.network.parameter_count()
    lines = _table(matrix, energy, count, len(dataset), args.split, size)
    plain = judged[PLAIN]
    kept = plain.same / max(1, plain.pixels) if isinstance(plain, HalfPrecision) else 1.0
    if args.precision != 'float32':
        lines.append(f'{args.precision}: {kept:.2%} of the pixels keep the class of float32')
    for line in [*lines, *recording_lines(columns, dataset)]:
        sys.stdout.write(line + '\n')
    if args.output:
        figures = {
            'model': args.model,
            'weights': {'name': path.name, 'sha256': digest(path)},
            'split': args.split,
            'images': len(dataset),
            'size': list(size),
            'precision': {'name': args.precision, 'same_as_float32': round(kept, 6)},
            'parameters': count,
            'metrics': {name: round(value, 6) for name, value in matrix.result().items()},
            'confusion': matrix.counts.tolist(),
            'recordings': recording_figures(columns, dataset),
            'energy': energy_figures(energy),
        }
        write_figures(args.output, figures)
    return 0


def _judged(
    args: argparse.Namespace, network: Any, dataset: SegmentationDataset, size: tuple[int, int]
) -> dict[str, Predictor]:
    """Return what is judged, by name.

    Raises:
        DatasetError: The data set does not go with the options.
    """
    plain: Predictor = NetworkPredictor(network, size)
    if args.precision != 'float32':
        plain = HalfPrecision(network, size, getattr(torch, args.precision))
    result = {PLAIN: plain}
    if args.streaming:
        if args.model != 'mfs_seg' or not recording_of(dataset.name(0)):
            msg = '--streaming is for mfs_seg on recordings of events; leave it out.'
            raise DatasetError(msg)
        if args.precision != 'float32':
            msg = f'--streaming is judged in float32; leave --precision {args.precision} out.'
            raise DatasetError(msg)
        result['streaming'] = NetworkPredictor(network, size, carry=True)
    if args.baselines:
        if len(dataset.classes) != 2:
            msg = f'--baselines needs 2 classes, the data set has {len(dataset.classes)}.'
            raise DatasetError(msg)
        result.update(baselines())
    return result


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
