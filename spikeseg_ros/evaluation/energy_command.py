# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg energy``: activity and energy of every family, layer by layer."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.segmentation_files import (
    MODELS as SEGMENTATION,
)
from spikeseg_ros.evaluation.segmentation_files import (
    digest,
    energy_figures,
    input_size,
    load_network,
    matching,
    write_figures,
)
from spikeseg_ros.spiking.energy_report import mean_report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.evaluation.segmentation_files import Weights
    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.spiking.energy_report import EnergyReport

MODELS = ('spikeseg', *SEGMENTATION)
IMAGES = 16
# The scene that is simulated where no recording is given.
SCENE_SIZE = (346, 260)
SCENE_SECONDS = 1.0


class EnergyError(ValueError):
    """The energy cannot be measured as asked for; the text says what to change."""


@dataclass(frozen=True)
class Measured:
    """What was measured.

    Attributes:
        report: Mean over the frames.
        frames: Number of windows or images.
        source: What they are of, for the output file.
        weights: The weight file.
    """

    report: EnergyReport
    frames: int
    source: dict[str, Any]
    weights: Path


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    known = parser(
        'energy',
        'Print activity and energy of a network, layer by layer, per window or image. spikeseg '
        'runs on a recording of events, or on a simulated scene where none is given; the others '
        'on a split of a data set.',
    )
    known.add_argument('--model', choices=MODELS, default='mfs_seg', help='family')
    known.add_argument(
        '--weights', default='', help='weight file or name of the package; empty = the default'
    )
    known.add_argument('--bag', default='', help='spikeseg: recording of events, of any format')
    known.add_argument(
        '--topic', default='', help='event topic; empty = the one with most messages'
    )
    known.add_argument(
        '--config', default='', metavar='YAML', help='spikeseg: the file the node takes'
    )
    known.add_argument('--data', default='', help='folder of the data set')
    known.add_argument('--split', default='val', help='split of the data set')
    known.add_argument(
        '--size', help='height and width at which the network sees images; that of the training'
    )
    known.add_argument(
        '--images',
        type=int,
        default=0,
        help=f'images or windows that are averaged; 0 = {IMAGES} images, or all windows',
    )
    known.add_argument('--output', help='JSON file to write the figures into')
    return known.parse_args(list(argv))


