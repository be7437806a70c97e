# SPDX-License-Identifier: Apache-2.0
"""The state of a segmenter as bytes and back, so that a run goes on where it was cut off.

Nothing is executed while reading: only dataclasses and named tuples of this package are built
anew, from numbers, texts and arrays.
"""

from __future__ import annotations

import base64
import dataclasses
import importlib
import json
import zlib
from typing import Any

import numpy as np

from spikeseg_ros.evaluation.offline.errors import EvaluationError

_PACKAGE = 'spikeseg_ros.'


def encode_state(state: Any) -> bytes:
    """Return a state as bytes.

    Args:
        state: Numbers, texts, arrays, tensors, tuples, lists, dictionaries with text keys, and
            dataclasses or named tuples of this package made of them.

    Raises:
        EvaluationError: The state holds something else.
    """
    return json.dumps(_plain(state), separators=(',', ':')).encode()


def decode_state(data: bytes) -> Any:
    """Return the state that encode_state was given; floats and arrays are the same bit for bit.

    Raises:
        EvaluationError: The bytes are damaged or of another version of the package.
    """
    try:
        return _built(json.loads(data))
    except EvaluationError:
        raise
    except Exception as err:
        msg = f'A saved state cannot be read ({err!r}); start anew with --overwrite.'
        raise EvaluationError(msg) from None


def _plain(value: Any) -> Any:
    """Return a value as JSON; what JSON has no form for becomes a list [tag, ...]."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    kind = type(value)
    if isinstance(value, np.generic):
        return ['scalar', value.dtype.str, base64.b64encode(value.tobytes()).decode()]
    if isinstance(value, np.ndarray) and value.dtype.kind in 'biuf':
        packed = zlib.compress(np.ascontiguousarray(value).tobytes(), 1)
        code = base64.b64encode(packed).decode()
        return ['array', value.dtype.str, list(value.shape), code]
    if kind.__module__.startswith('torch') and hasattr(value, 'numpy'):
        return ['tensor', _plain(value.detach().cpu().numpy()), str(value.device)]
    name = f'{kind.__module__}:{kind.__qualname__}'
    if name.startswith(_PACKAGE) and dataclasses.is_dataclass(value):
        fields = {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return ['object', name, fields]
    if name.startswith(_PACKAGE) and hasattr(value, '_fields'):
        return ['object', name, {key: _plain(getattr(value, key)) for key in value._fields}]
    if kind in (tuple, list):
        return [kind.__name__, [_plain(item) for item in value]]
    if kind is dict and all(isinstance(key, str) for key in value):
        return ['dict', {key: _plain(item) for key, item in value.items()}]
    msg = f'A state with a value of type {name!r} cannot be saved.'
    raise EvaluationError(msg)


def _built(value: Any) -> Any:
    """Return the value that _plain was given."""
    if not isinstance(value, list):
        return value
    tag, *rest = value
    if tag in ('tuple', 'list'):
        items = [_built(item) for item in rest[0]]
        return tuple(items) if tag == 'tuple' else items
    if tag == 'dict':
        return {key: _built(item) for key, item in rest[0].items()}
    if tag == 'scalar':
        return np.frombuffer(base64.b64decode(rest[1]), np.dtype(rest[0]))[0]
    if tag == 'array':
        flat = np.frombuffer(zlib.decompress(base64.b64decode(rest[2])), np.dtype(rest[0]))
        return flat.reshape(rest[1]).copy()
    if tag == 'tensor':
        import torch

        return torch.from_numpy(_built(rest[0])).to(rest[1])
    if tag == 'object':
        kind = _class(rest[0])
        return kind(**{key: _built(item) for key, item in rest[1].items()})
    msg = f'A saved state holds the unknown tag {tag!r}; start anew with --overwrite.'
    raise EvaluationError(msg)


def _class(name: str) -> Any:
    """Return a dataclass or named tuple of this package."""
    module, _, qualname = name.partition(':')
    kind = getattr(importlib.import_module(module), qualname) if name.startswith(_PACKAGE) else 0
    ours = isinstance(kind, type) and getattr(kind, '__module__', '') == module
    if not ours or not (dataclasses.is_dataclass(kind) or hasattr(kind, '_fields')):
        msg = f'A saved state names {name!r}, which is no part of a state; use --overwrite.'
        raise EvaluationError(msg)
    return kind
