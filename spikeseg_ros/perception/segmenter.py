# SPDX-License-Identifier: Apache-2.0
"""The one interface that every model family implements."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.perception.result import Result

# Kinds of input.
EVENTS, IMAGES = 'events', 'images'


@dataclass(frozen=True)
class ImageFrame:
    """One camera image.

    Attributes:
        image: Pixels, shape (H, W, 3), uint8, red-green-blue.
        stamp: ROS time of the image [ns].
        frame_id: Frame of the camera.
        index: Number of the image since the stream's last reset, from 0.
        epoch: Counts resets of the stream.
        arrival: Steady-clock time at which it was received [ns]; 0 where unknown.
    """

    image: NDArray[np.uint8]
    stamp: int
    frame_id: str = ''
    index: int = 0
    epoch: int = 0
    arrival: int = 0


@dataclass(frozen=True)
class ClassLabel:
    """Name and colour of a class id.

    Attributes:
        id: Class id as it stands in masks; 0 is background.
        name: Name of the class.
        color: Red, green, blue, each 0 .. 255.
    """

    id: int
    name: str
    color: tuple[int, int, int]


@runtime_checkable
class Segmenter(Protocol):
    """A model family, ready to run: a pure function of (input, state).

    Attributes:
        family: Name in the registry.
        labels: Classes of the masks, background included.
        device: Device the network runs on, for diagnostics.

    A family that does not take both kinds of input names those it takes in `inputs`. `notes` may
    hold texts for the user, which the node logs as warnings.
    """

    family: str
    labels: tuple[ClassLabel, ...]
    device: str

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over the options that may change at run time."""

    def initial_state(self) -> Any:
        """Return the state before the first input (also to be used after a reset)."""

    def warm_up(self, width: int, height: int) -> None:
        """Compile and allocate for inputs of this size, so that the first tick is not slow."""

    def segment(self, frame: EventWindow | ImageFrame, state: Any) -> tuple[Result, Any]:
        """Segment one window or image.

        Args:
            frame: Window of events or image.
            state: State that the previous call returned, or initial_state().

        Returns:
            The result and the state for the next call. The given state is not changed.
        """


@runtime_checkable
class StagedSegmenter(Segmenter, Protocol):
    """A family whose segment is complete(prepare(...)), so that two windows can overlap.

    prepare may run in one thread on a window while complete runs in another on the window before,
    not further ahead. Its state has the fields objects and encoder.
    """

    def prepare(self, frame: EventWindow | ImageFrame, memory: Any) -> tuple[Any, Any]:
        """Run the network. Returns what complete needs, and the memory for the next call."""

    def complete(self, fired: Any, objects: Any) -> tuple[Result, Any]:
        """Turn what fired into a result. Returns it with what it knows of the objects."""
