# SPDX-License-Identifier: Apache-2.0
"""Optional packages: the core works without them, some commands need them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType


class MissingExtraError(ImportError):
    """An optional package is not installed; the message says how to install it."""


def require(module: str, extra: str) -> ModuleType:
    """Import a module of an optional package where it is needed.

    Args:
        module: Dotted name of the module, for example 'pycocotools.mask'.
        extra: Extra of this package that installs it, for example 'evaluate'.

    Raises:
        MissingExtraError: It cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ImportError as err:
        msg = (
            f'This needs the Python package {module.split(".")[0]!r}, which cannot be imported '
            f"({err}). Install it with: pip install 'spikeseg_ros[{extra}]'"
        )
        raise MissingExtraError(msg, name=module) from err
