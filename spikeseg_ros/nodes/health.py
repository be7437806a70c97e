# SPDX-License-Identifier: Apache-2.0
"""The state of a perception node in numbers and words. Free of ROS imports."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikeseg_ros.perception.segmenter import IMAGES
from spikeseg_ros.spiking.energy_report import CONSTANTS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from spikeseg_ros.perception.pipeline import Pipeline

OK, WARN, ERROR, STALE = 0, 1, 2, 3


@dataclass(frozen=True)
class Status:
    """One line of a diagnostic message.

    Attributes:
        name: What it is about.
        level: OK, WARN, ERROR or STALE.
        text: One sentence; where the level is not OK it says what to do.
        values: Numbers and texts by name.
    """

    name: str
    level: int
    text: str
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class InputState:
    """What the node knows about an input beyond its counters.

    Attributes:
        topic: Resolved topic.
        publishers: Number of publishers.
        last_message: Steady-clock time of the last message [ns]; 0 = none since activation.
        mismatch: Text about a publisher whose QoS does not fit, or ''.
    """

    topic: str
    publishers: int
    last_message: int
    mismatch: str = ''


@dataclass
class Rates:
    """Turns growing counters into numbers per second."""

    values: dict[str, float] = field(default_factory=dict)
    time: int = 0

    def update(self, now: int, counts: Mapping[str, float]) -> dict[str, float]:
        """Return the increase per second of every counter since the last call.

        Args:
            now: Steady-clock time [ns].
            counts: Counters by name.
        """
        span = (now - self.time) / 1e9
        known = self.time > 0 and span > 0
        rates = {
            name: max(0.0, value - self.values.get(name, 0.0)) / span if known else 0.0
            for name, value in counts.items()
        }
        self.time, self.values = now, dict(counts)
        return rates


class Monitor:
    """Judges one pipeline from one period to the next.

    Args:
        name: Name of the input, for example 'events'.
        timeout: Without a message for this long the input is reported [s].
    """

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self._timeout = timeout
        self._rates = Rates()
        self._before: dict[str, float] = {}

    def check(self, pipeline: Pipeline, state: InputState, now: int, ros_now: int) -> list[Status]:
        """Return the status of the input and of its processing.

        Args:
            pipeline: The pipeline.
            state: The input as the node sees it.
            now: Steady-clock time [ns].
            ros_now: ROS time [ns].
        """
        counts = _counts(pipeline)
        rates = self._rates.update(now, counts)
        grown = {name: value - self._before.get(name, 0.0) for name, value in counts.items()}
        self._before = counts
        return [
            self._input(pipeline, state, now, counts, rates, grown),
            self._processing(pipeline, ros_now, counts, rates, grown),
        ]

    def _input(
        self,
        pipeline: Pipeline,
        state: InputState,
        now: int,
        counts: dict[str, float],
        rates: dict[str, float],
        grown: dict[str, float],
    ) -> Status:
        """Judge what arrives."""
        seen = int(counts['processed_events'])
        age = (now - state.last_message) / 1e9 if state.last_message else float('inf')
        values = {
            'topic': state.topic,
            'publishers': str(state.publishers),
            'messages per second': f'{rates["packets"]:.1f}',
            'MB per second': f'{rates["bytes"] / 1e6:.3f}',
            'million events per second': f'{rates["events"] / 1e6:.4f}',
            'ON events': f'{100 * counts["on_events"] / seen:.1f} %' if seen else 'n/a',
            'messages': str(int(counts['packets'])),
            'messages dropped (queue full)': str(int(counts['dropped'])),
            'messages bad': str(int(counts['bad'])),
            'messages lost (gaps in seq)': str(int(counts['lost'])),
            'stream resets': str(int(counts['resets'])),
            'last message': f'{age:.3f} s ago' if state.last_message else 'never',
        }
        last_error = getattr(pipeline.source.counters, 'last_error', '')
        level, text = OK, f'{rates["packets"]:.0f} messages per second on {state.topic}'
        if grown['dropped'] and self.name == IMAGES:
            level, text = (
                WARN,
                f'overload: {grown["dropped"]:.0f} images left for newer ones, '
                f'{grown["processed"]:.0f} processed; lower the rate of the camera, image.height '
                'and image.width, or use a faster device',
            )
        elif grown['lost'] or grown['dropped']:
            level, text = (
                WARN,
                f'{grown["lost"]:.0f} messages lost on the way and {grown["dropped"]:.0f} dropped '
                "here; raise events.queue_mb, the publisher's queue, or the socket buffers",
            )
        if grown['bad']:
            level, text = WARN, f'{grown["bad"]:.0f} messages could not be decoded. {last_error}'
        if age > self._timeout:
            level, text = WARN, f'no message on {state.topic} for {self._timeout:g} s'
            if state.publishers == 0:
                text = f'nobody publishes {state.topic}; start the driver or correct the topic'
        if state.mismatch and age > self._timeout:
            level, text = ERROR, state.mismatch
        return Status(f'{self.name} input', level, text.strip(), values)

    def _processing(
        self,
        pipeline: Pipeline,
        ros_now: int,
        counts: dict[str, float],
        rates: dict[str, float],
        grown: dict[str, float],
    ) -> Status:
        """Judge what is made of it."""
        p50, p99 = pipeline.latency(50, 99)
        values = {
            'windows per second': f'{rates["processed"]:.1f}',
            'windows': str(int(counts['processed'])),
            'windows shed': str(int(counts['shed'])),
            'windows failed': str(int(counts['errors'])),
            'objects per window': f'{_ratio(grown["objects"], grown["processed"]):.2f}',
            'latency p50': _milliseconds(p50),
            'latency p99': _milliseconds(p99),
        }
        if pipeline.last is not None:
            result = pipeline.last.result
            values['window age'] = f'{(ros_now - result.stamp) / 1e6:.1f} ms'
            values['window length'] = f'{result.duration / 1e6:.1f} ms'
            values |= {
                f'time {name}': f'{1e3 * took:.2f} ms' for name, took in result.timings.items()
            }
            values |= {f'spikes {name}': str(count) for name, count in result.spikes.items()}
        values |= _energy(grown)
        level = OK
        text = f'{values["windows per second"]} windows per second, p99 {values["latency p99"]}'
        if grown['shed']:
            level, text = (
                WARN,
                f'overload: {grown["shed"]:.0f} windows shed, {grown["processed"]:.0f} processed; '
                'lengthen events.window_ms, lower spikeseg.max_instances or use a faster device',
            )
        if grown['errors']:
            level = ERROR
            text = f'{grown["errors"]:.0f} windows failed, {pipeline.counters.last_error}'
        return Status(f'{self.name} processing', level, text, values)


def process_status(device: str, state: str, sequence: int, notes: Sequence[str] = ()) -> Status:
    """Return device and memory of the process.

    Args:
        device: Device of the network.
        state: Lifecycle state of the node.
        sequence: Number of published object arrays.
        notes: What the user should know about the network.
    """
    values = {
        'device': device,
        'state': state,
        'published arrays': str(sequence),
        'memory': f'{resident_bytes() / 1e6:.0f} MB',
    }
    if notes:
        values['notes'] = ' '.join(notes)
    torch = sys.modules.get('torch')
    if torch is not None and torch.cuda.is_available():
        values['CUDA memory'] = f'{torch.cuda.memory_allocated() / 1e6:.0f} MB'
        values['CUDA memory reserved'] = f'{torch.cuda.memory_reserved() / 1e6:.0f} MB'
    return Status('process', OK, f'{state} on {device or "no device"}', values)


def resident_bytes() -> int:
    """Return the resident memory of the process [bytes]; 0 where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text(encoding='ascii').split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf('SC_PAGE_SIZE')


