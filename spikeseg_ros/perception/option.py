# SPDX-License-Identifier: Apache-2.0
"""The declaration of an option: its default, unit, range, and whether it may change."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


class ConfigError(ValueError):
    """An option is unknown or its value cannot be used; the text says which and what to do."""


def option(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    dynamic: bool = False,
) -> Any:
    """Declare an option of a configuration dataclass.

    Args:
        default: Default value; its type is the option's type.
        description: One sentence with the unit.
        low: Smallest allowed number.
        high: Largest allowed number.
        choices: Allowed texts.
        dynamic: Whether the value may change while a node is active.
    """
    metadata = {
        'description': description,
        'low': low,
        'high': high,
        'choices': choices,
        'dynamic': dynamic,
    }
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Option:
    """One declared option, as parameters and documentation need it.

    Attributes:
        name: Dotted name, for example 'events.window_ms'.
        default: Default value; bool, int, float or str.
        description: One sentence with the unit.
        low: Smallest allowed number or None.
        high: Largest allowed number or None.
        choices: Allowed texts, empty where any text is allowed.
        dynamic: Whether it may change while a node is active.
    """

    name: str
    default: bool | int | float | str
    description: str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    dynamic: bool

    def check(self, value: object) -> bool | int | float | str:
        """Return the value in the option's type.

        Raises:
            ConfigError: The value has the wrong type or lies outside the range.
        """
        kind = type(self.default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not kind:
            msg = (
                f'{self.name} must be of type {kind.__name__}, got {value!r} of type '
                f'{type(value).__name__}.'
            )
            raise ConfigError(msg)
        if isinstance(value, str):
            if self.choices and value not in self.choices:
                msg = f'{self.name} must be one of {", ".join(self.choices)}, got {value!r}.'
                raise ConfigError(msg)
            return value
        assert isinstance(value, (bool, int, float))
        inside = math.isfinite(value)
        inside = inside and (self.low is None or value >= self.low)
        inside = inside and (self.high is None or value <= self.high)
        if not inside:
            msg = f'{self.name} must lie between {self.low} and {self.high}, got {value!r}.'
            raise ConfigError(msg)
        return value
