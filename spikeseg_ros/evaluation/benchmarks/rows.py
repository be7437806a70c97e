# SPDX-License-Identifier: Apache-2.0
"""The methods of the tables: named configurations of the network, and baselines."""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.benchmarks.baselines import FAMILIES
from spikeseg_ros.evaluation.benchmarks.errors import BenchmarkError
from spikeseg_ros.evaluation.benchmarks.methods import BaselineMethod, SegmenterMethod
from spikeseg_ros.models.encoder import SilentLayerWarning, SpikeSEGEncoder
from spikeseg_ros.models.encoder_config import EncoderConfig
from spikeseg_ros.models.weights import save_weights
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.registry import create

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikeseg_ros.evaluation.benchmarks.methods import Method

ONE_SETTING = 'one setting'
# The chain as the papers describe it; a later default does not change these rows.
DOCUMENTED = (
    ('events.egomotion', False),
    ('spikeseg.scales', 1),
    ('spikeseg.steps', 10),
    ('spikeseg.threshold_scale', 1.0),
    ('spikeseg.max_instances', 400),
    ('spikeseg.streaming', False),
    ('spikeseg.hulk_mode', 'causal'),
    ('objects.linkage', 'threshold'),
    ('objects.smash_threshold', 0.1),
    ('objects.memory', False),
    ('objects.min_events', 0),
    ('objects.fill', 0),
)


@dataclass(frozen=True)
class NetworkRow:
    """SpikeSEG with HULK and SMASH.

    Attributes:
        name: Short name for the command line.
        title: Name in the table.
        options: Options of the perception that differ from the defaults, by dotted name.
        preset: Preset of an untrained network; empty = the weights of the package.
    """

    name: str
    title: str
    options: tuple[tuple[str, Any], ...] = ()
    preset: str = ''

    def settings(self, group: str) -> dict[str, Any] | None:
        """Return what it runs with on a set; the same everywhere."""
        del group
        return {**dict(self.options), **({'preset': self.preset} if self.preset else {})}

    def build(self, group: str) -> Method:
        """Return the method, ready to run."""
        del group
        return _network(self)


@dataclass(frozen=True)
class BaselineRow:
    """A method without a network.

    Attributes:
        name: Short name for the command line.
        title: Name in the table.
        family: Key of FAMILIES.
        per_set: Whether it runs with the parameters that suit each set best.
    """

    name: str
    title: str
    family: str
    per_set: bool = False

    def settings(self, group: str) -> dict[str, Any] | None:
        """Return what it runs with on a set; None where nothing was chosen for the set."""
        chosen = tuned()[self.family].get(group if self.per_set else ONE_SETTING)
        return None if chosen is None else dict(chosen['settings'])

    def build(self, group: str) -> Method:
        """Return the method, ready to run.

        Raises:
            BenchmarkError: Nothing was chosen for the set.
        """
        settings = self.settings(group)
        if settings is None:
            msg = f'There are no parameters of {self.name!r} for the set {group!r}; tune it first.'
            raise BenchmarkError(msg)
        score = settings.pop('score')
        return BaselineMethod(FAMILIES[self.family](**settings), score)


Row = NetworkRow | BaselineRow

NETWORKS = (
    NetworkRow(
        'igarss2023',
        'SpikeSEG + HULK-SMASH, preset igarss2023, untrained',
        DOCUMENTED,
        preset='igarss2023',
    ),
    NetworkRow('documented', 'SpikeSEG + HULK-SMASH, documented grouping rule', DOCUMENTED),
    NetworkRow(
        'average',
        'SpikeSEG + HULK-SMASH, average linkage',
        (*DOCUMENTED, ('objects.linkage', 'average')),
    ),
    NetworkRow('default', 'SpikeSEG + HULK-SMASH, defaults of this package'),
)
# What single parts of the defaults bring; these rows are left out unless they are asked for.
ABLATIONS = (
    NetworkRow('no-memory', 'Defaults without memory', (('objects.memory', False),)),
    NetworkRow('one-scale', 'Defaults with one scale', (('spikeseg.scales', 1),)),
    NetworkRow('no-egomotion', 'Defaults without egomotion', (('events.egomotion', False),)),
    NetworkRow('no-join', 'Defaults without joining of fragments', (('objects.reach', 0.0),)),
)
_TITLES = {
    'components': 'Components of event density',
    'dbscan': 'DBSCAN on x, y',
    'dbscan-time': 'DBSCAN on x, y, t',
    'size-prior': 'Size prior (DBSCAN, average linkage)',
}
BASELINES = tuple(
    BaselineRow(
        name + ('-tuned' if per_set else ''),
        f'{title}, {"tuned for the set" if per_set else ONE_SETTING}',
        name,
        per_set,
    )
    for per_set in (False, True)
    for name, title in _TITLES.items()
)
ROWS: tuple[Row, ...] = (*NETWORKS, *ABLATIONS, *BASELINES)
NAMES = tuple(row.name for row in ROWS)


def choose_rows(names: Sequence[str]) -> list[Row]:
    """Return the rows with these names, in the order of the table.

    All rows except the ablations where no name is given.

    Raises:
        BenchmarkError: A name is unknown.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        msg = f'Unknown method {unknown[0]!r}; choose from {", ".join(NAMES)}.'
        raise BenchmarkError(msg)
    return [row for row in ROWS if row.name in names] if names else [*NETWORKS, *BASELINES]


@lru_cache(maxsize=1)
def tuned() -> Mapping[str, Mapping[str, Any]]:
    """Return the parameters chosen on the training splits: family, set, settings."""
    file = resources.files('spikeseg_ros.evaluation.benchmarks').joinpath('tuned.json')
    content: dict[str, Any] = json.loads(file.read_text(encoding='utf-8'))
    return content['families']  # type: ignore[no-any-return]


@lru_cache(maxsize=8)
def _network(row: NetworkRow) -> SegmenterMethod:
    """Load a network once per process."""
    options = {'device': 'cpu', **dict(row.options)}
    if not row.preset:
        return SegmenterMethod(create(from_flat(options)))
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # It warns that it cannot fire, which is what the row shows.
        warnings.simplefilter('ignore', SilentLayerWarning)
        encoder = SpikeSEGEncoder(EncoderConfig.from_paper(row.preset))
        path = Path(folder) / f'{row.preset}.pt'
        save_weights(path, encoder)
        return SegmenterMethod(create(from_flat({**options, 'weights': str(path)})))
