# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg train spike2former``: supervised training of Spike2Former."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeseg_ros.models.spike2former import Spike2Former
from spikeseg_ros.models.spike2former_weights import load_spike2former
from spikeseg_ros.training.command import execute, settle, train_parser
from spikeseg_ros.training.errors import TrainingError
from spikeseg_ros.training.spike2former_config import Spike2FormerTraining
from spikeseg_ros.training.spike2former_trainer import FORMAT, Spike2FormerTrainer, network_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.training.distributed import Team


def _trainer(
    args: argparse.Namespace, dataset: SegmentationDataset, device: str, team: Team
) -> Spike2FormerTrainer:
    """Return the trainer that the command line asks for.

    Raises:
        TrainingError: Options contradict each other or the checkpoint.
    """
    config, content = settle(args, Spike2FormerTraining(), FORMAT)
    wanted = network_config(config, dataset)
    network = load_spike2former(args.init).network if args.init else None
    if network is not None and network.config != wanted:
        msg = (
            f'{args.init!r} holds the network {network.config}, the options ask for {wanted}; '
            'let preset and network agree.'
        )
        raise TrainingError(msg)
    if content is not None:
        network = Spike2Former(wanted)
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
    return execute(parser.parse_args(list(argv)), _trainer)
