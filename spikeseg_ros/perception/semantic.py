# SPDX-License-Identifier: Apache-2.0
"""Families that give every pixel a class: images or event frames to masks, objects and tracks.

What differs between the families is behind `SemanticNetwork`; sizes, masks, objects and tracks
are treated here, once. Class k of a network is k + 1 in masks; 0 says that nothing is known.
"""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch

from spikeseg_ros.algorithms import TrackerOptions, TrackerState
from spikeseg_ros.algorithms.tracking import update
from spikeseg_ros.events.frames import window_frames
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.perception.inputs import wrong_input
from spikeseg_ros.perception.option import ConfigError
from spikeseg_ros.perception.placing import place_frames, place_image, placement, spread
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES, ClassLabel, ImageFrame
from spikeseg_ros.perception.things import chosen_classes, find_things, smallest_area
from spikeseg_ros.spiking.energy import EnergyProbe

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from spikeseg_ros.algorithms import TrackAssignment
    from spikeseg_ros.events.frames import Framing
    from spikeseg_ros.images.resize import Letterbox
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.perception.things import Thing

UNKNOWN = ClassLabel(0, 'unknown', (0, 0, 0))
# 255 stays free for pixels without a label.
MAX_CLASSES = 254


class SemanticNetwork(Protocol):
    """A trained network on its device, ready for inference.

    Attributes:
        family: Name in the registry.
        device: 'cpu' or 'cuda'.
        classes: Names of the classes.
        colors: RGB colour of each class.
        size: Rows and columns that it was trained for; zeros where the weights do not say.
        multiple: Its sides must be multiples of this.
        framing: How windows of events become its input; None for camera images.
        fill: Colour that stands for nothing.
        network: What `logits` runs, for counting its operations.
    """

    family: str
    device: str
    classes: tuple[str, ...]
    colors: tuple[tuple[int, int, int], ...]
    size: tuple[int, int]
    multiple: int
    framing: Framing | None
    fill: tuple[int, int, int]
    network: Any

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the network runs; it may grow with the inputs."""

    def logits(self, inputs: NDArray[Any], state: Any) -> tuple[Tensor, Any]:
        """Return a score of each class at each place of the input.

        Args:
            inputs: Colour image (H, W, 3), uint8; or event frames (T, C, H, W), float32.
            state: Membrane potentials that the previous call returned; None = at rest.

        Returns:
            Scores (1, classes, h, w) on the device, for the whole input; and the new state, None
            where potentials are not kept.
        """

    def probabilities(self, scores: Tensor) -> Tensor:
        """Return the probability of each class, shape (classes, N), of scores of that shape."""


class Carried(NamedTuple):
    """Membrane potentials between two inputs.

    Attributes:
        size: Rows and columns of the input that they belong to.
        potentials: What the network returned.
    """

    size: tuple[int, int]
    potentials: Any


class SemanticState(NamedTuple):
    """What a family remembers from one input to the next.

    Attributes:
        objects: Tracks.
        encoder: Membrane potentials; None where every input starts from rest.
    """

    objects: TrackerState = TrackerState()
    encoder: Carried | None = None


class Seen(NamedTuple):
    """What the network made of an input.

    Attributes:
        frame: The input.
        mask: Class ids, shape (H, W), uint8.
        probability: Probability of that class where it is one of which objects are made, shape
            (H, W), float32; 0 elsewhere.
        seconds: Seconds by stage.
        energy: What the network did, where it is counted.
    """

    frame: EventWindow | ImageFrame
    mask: NDArray[np.uint8]
    probability: NDArray[np.float32]
    seconds: dict[str, float]
    energy: dict[str, float]


class SemanticSegmenter:
    """A segmentation network behind the StagedSegmenter protocol.

    Args:
        config: Configuration.
        network: The network.

    Attributes:
        inputs: Kinds of input that the weights are for.

    Raises:
        ConfigError: An option does not fit the network.
    """

    def __init__(self, config: PerceptionConfig, network: SemanticNetwork) -> None:
        self.network = network
        self.family, self.device = network.family, network.device
        if not 1 <= len(network.classes) <= MAX_CLASSES:
            msg = f'Masks hold 1 .. {MAX_CLASSES} classes, the weights {len(network.classes)}.'
            raise ConfigError(msg)
        self.labels = (
            UNKNOWN,
            *(
                ClassLabel(number + 1, name, color)
                for number, (name, color) in enumerate(
                    zip(network.classes, network.colors, strict=True)
                )
            ),
        )
        self.inputs = (IMAGES,) if network.framing is None else (EVENTS,)
        things = chosen_classes(config.semantic.things, network.classes)
        self._things = tuple(number + 1 for number in things)
        self._countable = torch.zeros(len(self.labels), dtype=torch.bool, device=self.device)
        self._countable[list(self._things)] = True
        self._notes = _notes(config, network)
        self.reconfigure(config)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about options, weights and device; later ones at the end."""
        return self._notes + self.network.notes

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over the options that may change at run time."""
        self.config = config
        self._tracker = TrackerOptions(
            min_hits=config.tracking.min_hits,
            max_missed=config.tracking.max_missed,
            gate=config.tracking.gate,
        )

    def initial_state(self) -> SemanticState:
        """Return the state before the first input."""
        return SemanticState()

    def warm_up(self, width: int, height: int) -> None:
        """Run one input of this size, so that everything is compiled and allocated."""
        frame: EventWindow | ImageFrame
        if self.network.framing is None:
            frame = ImageFrame(np.full((height, width, 3), self.network.fill, np.uint8), 0)
        else:
            end = self.network.framing.window
            frame = EventWindow(Events.empty(), 0, end, end, width, height)
        state = self.initial_state()
        # Twice, because kept potentials may take another path.
        for _ in range(2):
            _, state = self.segment(frame, state)

    def placement(self, height: int, width: int) -> Letterbox:
        """Return where inputs of this size lie in what the network sees."""
        image, trained = self.config.image, self.network.size
        target = (image.height, image.width) if image.height or image.width else trained
        return _placement((height, width), target, image.keep_ratio, self.network.multiple)

    def segment(
        self, frame: EventWindow | ImageFrame, state: SemanticState
    ) -> tuple[Result, SemanticState]:
        """Segment one window of events or one image.

        Raises:
            ConfigError: The network is for the other kind of input.
        """
        seen, carried = self.prepare(frame, state.encoder)
        result, objects = self.complete(seen, state.objects)
        return result, SemanticState(objects, carried)

    def prepare(
        self, frame: EventWindow | ImageFrame, memory: Carried | None
    ) -> tuple[Seen, Carried | None]:
        """Run the network and say which class each pixel has: the first half of segment.

        Args:
            frame: Window of events or image.
            memory: What the previous call returned; None at the beginning.

        Raises:
            ConfigError: The network is for the other kind of input.
        """
        begin = time.perf_counter()
        inputs, box = self._placed(frame)
        placed = time.perf_counter()
        fits = memory is not None and memory.size == box.target
        potentials = memory.potentials if memory is not None and fits else None
        with torch.inference_mode():
            scores, after, energy = self._scores(inputs, potentials)
            if self.device == 'cuda':
                torch.cuda.synchronize()
            computed = time.perf_counter()
            mask, probability = self._mask(spread(scores, box))
        seconds = {
            'resize': placed - begin,
            'network': computed - placed,
            'mask': time.perf_counter() - computed,
        }
        carried = None if after is None else Carried(box.target, after)
        return Seen(frame, mask, probability, seconds, energy), carried

    def complete(self, seen: Seen, memory: TrackerState) -> tuple[Result, TrackerState]:
        """Turn a mask into objects with tracks: the second half of segment.

        Args:
            seen: What prepare returned.
            memory: What the previous call returned; TrackerState() at the beginning.
        """
        begin = time.perf_counter()
        frame, mask, options = seen.frame, seen.mask, self.config.semantic
        height, width = mask.shape
        things = find_things(
            mask,
            seen.probability,
            self._things,
            smallest_area(options.min_area, height, width),
            options.min_score,
            self.config.objects.max_objects,
        )
        found = time.perf_counter()
        tracks: tuple[TrackAssignment | None, ...] = (None,) * len(things)
        if self.config.tracking.enabled:
            tracks, memory = update(memory, things, frame.stamp, self._tracker)
        pairs = enumerate(zip(things, tracks, strict=True))
        n_events = duration = 0
        if isinstance(frame, EventWindow):
            n_events, duration = len(frame.events), frame.duration
        result = Result(
            stamp=frame.stamp,
            duration=duration,
            frame_id=frame.frame_id,
            width=width,
            height=height,
            model=self.family,
            objects=tuple(
                self._object(number, item, track, frame) for number, (item, track) in pairs
            ),
            class_ids=mask,
            n_events=n_events,
            epoch=frame.epoch,
            index=frame.index,
            energy=seen.energy,
            timings={
                **seen.seconds,
                'objects': found - begin,
                'tracks': time.perf_counter() - found,
            },
        )
        return result, memory

    def _placed(self, frame: EventWindow | ImageFrame) -> tuple[NDArray[Any], Letterbox]:
        """Return an input as the network sees it.

        Raises:
            ConfigError: The network is for the other kind of input.
        """
        framing = self.network.framing
        if isinstance(frame, ImageFrame) is not (framing is None):
            raise ConfigError(wrong_input(self.family, self.inputs))
        if isinstance(frame, ImageFrame):
            box = self.placement(*frame.image.shape[:2])
            return place_image(frame.image, box, self.network.fill), box
        assert framing is not None
        box = self.placement(frame.height, frame.width)
        return place_frames(window_frames(frame, framing.steps, framing.bins), box), box

    def _scores(
        self, inputs: NDArray[Any], potentials: Any
    ) -> tuple[Tensor, Any, dict[str, float]]:
        """Run the network; returns scores, potentials, and what it did where that is counted."""
        if not self.config.energy:
            return *self.network.logits(inputs, potentials), {}
        with EnergyProbe(self.network.network) as probe:
            scores, after = self.network.logits(inputs, potentials)
            return scores, after, probe.take().totals()

    def _mask(self, scores: Tensor) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Return class ids, and probabilities where objects may be, of scores (K, H, W)."""
        best = scores[0].clone()
        ids = torch.ones_like(best, dtype=torch.uint8)
        # Pairwise, because argmax over the first axis does not vectorise.
        for number in range(1, len(scores)):
            better = scores[number] > best
            ids.masked_fill_(better, number + 1)
            best = torch.maximum(best, scores[number])
        probability = torch.zeros_like(best)
        places = torch.nonzero(self._countable[ids.long()].view(-1)).view(-1)
        if len(places):
            chosen = self.network.probabilities(scores.view(len(scores), -1)[:, places])
            probability.view(-1)[places] = chosen.amax(dim=0)
        mask: NDArray[np.uint8] = ids.cpu().numpy()
        return mask, probability.cpu().numpy()

    def _object(
        self,
        number: int,
        item: Thing,
        track: TrackAssignment | None,
        frame: EventWindow | ImageFrame,
    ) -> SegmentedObject:
        """Return an object in the form of the results."""
        count = 0
        if isinstance(frame, EventWindow):
            x, y = frame.events.x.astype(np.intp), frame.events.y.astype(np.intp)
            box = item.box
            near = (x >= box.x_min) & (x <= box.x_max) & (y >= box.y_min) & (y <= box.y_max)
            inside = item.mask[y[near] - box.y_min, x[near] - box.x_min]
            count = int(np.count_nonzero(inside))
        return SegmentedObject(
            object_id=number,
            box=item.box,
            mask=item.mask,
            class_id=item.class_id,
            class_name=self.labels[item.class_id].name,
            score=item.score,
            centroid=item.centroid,
            n_events=count,
            track_id=track.track_id if track else 0,
            track_age=track.age if track else 0,
            velocity=track.velocity if track else (0.0, 0.0),
        )


def _notes(config: PerceptionConfig, network: SemanticNetwork) -> tuple[str, ...]:
    """Return what the user should know about these options with this network."""
    framing, notes = network.framing, []
    if framing is not None and not config.events.window_events:
        trained = framing.window / 1e6
        if abs(config.events.window_ms - trained) > 1e-6 * trained:
            notes.append(
                f'events.window_ms is {config.events.window_ms:g}, these weights were trained '
                f'with windows of {trained:g} ms; set it to that for the best masks.'
            )
    return tuple(notes)


@functools.lru_cache(maxsize=8)
def _placement(
    source: tuple[int, int], target: tuple[int, int], keep_ratio: bool, multiple: int
) -> Letterbox:
    """Return the placement of a size; cached."""
    return placement(source, target, keep_ratio=keep_ratio, multiple=multiple)
