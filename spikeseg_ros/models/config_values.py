# SPDX-License-Identifier: Apache-2.0
"""Checks of configurations that come from a mapping, for example of a YAML or a weight file."""

from __future__ import annotations

import dataclasses
from typing import Any


def typed_values(kind: Any, values: dict[str, Any], error: type[ValueError]) -> dict[str, Any]:
    """Return values in the types of the defaults of a dataclass.

    Args:
        kind: A dataclass with a default for each field.
        values: By name of the field.
        error: What to raise.

    Raises:
        ValueError: (as `error`) An unknown name, or a value of another type.
    """
    known = {item.name: item.default for item in dataclasses.fields(kind)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            msg = f'Unknown network option {name!r}; known: {", ".join(known)}.'
            raise error(msg)
        checked[name] = _typed(name, value, known[name], error)
    return checked


def _typed(name: str, value: Any, like: Any, error: type[ValueError]) -> Any:
    if isinstance(like, tuple):
        if isinstance(value, (list, tuple)):
            return tuple(_typed(name, item, like[0], error) for item in value)
    elif isinstance(like, float):
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif type(value) is type(like):
        return value
    msg = f'{name} of the network must be like {like!r}, got {value!r}.'
    raise error(msg)
