# SPDX-License-Identifier: Apache-2.0
"""Released checkpoints of Spike2Former and of its backbones, read without executing anything.

The released files are pickles of a training framework: tensors under 'state_dict', and notes of
that framework beside them. Only tensors, numbers, texts and containers are read; the objects of
that framework become empty shells, and a file with any other object is refused.
"""

from __future__ import annotations

import hashlib
import pickle
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from spikeseg_ros.models.spike2former.config import Spike2FormerConfig, Spike2FormerConfigError
from spikeseg_ros.models.spike2former.network import Spike2Former
from spikeseg_ros.models.weights import WeightsError

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

MAX_BYTES = 4 * 1024**3
DEFAULT_LEVELS = 8
DEFAULT_HEADS = 8
_PREFIXES = ('module.', 'model.')

# Notes of training frameworks; what they would build is replaced by `_Shell`.
_SHELLS = (
    'mmengine.logging.history_buffer.HistoryBuffer',
    'numpy.core.multiarray._reconstruct',
    'numpy._core.multiarray._reconstruct',
    'numpy.core.multiarray.scalar',
    'numpy._core.multiarray.scalar',
    'numpy.ndarray',
    'numpy.dtype',
    'numpy.dtypes.Float64DType',
    'numpy.dtypes.Int64DType',
    'argparse.Namespace',
    'builtins.getattr',
    '_codecs.encode',
)


@dataclass(frozen=True)
class KnownCheckpoint:
    """A released file.

    Attributes:
        name: File name.
        levels: D, which the file does not hold: 4 where its name says so, otherwise that of the
            published source. Not confirmed by anybody; compare 4 and 8 on a labelled image.
        steps: T of the training.
        size: Rows and columns of the training, as far as published configurations tell.
    """

    name: str
    levels: int
    steps: int
    size: tuple[int, int] = (512, 512)


KNOWN = {
    '6384d6bf4e9c2bfa27d85059ec6740b57cd7c934936c66d7806cc4bf6e8c308c': KnownCheckpoint(
        'ADE20K-SDTv2-ckpt-best.pth', 8, 4, (640, 640)
    ),
    'b34ca4d822bf1bcf81dc729487cc8c894dc778f819065f592b3f47604e689b17': KnownCheckpoint(
        'ADE20K-V2-L-ckpt-best.pth', 8, 1
    ),
    '00a3a97aeaf9d89ba8f558323e8ee3c836ac71e1b8b3a39283566b200093d02f': KnownCheckpoint(
        'Cityscapes-SDTv2-ckpt-best.pth', 8, 4, (512, 1024)
    ),
    '5a2b6837533c9d402d4531054f68c133a295b3be4d5eca66ea74e197b00ab8b7': KnownCheckpoint(
        'VOC2012-1x4-ckpt-best.pth', 4, 1
    ),
    '4ed41543d82676dd9f7bc63136c86f712580cd486c0826e36d3ef59a67c41268': KnownCheckpoint(
        'VOC2012-4x4-ckpt-best.pth', 4, 4
    ),
}


