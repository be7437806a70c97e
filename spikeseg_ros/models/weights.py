# SPDX-License-Identifier: Apache-2.0
"""Small weight files: the network's shape, weights, adapted thresholds and a note, read safely."""

from __future__ import annotations

import dataclasses
import pickle
import warnings
import zipfile
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikeseg_ros.models.encoder import (
    EncoderRuntimeError,
    SilentLayerWarning,
    SpikeSEGEncoder,
)
from spikeseg_ros.models.encoder_config import (
    CONV_LAYERS,
    EncoderConfig,
    EncoderConfigError,
    LayerConfig,
)

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

FORMAT = 'spikeseg_ros'
VERSION = 1
# The largest network, Spike2Former of 42 M parameters, takes 170 MB.
MAX_BYTES = 512 * 1024 * 1024
MAX_CHANNELS = 4096
# Weights in the package that each family takes by default; the one place that names them. There is
# no default for Spike2Former: the small network in the package is an example, not what the name
# stands for.
DEFAULTS = {
    'spikeseg': 'spikeseg_default',
    'mfs_seg': 'mfs_seg_camvid',
}
MAX_KERNEL = 63


class WeightsError(ValueError):
    """A weight file cannot be used; the text says why and what to do."""


@dataclass(frozen=True)
class NetworkWeights:
    """A trained network.

    Attributes:
        config: Shape and neurons.
        weights: By layer name, each of shape (out, in, kernel, kernel), float32.
        thresholds: By layer name, each of shape (out,), float32.
        leaks: By layer name, each of shape (out,), float32.
        metadata: Notes: how it was trained, on what, with which seed; texts and numbers.
    """

    config: EncoderConfig
    weights: dict[str, Tensor]
    thresholds: dict[str, Tensor]
    leaks: dict[str, Tensor]
    metadata: dict[str, Any] = field(default_factory=dict)

    def build(self) -> SpikeSEGEncoder:
        """Return an encoder with these weights, thresholds and leaks.

        Raises:
            WeightsError: The network refuses them.
        """
        try:
            with warnings.catch_warnings():
                # Only the finished network says whether a layer stays silent.
                warnings.simplefilter('ignore', SilentLayerWarning)
                encoder = SpikeSEGEncoder(self.config)
                encoder.set_weights(**self.weights)
                for name in CONV_LAYERS:
                    encoder.set_threshold(name, self.thresholds[name], self.leaks[name])
        except EncoderRuntimeError as error:
            raise WeightsError(str(error)) from error
        with warnings.catch_warnings():
            # Trained maps may need several steps to fire; only ones that never can are a fault.
            warnings.filterwarnings('ignore', '.*within one step', SilentLayerWarning)
            encoder.warn_if_silent()
        return encoder


