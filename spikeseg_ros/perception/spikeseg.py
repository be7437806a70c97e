# SPDX-License-Identifier: Apache-2.0
"""The SpikeSEG family: events to spikes, spikes to instances, instances to objects with tracks."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, overload

import numpy as np

from spikeseg_ros.algorithms import (
    HULKDecoder,
    ObjectOptions,
    TrackerOptions,
    TrackerState,
    objects_from_batch,
)
from spikeseg_ros.algorithms.coherence import RHYTHM_STEPS, CoherenceOptions, Field
from spikeseg_ros.algorithms.scales import ScaledBatch, support
from spikeseg_ros.algorithms.tracking import update
from spikeseg_ros.algorithms.window import objects_from_scales
from spikeseg_ros.events.background import BLOCK
from spikeseg_ros.events.types import Events, EventWindow
from spikeseg_ros.images.contrast import contrast_spikes
from spikeseg_ros.models.encoder import trace_from_output
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.models.weights import find_weights, load_encoder
from spikeseg_ros.perception.devices import choose_device
from spikeseg_ros.perception.front import Foreground, foreground, pyramid
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel, ImageFrame
from spikeseg_ros.spiking.event_energy import spike_energy, spike_fan_out

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import (
        Instance,
        ObjectCandidate,
        TrackAssignment,
        WindowObjects,
    )
    from spikeseg_ros.models.chain import EncoderState
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.spiking.trace import SpikeTrace

# Events an object needs on a sensor of 240 x 180 pixels; the number follows the sensor's side.
SMALLEST_OBJECT = 50
COHERENCE = 'coherence'
# Before a moving background an object needs this share of all events: the flow is never exact.
MOVING_SHARE = 0.01
# Least side of a scale [cells]: the field of a class neuron.
LEAST_SIDE = 40
# Images have no rhythm.
IMAGE_LINKAGE = 'threshold'
REFERENCE_PIXELS = 240 * 180
COLORS = (
    (255, 159, 28),
    (46, 196, 182),
    (231, 29, 54),
    (142, 108, 255),
    (120, 200, 80),
    (255, 214, 70),
)


def smallest_object(height: int, width: int) -> int:
    """Return the events an object needs on a sensor of height x width pixels by default."""
    return round(SMALLEST_OBJECT * math.sqrt(height * width / REFERENCE_PIXELS))


class ObjectMemory(NamedTuple):
    """What is known about the objects so far.

    Attributes:
        tracker: Tracks.
        labels: Object of every pixel in the window before, -1 for none, shape (H, W), int16.
        velocity: Velocity (x, y) of these objects, nan before they are tracked, shape (K, 2)
            [px/s].
    """

    tracker: TrackerState = TrackerState()
    labels: NDArray[np.int16] | None = None
    velocity: NDArray[np.float64] | None = None


class SpikeSegState(NamedTuple):
    """What the family remembers from one window to the next.

    Attributes:
        objects: What is known about the objects.
        encoder: Membrane potentials by scale; None where every window starts from rest.
    """

    objects: ObjectMemory = ObjectMemory()
    encoder: tuple[EncoderState | None, ...] | None = None


class Fired(NamedTuple):
    """What the network made of one window or image.

    Attributes:
        frame: The input.
        seen: Its foreground; None for an image.
        traces: Records of the spikes by scale; valid until the next but one call of prepare.
        seconds: Seconds by stage.
    """

    frame: EventWindow | ImageFrame
    seen: Foreground | None
    traces: tuple[SpikeTrace, ...]
    seconds: dict[str, float]


class _Clock:
    """Seconds by stage, in order."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Note that a stage ended."""
        now = time.perf_counter()
        self.seconds[stage] = now - self._last
        self._last = now