def _counts(pipeline: Pipeline) -> dict[str, float]:
    """Return the counters of a pipeline and its source by short names."""
    source: Any = pipeline.source.counters
    own = pipeline.counters
    return {
        'packets': source.packets,
        'bytes': source.bytes,
        'dropped': source.dropped_packets,
        'bad': source.bad_packets,
        'lost': source.lost_packets,
        'resets': source.resets,
        'events': getattr(source, 'events', own.events),
        'processed_events': own.events,
        'on_events': own.on_events,
        'processed': own.processed,
        'shed': pipeline.shed,
        'errors': own.errors,
        'objects': own.objects,
        'measured': own.measured,
        **{f'energy {name}': value for name, value in own.energy.items()},
    }


def _energy(grown: Mapping[str, float]) -> dict[str, str]:
    """Return mean operations and energy of the frames that were counted in a period."""
    frames = grown['measured']
    if not frames:
        return {}
    macs, acs, millijoule = (
        grown.get(f'energy {name}', 0.0) / frames for name in ('macs', 'acs', 'millijoule')
    )
    return {
        'MACs per frame': f'{macs / 1e6:.3f} M',
        'ACs per frame': f'{acs / 1e6:.3f} M',
        'energy per frame': f'{millijoule:.5f} mJ',
        'energy constants': CONSTANTS,
    }


def _milliseconds(seconds: float) -> str:
    """Return a time as text."""
    return 'n/a' if math.isnan(seconds) else f'{1e3 * seconds:.1f} ms'


def _ratio(part: float, whole: float) -> float:
    """Return part / whole, 0 where there is nothing."""
    return part / whole if whole else 0.0
