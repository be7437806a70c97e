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
from spikeseg_ros.algorithms.tracking import update
from spikeseg_ros.events.binning import bin_events
from spikeseg_ros.events.types import Events
from spikeseg_ros.images.contrast import contrast_spikes
from spikeseg_ros.models.encoder import trace_from_output
from spikeseg_ros.models.event_encoder import EventDrivenEncoder
from spikeseg_ros.models.weights import load_encoder, packaged_weights
from spikeseg_ros.perception.devices import choose_device
from spikeseg_ros.perception.result import Result, SegmentedObject
from spikeseg_ros.perception.segmenter import ClassLabel, ImageFrame

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikeseg_ros.algorithms import (
        Instance,
        InstanceBatch,
        ObjectCandidate,
        TrackAssignment,
    )
    from spikeseg_ros.events.types import EventWindow
    from spikeseg_ros.models.chain import EncoderState
    from spikeseg_ros.perception.config import PerceptionConfig
    from spikeseg_ros.spiking.trace import SpikeTrace

# Events an object needs on a sensor of 240 x 180 pixels; the number follows the sensor's side.
SMALLEST_OBJECT = 50
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


class SpikeSegState(NamedTuple):
    """What the family remembers from one window to the next.

    Attributes:
        tracker: Tracks.
        encoder: Membrane potentials; None where every window starts from rest.
    """

    tracker: TrackerState = TrackerState()
    encoder: EncoderState | None = None


