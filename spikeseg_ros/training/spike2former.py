# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg train spike2former``: supervised training of Spike2Former."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from spikeseg_ros.models.spike2former import Spike2Former
from spikeseg_ros.models.spike2former.checkpoints import load_backbone
from spikeseg_ros.models.spike2former_weights import load_spike2former
from spikeseg_ros.training.command import execute, initial, settle, train_parser
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.spike2former_config import Spike2FormerTraining
from spikeseg_ros.training.spike2former_trainer import FORMAT, Spike2FormerTrainer, network_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.training.distributed import Team

# Share of the learning rate for a backbone that has been trained before.
PRETRAINED_RATE = 0.1


def _trainer(
    args: argparse.Namespace, dataset: SegmentationDataset, device: str, team: Team
) -> Spike2FormerTrainer:
    """Return the trainer that the command line asks for.

    Raises:
        TrainingError: Options contradict each other or the checkpoint.
        WeightsError: A file cannot be used.
    """
    if args.backbone and (args.init or args.resume):
        msg = '--backbone is for new networks: leave out --init and --resume, or --backbone.'
        raise TrainingError(msg)
    default = Spike2FormerTraining(backbone_rate=PRETRAINED_RATE if args.backbone else 1.0)
    config, content = settle(args, default, FORMAT)
    wanted = network_config(config, dataset)
    network = initial(args.init, 'spike2former', load_spike2former, wanted)
    if network is None:
        torch.manual_seed(config.seed)
        network = Spike2Former(wanted)
    if args.backbone:
        load_backbone(network, args.backbone)
    trainer = Spike2FormerTrainer(config, dataset, network, device, max(args.workers, 0), team)
    if content is not None:
        trainer.state.restore(args.output, content)
    return trainer


def run(argv: Sequence[str]) -> int:
    """Train a network from the command line.

    Args:
        argv: Arguments without the program's name.

    Returns:
        Exit status 0; errors are raised as ValueError with a text for the user.
    """
    parser = train_parser('spike2former', 'Train Spike2Former on labelled images.')
    parser.add_argument(
        '--backbone',
        help='published classifier checkpoint for the backbone, which then learns at '
        f'{PRETRAINED_RATE:g} of the rate unless the options say otherwise',
    )
    return execute(parser.parse_args(list(argv)), _trainer)
