# SPDX-License-Identifier: Apache-2.0
"""The main job, visible: a recording goes through the ROS graph, what it found is shown.

Player, perception, visualizer and recorder run as separate processes over the real middleware;
this process only watches, like a planner would, and judges what was recorded.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from spikeseg_ros.cli import parser
from spikeseg_ros.evaluation.agreement import Agreement
from spikeseg_ros.images.overlay import contact_sheet
from spikeseg_ros.nodes.monitor import Monitor
from spikeseg_ros.nodes.processes import Graph, own_environment
from spikeseg_ros.recordings.bags import BagReader
from spikeseg_ros.simulation import (
    EVENTS_TOPIC,
    demo_scene,
    save_coco,
    simulate_scene,
    write_recording,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.perception.result import Result
    from spikeseg_ros.simulation import GroundTruth

START_STAMP = 1_700_000_000_000_000_000
READY_SECONDS = 300.0
IDLE_SECONDS = 4.0
RECORDED = 'objects,mask,labels,/diagnostics'
SHEET_PICTURES = 12


class DemoError(ValueError):
    """The demonstration cannot run; the text says why and what to do."""


@dataclass(frozen=True)
class Played:
    """The recording that is played.

    Attributes:
        bag: Its path.
        topic: Topic of its events.
        width: Sensor columns [px].
        height: Sensor rows [px].
        start: Stamp of the first packet [ns].
        duration: Length [ns].
        rate: Speed of the replay.
    """

    bag: Path
    topic: str
    width: int
    height: int
    start: int
    duration: int
    rate: float

    @property
    def seconds(self) -> float:
        """Time the replay takes [s]."""
        return self.duration / 1e9 / self.rate

    def within(self, results: Sequence[Result]) -> list[Result]:
        """Return the results of windows that lie in the recording, not in the silence after."""
        end = self.start + self.duration
        return [item for item in results if item.stamp - item.duration < end]


@dataclass
class Summary:
    """What the demonstration ends with.

    Attributes:
        lines: Pairs of a name and a value, in order.
        problems: What went wrong; empty where all is well.
    """

    lines: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the summary as one screen of text."""
        width = max((len(name) for name, _ in self.lines), default=0)
        rows = [f'  {name:<{width}}  {value}' for name, value in self.lines]
        rows += [f'  PROBLEM: {problem}' for problem in self.problems]
        return '\n'.join(rows)


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    known = parser('demo', 'Run the ROS graph on a simulated scene or on a recording.')
    known.add_argument('--bag', default='', help='recording to take instead of simulating')
    known.add_argument('--topic', default='', help='event topic of the recording; empty = find it')
    known.add_argument('--model', default='spikeseg', help='model family')
    known.add_argument('--params', default='', help='YAML file with parameters')
    known.add_argument('--out', default='demo_output', help='folder for everything written')
    known.add_argument('--seconds', type=float, default=6.0, help='length of the simulated scene')
    known.add_argument('--rate', type=float, default=1.0, help='speed of the replay')
    return known.parse_args(list(argv))


