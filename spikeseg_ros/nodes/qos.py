# SPDX-License-Identifier: Apache-2.0
"""Quality of service of every topic, and what to say when the other side does not match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks

if TYPE_CHECKING:
    from collections.abc import Callable


def best_effort(depth: int) -> QoSProfile:
    """Return the profile of sensor streams: matches reliable and best effort publishers."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def reliable(depth: int) -> QoSProfile:
    """Return the profile of results."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=depth, reliability=ReliabilityPolicy.RELIABLE
    )


def latched() -> QoSProfile:
    """Return the profile of messages that late subscribers get too."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        durability=DurabilityPolicy.TRANSIENT_LOCAL,
    )


def overridable() -> QoSOverridingOptions:
    """Let users change history, depth and reliability in their YAML (qos_overrides)."""
    return QoSOverridingOptions.with_default_policies()


def subscribe(
    node: Any,
    kind: Any,
    topic: str,
    callback: Callable[[Any], None],
    profile: QoSProfile,
    mismatch: Callable[[str], None] | None = None,
) -> Any:
    """Create a subscription whose QoS can be overridden and whose mismatches are explained.

    Args:
        node: The node.
        kind: Message class.
        topic: Topic name.
        callback: Called with every message.
        profile: Default QoS.
        mismatch: Called with a text each time a publisher's QoS does not fit.
    """
    name = node.resolve_topic_name(topic)

    def incompatible(event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind).split('_')[0].lower()
        text = (
            f'A publisher of {name} offers a QoS that does not fit ({policy}): nothing is '
            f"received from it. Set qos_overrides.'{name}'.subscription.{policy} in the "
            'parameters to what "ros2 topic info --verbose" shows, or change the publisher.'
        )
        if mismatch is not None:
            mismatch(text)

    return node.create_subscription(
        kind,
        topic,
        callback,
        profile,
        event_callbacks=SubscriptionEventCallbacks(incompatible_qos=incompatible),
        qos_overriding_options=overridable(),
    )
