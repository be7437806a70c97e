# SPDX-License-Identifier: Apache-2.0
"""Declared options as ROS parameters with descriptors, ranges and checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)

from spikeseg_ros.nodes.options import PerceptionNodeConfig
from spikeseg_ros.perception.config import ConfigError, from_flat, options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spikeseg_ros.perception.config import Option, PerceptionConfig


def descriptor(item: Option) -> ParameterDescriptor:
    """Return the ROS description of an option."""
    result = ParameterDescriptor(description=item.description, read_only=not item.dynamic)
    if item.choices:
        result.additional_constraints = 'one of: ' + ', '.join(item.choices)
    if isinstance(item.default, bool) or item.low is None or item.high is None:
        return result
    if isinstance(item.default, int):
        span = IntegerRange(from_value=int(item.low), to_value=int(item.high), step=1)
        result.integer_range = [span]
    elif isinstance(item.default, float):
        result.floating_point_range = [
            FloatingPointRange(from_value=float(item.low), to_value=float(item.high), step=0.0)
        ]
        # 50 is as good as 50.0 on a command line; the check below turns it into a float.
        result.dynamic_typing = True
    return result


class Parameters:
    """The options of a node, declared as parameters and checked on every change.

    Args:
        node: The node.
        declared: Options to declare.
        changed: Called after a change with the names and values that changed.

    Raises:
        ConfigError: A value from the command line or a file cannot be used.
    """

    def __init__(
        self,
        node: Any,
        declared: Iterable[Option],
        changed: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._options = {item.name: item for item in declared}
        self._node = node
        self._changed = changed
        self._ready = False
        node.add_on_set_parameters_callback(self._check)
        post = getattr(node, 'add_post_set_parameters_callback', None)
        self._has_post = post is not None
        if post is not None:
            post(self._apply)
        for item in self._options.values():
            try:
                node.declare_parameter(item.name, item.default, descriptor(item))
            except Exception as err:
                msg = f'Parameter {item.name} cannot be set: {_reason(err)}'
                raise ConfigError(msg) from None
        self._ready = True

    def values(self) -> dict[str, Any]:
        """Return the values of all declared options by name, in the options' types."""
        return {
            name: item.check(self._node.get_parameter(name).value)
            for name, item in self._options.items()
        }

    def _check(self, parameters: list[Any]) -> SetParametersResult:
        """Refuse values outside an option's type, range or choices."""
        for parameter in parameters:
            item = self._options.get(parameter.name)
            if item is None:
                continue
            try:
                item.check(parameter.value)
            except ConfigError as err:
                return SetParametersResult(successful=False, reason=str(err))
        if not self._has_post:
            # Humble has no callback after the fact; nothing can refuse the change any more here.
            self._apply(parameters)
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Any]) -> None:
        """Tell the node what changed."""
        changes = {
            parameter.name: self._options[parameter.name].check(parameter.value)
            for parameter in parameters
            if parameter.name in self._options
        }
        if self._ready and changes and self._changed is not None:
            self._changed(changes)


def perception_options() -> tuple[Option, ...]:
    """Return every option of perception_node."""
    return (*options(PerceptionNodeConfig), *options())


def perception_config(values: dict[str, Any]) -> PerceptionConfig:
    """Return the perception's configuration out of the node's values."""
    known = {item.name for item in options()}
    return from_flat({name: value for name, value in values.items() if name in known})


def _reason(err: Exception) -> str:
    """Return the part of an rclpy error that tells the user something."""
    reason = getattr(err, 'reason', None)
    return str(reason) if reason else str(err)