@dataclass(frozen=True)
class ReleasedNetwork:
    """A network from a released file.

    Attributes:
        network: In evaluation mode, in the official layout.
        sha256: Checksum of the file.
        known: Which released file it is; None where the checksum is not known.
        classes: Names of the classes, where the file holds them; a head with more classes than
            names has 'unused' ones behind.
        colors: RGB colour of each class, likewise; unused ones are black.
    """

    network: Spike2Former
    sha256: str
    known: KnownCheckpoint | None
    classes: tuple[str, ...] = ()
    colors: tuple[tuple[int, int, int], ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of an image that suit the network."""
        return KnownCheckpoint.size if self.known is None else self.known.size


class _Shell:
    """Takes the place of an object that is not needed; keeps and does nothing."""

    def __new__(cls, *_: object, **__: object) -> _Shell:
        return object.__new__(cls)

    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


def load_released(
    path: str | os.PathLike[str],
    *,
    levels: int | None = None,
    heads: int = DEFAULT_HEADS,
    backbone_heads: int = DEFAULT_HEADS,
) -> ReleasedNetwork:
    """Return the network of a released checkpoint; its shape is found from the tensors.

    Args:
        path: The file.
        levels: D, which no file holds; the assumption of `KNOWN` where None, 8 for other files.
        heads: Heads of the transformer decoder, which no file holds.
        backbone_heads: Heads of the backbone, which no file holds.

    Raises:
        WeightsError: The file is missing, damaged, holds other things than tensors, or does not
            fit the network.
    """
    content = _read(Path(path))
    checksum = sha256(path)
    known = KNOWN.get(checksum)
    state = _tensors(path, content)
    if levels is None:
        levels = DEFAULT_LEVELS if known is None else known.levels
    given = {
        'levels': levels,
        'heads': heads,
        'backbone_heads': backbone_heads,
        'steps': 1 if known is None else known.steps,
    }
    try:
        network = Spike2Former(detect_config(state, **given))
        network.load_published(state)
    except Spike2FormerConfigError as error:
        msg = f'{path!s} is no Spike2Former checkpoint that can be used: {error}'
        raise WeightsError(msg) from error
    classes, colors = _labels(content, network.config.classes)
    return ReleasedNetwork(network.eval(), checksum, known, classes, colors)


def load_backbone(network: Spike2Former, path: str | os.PathLike[str]) -> None:
    """Take the weights of a backbone from a checkpoint of its classifier.

    Args:
        network: A network whose backbone has the same shape.
        path: The file: keys of the backbone, with or without 'backbone.' in front and a wrapper
            'model' or 'state_dict' around; its 'head.' is dropped.

    Raises:
        WeightsError: As `load_released`.
    """
    state = {
        name.removeprefix('backbone.'): value
        for name, value in _tensors(path, _read(Path(path))).items()
        if not name.startswith(('head.', 'decode_head.'))
    }
    own = network.backbone.state_dict()
    wrong = [
        f'{name} {_shape(state.get(name))} instead of {_shape(own.get(name))}'
        for name in sorted(set(own) | set(state))
        if _shape(state.get(name)) != _shape(own.get(name))
    ]
    if wrong:
        more = ' ...' if len(wrong) > 5 else ''
        msg = (
            f'{path!s} does not fit the backbone {network.config.backbone!r} of widths '
            f'{network.config.dims!r}; {len(wrong)} tensors differ: {", ".join(wrong[:5])}{more}.'
        )
        raise WeightsError(msg)
    network.backbone.load_state_dict(state)


def detect_config(state: Mapping[str, Tensor], **given: Any) -> Spike2FormerConfig:
    """Return the configuration that tensors were trained with, in the official layout.

    Args:
        state: Tensors by published name.
        given: What tensors do not show: levels, heads, backbone_heads, steps.

    Raises:
        Spike2FormerConfigError: A tensor that shows the configuration is missing.
    """
    pixels, decoder = 'decode_head.pixel_decoder', 'decode_head.transformer_decoder.layers'
    layers = f'{pixels}.encoder.layers'

    def size(name: str, axis: int = 0) -> int:
        shape = state[name].shape
        return int(shape[axis])

    def count(prefix: str) -> int:
        found = (re.match(rf'{re.escape(prefix)}\.(\d+)\.', name) for name in state)
        return 1 + max((int(match[1]) for match in found if match), default=-1)

    try:
        version = 'v2' if 'backbone.block3.0.attn.q_conv.0.body.0.weight' in state else 'v3'
        values = {
            'backbone': version,
            'dims': [
                size(f'backbone.downsample{part}.encode_conv.weight')
                for part in ('1_2', '2', '3', '4')
            ],
            'backbone_depths': [count('backbone.block3'), count('backbone.block4')],
            'width': size(f'{pixels}.mask_feature.weight'),
            'groups': size(f'{layers}.0.dcn.mask.0.weight') // 9,
            'deformable_kernel': size(f'{layers}.0.dcn.dw_conv.0.weight', -1),
            'queries': size('decode_head.query_feat.weight'),
            'classes': size('decode_head.cls_embed.weight') - 1,
            'encoder_layers': count(layers),
            'encoder_hidden': size(f'{layers}.0.ffn.fc1_conv.weight'),
            'decoder_layers': count(decoder),
            'decoder_hidden': size(f'{decoder}.0.ffn.fc1.weight'),
            'layout': 'official',
        }
    except (KeyError, IndexError) as error:
        msg = f'the tensor {error} is missing or has another number of axes.'
        raise Spike2FormerConfigError(msg) from error
    return Spike2FormerConfig.from_mapping({**values, **given})


def sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with Path(path).open('rb') as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _read(path: Path) -> Any:
    """Return the content of a checkpoint.

    Raises:
        WeightsError: The file is missing, too large, damaged, or holds other objects.
    """
    if not path.is_file():
        msg = f'There is no checkpoint {str(path)!r}; check the path.'
        raise WeightsError(msg)
    if not zipfile.is_zipfile(path):
        msg = f'{str(path)!r} is not a checkpoint (no zip archive); bare pickles are not read.'
        raise WeightsError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > MAX_BYTES:
            msg = f'{str(path)!r} holds {size} bytes, at most {MAX_BYTES} are read.'
            raise WeightsError(msg)
        shells: list[Any] = [(_Shell, name) for name in _SHELLS]
        with torch.serialization.safe_globals(shells):
            return torch.load(path, map_location='cpu', weights_only=True)
    except WeightsError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL ([\w.]+)', str(error))
        why = f'it asks for {found[1]}' if found else 'its pickle is damaged'
        msg = (
            f'{str(path)!r} holds other things than tensors, numbers and texts and is not read: '
            f'{why}. Save its "state_dict" alone where it was made.'
        )
        raise WeightsError(msg) from error
    except Exception as error:
        # torch.load has no error class of its own for a damaged archive.
        msg = f'{str(path)!r} is damaged: {type(error).__name__}: {error}'
        raise WeightsError(msg) from error


def _tensors(path: object, content: Any) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, without wrappers and prefixes.

    Raises:
        WeightsError: There are none, or one is no usable tensor.
    """
    for wrapper in ('state_dict', 'model'):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not content:
        msg = f'{path!s} holds no tensors; a checkpoint has them under "state_dict" or "model".'
        raise WeightsError(msg)
    result: dict[str, Tensor] = {}
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, Tensor) or value.is_sparse:
            msg = f'{path!s}: {name!r} must be a dense tensor, got {type(value).__name__}.'
            raise WeightsError(msg)
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            msg = f'{path!s}: {name!r} holds NaN or infinite values; get the file again.'
            raise WeightsError(msg)
        for prefix in _PREFIXES:
            name = name.removeprefix(prefix)
        result[name] = value.float() if value.is_floating_point() else value
    return result


def _shape(value: Tensor | None) -> str:
    return 'nothing' if value is None else str(tuple(value.shape))


def _labels(content: Any, count: int) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Return names and colours of classes, where a checkpoint has one for each."""
    meta = content.get('meta') if isinstance(content, dict) else None
    data = meta.get('dataset_meta') if isinstance(meta, dict) else None
    if not isinstance(data, dict):
        return (), ()
    names, palette = data.get('classes'), data.get('palette')
    if not isinstance(names, (list, tuple)) or not 1 <= len(names) <= count:
        return (), ()
    if not all(isinstance(name, str) for name in names):
        return (), ()
    spare = count - len(names)
    classes = (*names, *(f'unused {number + 1}' for number in range(spare)))
    if not isinstance(palette, (list, tuple)) or len(palette) != len(names):
        return classes, ()
    good = all(
        isinstance(color, (list, tuple))
        and len(color) == 3
        and all(isinstance(value, int) and 0 <= value <= 255 for value in color)
        for color in palette
    )
    if not good:
        return classes, ()
    return classes, (*((c[0], c[1], c[2]) for c in palette), *((0, 0, 0),) * spare)
