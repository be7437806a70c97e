# SPDX-License-Identifier: Apache-2.0
"""Which topics a network is to see, and the streams behind them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikeseg_ros.perception.node_options import PerceptionNodeConfig
from spikeseg_ros.perception.option import ConfigError
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES

if TYPE_CHECKING:
    from spikeseg_ros.events import EventStream
    from spikeseg_ros.perception.config import PerceptionConfig


def accepted(segmenter: Any) -> tuple[str, ...]:
    """Return the kinds of input that a segmenter takes."""
    return tuple(getattr(segmenter, 'inputs', (EVENTS, IMAGES)))


def chosen_topics(segmenter: Any, events_topic: str, image_topic: str) -> dict[str, str]:
    """Return the topics that a network is to see, by kind of input.

    A network for camera images leaves the default topic of events alone; one that somebody has
    set is an error.

    Args:
        segmenter: The network.
        events_topic: The option events_topic; empty = no events.
        image_topic: The option image_topic; empty = no images.

    Raises:
        ConfigError: A topic is set that the network cannot take, or none that it can.
    """
    inputs = accepted(segmenter)
    if EVENTS not in inputs and events_topic == PerceptionNodeConfig.events_topic:
        events_topic = ''
    given = {
        kind: topic for kind, topic in ((EVENTS, events_topic), (IMAGES, image_topic)) if topic
    }
    if not given and len(inputs) > 1:
        msg = 'Both events_topic and image_topic are empty; set at least one of them.'
        raise ConfigError(msg)
    if not given or not set(given) <= set(inputs):
        raise ConfigError(wrong_input(segmenter.family, inputs))
    return given


def wrong_input(family: str, inputs: tuple[str, ...]) -> str:
    """Say what a network takes, and what to do."""
    if IMAGES in inputs:
        return (
            f'These weights of {family} take camera images: set image_topic to the topic of the '
            'camera and leave events_topic at its default or empty; for events choose model '
            'spikeseg or other weights.'
        )
    return (
        f'These weights of {family} take events: set events_topic and leave image_topic empty; '
        'for camera images choose other weights.'
    )


def event_stream(config: PerceptionConfig) -> EventStream:
    """Return the stream of events that the configuration describes."""
    from spikeseg_ros.events import EventStream

    events = config.events
    return EventStream(
        duration_ns=round(events.window_ms * 1e6),
        count=events.window_events,
        max_bytes=round(events.queue_mb * 1e6),
        silence_ns=round(events.silence_ms * 1e6),
    )