def save_weights(
    path: str | os.PathLike[str],
    encoder: SpikeSEGEncoder,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Write the present weights and thresholds of an encoder.

    Args:
        path: File to write, usually ending in '.pt'.
        encoder: The network.
        metadata: Texts, numbers, and lists or mappings of them.
    """
    params = encoder.params()
    content = {
        'format': FORMAT,
        'version': VERSION,
        'config': dataclasses.asdict(encoder.config),
        'weights': {
            name: weight.detach().cpu().clone()
            for name, weight in zip(CONV_LAYERS, params.weights, strict=True)
        },
        'thresholds': {
            name: neurons.threshold.detach().cpu().clone()
            for name, neurons in zip(CONV_LAYERS, params.neurons, strict=True)
        },
        'leaks': {
            name: neurons.leak.detach().cpu().clone()
            for name, neurons in zip(CONV_LAYERS, params.neurons, strict=True)
        },
        'metadata': dict(metadata or {}),
    }
    torch.save(content, path)


def load_weights(path: str | os.PathLike[str]) -> NetworkWeights:
    """Read a weight file. Nothing in it is executed.

    Args:
        path: File written by `save_weights`.

    Raises:
        WeightsError: The file is missing, too large, not of this format, damaged, or holds
            values that no network can have.
    """
    content = read_format(path, FORMAT, VERSION, 'spikeseg train')
    try:
        config = _config(content.get('config'))
    except (EncoderConfigError, TypeError) as error:
        msg = f'{path!s} holds no usable configuration: {error}'
        raise WeightsError(msg) from error
    weights, thresholds, leaks = (
        _tensors(path, content, key, config) for key in ('weights', 'thresholds', 'leaks')
    )
    metadata = content.get('metadata')
    if not isinstance(metadata, dict):
        msg = f'{path!s}: metadata must be a mapping, got {type(metadata).__name__}.'
        raise WeightsError(msg)
    return NetworkWeights(config, weights, thresholds, leaks, metadata)


def read_format(
    path: str | os.PathLike[str], kind: str, version: int, command: str
) -> dict[str, Any]:
    """Return the content of a weight file of one format and version.

    Args:
        path: The file.
        kind: Name of the format.
        version: Version this package reads.
        command: Command that writes such files, for the message.

    Raises:
        WeightsError: The file cannot be read, or is of another format or version.
    """
    content = read_tensors(Path(path))
    if not isinstance(content, dict) or content.get('format') != kind:
        msg = f'{path!s} is not a {kind} weight file; write one with `{command}`.'
        raise WeightsError(msg)
    if content.get('version') != version:
        msg = (
            f'{path!s} has version {content.get("version")!r}, this package reads {version}; '
            f'update the package or train again.'
        )
        raise WeightsError(msg)
    return content


def load_encoder(path: str | os.PathLike[str]) -> SpikeSEGEncoder:
    """Return the encoder of a weight file.

    Raises:
        WeightsError: As `load_weights`.
    """
    return load_weights(path).build()


def find_weights(given: str, family: str) -> Path:
    """Return the weight file that the option weights means.

    Args:
        given: Path of a file, name of packaged weights, or empty = the family's default.
        family: Model family.

    Raises:
        WeightsError: The family has no default, or there is no such file.
    """
    if not given:
        if family not in DEFAULTS:
            msg = (
                f'{family} has no default weights; set the option weights. `spikeseg train '
                f'{family} --data FOLDER --output FOLDER` makes a file from labelled images, '
                f'docs/{family}.md says how to get released ones, and {_examples(family)}.'
            )
            raise WeightsError(msg)
        return packaged_weights(DEFAULTS[family])
    path = Path(given)
    if path.is_file():
        return path
    if path.name == given and not path.suffix:
        return packaged_weights(given)
    msg = f'There is no weight file {given!r}; check the option weights.'
    raise WeightsError(msg)


def _examples(family: str) -> str:
    """Return what the package has for a family, for a message."""
    names = sorted(path.stem for path in _folder().glob(f'{family}_*.pt'))
    return f'{" or ".join(names)} comes with the package' if names else 'the package has none'


def _folder() -> Path:
    return Path(str(resources.files('spikeseg_ros').joinpath('weights')))


def packaged_weights(name: str = DEFAULTS['spikeseg']) -> Path:
    """Return the path of a weight file that comes with the package.

    Args:
        name: File name, with or without '.pt'.

    Raises:
        WeightsError: There is no such file.
    """
    known = {path.stem: path for path in sorted(_folder().glob('*.pt'))}
    if name.removesuffix('.pt') not in known:
        names = ', '.join(known) or 'none'
        msg = f'No packaged weights {name!r}; there are: {names}. Or give the path of a file.'
        raise WeightsError(msg)
    return known[name.removesuffix('.pt')]


def read_tensors(path: Path) -> Any:
    """Return the content of a file of tensors, texts and numbers; nothing in it is executed.

    Raises:
        WeightsError: The file is missing, too large, damaged or holds anything else.
    """
    if not path.is_file():
        msg = f'There is no weight file {str(path)!r}; check the path.'
        raise WeightsError(msg)
    if not zipfile.is_zipfile(path):
        msg = (
            f'{str(path)!r} is not a weight file (no zip archive); bare pickles are not read, '
            f'write files with save_weights.'
        )
        raise WeightsError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if max(size, path.stat().st_size) > MAX_BYTES:
            msg = f'{str(path)!r} holds {size} bytes, at most {MAX_BYTES} are read.'
            raise WeightsError(msg)
        return torch.load(path, map_location='cpu', weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        msg = f'{str(path)!r} holds more than numbers and texts and is not read: {error}'
        raise WeightsError(msg) from error
    except Exception as error:
        # torch.load has no error class of its own for a damaged archive.
        msg = f'{str(path)!r} is damaged: {type(error).__name__}: {error}'
        raise WeightsError(msg) from error


def _config(content: Any) -> EncoderConfig:
    """Build a configuration from nested mappings.

    Raises:
        TypeError: Not a mapping, or names that the configuration does not have.
        EncoderConfigError: Values that no network can have.
    """
    if not isinstance(content, dict):
        msg = f'expected a mapping, got {type(content).__name__}'
        raise TypeError(msg)
    values = dict(content)
    for name in CONV_LAYERS:
        layer = values.get(name)
        if not isinstance(layer, dict):
            msg = f'expected a mapping for {name}, got {type(layer).__name__}'
            raise TypeError(msg)
        values[name] = LayerConfig(**layer)
        if values[name].out_channels > MAX_CHANNELS or values[name].kernel_size > MAX_KERNEL:
            msg = f'{name} is larger than {MAX_CHANNELS} maps of {MAX_KERNEL} x {MAX_KERNEL}'
            raise EncoderConfigError(msg)
    config = EncoderConfig(**values)
    if config.input_channels > MAX_CHANNELS:
        msg = f'input_channels must be at most {MAX_CHANNELS}, got {config.input_channels!r}'
        raise EncoderConfigError(msg)
    return config


def _tensors(
    path: object, content: dict[str, Any], key: str, config: EncoderConfig
) -> dict[str, Tensor]:
    """Return one tensor for each layer, of the right type and shape and finite."""
    group = content.get(key)
    if not isinstance(group, dict):
        msg = f'{path!s} lacks {key!r}; the file is incomplete, write it again.'
        raise WeightsError(msg)
    result: dict[str, Tensor] = {}
    channels = config.input_channels
    for name, layer in zip(CONV_LAYERS, config.layers, strict=True):
        value = group.get(name)
        if not isinstance(value, Tensor) or value.is_sparse or not value.is_floating_point():
            msg = f'{path!s}: {key}[{name!r}] must be a tensor of floats, got {_describe(value)}.'
            raise WeightsError(msg)
        shape: tuple[int, ...] = (layer.out_channels,)
        if key == 'weights':
            shape = (layer.out_channels, channels, layer.kernel_size, layer.kernel_size)
        if tuple(value.shape) != shape:
            msg = (
                f'{path!s}: {key}[{name!r}] needs the shape {shape!r} of its configuration, got '
                f'{tuple(value.shape)!r}.'
            )
            raise WeightsError(msg)
        if not bool(torch.isfinite(value).all()):
            msg = f'{path!s}: {key}[{name!r}] holds NaN or infinite values; train again.'
            raise WeightsError(msg)
        result[name] = value.float()
        channels = layer.out_channels
    return result


def _describe(value: object) -> str:
    """Name a value's type for an error message."""
    return f'{value.dtype} tensor' if isinstance(value, Tensor) else type(value).__name__
