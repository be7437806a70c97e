# SPDX-License-Identifier: Apache-2.0
"""Where units run: in this process, in worker processes, or on Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tqdm import tqdm

from spikeseg_ros.evaluation.offline.replay import count_messages
from spikeseg_ros.evaluation.offline.unit import Outcome, run_unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeseg_ros.evaluation.offline.unit import Unit


def run_units(units: Sequence[Unit], workers: int, engine: str) -> list[Outcome]:
    """Evaluate recordings and show how far they are.

    Args:
        units: The recordings.
        workers: Recordings at the same time.
        engine: 'process' or 'ray'.

    Returns:
        How they ended, in the order of the units.
    """
    from pathlib import Path

    total = sum(count_messages(Path(unit.bag), unit.topic) for unit in units)
    with tqdm(total=total, unit='msg', disable=None, smoothing=0.1) as bar:
        return [run_unit(unit, bar.update) for unit in units]
