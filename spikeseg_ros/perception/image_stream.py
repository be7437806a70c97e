# SPDX-License-Identifier: Apache-2.0
"""Camera images: from message to frame, and their hand-over, in which the newest one wins."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from spikeseg_ros.images.codecs import compressed_to_rgb, image_to_rgb
from spikeseg_ros.perception.segmenter import ImageFrame
from spikeseg_ros.perception.wire import to_nanoseconds

if TYPE_CHECKING:
    from collections.abc import Callable


def read_image(message: Any, *, packed: bool, arrival: int = 0) -> ImageFrame:
    """Return an image message, of ROS or from a recording, as ImageFrame.

    Args:
        message: sensor_msgs Image or CompressedImage.
        packed: Whether it is a CompressedImage.
        arrival: Steady-clock time of its reception [ns].

    Raises:
        ImageError: The message is no image that can be read.
    """
    rgb = compressed_to_rgb(message) if packed else image_to_rgb(message)
    stamp = to_nanoseconds(message.header.stamp)
    return ImageFrame(rgb, stamp, message.header.frame_id, arrival=arrival)


@dataclass
class ImageCounters:
    """What happened to the images of a stream.

    Attributes:
        packets: Messages received.
        bytes: Bytes of their pixels, as received.
        dropped_packets: Messages replaced by a newer one before they were looked at.
        bad_packets: Messages that could not be decoded.
        lost_packets: Always 0: image messages carry no sequence number.
        resets: How often time ran backwards or the size changed.
        last_error: Text of the last decoding error.
    """

    packets: int = 0
    bytes: int = 0
    dropped_packets: int = 0
    bad_packets: int = 0
    lost_packets: int = 0
    resets: int = 0
    last_error: str = ''


class ImageStream:
    """Images from any thread to the worker; decoding happens in the worker.

    Args:
        decode: Turns (message, arrival time [ns]) into an ImageFrame; raises ValueError for a
            message that is no image.
    """

    def __init__(self, decode: Callable[[Any, int], ImageFrame]) -> None:
        self.counters = ImageCounters()
        self._decode = decode
        self._lock = threading.Lock()
        self._newest: tuple[Any, int] | None = None
        self._index = 0
        self._epoch = 0
        self._last: tuple[int, tuple[int, ...]] | None = None

    def push(self, message: Any, arrival: int, size: int = 0) -> None:
        """Hand a message over, replacing one that still waits. Never blocks.

        Args:
            message: Message for decode.
            arrival: Steady-clock time of its reception [ns].
            size: Bytes it carries, for the statistics.
        """
        with self._lock:
            self.counters.packets += 1
            self.counters.bytes += size
            if self._newest is not None:
                self.counters.dropped_packets += 1
            self._newest = (message, arrival)

    def poll(self, now: int) -> list[ImageFrame]:
        """Return the newest image, decoded, or nothing.

        Args:
            now: Steady-clock time [ns]; not needed for images.
        """
        del now
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is None:
            return []
        try:
            frame = self._decode(*newest)
        except ValueError as err:
            self.counters.bad_packets += 1
            self.counters.last_error = str(err)
            return []
        shape = tuple(frame.image.shape)
        if self._last is not None and (frame.stamp < self._last[0] or shape != self._last[1]):
            self.reset()
        self._last = (frame.stamp, shape)
        self._index += 1
        return [replace(frame, index=self._index - 1, epoch=self._epoch)]

    def reset(self) -> None:
        """Begin a new epoch: what follows has nothing to do with what came before."""
        self.counters.resets += 1
        self._epoch += 1
        self._index = 0
        self._last = None
