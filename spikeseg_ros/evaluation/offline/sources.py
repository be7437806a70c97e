# SPDX-License-Identifier: Apache-2.0
"""What of a recording a network is shown, and how long that is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeseg_ros.evaluation.offline.event_replay import EventReplay, event_topic
from spikeseg_ros.evaluation.offline.image_replay import ImageReplay
from spikeseg_ros.perception.config import from_flat
from spikeseg_ros.perception.inputs import accepted
from spikeseg_ros.perception.registry import create
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES
from spikeseg_ros.recordings.opening import EventRecording, image_topics, open_recording

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikeseg_ros.evaluation.offline.replay import Replay

REPLAYS: dict[str, type[Replay]] = {EVENTS: EventReplay, IMAGES: ImageReplay}


def kind_for(segmenter: Any) -> str:
    """Return what a network is shown: events where it takes them, else camera images."""
    return EVENTS if EVENTS in accepted(segmenter) else IMAGES


def replay_of(summary: Mapping[str, Any]) -> type[Replay]:
    """Return what a finished run was shown, after its summary."""
    return REPLAYS[summary.get('input', EVENTS)]


def reading_length(path: Path, topic: str, config: Mapping[str, Any]) -> int:
    """Return how many steps a reading will take; 0 where that is not known.

    A step is a message of a bag, or some bytes of another file.

    Args:
        path: The recording.
        topic: Topic that is read; empty = the one with most messages.
        config: Options of the perception by dotted name.
    """
    try:
        with open_recording(path, topic or None) as reader:
            if isinstance(reader, EventRecording):
                return reader.length
            if not topic:
                images = image_topics(reader.topics)
                # Only where there are both, it is worth loading the network to know.
                both = images and reader.event_topics
                if both and config.get('model', '') not in ('', 'spikeseg'):
                    kind = kind_for(create(from_flat(config)))
                else:
                    kind = EVENTS if reader.event_topics else IMAGES
                topic = images[0] if kind == IMAGES and images else event_topic(reader, topic)
            return reader.topics[topic].count
    except (ValueError, OSError, KeyError):
        return 0