def run(argv: Sequence[str]) -> int:
    """Print activity and energy of a network layer by layer.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    args = _arguments(argv)
    if args.images < 0:
        msg = f'--images must not be negative, got {args.images!r}.'
        raise EnergyError(msg)
    found = _of_events(args) if args.model == 'spikeseg' else _of_images(args)
    for line in found.report.lines():
        sys.stdout.write(line + '\n')
    frames = 'window' if args.model == 'spikeseg' else 'image'
    sys.stdout.write(f'mean of {found.frames} {frames}{"s" * (found.frames != 1)}\n')
    if args.output:
        figures = {
            'model': args.model,
            'weights': {'name': found.weights.name, 'sha256': digest(found.weights)},
            **found.source,
            'frames': found.frames,
            'layers': [_layer_figures(layer) for layer in found.report.layers],
            'total': energy_figures(found.report),
        }
        write_figures(args.output, figures)
    return 0


def _layer_figures(layer: Any) -> dict[str, Any]:
    return {
        'name': layer.name,
        'kind': layer.kind,
        'dense_macs': round(layer.macs),
        'macs': round(layer.real_macs),
        'acs': round(layer.acs),
        'rate': None if layer.rate is None else round(layer.rate, 6),
        'active': round(layer.active, 6),
        'picojoule': round(layer.picojoule),
    }


# Networks for images


def _of_images(args: argparse.Namespace) -> Measured:
    """Run a segmentation network on images of a data set.

    Raises:
        EnergyError: No data set is given.
    """
    if args.bag or args.config:
        msg = f'--bag and --config are for spikeseg; give {args.model} a data set with --data.'
        raise EnergyError(msg)
    if not args.data:
        msg = f'{args.model} needs images: give the folder of a data set with --data.'
        raise EnergyError(msg)
    weights, path = load_network(args.model, args.weights)
    size = input_size(args.size, weights)
    dataset = matching(weights, args.data, args.split)
    count = min(args.images or IMAGES, len(dataset))
    report = image_energy(weights, dataset, size, count)
    return Measured(report, count, {'split': args.split, 'size': list(size)}, path)


def image_energy(
    weights: Weights, dataset: SegmentationDataset, size: tuple[int, int], count: int
) -> EnergyReport:
    """Return the mean energy over images that are spread evenly over a split.

    Args:
        weights: The network.
        dataset: Images or event frames.
        size: Height and width at which the network sees them.
        count: Number of images, at most.
    """
    from spikeseg_ros.evaluation.segmentation import as_input
    from spikeseg_ros.spiking.energy import measure_energy

    numbers = np.linspace(0, len(dataset) - 1, min(count, len(dataset))).round().astype(int)
    network = weights.network.folded()
    images = (dataset.sample(int(number)).image for number in numbers)
    inputs = (as_input(network, image, size) for image in images)
    return measure_energy(network, inputs, getattr(network, 'logits', None))


# The network for events


def _of_events(args: argparse.Namespace) -> Measured:
    """Run SpikeSEG on a recording or a simulated scene.

    Raises:
        EnergyError: A data set is given, or there are no windows.
    """
    from spikeseg_ros.models.weights import find_weights
    from spikeseg_ros.perception.config import PerceptionConfig, from_flat
    from spikeseg_ros.perception.node_options import load_node_config

    if args.data:
        msg = '--data is for networks that see images; give spikeseg a recording with --bag.'
        raise EnergyError(msg)
    config = load_node_config(args.config) if args.config else PerceptionConfig()
    if args.weights:
        config = from_flat({'weights': args.weights}, config)
    path = find_weights(config.weights, 'spikeseg')
    windows = _recorded(args, config) if args.bag else _simulated(config)
    if args.images:
        windows = itertools.islice(windows, args.images)
    reports = list(event_reports(config, windows))
    if not reports:
        msg = f'{args.bag or "The scene"} has no complete window; shorten events.window_ms.'
        raise EnergyError(msg)
    source = {'recording': Path(args.bag).name if args.bag else 'simulated scene'}
    return Measured(mean_report(reports), len(reports), source, path)


def event_reports(
    config: PerceptionConfig, windows: Iterator[EventWindow]
) -> Iterator[EnergyReport]:
    """Yield what SpikeSEG did for each window.

    Args:
        config: Options of the perception.
        windows: Windows in order.
    """
    from spikeseg_ros.perception.spikeseg import SpikeSegSegmenter
    from spikeseg_ros.spiking.event_energy import trace_report

    segmenter, memory = SpikeSegSegmenter(config), None
    for window in windows:
        fired, memory = segmenter.prepare(window, memory)
        yield trace_report(fired.traces)


def _recorded(args: argparse.Namespace, config: PerceptionConfig) -> Iterator[EventWindow]:
    """Yield the windows that an evaluation of the recording sees.

    Raises:
        EnergyError: The recording is damaged.
    """
    from spikeseg_ros.evaluation.offline.event_replay import EventReplay

    replay = EventReplay(Path(args.bag), args.topic, config)
    yield from replay
    if replay.facts.damaged:
        sys.stderr.write(f'spikeseg energy: {replay.facts.damaged}\n')


def _simulated(config: PerceptionConfig) -> Iterator[EventWindow]:
    """Yield the windows of the demonstration's scene, except the first: the sensor wakes up."""
    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.simulation.recording import simulate_scene
    from spikeseg_ros.simulation.scene import demo_scene

    scene = demo_scene(*SCENE_SIZE, SCENE_SECONDS)
    truth = simulate_scene(scene, SCENE_SECONDS, camera_hz=0).truth
    length = round(config.events.window_ms * 1e6)
    for start in range(length, round(SCENE_SECONDS * 1e9) - length + 1, length):
        events, _ = truth.labels(start, start + length)
        yield EventWindow(events, start, start + length, start + length, *SCENE_SIZE)
