# SPDX-License-Identifier: Apache-2.0
"""What the commands that train segmentation networks share: arguments, set-up, resumption."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import cv2
import torch
from torch import nn

from spikeseg_ros.datasets import SegmentationDataset, open_dataset
from spikeseg_ros.memory import keep_freed_memory
from spikeseg_ros.models.weights import find_weights
from spikeseg_ros.perception.devices import choose_device
from spikeseg_ros.training.config import load_values
from spikeseg_ros.training.distributed import Team, team
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.loop import Loop
from spikeseg_ros.training.run_config import RESUMABLE, RunConfig, replaced
from spikeseg_ros.training.run_state import read_state

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikeseg_ros.events.frames import Framing
    from spikeseg_ros.models.segmentation_weights import SegmentationWeights
    from spikeseg_ros.training.trainer import NetworkTrainer

Config = TypeVar('Config', bound=RunConfig)
Network = TypeVar('Network', bound=nn.Module)


def train_parser(family: str, description: str) -> argparse.ArgumentParser:
    """Return the arguments that every training of a segmentation network has."""
    parser = argparse.ArgumentParser(
        prog=f'spikeseg train {family}',
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument('--data', required=True, help='folder of the data set')
    parser.add_argument('--output', required=True, help='folder to write into')
    parser.add_argument('--config', help='YAML file with training options')
    parser.add_argument(
        '--init',
        help='weight file, or name of one in the package, to start from; otherwise random weights',
    )
    parser.add_argument(
        '--resume', action='store_true', help='go on from the checkpoint in the output folder'
    )
    parser.add_argument(
        '--iterations', type=int, help='length of the run; may be changed when resuming'
    )
    parser.add_argument('--cache', help='folder that keeps simulated events for the next time')
    parser.add_argument('--train-split', default='train', help='split to learn from')
    parser.add_argument('--val-split', default='val', help='split to validate on')
    parser.add_argument(
        '--checkpoint-minutes', type=float, default=3.0, help='minutes between checkpoints'
    )
    parser.add_argument('--device', default='cpu', help="'auto', 'cpu' or 'cuda'")
    parser.add_argument(
        '--workers',
        type=int,
        default=0,
        help='threads that prepare views; 0 is best where the network itself fills the cores',
    )
    parser.add_argument('--threads', type=int, help='threads of torch')
    parser.add_argument('--quiet', action='store_true', help='no progress bar')
    return parser


def settle(
    args: argparse.Namespace, default: Config, kind: str
) -> tuple[Config, dict[str, Any] | None]:
    """Return the options of the run, and the content of the checkpoint where it is resumed.

    Args:
        args: Arguments of the command line.
        default: Options where neither file nor checkpoint says anything.
        kind: Format of the checkpoint.

    Raises:
        TrainingError: Options contradict each other or the checkpoint.
    """
    values: dict[str, Any] = load_values(args.config) if args.config else {}
    if args.iterations is not None:
        values['iterations'] = args.iterations
    checkpoint = Path(args.output) / 'checkpoint.ckpt'
    if not args.resume:
        if checkpoint.exists():
            msg = (
                f'{str(args.output)!r} holds a checkpoint; add --resume, or choose another folder.'
            )
            raise TrainingError(msg)
        return replaced(default, values), None
    if args.init:
        msg = '--init and --resume exclude each other: a checkpoint holds its own weights.'
        raise TrainingError(msg)
    before, content = read_state(checkpoint, kind)
    config = replaced(default, before)
    asked = replaced(config, values)
    if asked.fixed() != config.fixed():
        changed = [name for name, value in asked.fixed().items() if config.fixed()[name] != value]
        msg = (
            f'The checkpoint {str(checkpoint)!r} was made with other values of {changed!r}; a run '
            f'is resumed with the options it was started with (but {", ".join(RESUMABLE)}).'
        )
        raise TrainingError(msg)
    return asked, content


def initial(
    name: str | None,
    family: str,
    load: Callable[[Path], SegmentationWeights[Network]],
    wanted: object,
) -> Network | None:
    """Return the network that a run starts from; None = random weights.

    Args:
        name: Weight file, or name that it has in the package; None or empty = none is given.
        family: Model family.
        load: Reads a weight file of the family.
        wanted: Configuration that the options ask for.

    Raises:
        TrainingError: The file holds another network.
        WeightsError: The file cannot be used.
    """
    if not name:
        return None
    network = load(find_weights(name, family)).network
    if network.config != wanted:
        msg = (
            f'{name!r} holds the network {network.config}, the options ask for {wanted}; '
            'let preset and network agree.'
        )
        raise TrainingError(msg)
    return network


def execute(
    args: argparse.Namespace,
    make: Callable[[argparse.Namespace, SegmentationDataset, str, Team], NetworkTrainer[Any]],
    framing: Framing | None = None,
) -> int:
    """Run a training from the command line.

    Args:
        args: Arguments of `train_parser`.
        make: Returns the trainer for the arguments, the data, a device and a team.
        framing: How recordings of events become frames.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    keep_freed_memory()
    # Views are small; threads of OpenCV would only get in the way of those of torch.
    cv2.setNumThreads(1)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    torch.set_flush_denormal(True)
    device = choose_device(args.device)
    folder = Path(args.output)
    with team(device) as mates:
        if mates.rank == 0:
            folder.mkdir(parents=True, exist_ok=True)
        dataset, validation = (
            open_dataset(args.data, split, framing=framing, cache=args.cache)
            for split in (args.train_split, args.val_split)
        )
        trainer = make(args, dataset, device, mates)
        count = trainer.state.network.parameter_count()
        loop = Loop(trainer, validation, folder, 60 * args.checkpoint_minutes, args.quiet)
        if loop.first:
            sys.stdout.write(
                f'{count} parameters, {len(dataset)} images, {len(validation)} to validate\n'
            )
        before = signal.signal(signal.SIGTERM, loop.stop)
        try:
            complete = loop.run()
        finally:
            signal.signal(signal.SIGTERM, before)
        miou = loop.finish() if complete else 0.0
    if not loop.first:
        return 0
    if complete:
        sys.stdout.write(f'validation mIoU {100 * miou:.2f}\nwrote {folder / "weights.pt"!s}\n')
    else:
        sys.stdout.write(f'stopped at iteration {trainer.state.iteration}; go on with --resume\n')
    return 0