class Fired(NamedTuple):
    """What the network made of one window or image.

    Attributes:
        frame: The input.
        trace: Record of the spikes; valid until the next but one call of prepare.
        seconds: Seconds by stage.
    """

    frame: EventWindow | ImageFrame
    trace: SpikeTrace
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
    """The instances of a batch; Python objects are made when the first one is asked for."""

    def __init__(self, batch: InstanceBatch) -> None:
        self._batch = batch
        self._made: list[Instance] | None = None

    def __len__(self) -> int:
        """Return the number of instances."""
        return len(self._batch)

    @overload
    def __getitem__(self, index: int) -> Instance: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Instance]: ...

    def __getitem__(self, index: int | slice) -> Instance | Sequence[Instance]:
        """Return one instance or a slice of them."""
        if self._made is None:
            self._made = self._batch.to_instances()
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
        self.encoder = load_encoder(config.weights or packaged_weights())
        self.hulk = HULKDecoder.from_encoder(self.encoder)
        self.encoder.to(self.device).eval()
        self._events = (
            EventDrivenEncoder.from_encoder(self.encoder) if self.device == 'cpu' else None
        )
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
        self._objects = ObjectOptions(
            smash_threshold=config.objects.smash_threshold,
            linkage=config.objects.linkage,
            min_events=config.objects.min_events,
            max_objects=config.objects.max_objects,
            fill=config.objects.fill,
        )
        self._tracker = TrackerOptions(
            min_hits=config.tracking.min_hits,
            max_missed=config.tracking.max_missed,
            gate=config.tracking.gate,
        )

    def _object_options(self, height: int, width: int) -> ObjectOptions:
        """Return how objects are made on a sensor of this size."""
        if self._objects.min_events:
            return self._objects
        return dataclasses.replace(self._objects, min_events=smallest_object(height, width))

    @property
    def fan_out(self) -> dict[str, int]:
        """Accumulations that one spike of a layer causes in the next one, away from the border."""
        layers = self.encoder.config.layers
        sources = ('input', 'conv1', 'conv2')
        return {
            source: layer.kernel_size**2 * layer.out_channels
            for source, layer in zip(sources, layers, strict=True)
        }

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
        inputs = self._bin(Events(x, y, p, t), 0, 50_000_000, height, width)
        trace, _ = self._encode(inputs, None)
        batch = self.hulk.instances_from_trace(trace, 50, mode=self.config.spikeseg.hulk_mode)
        found = objects_from_batch(batch, x, y, self._objects)
        update(TrackerState(), found.objects, 0, self._tracker)

    def segment(
        self, frame: EventWindow | ImageFrame, state: SpikeSegState
    ) -> tuple[Result, SpikeSegState]:
        """Segment one window of events or one image.

        An image is seen as events: its local contrast, strongest first (rank-order latency).
        """
        fired, memory = self.prepare(frame, state.encoder)
        result, tracker = self.complete(fired, state.tracker)
        return result, SpikeSegState(tracker, memory)

    def prepare(
        self, frame: EventWindow | ImageFrame, memory: EncoderState | None
    ) -> tuple[Fired, EncoderState | None]:
        """Run the network: the first half of segment.

        It may run in one thread while complete runs on the window before in another; not further
        ahead, because the record lives in buffers that are used in turn.

        Args:
            frame: Window of events or image.
            memory: Membrane potentials that the previous call returned; None at the beginning.
        """
        clock = _Clock()
        if isinstance(frame, ImageFrame):
            inputs = contrast_spikes(frame.image, self.config.spikeseg.steps, self._polarities)
        else:
            inputs = self._bin(frame.events, frame.t_start, frame.t_end, frame.height, frame.width)
        clock.mark('bin')
        trace, memory = self._encode(inputs, memory)
        clock.mark('encoder')
        return Fired(frame, trace, clock.seconds), memory

    def complete(self, fired: Fired, tracker: TrackerState) -> tuple[Result, TrackerState]:
        """Turn what fired into objects with tracks: the second half of segment.

        Args:
            fired: What prepare returned.
            tracker: Tracks that the previous call returned; TrackerState() at the beginning.
        """
        frame, trace = fired.frame, fired.trace
        columns = rows = None
        n_events = duration = 0
        if not isinstance(frame, ImageFrame):
            columns, rows = frame.events.x, frame.events.y
            n_events, duration = len(frame.events), frame.duration
        height, width = trace.geometry.height, trace.geometry.width
        options = self.config.spikeseg
        clock = _Clock()
        batch = self.hulk.instances_from_trace(
            trace, options.max_instances, mode=options.hulk_mode
        )
        clock.mark('hulk')
        found = objects_from_batch(batch, columns, rows, self._object_options(height, width))
        clock.mark('objects')
        tracks = None
        if self.config.tracking.enabled:
            tracks, tracker = update(tracker, found.objects, frame.stamp, self._tracker)
        clock.mark('tracks')
        result = Result(
            stamp=frame.stamp,
            duration=duration,
            frame_id=frame.frame_id,
            width=width,
            height=height,
            model=self.family,
            objects=tuple(
                self._object(item, tracks[number] if tracks is not None else None)
                for number, item in enumerate(found.objects)
            ),
            instances=LazyInstances(batch),
            object_of_instance=dict(
                zip(batch.ids.tolist(), found.of_instance.tolist(), strict=True)
            ),
            n_events=n_events,
            epoch=frame.epoch,
            index=frame.index,
            spikes={**trace.counts, 'dropped': batch.n_dropped},
            timings={**fired.seconds, **clock.seconds},
        )
        return result, tracker

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

    def _bin(
        self, events: Events, start: int, end: int, height: int, width: int
    ) -> NDArray[np.uint8]:
        """Return the spikes of a window, shape (T, H, W, P), uint8."""
        return bin_events(
            events,
            start,
            end,
            self.config.spikeseg.steps,
            height,
            width,
            polarities=self._polarities,
        )

    def _encode(
        self, inputs: NDArray[np.uint8], state: EncoderState | None
    ) -> tuple[SpikeTrace, EncoderState | None]:
        """Run the network on the chosen device."""
        options = self.config.spikeseg
        before = state.next_window(renew_fired=True) if state is not None else None
        if self._events is not None:
            return self._events.encode(
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