class LazyInstances(Sequence['Instance']):
    """The instances of all scales; Python objects are made when the first one is asked for."""

    def __init__(self, scales: Sequence[ScaledBatch]) -> None:
        self._scales = tuple(scales)
        self._made: list[Instance] | None = None

    def __len__(self) -> int:
        """Return the number of instances."""
        return sum(len(item.batch) for item in self._scales)

    @overload
    def __getitem__(self, index: int) -> Instance: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Instance]: ...

    def __getitem__(self, index: int | slice) -> Instance | Sequence[Instance]:
        """Return one instance or a slice of them."""
        if self._made is None:
            self._made = [one for item in self._scales for one in item.to_instances()]
        return self._made[index]


class SpikeSegSegmenter:
    """SpikeSEG, HULK, ASH, SMASH, grouping and tracking behind the Segmenter protocol.

    On the CPU the network runs from spike to spike (EventDrivenEncoder); on CUDA one convolution
    per layer and window. Both give the same spikes. HULK and grouping run on the CPU.

    Not for concurrent calls; one instance per thread.
    """

    family = 'spikeseg'

    def __init__(self, config: PerceptionConfig) -> None:
        """Load the network.

        Args:
            config: Configuration.

        Raises:
            ConfigError: The device cannot be used.
            WeightsError: The weights cannot be used.
        """
        self.device = choose_device(config.device)
        self.encoder = load_encoder(find_weights(config.weights, self.family))
        self.hulk = HULKDecoder.from_encoder(self.encoder)
        self.encoder.to(self.device).eval()
        # One per scale, because each keeps buffers for one geometry.
        self._events: list[EventDrivenEncoder] = []
        self._polarities = self.encoder.config.input_channels
        count = self.encoder.config.n_classes
        names = ['moving object'] if count == 1 else [f'class {k + 1}' for k in range(count)]
        self.labels = (
            ClassLabel(0, 'background', (0, 0, 0)),
            *(ClassLabel(k + 1, name, COLORS[k % len(COLORS)]) for k, name in enumerate(names)),
        )
        self.config = config
        self.reconfigure(config)

    def reconfigure(self, config: PerceptionConfig) -> None:
        """Take over the options that may change at run time."""
        self.config = config
        self._coherent = config.objects.linkage == COHERENCE
        while self.device == 'cpu' and len(self._events) < _scales(config):
            self._events.append(EventDrivenEncoder.from_encoder(self.encoder))
        self._objects = ObjectOptions(
            smash_threshold=config.objects.smash_threshold,
            linkage=IMAGE_LINKAGE if self._coherent else config.objects.linkage,
            min_events=config.objects.min_events,
            max_objects=config.objects.max_objects,
            fill=config.objects.fill,
        )
        self._tracker = TrackerOptions(
            min_hits=config.tracking.min_hits,
            max_missed=config.tracking.max_missed,
            gate=config.tracking.gate,
        )

    def _least_events(self, height: int, width: int) -> int:
        """Return the events an object needs on a sensor of this size."""
        return self._objects.min_events or smallest_object(height, width)

    @property
    def fan_out(self) -> dict[str, int]:
        """Accumulations that one spike of a layer causes in the next one, away from the border."""
        layers = self.encoder.config.layers
        return spike_fan_out(
            [layer.kernel_size for layer in layers], [layer.out_channels for layer in layers]
        )

    def initial_state(self) -> SpikeSegState:
        """Return the state before the first window."""
        return SpikeSegState()

    def warm_up(self, width: int, height: int) -> None:
        """Run a window of random events, so that everything is compiled and allocated."""
        rng = np.random.default_rng(0)
        count = 20_000
        # A dense square makes every stage run, up to grouping and tracking.
        size = min(width, height, 60)
        x = rng.integers(0, size, count).astype(np.uint16)
        y = rng.integers(0, size, count).astype(np.uint16)
        p = rng.integers(0, 2, count).astype(np.uint8)
        t = np.sort(rng.integers(0, 50_000_000, count))
        window = EventWindow(Events(x, y, p, t), 0, 50_000_000, 50_000_000, width, height)
        self.segment(window, self.initial_state())

    def segment(
        self, frame: EventWindow | ImageFrame, state: SpikeSegState
    ) -> tuple[Result, SpikeSegState]:
        """Segment one window of events or one image.

        An image is seen as events: its local contrast, strongest first (rank-order latency).
        """
        fired, memory = self.prepare(frame, state.encoder)
        result, objects = self.complete(fired, state.objects)
        return result, SpikeSegState(objects, memory)

    def prepare(
        self,
        frame: EventWindow | ImageFrame,
        memory: tuple[EncoderState | None, ...] | None,
    ) -> tuple[Fired, tuple[EncoderState | None, ...] | None]:
        """Run the network: the first half of segment.

        It may run in one thread while complete runs on the window before in another; not further
        ahead, because the record lives in buffers that are used in turn.

        Args:
            frame: Window of events or image.
            memory: Membrane potentials that the previous call returned; None at the beginning.
        """
        clock = _Clock()
        options = self.config.spikeseg
        inputs: tuple[NDArray[np.uint8], ...]
        seen = None
        if isinstance(frame, ImageFrame):
            inputs = (contrast_spikes(frame.image, options.steps, self._polarities),)
        else:
            seen = foreground(frame, self.config.events.egomotion)
            clock.mark('motion')
            scales = _scales(self.config, frame.height, frame.width)
            inputs = pyramid(frame, seen, options.steps, scales, self._polarities)
        clock.mark('bin')
        before = memory if memory is not None and len(memory) == len(inputs) else None
        traces, after = [], []
        for scale, spikes in enumerate(inputs):
            trace, state = self._encode(spikes, before[scale] if before else None, scale)
            traces.append(trace)
            after.append(state)
        clock.mark('encoder')
        kept = tuple(after) if options.streaming else None
        return Fired(frame, seen, tuple(traces), clock.seconds), kept

    def complete(self, fired: Fired, memory: ObjectMemory) -> tuple[Result, ObjectMemory]:
        """Turn what fired into objects with tracks: the second half of segment.

        Args:
            fired: What prepare returned.
            memory: What the previous call returned; ObjectMemory() at the beginning.
        """
        frame = fired.frame
        n_events = duration = 0
        if not isinstance(frame, ImageFrame):
            n_events, duration = len(frame.events), frame.duration
        geometry = fired.traces[0].geometry
        clock = _Clock()
        scales = self._unravelled(fired)
        clock.mark('hulk')
        found, labels = self._grouped(fired, scales, memory)
        clock.mark('objects')
        tracks, tracker, velocity = None, memory.tracker, None
        if self.config.tracking.enabled:
            tracks, tracker = update(tracker, found.objects, frame.stamp, self._tracker)
            velocity = np.array(
                [item.velocity if item.track_id else (np.nan, np.nan) for item in tracks]
            ).reshape(-1, 2)
        clock.mark('tracks')
        ids = np.concatenate([item.batch.ids + item.first_id for item in scales])
        spikes = {
            name: sum(trace.counts[name] for trace in fired.traces)
            for name in fired.traces[0].counts
        }
        result = Result(
            stamp=frame.stamp,
            duration=duration,
            frame_id=frame.frame_id,
            width=geometry.width,
            height=geometry.height,
            model=self.family,
            objects=tuple(
                self._object(item, tracks[number] if tracks is not None else None)
                for number, item in enumerate(found.objects)
            ),
            instances=LazyInstances(scales),
            object_of_instance=dict(zip(ids.tolist(), found.of_instance.tolist(), strict=True)),
            n_events=n_events,
            epoch=frame.epoch,
            index=frame.index,
            spikes={**spikes, 'dropped': sum(item.batch.n_dropped for item in scales)},
            energy=spike_energy(spikes, self.fan_out) if self.config.energy else {},
            timings={**fired.seconds, **clock.seconds},
        )
        return result, ObjectMemory(tracker, labels, velocity)

    def _unravelled(self, fired: Fired) -> list[ScaledBatch]:
        """Return the instances of every scale."""
        options = self.config.spikeseg
        height, width = fired.traces[0].geometry.height, fired.traces[0].geometry.width
        scales: list[ScaledBatch] = []
        first = 0
        for level, trace in enumerate(fired.traces):
            batch = self.hulk.instances_from_trace(
                trace, options.max_instances, mode=options.hulk_mode
            )
            scales.append(ScaledBatch(batch, level, first, height, width))
            first += batch.n_spikes
        return scales

    def _grouped(
        self, fired: Fired, scales: list[ScaledBatch], memory: ObjectMemory
    ) -> tuple[WindowObjects, NDArray[np.int16] | None]:
        """Return the objects, and the object of every pixel for the next window."""
        frame, seen = fired.frame, fired.seen
        height, width = scales[0].height, scales[0].width
        least, options = self._least_events(height, width), self.config.objects
        if isinstance(frame, ImageFrame) or seen is None or not self._coherent:
            columns = rows = None
            if seen is not None:
                columns, rows = seen.events.x, seen.events.y
            how = dataclasses.replace(self._objects, min_events=least)
            return objects_from_batch(scales[0].batch, columns, rows, how), None
        events, before = seen.events, memory.labels if options.memory else None
        if before is not None and before.shape != (height, width):
            before = None
        motion = None
        if before is not None and memory.velocity is not None:
            motion = memory.velocity * (frame.duration * 1e-9)
        field = Field(
            events.x,
            events.y,
            (events.t - frame.t_start) * RHYTHM_STEPS // max(1, frame.duration),
            support(scales),
            seen.background,
            BLOCK,
            before,
            motion,
        )
        # Where the background moves, a gap that shows it parts two objects.
        reach = 0.0 if seen.moving else options.reach
        if seen.moving:
            least = max(least, round(MOVING_SHARE * len(frame.events)))
        how_coherent = CoherenceOptions(options.split, options.join, reach, least)
        return objects_from_scales(scales, field, how_coherent, options.max_objects, options.fill)

    def _object(self, item: ObjectCandidate, track: TrackAssignment | None) -> SegmentedObject:
        """Return an object of the window in the form of the results."""
        label = item.class_id + 1
        return SegmentedObject(
            object_id=item.object_id,
            box=item.box,
            mask=item.mask,
            class_id=label,
            class_name=self.labels[label].name,
            score=item.score,
            centroid=item.centroid,
            n_events=item.n_events,
            instance_ids=item.instance_ids,
            track_id=track.track_id if track else 0,
            track_age=track.age if track else 0,
            velocity=track.velocity if track else (0.0, 0.0),
        )

    def _encode(
        self, inputs: NDArray[np.uint8], state: EncoderState | None, scale: int
    ) -> tuple[SpikeTrace, EncoderState | None]:
        """Run the network on the chosen device."""
        options = self.config.spikeseg
        before = state.next_window(renew_fired=True) if state is not None else None
        if self._events:
            return self._events[scale].encode(
                inputs,
                before,
                keep_state=options.streaming,
                class_threshold_scale=options.threshold_scale,
            )
        import torch

        with torch.inference_mode():
            spikes = torch.from_numpy(inputs).to(self.device, non_blocking=True)
            spikes = spikes.permute(0, 3, 1, 2)[:, None].float()
            theta = self.encoder.neurons('conv3').threshold * options.threshold_scale
            output = self.encoder(spikes, layer_thresholds={'conv3': theta}, state=before)
            return trace_from_output(output), output.state if options.streaming else None


def _scales(config: PerceptionConfig, height: int = 1 << 30, width: int = 1 << 30) -> int:
    """Return the number of scales the network looks at; the other linkages know one.

    Scales at which the sensor is smaller than LEAST_SIDE are left out.
    """
    if config.objects.linkage != COHERENCE:
        return 1
    useful = max(1, (min(height, width) // LEAST_SIDE).bit_length())
    return min(config.spikeseg.scales, useful)
