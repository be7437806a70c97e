# SPDX-License-Identifier: Apache-2.0
"""The main job, visible: a recording goes through the ROS graph, what it found is shown.

Player, perception, visualizer and recorder run as separate processes over the real middleware;
this process only watches, like a planner would, and judges what was recorded.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from spikeseg_ros.cli import parser
from spikeseg_ros.nodes.demo_input import (
    DemoError,
    Played,
    draw_street,
    opened,
    pack_pictures,
    simulate,
)
from spikeseg_ros.nodes.demo_summary import Summary, judge
from spikeseg_ros.nodes.domains import own_environment
from spikeseg_ros.nodes.monitor import Monitor
from spikeseg_ros.nodes.processes import Graph
from spikeseg_ros.perception.config import MODELS, from_flat
from spikeseg_ros.perception.segmenter import EVENTS, IMAGES
from spikeseg_ros.simulation import EVENTS_TOPIC

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from spikeseg_ros.simulation import GroundTruth
    from spikeseg_ros.simulation.street import StreetScene

READY_SECONDS = 300.0
DRAIN_SECONDS = 20.0
# After this long without a result, or behind the end of the recording, nothing more comes.
QUIET_SECONDS = 1.5
RECORDED = 'objects,mask,labels,/diagnostics'
# Weights of the package for families without a default.
EXAMPLES = {'spike2former': 'spike2former_camvid'}


def _arguments(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    known = parser('demo', 'Run the ROS graph on a simulated scene or on a recording.')
    known.add_argument('--bag', default='', help='recording to take instead of simulating')
    known.add_argument(
        '--images', default='', help='folder of pictures to play as a camera, in order of names'
    )
    known.add_argument('--fps', type=float, default=5.0, help='pictures of --images per second')
    known.add_argument(
        '--topic', default='', help='topic of the recording with events or images; empty = find it'
    )
    known.add_argument('--model', default='spikeseg', choices=MODELS, help='model family')
    known.add_argument('--weights', default='', help='weight file; empty = one of the package')
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
    args.weights = args.weights or EXAMPLES.get(args.model, '')
    for name, low, high in (('seconds', 0.5, 600.0), ('fps', 0.1, 1000.0)):
        if not low <= getattr(args, name) <= high:
            msg = f'--{name} must lie between {low:g} and {high:g}, got {getattr(args, name)!r}.'
            raise DemoError(msg)
    if args.bag and args.images:
        msg = '--bag and --images exclude each other.'
        raise DemoError(msg)
    out = Path(args.out).resolve()
    kind = _kind(args)
    out.mkdir(parents=True, exist_ok=True)
    truth: GroundTruth | StreetScene | None = None
    bag, topic = out / 'input', ''
    if args.bag:
        bag, topic = Path(args.bag).resolve(), args.topic
    elif args.images:
        pack_pictures(bag, Path(args.images).resolve(), args.fps)
    elif kind == IMAGES:
        truth = draw_street(bag, args.seconds)
    else:
        topic = EVENTS_TOPIC
        truth = simulate(bag, out, args.seconds)
    played = opened(bag, topic, kind, args.rate)
    size = f'{played.width}x{played.height}'
    _say(f'playing {bag.name}: {played.topic}, {size}, {played.seconds:.1f} s')
    summary = _run(args, played, out, truth)
    _say('\n' + summary.text() + '\n')
    (out / 'summary.txt').write_text(summary.text() + '\n', encoding='utf-8')
    return 1 if summary.problems else 0


def _kind(args: argparse.Namespace) -> str:
    """Return what the network takes: 'events' or 'images'.

    Raises:
        DemoError: Pictures are given to a network that takes events.
        ValueError: The network cannot be loaded.
    """
    from spikeseg_ros.perception.inputs import accepted
    from spikeseg_ros.perception.registry import create

    inputs: tuple[str, ...] = (EVENTS, IMAGES)
    if args.model != 'spikeseg':
        inputs = accepted(create(from_flat({'model': args.model, 'weights': args.weights})))
    if args.images and IMAGES not in inputs:
        msg = f'These weights of {args.model} take events, not the pictures of --images.'
        raise DemoError(msg)
    return IMAGES if args.images or EVENTS not in inputs else EVENTS


def _run(
    args: argparse.Namespace,
    played: Played,
    out: Path,
    truth: GroundTruth | StreetScene | None,
) -> Summary:
    """Play the recording through the graph and judge what came out."""
    environment = own_environment()
    os.environ.update(environment)
    logs = out / 'logs'
    logs.mkdir(exist_ok=True)
    video = out / 'overlay.mp4'
    space = ('-r', '__ns:=/spikeseg')
    heard = {EVENTS: '', IMAGES: '', played.kind: played.heard}
    topics = {'events_topic': heard[EVENTS], 'image_topic': heard[IMAGES]}
    renaming = ('-r', f'{played.topic}:={played.heard}') if played.renamed else ()
    with Graph(logs, environment) as graph, Monitor(video, rate=20.0) as monitor:
        graph.start(
            'recorder_node',
            {'bag': str(out / 'output'), 'topics': RECORDED, 'overwrite': True},
            arguments=space,
        )
        parameters = {
            **topics,
            'model': args.model,
            'weights': args.weights,
            'sensor_width': played.width,
            'sensor_height': played.height,
        }
        extra = ('--params-file', str(Path(args.params).resolve())) if args.params else ()
        graph.start('perception_node', parameters, arguments=(*space, *extra))
        graph.start('visualizer_node', {**topics, 'always': True}, arguments=space)
        _wait_ready(graph, monitor)
        player = graph.start(
            'player_node',
            {
                'bag': str(played.bag),
                'topics': played.topic,
                'rate': played.rate,
                'wait_for_subscribers_s': 30.0,
                'min_subscribers': 2,  # perception and visualizer
            },
            finishes=True,
            arguments=renaming,
        )
        deadline = time.monotonic() + played.seconds + 60.0
        while player.process.poll() is None and not graph.failed:
            monitor.spin(0.2)
            monitor.print_table()
            if time.monotonic() > deadline:
                break
        _drain(graph, monitor, played)
        problems = [f'{node.name} ended early:\n{node.tail()}' for node in graph.failed]
        if player.process.poll() is None:
            problems.append('player_node did not end in time')
        graph.stop()
        problems += [
            f'{node.name} ended with status {node.process.returncode}:\n{node.tail()}'
            for node in graph.nodes
            if node.process.returncode != 0 and not any(node.name in text for text in problems)
        ]
    return judge(monitor, played, out, truth, problems)


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


def _drain(graph: Graph, monitor: Monitor, played: Played) -> None:
    """Take what the nodes still work on when the recording has ended."""
    end = played.start + played.duration
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline and not graph.failed:
        before = len(monitor.results)
        monitor.spin(QUIET_SECONDS)
        if monitor.pictures and (
            len(monitor.results) == before or monitor.results[-1].stamp >= end
        ):
            return


def _say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + '\n')
    sys.stdout.flush()