def main(argv: Sequence[str]) -> int:
    """Run the demonstration.

    Returns:
        0 when objects were published and every process ended well, else 1.
    """
    args = _arguments(argv)
    if not 0.5 <= args.seconds <= 600:
        msg = f'--seconds must lie between 0.5 and 600, got {args.seconds!r}.'
        raise DemoError(msg)
    out = Path(args.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    truth = None
    if args.bag:
        bag, topic = Path(args.bag).resolve(), args.topic
    else:
        bag, topic = out / 'input', EVENTS_TOPIC
        truth = _simulate(bag, out, args.seconds)
    with BagReader(bag) as recording:
        found = recording.event_topics
        if not topic and found:
            topic = found[0]
        if topic not in found:
            msg = (
                f'No event topic {topic!r} in {str(bag)!r}; it holds '
                f'{", ".join(recording.topics) or "nothing"}. Choose one with --topic.'
            )
            raise DemoError(msg)
        _, packet = next(iter(recording.packets(topic)))
        played = Played(
            bag, topic, packet.width, packet.height, packet.stamp, recording.duration, args.rate
        )
    _say(f'playing {bag.name}: {topic}, {played.width}x{played.height}, {played.seconds:.1f} s')
    summary = _run(args, played, out, truth)
    _say('\n' + summary.text() + '\n')
    (out / 'summary.txt').write_text(summary.text() + '\n', encoding='utf-8')
    return 1 if summary.problems else 0


def _simulate(bag: Path, out: Path, seconds: float) -> GroundTruth:
    """Write the simulated recording and its ground truth."""
    scene = demo_scene(346, 260, seconds)
    last = [-1.0]

    def progress(now: int) -> None:
        if now / 1e9 >= last[0] + 0.5:
            last[0] = now / 1e9
            sys.stdout.write(f'\rsimulating {last[0]:4.1f} of {seconds:.1f} s ')
            sys.stdout.flush()

    recording = simulate_scene(scene, seconds, progress=progress)
    sys.stdout.write('\n')
    write_recording(bag, recording, start_stamp=START_STAMP, overwrite=True)
    save_coco(out / 'ground_truth.json', recording.truth, recording.truth.windows(50_000_000))
    return recording.truth


def _run(
    args: argparse.Namespace, played: Played, out: Path, truth: GroundTruth | None
) -> Summary:
    """Play the recording through the graph and judge what came out."""
    environment = own_environment()
    os.environ.update(environment)
    logs = out / 'logs'
    logs.mkdir(exist_ok=True)
    video = out / 'overlay.mp4'
    space = ('-r', '__ns:=/spikeseg')
    with Graph(logs, environment) as graph, Monitor(video, rate=20.0) as monitor:
        graph.start(
            'recorder_node',
            {'bag': str(out / 'output'), 'topics': RECORDED, 'overwrite': True},
            arguments=space,
        )
        parameters = {
            'events_topic': played.topic,
            'model': args.model,
            'sensor_width': played.width,
            'sensor_height': played.height,
        }
        extra = ('--params-file', str(Path(args.params).resolve())) if args.params else ()
        graph.start('perception_node', parameters, arguments=(*space, *extra))
        graph.start(
            'visualizer_node', {'events_topic': played.topic, 'always': True}, arguments=space
        )
        _wait_ready(graph, monitor)
        player = graph.start(
            'player_node',
            {
                'bag': str(played.bag),
                'topics': played.topic,
                'rate': played.rate,
                'wait_for_subscribers_s': 20.0,
            },
            finishes=True,
        )
        deadline = time.monotonic() + played.seconds + 60.0
        while player.process.poll() is None and not graph.failed:
            monitor.spin(0.2)
            monitor.print_table()
            if time.monotonic() > deadline:
                break
        monitor.spin(1.5)
        problems = [f'{node.name} ended early:\n{node.tail()}' for node in graph.failed]
        if player.process.poll() is None:
            problems.append('player_node did not end in time')
        graph.stop()
        problems += [
            f'{node.name} ended with status {node.process.returncode}:\n{node.tail()}'
            for node in graph.nodes
            if node.process.returncode != 0 and not any(node.name in text for text in problems)
        ]
    return _judge(monitor, played, out, truth, problems)


def _wait_ready(graph: Graph, monitor: Monitor) -> None:
    """Wait until the perception publishes, or say why it does not.

    Raises:
        DemoError: A node ended, or the perception did not become ready in time.
    """
    deadline = time.monotonic() + READY_SECONDS
    _say('starting recorder, perception and visualizer ...')
    while not monitor.ready:
        monitor.spin(0.2)
        if graph.failed:
            node = graph.failed[0]
            msg = f'{node.name} ended while starting. Its last words:\n{node.tail()}'
            raise DemoError(msg)
        if time.monotonic() > deadline:
            msg = (
                f'The perception did not become active within {READY_SECONDS:.0f} s; see '
                f'{graph.logs}.'
            )
            raise DemoError(msg)


def _judge(
    monitor: Monitor, played: Played, out: Path, truth: GroundTruth | None, problems: list[str]
) -> Summary:
    """Write the sheet and return the summary."""
    summary = Summary(problems=problems)
    seen = played.within(monitor.results)
    objects = [item for result in seen for item in result.objects]
    tracks = {item.track_id for item in objects if item.track_id}
    busy = sum(bool(result.objects) for result in seen)
    events = sum(result.n_events for result in seen)
    span = sum(result.duration for result in seen) / 1e9
    rate = events / 1e6 / max(span, 1e-9)
    summary.lines += [
        ('windows', f'{len(seen)} published, {busy} with objects, {monitor.shed} shed'),
        ('events', f'{events} in these windows ({rate:.2f} Mev/s)'),
        ('objects', f'{len(objects)} in all, {len(tracks)} tracks'),
        ('latency', monitor.latency_text()),
        ('drops', f'{monitor.dropped} packets dropped, {monitor.lost} lost'),
    ]
    if truth is not None:
        score = _agreement(seen, truth)
        summary.lines += [
            (
                'agreement',
                f'recall {score.recall:.2f}, precision {score.precision:.2f} at IoU 0.5; '
                f'mean IoU {score.mean_iou:.2f}',
            ),
            (
                '',
                f'{score.coverage:.0%} of the events of true objects lie on published ones; '
                f'{score.switches} changes of track',
            ),
        ]
    end = played.start + played.duration
    pictures = [picture for stamp, picture in monitor.pictures if stamp <= end]
    if pictures:
        picks = np.linspace(0, len(pictures) - 1, min(SHEET_PICTURES, len(pictures)))
        sheet = contact_sheet([pictures[int(index)] for index in picks], columns=4)
        cv2.imwrite(str(out / 'overlay.png'), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    summary.lines.append(('written', f'{out}: output/ overlay.mp4 overlay.png summary.txt logs/'))
    if not seen:
        problems.append('nothing was published on /spikeseg/objects')
    elif not objects:
        problems.append('windows were published, but not one object in them')
    if not pictures:
        problems.append('the visualizer published no picture')
    return summary


def _agreement(results: Sequence[Result], truth: GroundTruth) -> Agreement:
    """Compare published windows with the simulated truth."""
    score = Agreement()
    for result in results:
        end = result.stamp - START_STAMP
        events, labels = truth.labels(end - result.duration, end)
        score.add(result.objects, events, labels)
    return score


def _say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + '\n')
    sys.stdout.flush()
