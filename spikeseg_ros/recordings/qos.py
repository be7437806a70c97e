# SPDX-License-Identifier: Apache-2.0
"""Quality of service in recordings, as three names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

QOS = ('reliable', 'best_effort', 'latched')
_FOREVER = QosTime(9223372036, 854775807)


def qos_profile(name: str) -> Qos:
    """Return the profile of a QoS name."""
    return Qos(
        QosHistory.KEEP_LAST,
        {'reliable': 10, 'best_effort': 1000, 'latched': 1}[name],
        QosReliability.BEST_EFFORT if name == 'best_effort' else QosReliability.RELIABLE,
        QosDurability.TRANSIENT_LOCAL if name == 'latched' else QosDurability.VOLATILE,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )


def qos_name(profiles: Sequence[Qos], latching: bool) -> str:
    """Return the name of the QoS a connection was offered with."""
    if latching or any(p.durability == QosDurability.TRANSIENT_LOCAL for p in profiles):
        return 'latched'
    if any(p.reliability == QosReliability.BEST_EFFORT for p in profiles):
        return 'best_effort'
    return 'reliable'
