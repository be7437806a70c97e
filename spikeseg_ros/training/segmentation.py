# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg train mfs_seg``: supervised training of segmentation networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikeseg_ros.models.mfs_seg import MfsSeg
from spikeseg_ros.models.mfs_seg_weights import load_mfs_seg
from spikeseg_ros.training.command import execute, initial, settle, train_parser
from spikeseg_ros.training.segmentation_config import SegmentationConfig
from spikeseg_ros.training.segmentation_trainer import FORMAT, SegmentationTrainer, network_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.datasets import SegmentationDataset
    from spikeseg_ros.training.distributed import Team


def _trainer(
    args: argparse.Namespace, dataset: SegmentationDataset, device: str, team: Team
) -> SegmentationTrainer:
    """Return the trainer that the command line asks for.

    Raises:
        TrainingError: Options contradict each other or the checkpoint.
    """
    config, content = settle(args, SegmentationConfig(), FORMAT)
    wanted = network_config(config, dataset)
    network = initial(args.init, 'mfs_seg', load_mfs_seg, wanted)
    if content is not None:
        network = MfsSeg(wanted)
    trainer = SegmentationTrainer(config, dataset, network, device, max(args.workers, 0), team)
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
    parser = train_parser(
        'mfs_seg', 'Train a fully spiking segmentation network on labelled images.'
    )
    args = parser.parse_args(list(argv))
    framing = settle(args, SegmentationConfig(), FORMAT)[0].framing
    return execute(args, _trainer, framing)
