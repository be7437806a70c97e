# SPDX-License-Identifier: Apache-2.0
"""From packets to windows: the whole event input of one sensor behind push and poll."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spikeseg_ros.events.clock import SensorClock
from spikeseg_ros.events.decoder import EventDecoder
from spikeseg_ros.events.errors import EventError
from spikeseg_ros.events.queue import PacketQueue
from spikeseg_ros.events.windows import MAX_EVENTS, MAX_WINDOWS, WindowSlicer, first_step_back

if TYPE_CHECKING:
    from spikeseg_ros.events.types import Events, EventWindow, Packet

# Steps back in time up to this are jitter of the sensor, larger ones a new beginning [ns].
TOLERANCE_NS = 10_000_000
MAX_STEPS_BACK = 16
MAX_LOSS = 1_000_000


@dataclass
class StreamCounters:
    """What happened in an event stream so far.

    Attributes:
        packets: Packets pushed.
        bytes: Payload bytes pushed.
        events: Events decoded inside the geometry.
        triggers: External trigger edges decoded.
        clipped: Events outside the geometry.
        dropped_packets: Packets dropped because the queue was full.
        lost_packets: Packets that never arrived, from gaps of the sequence number.
        bad_packets: Packets that could not be decoded.
        resets: New beginnings: time ran backwards, encoding or geometry changed, or on request.
        late_events: Events dropped because they came after their window was given away.
        excess_events: Events dropped because one window held too many.
        shed_windows: Windows dropped because one packet filled more than 4096.
        last_error: Text of the last error of a packet.
    """

    packets: int = 0
    bytes: int = 0
    events: int = 0
    triggers: int = 0
    clipped: int = 0
    dropped_packets: int = 0
    lost_packets: int = 0
    bad_packets: int = 0
    resets: int = 0
    late_events: int = 0
    excess_events: int = 0
    shed_windows: int = 0
    last_error: str = ''


class EventStream:
    """Packets in from any thread, windows out to one worker.

    push only queues. poll decodes everything that is queued and returns the windows that became
    complete. The worker's thread calls everything but push.

    A new epoch begins (decoder, clock and window are cleared, the collected part of a window is
    lost) when header stamps run backwards, when sensor time falls by more than 10 ms, when
    encoding or geometry change, and when windows given away on silence were so far ahead that a
    whole packet came more than a window too late. A packet that cannot be decoded is counted and
    changes nothing else.

    Silence: when sensor time did not move for ``silence_ns`` of steady-clock time, it is taken
    to have moved on with the steady clock, ``silence_ns`` behind it, so that empty windows keep
    coming. By count, the collected events are given away then, and from then on an empty window
    every ``silence_ns``.

    Memory: the queue holds at most ``max_bytes``, decoding takes at most 80 bytes per byte of one
    payload, a window holds at most 2^24 events, a jump forward makes at most 64 empty windows, and
    poll leaves packets in the queue rather than return very many windows.

    Attributes:
        clock: Maps sensor time to ROS time; follows the header stamps.
        decoder: Decoder of the current epoch, or None before the first good packet.
        epoch: Number of the current epoch, from 0.
    """

    def __init__(
        self,
        *,
        duration_ns: int = 50_000_000,
        count: int = 0,
        max_bytes: int = 10_000_000,
        silence_ns: int = 100_000_000,
        clock: SensorClock | None = None,
    ) -> None:
        """Prepare for one sensor, whatever it is.

        Args:
            duration_ns: Length of a window [ns].
            count: Events per window instead; 0 = by time.
            max_bytes: Payload bytes that may wait in the queue.
            silence_ns: Time without news after which empty windows come [ns].
            clock: Maps sensor time to ROS time; a SensorClock of its own where None.

        Raises:
            EventError: A setting is not usable.
        """
        if silence_ns <= 0:
            msg = f'silence_ns {silence_ns!r} is not positive.'
            raise EventError(msg)
        self.clock = SensorClock() if clock is None else clock
        self.decoder: EventDecoder | None = None
        self.epoch = 0
        self._silence_ns = silence_ns
        self._queue = PacketQueue(max_bytes)
        self._slicer = WindowSlicer(duration_ns, count)
        self._counters = StreamCounters()
        self._key: tuple[str, int, int] = ('', 0, 0)
        self._frame_id = ''
        self._seq: int | None = None
        self._stamp = 0
        self._newest = -1
        self._moved = 0
        self._polled = 0

    @property
    def counters(self) -> StreamCounters:
        """What happened so far; the same object at every access, brought up to date."""
        counters = self._counters
        counters.packets = self._queue.packets
        counters.bytes = self._queue.payload_bytes
        counters.dropped_packets = self._queue.dropped
        counters.late_events = self._slicer.late
        counters.excess_events = self._slicer.excess
        counters.shed_windows = self._slicer.shed
        return counters

    def push(self, packet: Packet) -> None:
        """Queue a packet; from any thread."""
        self._queue.push(packet)

    def poll(self, now: int) -> list[EventWindow]:
        """Decode what is queued and return the windows that became complete, in order.

        Once 4096 windows or 2^24 events are found, the rest stays queued for the next call.

        Args:
            now: Steady-clock time [ns]; 0 leaves the clock out: no windows on silence.
        """
        self._polled = now
        windows: list[EventWindow] = []
        held = 0
        for _ in range(len(self._queue)):
            item = self._queue.pop()
            if item is None:
                break
            found = self._take(*item)
            windows += found
            held += sum(len(window.events) for window in found)
            if len(windows) >= MAX_WINDOWS or held >= MAX_EVENTS:
                return windows
        return windows + self._silence(now)

    def flush(self) -> list[EventWindow]:
        """Return what is left, the last window being incomplete; at the end of a recording."""
        windows: list[EventWindow] = []
        while len(self._queue):
            windows += self.poll(0)
        return windows + self._finish(self._slicer.flush(), 0)

    def reset(self) -> None:
        """Discard what is queued and collected, and begin a new epoch."""
        self._queue.clear()
        self._begin()
        self.decoder = None
        self._key = ('', 0, 0)
        self._seq = None

    def _begin(self) -> None:
        """Begin a new epoch."""
        self._counters.resets += 1
        self.epoch += 1
        self.clock.reset()
        self._slicer.reset()
        self._stamp = 0
        self._newest = -1

    def _take(self, packet: Packet, dropped: int) -> list[EventWindow]:
        """Decode one packet and return the windows that it completes.

        Args:
            packet: The packet.
            dropped: Packets before it that the queue dropped.
        """
        lost = self._lost(packet.seq)
        if lost > dropped:
            self._counters.lost_packets += lost - dropped
        key = (packet.encoding, packet.width, packet.height)
        back = 0 < packet.stamp < self._stamp
        decoder = self.decoder
        try:
            if decoder is None or back or key != self._key:
                decoder = EventDecoder(*key)
            elif lost or dropped:
                decoder.resync()
            clipped = decoder.clipped
            events = decoder.decode(packet.payload, packet.time_base)
        except EventError as err:
            self._counters.bad_packets += 1
            self._counters.last_error = str(err)
            return []
        if decoder is not self.decoder:
            if self.decoder is not None:
                self._begin()
            self.decoder, self._key = decoder, key
        self._frame_id = packet.frame_id
        self._stamp = packet.stamp or self._stamp
        self._counters.events += len(events)
        self._counters.triggers += len(decoder.triggers)
        self._counters.clipped += decoder.clipped - clipped
        return self._slice(packet, events, decoder.last_time)

    def _lost(self, seq: int) -> int:
        """Return how many packets are missing before this one, by its sequence number."""
        before, self._seq = self._seq, seq
        if before is None:
            return 0
        gap = seq - before - 1
        # A leap is a restarted publisher, or garbage.
        return gap if 0 < gap <= MAX_LOSS else 0

    def _slice(self, packet: Packet, events: Events, last_time: int | None) -> list[EventWindow]:
        """Return the windows that the events of one packet, and its time, complete."""
        windows: list[EventWindow] = []
        if last_time is None:
            return windows
        first = int(events.t[0]) if len(events) else last_time
        for _ in range(MAX_STEPS_BACK):
            step = first_step_back(events.t, self._newest, TOLERANCE_NS)
            if step != 0:
                self.clock.update(packet.stamp, first)
                windows += self._push(packet, events if step is None else events.slice(0, step))
            if step is None:
                break
            events = events.slice(step, len(events))
            first = int(events.t[0])
            self._begin()
            self._stamp = packet.stamp
        else:
            self._counters.bad_packets += 1
            self._counters.last_error = (
                f'Time steps back more than {MAX_STEPS_BACK} times inside one packet.'
            )
            return windows
        if last_time > self._newest:
            self._newest = last_time
            self._moved = packet.arrival or self._polled
            windows += self._finish(self._slicer.advance(last_time), packet.arrival)
        return windows

    def _push(self, packet: Packet, events: Events) -> list[EventWindow]:
        """Hand events whose time does not step back to the slicer."""
        if not len(events):
            return []
        newest = max(self._newest, int(events.t.max()))
        start, length = self._slicer.start, self._slicer.duration
        if start is not None and not self._slicer.count and newest < start - length:
            # Silence was not silence: the sensor's clock stood still, or packets were held up.
            self._begin()
            self._stamp = packet.stamp
            self.clock.update(packet.stamp, int(events.t[0]))
        if newest > self._newest:
            self._newest = newest
            self._moved = packet.arrival or self._polled
        return self._finish(self._slicer.push(events), packet.arrival)

    def _silence(self, now: int) -> list[EventWindow]:
        """Return the windows that end because nothing was heard for too long."""
        if now <= 0 or self._moved <= 0 or self._newest < 0 or not self._slicer.started:
            return []
        beyond = now - self._moved - self._silence_ns
        if beyond < 0:
            return []
        time = self._newest + beyond
        if not self._slicer.count:
            return self._finish(self._slicer.advance(time), 0)
        if self._slicer.pending:
            return self._finish(self._slicer.flush(), 0)
        if self._slicer.start is not None and time - self._slicer.start >= self._silence_ns:
            return self._finish(self._slicer.flush(time), 0)
        return []

    def _finish(self, windows: list[EventWindow], arrival: int) -> list[EventWindow]:
        """Give windows of the slicer their place in ROS time and in the stream."""
        _, width, height = self._key
        return [
            replace(
                window,
                stamp=self.clock.to_ros(window.t_end),
                width=width,
                height=height,
                frame_id=self._frame_id,
                epoch=self.epoch,
                arrival=arrival,
            )
            for window in windows
        ]
