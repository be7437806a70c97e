# SPDX-License-Identifier: Apache-2.0
"""Configuration of the perception: one declaration for YAML, node parameters and documentation.

Every option is declared once, with its unit, range and whether it may change while the node
runs. ROS parameter descriptors, the validation of YAML files and the reference table in the
documentation are all made from these declarations.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from spikeseg_ros.perception.option import ConfigError, Option, option

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = (
    'DEVICES',
    'LINKAGES',
    'MODELS',
    'PRECISIONS',
    'ConfigError',
    'EventConfig',
    'ImageConfig',
    'ObjectConfig',
    'Option',
    'PerceptionConfig',
    'SemanticConfig',
    'SpikeSegConfig',
    'TrackingConfig',
    'flatten',
    'from_flat',
    'load_config',
    'option',
    'options',
    'to_flat',
)

MODELS = ('spikeseg', 'mfs_seg', 'spike2former')
DEVICES = ('auto', 'cuda', 'cpu')
PRECISIONS = ('auto', 'float32', 'float16')
LINKAGES = ('coherence', 'threshold', 'average', 'argmax')


@dataclass(frozen=True)
class EventConfig:
    """How events become windows."""

    window_ms: float = option(50.0, 'Length of a window of events [ms].', low=1.0, high=1000.0)
    window_events: int = option(
        0,
        'Close a window after this many events instead of after window_ms; 0 = by time.',
        low=0,
        high=10_000_000,
    )
    egomotion: bool = option(
        True,
        'When the camera moves, leave out what moves with the background.',
        dynamic=True,
    )
    silence_ms: float = option(
        100.0,
        'After this time without a message, empty windows are published [ms].',
        low=1.0,
        high=10_000.0,
    )
    queue_mb: float = option(
        10.0,
        'Payload bytes kept while the network is busy; beyond that the oldest are dropped [MB].',
        low=0.1,
        high=1000.0,
    )


@dataclass(frozen=True)
class SpikeSegConfig:
    """The SpikeSEG network and HULK."""

    steps: int = option(10, 'Time steps T a window is divided into.', low=1, high=64)
    scales: int = option(
        3,
        'Scales of the input the network looks at, each half as fine as the one before; only '
        'with coherence.',
        low=1,
        high=4,
    )
    threshold_scale: float = option(
        1.0,
        'Factor on the trained threshold of the class layer: higher gives fewer instances.',
        low=0.05,
        high=20.0,
        dynamic=True,
    )
    max_instances: int = option(
        400,
        'Class spikes unravelled per window at most; of more, the strongest of every place are '
        'kept.',
        low=1,
        high=10_000,
        dynamic=True,
    )
    streaming: bool = option(
        False,
        'Keep membrane potentials from one window to the next instead of starting from rest.',
    )
    hulk_mode: str = option(
        'causal',
        'What an instance covers: causal = input events that caused the spike; weights = every '
        'pixel under the weights.',
        choices=('causal', 'weights'),
    )


@dataclass(frozen=True)
class ObjectConfig:
    """How instances become objects."""

    linkage: str = option(
        'coherence',
        'Grouping rule: coherence = what touches and fires in one rhythm, at all scales; the '
        'others use SMASH scores at full size: threshold = all pairs at or above '
        'smash_threshold; average = average linkage, for crowded scenes of objects of one known '
        'size; argmax = best partner only. Images are grouped by threshold in place of coherence.',
        choices=LINKAGES,
        dynamic=True,
    )
    smash_threshold: float = option(
        0.1,
        'SMASH score from which two instances belong together (not used by coherence).',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    split: float = option(
        0.65,
        'Coherence: discord of rhythms from which touching parts are two objects; lower parts '
        'more.',
        low=0.0,
        high=2.0,
        dynamic=True,
    )
    join: float = option(
        0.055,
        'Coherence: discord of rhythms up to which fragments with a gap are one object.',
        low=0.0,
        high=2.0,
        dynamic=True,
    )
    reach: float = option(
        0.7,
        'Coherence: largest gap between fragments, in units of the smaller one; 0 = never join.',
        low=0.0,
        high=10.0,
        dynamic=True,
    )
    memory: bool = option(
        True,
        'Coherence: what was told apart in the window before is more easily told apart again.',
        dynamic=True,
    )
    min_events: int = option(
        0,
        'Objects with fewer events are dropped; 0 = by sensor size: 50 at 240x180, growing with '
        'the side (133 at 640x480).',
        low=0,
        high=1_000_000,
        dynamic=True,
    )
    fill: int = option(
        0,
        'Close gaps of up to twice this many pixels in the masks; 0 = pixels with events [px].',
        low=0,
        high=50,
        dynamic=True,
    )
    max_objects: int = option(
        64,
        'Objects published per window at most; the largest are kept.',
        low=1,
        high=1000,
        dynamic=True,
    )


@dataclass(frozen=True)
class TrackingConfig:
    """How objects keep their track id over windows."""

    enabled: bool = option(True, 'Give objects track ids.')
    min_hits: int = option(
        3,
        'Windows in which an object must be seen before it gets a track id.',
        low=1,
        high=100,
        dynamic=True,
    )
    max_missed: int = option(
        6, 'Windows a track survives without being seen.', low=0, high=1000, dynamic=True
    )
    gate: float = option(
        1.5,
        'Largest distance between prediction and object, in units of the box diagonal.',
        low=0.1,
        high=20.0,
        dynamic=True,
    )


@dataclass(frozen=True)
class SemanticConfig:
    """How class masks become objects; for the families mfs_seg and spike2former."""

    things: str = option(
        'auto',
        'Classes of which objects are made, separated by commas; auto = those that can be '
        'counted, such as car or pedestrian; none = no objects.',
    )
    min_area: int = option(
        0,
        'Objects of fewer pixels are dropped; 0 = by image size: one pixel in 2000 (86 at '
        '480x360) [px].',
        low=0,
        high=100_000_000,
        dynamic=True,
    )
    min_score: float = option(
        0.5,
        'Objects whose class has a smaller mean probability are dropped.',
        low=0.0,
        high=1.0,
        dynamic=True,
    )
    streaming: bool = option(
        False,
        'Keep membrane potentials from one input to the next instead of starting from rest; for '
        'networks that were trained so.',
    )
    levels: int = option(
        0,
        'Largest spike count D of a released Spike2Former checkpoint, which such files do not '
        'hold; 0 = as assumed in docs/spike2former.md. Not used for other weights.',
        low=0,
        high=255,
    )
    precision: str = option(
        'auto',
        'Number format of the convolutions: auto = float32; float16 is for GPUs, and changes the '
        'mask at some pixels.',
        choices=PRECISIONS,
    )


@dataclass(frozen=True)
class ImageConfig:
    """How camera images and event frames reach mfs_seg and spike2former; undone for the mask."""

    height: int = option(
        0,
        'Rows the network sees; 0 = as in its training [px]. Not used by spikeseg.',
        low=0,
        high=8192,
    )
    width: int = option(
        0,
        'Columns the network sees; 0 = as in its training [px]. Not used by spikeseg.',
        low=0,
        high=8192,
    )
    keep_ratio: bool = option(
        True,
        'Keep the ratio of the sides and fill the rest with the mean colour, instead of '
        'stretching. Not used by spikeseg.',
    )


@dataclass(frozen=True)
class PerceptionConfig:
    """All options of the perception."""

    model: str = option(
        'spikeseg',
        'Model family: spikeseg finds what moves in events; mfs_seg and spike2former know '
        'classes, in camera images or in events, as their weights say.',
        choices=MODELS,
    )
    weights: str = option(
        '',
        'Weight file, or the name of one that comes with the package; empty = the default of the '
        'family.',
    )
    device: str = option(
        'auto', 'Device of the network: auto takes CUDA where there is one.', choices=DEVICES
    )
    threads: int = option(
        1,
        'CPU threads of the network; more only help on a machine with idle cores.',
        low=1,
        high=256,
    )
    energy: bool = option(
        False,
        'Count the operations of every window or image, and publish them and the energy that '
        'they stand for in the diagnostics.',
        dynamic=True,
    )
    events: EventConfig = field(default_factory=EventConfig)
    spikeseg: SpikeSegConfig = field(default_factory=SpikeSegConfig)
    objects: ObjectConfig = field(default_factory=ObjectConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    semantic: SemanticConfig = field(default_factory=SemanticConfig)
    image: ImageConfig = field(default_factory=ImageConfig)


def options(kind: type = PerceptionConfig, prefix: str = '') -> Iterator[Option]:
    """Yield every option of a configuration class, nested ones with dotted names."""
    for item in dataclasses.fields(kind):
        name = prefix + item.name
        if item.default_factory is not dataclasses.MISSING:
            yield from options(type(item.default_factory()), name + '.')
            continue
        meta = item.metadata
        yield Option(
            name,
            cast('bool | int | float | str', item.default),
            meta['description'],
            meta['low'],
            meta['high'],
            meta['choices'],
            meta['dynamic'],
        )


def to_flat(config: Any, prefix: str = '') -> dict[str, bool | int | float | str]:
    """Return the values of a configuration by dotted name."""
    flat: dict[str, bool | int | float | str] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat.update(to_flat(value, prefix + item.name + '.'))
        else:
            flat[prefix + item.name] = value
    return flat


def from_flat(
    values: Mapping[str, object], base: PerceptionConfig | None = None
) -> PerceptionConfig:
    """Build a configuration from values by dotted name.

    Args:
        values: Values that differ from the base.
        base: Configuration to start from; the defaults where None.

    Raises:
        ConfigError: A name is unknown, or a value has the wrong type or range.
    """
    known = {item.name: item for item in options()}
    flat = to_flat(base or PerceptionConfig())
    for name, value in values.items():
        if name not in known:
            near = [other for other in known if other.split('.')[-1] == name.split('.')[-1]]
            hint = f'did you mean {near[0]!r}?' if near else f'known: {", ".join(known)}.'
            msg = f'Unknown option {name!r}; {hint}'
            raise ConfigError(msg)
        flat[name] = known[name].check(value)
    return cast('PerceptionConfig', _assemble(PerceptionConfig, flat, ''))


def _assemble(kind: type, flat: Mapping[str, object], prefix: str) -> Any:
    """Build a (nested) configuration class from checked values."""
    arguments: dict[str, Any] = {}
    for item in dataclasses.fields(kind):
        if item.default_factory is not dataclasses.MISSING:
            nested = type(item.default_factory())
            arguments[item.name] = _assemble(nested, flat, prefix + item.name + '.')
        else:
            arguments[item.name] = flat[prefix + item.name]
    return kind(**arguments)


def flatten(tree: Mapping[str, object], prefix: str = '') -> dict[str, object]:
    """Turn nested mappings into one mapping with dotted names."""
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f'{prefix}{key}.'))
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def load_config(
    path: str | Path, node: str = 'perception_node', ignore: tuple[str, ...] = ()
) -> PerceptionConfig:
    """Read a configuration from YAML, plain or in the form of ROS parameter files.

    Args:
        path: YAML file; either nested options, or '<node or /**>: ros__parameters: ...'.
        node: Name of the node whose parameters are taken from a ROS parameter file.
        ignore: Names or 'prefix.*' that belong to the node alone (topics, QoS) and are skipped.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or holds an unknown or bad option.
    """
    try:
        tree = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as err:
        msg = f'Cannot read the configuration {str(path)!r}: {err}'
        raise ConfigError(msg) from None
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        msg = f'The configuration {str(path)!r} must be a mapping of options, got {tree!r}.'
        raise ConfigError(msg)
    values: dict[str, object] = {}
    blocks = [
        body['ros__parameters']
        for name, body in tree.items()
        if isinstance(body, dict)
        and isinstance(body.get('ros__parameters'), dict)
        and (name in ('/**', '**') or name.strip('/').split('/')[-1] == node)
    ]
    nested = any(isinstance(body, dict) and 'ros__parameters' in body for body in tree.values())
    for block in blocks if nested else [tree]:
        values.update(flatten(block))
    prefixes = tuple(name[:-1] for name in ignore if name.endswith('.*'))
    kept = {
        name: value
        for name, value in values.items()
        if name not in ignore and not (prefixes and name.startswith(prefixes))
    }
    return from_flat(kept)
