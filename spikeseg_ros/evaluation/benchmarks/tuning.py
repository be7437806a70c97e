# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg benchmark tune``: parameters of the baselines from the training splits.

Every baseline gets the parameters with the largest AP50: once on the mean over all sets (one
setting, as the network has), and once for every set on its own, which favours the baseline.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.benchmarks.baselines import FAMILIES, SizePrior
from spikeseg_ros.evaluation.benchmarks.command import clip_events, require_metrics
from spikeseg_ros.evaluation.benchmarks.judging import overlaps_of, windows_of
from spikeseg_ros.evaluation.benchmarks.methods import SCORES, blobs, largest, score_of
from spikeseg_ros.evaluation.benchmarks.rows import ONE_SETTING
from spikeseg_ros.evaluation.benchmarks.runs import in_order
from spikeseg_ros.evaluation.benchmarks.sequences import (
    CLIP_SPLITS,
    ClipItem,
    composed_items,
    load_item,
)
from spikeseg_ros.evaluation.benchmarks.tables import rounded
from spikeseg_ros.evaluation.metrics import InstanceMetrics
from spikeseg_ros.perception.spikeseg import smallest_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from spikeseg_ros.evaluation.benchmarks.sequences import Item
    from spikeseg_ros.events.types import EventWindow

    # Family, number within the grid, score.
    Key = tuple[str, int, str]

COMPOSED_COUNT = 12
# Every so many-th window is judged; those of clips hold up to a million events.
COMPOSED_STEP = 2
CLIP_STEP = 8


def grid(**values: Sequence[float]) -> tuple[dict[str, float], ...]:
    """Return all combinations of values."""
    return tuple(
        dict(zip(values, chosen, strict=True)) for chosen in itertools.product(*values.values())
    )


GRIDS = {
    'components': grid(density=(3, 4, 6, 9, 12, 25, 50, 100), grow=(0, 1, 2, 3)),
    'dbscan': grid(eps=(2.0, 2.5, 3.0, 4.0), min_events=(5, 8, 12, 20, 60, 120)),
    'dbscan-time': grid(
        pixels_per_ms=(0.1, 0.4), eps=(2.0, 3.0, 4.0), min_events=(5, 8, 12, 20, 60)
    ),
    # Noise removal outside, so that one clustering serves all sizes.
    'size-prior': grid(eps=(2.5, 4.0), min_events=(8, 20, 60), size=(18, 24, 30, 45, 60)),
}


@dataclass(frozen=True)
class TuningUnit:
    """A sequence on which all grids are tried.

    Attributes:
        item: The sequence.
        step: Take every step-th window.
        families: Baselines to try.
    """

    item: Item
    step: int
    families: tuple[str, ...]


def try_grids(unit: TuningUnit) -> dict[Key, InstanceMetrics]:
    """Return how well every setting does on a sequence."""
    truth = load_item(unit.item)
    floor = smallest_object(truth.height, truth.width)
    metrics: dict[Key, InstanceMetrics] = {}
    for window, labels in windows_of(truth, unit.step):
        for family in unit.families:
            for number, found in enumerate(_sweep(family, window)):
                kept = largest(found, floor)
                items = blobs(kept, window)
                table = overlaps_of(kept, len(items), labels)
                for score in SCORES:
                    metrics.setdefault(
                        (family, number, score), InstanceMetrics(floor)
                    ).add_overlaps(
                        table.iou.copy(),
                        [score_of(item, score) for item in items],
                        table.sizes.tolist(),
                        table.true_sizes.tolist(),
                    )
    return metrics


def _sweep(family: str, window: EventWindow) -> Iterator[NDArray[np.int32]]:
    """Yield the labels of a window for every setting of a grid."""
    if family != 'size-prior':
        for settings in GRIDS[family]:
            yield FAMILIES[family](**settings).labels(window)
        return
    tree = lru_cache(maxsize=1)(
        lambda eps, min_events: SizePrior(0.0, eps, min_events).tree(window)
    )
    for settings in GRIDS[family]:
        yield tree(settings['eps'], settings['min_events']).cut(settings['size'])


def choose(scores: Mapping[str, Mapping[Key, float]], family: str) -> dict[str, Any]:
    """Return the best parameters of a family: one setting for all sets, and one for each set.

    The first one of a grid wins a tie.

    Args:
        scores: AP50 by set and setting.
        family: Baseline.
    """
    keys = [key for key in next(iter(scores.values())) if key[0] == family]
    means = {key: float(np.mean([table[key] for table in scores.values()])) for key in keys}
    best = {ONE_SETTING: max(keys, key=means.__getitem__)}
    best |= {name: max(keys, key=table.__getitem__) for name, table in scores.items()}
    return {
        name: {
            'settings': {**GRIDS[family][key[1]], 'score': key[2]},
            'ap50': {group: table[key] for group, table in scores.items()}
            if name == ONE_SETTING
            else scores[name][key],
        }
        for name, key in best.items()
    }


def tune(units: Sequence[TuningUnit], workers: int) -> dict[str, Any]:
    """Return the chosen parameters of all families of the units, as tuned.json holds them."""
    merged: dict[str, dict[Key, InstanceMetrics]] = {}
    weights = [unit.item.windows for unit in units]
    results = in_order(try_grids, units, workers, weights, 'training split')
    for unit, metrics in zip(units, results, strict=True):
        table = merged.setdefault(unit.item.set, {})
        for key, metric in metrics.items():
            if key in table:
                table[key].merge(metric)
            else:
                table[key] = metric
    scores = {
        name: {key: metric.result()['ap50'] for key, metric in table.items()}
        for name, table in merged.items()
    }
    return {family: choose(scores, family) for family in units[0].families}


def run(argv: Sequence[str]) -> int:
    """Tune the baselines and write their parameters.

    Returns:
        Exit status 0.
    """
    known = parser('benchmark tune', 'Choose the parameters of the baselines.')
    known.add_argument('--nmnist', required=True, metavar='DIR', help='folder of N-MNIST')
    known.add_argument('--davis', required=True, metavar='DIR', help='folder of the clips')
    known.add_argument('--cache', metavar='DIR', help='folder that keeps the events of the clips')
    known.add_argument('--output', required=True, metavar='FILE', help='JSON file to write')
    known.add_argument('--workers', type=int, default=1, help='processes')
    args = known.parse_args(list(argv))
    require_metrics()
    families = tuple(GRIDS)
    composed = composed_items(args.nmnist, COMPOSED_COUNT, 'train')
    units = [TuningUnit(item, COMPOSED_STEP, families) for item in composed]
    with tempfile.TemporaryDirectory() as scratch:
        paths = clip_events(args.davis, CLIP_SPLITS['train'], args.cache or scratch, args.workers)
        units += [TuningUnit(ClipItem(path), CLIP_STEP, families) for path in paths]
        content = {'format': 'spikeseg_tuned/1', 'families': tune(units, args.workers)}
    text = json.dumps(rounded(content), indent=1, sort_keys=True) + '\n'
    Path(args.output).write_text(text, encoding='utf-8')
    return 0
