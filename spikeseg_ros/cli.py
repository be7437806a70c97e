# SPDX-License-Identifier: Apache-2.0
"""The command ``spikeseg``: one door to everything that is not a ROS node."""

from __future__ import annotations

import argparse
import importlib
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeseg_ros.extras import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Command:
    """A subcommand that is imported only when it is called.

    Attributes:
        words: Words that select it, for example ('train', 'stdp').
        target: Module and function 'package.module:function' taking the remaining arguments.
        summary: One line for the help text.
    """

    words: tuple[str, ...]
    target: str
    summary: str

    def load(self) -> Callable[[Sequence[str]], int]:
        """Import and return the function behind the command."""
        module, name = self.target.split(':')
        function: Callable[[Sequence[str]], int] = getattr(importlib.import_module(module), name)
        return function


COMMANDS = (
    Command(
        ('demo',),
        'spikeseg_ros.nodes.demo:main',
        'simulate a scene (or take a bag), run the ROS graph on it and render what it found',
    ),
    Command(
        ('convert',),
        'spikeseg_ros.recordings.convert:run',
        'convert event files (RAW, AEDAT4, HDF5, text, ...) and old bags to rosbag2',
    ),
    Command(
        ('train', 'stdp'),
        'spikeseg_ros.training.stdp:run',
        'train the SpikeSEG layers with spike-timing-dependent plasticity',
    ),
    Command(
        ('train', 'mfs_seg'),
        'spikeseg_ros.training.segmentation:run',
        'train a fully spiking segmentation network on labelled images',
    ),
    Command(
        ('train', 'spike2former'),
        'spikeseg_ros.training.spike2former:run',
        'train Spike2Former on labelled images',
    ),
    Command(
        ('evaluate', 'weights'),
        'spikeseg_ros.evaluation.weights:run',
        'judge weight files on known scenes and on recordings, in one table',
    ),
    Command(
        ('evaluate', 'bag'),
        'spikeseg_ros.evaluation.offline.command:main',
        'run the perception on recordings and keep tables, objects, pictures and a report',
    ),
    Command(
        ('compare',),
        'spikeseg_ros.evaluation.report.compare:main',
        'put two runs of the same recordings side by side',
    ),
    Command(
        ('evaluate', 'segmentation'),
        'spikeseg_ros.evaluation.segmentation_command:run',
        'judge a segmentation network on labelled images',
    ),
    Command(
        ('benchmark', 'composed-nmnist'),
        'spikeseg_ros.evaluation.benchmarks.command:composed_nmnist',
        'judge methods and baselines on scenes composed from N-MNIST recordings',
    ),
    Command(
        ('benchmark', 'davis-events'),
        'spikeseg_ros.evaluation.benchmarks.command:davis_events',
        'judge methods and baselines on DAVIS clips turned into events',
    ),
    Command(
        ('benchmark', 'tune'),
        'spikeseg_ros.evaluation.benchmarks.tuning:run',
        'choose the parameters of the baselines on the training splits',
    ),
    Command(
        ('energy',),
        'spikeseg_ros.evaluation.energy_command:run',
        'print activity and energy of a network, layer by layer',
    ),
    Command(
        ('options',),
        'spikeseg_ros.reference:main',
        'print every option of the perception and the nodes',
    ),
    Command(('info',), 'spikeseg_ros.perception.info:main', 'print versions and devices'),
)


def _usage() -> str:
    """Return the help text."""
    width = max(len(' '.join(command.words)) for command in COMMANDS)
    lines = [
        'usage: spikeseg COMMAND [options]',
        '',
        'Spiking segmentation of event-camera and camera streams.',
        '',
        'commands:',
    ]
    lines += [f'  {" ".join(command.words):<{width}}  {command.summary}' for command in COMMANDS]
    lines += ['', 'spikeseg COMMAND --help explains a command.']
    return '\n'.join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Args:
        argv: Arguments without the program's name; those of the process where None.

    Returns:
        Exit status: 0 = done, 1 = failed with a message on stderr, 2 = wrong usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ('-h', '--help', 'help'):
        sys.stdout.write(_usage() + '\n')
        return 0 if words else 2
    for command in COMMANDS:
        count = len(command.words)
        if tuple(words[:count]) == command.words:
            break
    else:
        sys.stderr.write(f'spikeseg: unknown command {" ".join(words[:2])!r}\n{_usage()}\n')
        return 2
    try:
        return command.load()(words[count:])
    except KeyboardInterrupt:
        return 130
    except ImportError as err:
        sys.stderr.write(f'spikeseg {" ".join(command.words)}: {_missing(err)}\n')
        return 1
    except (ValueError, OSError) as err:
        sys.stderr.write(f'spikeseg {" ".join(command.words)}: {err}\n')
        return 1


def _missing(err: ImportError) -> str:
    """Say what to do about a module that cannot be imported."""
    if isinstance(err, MissingExtraError):
        return str(err)
    name = err.name or str(err)
    ros = ('rclpy', 'sensor_msgs', 'event_camera_msgs', 'spikeseg_ros.msg', 'spikeseg_ros.nodes')
    if name.startswith(ros):
        return (
            f'{err}. This command needs a ROS 2 environment with the built package: run it '
            'through make, or source the workspace (install/setup.bash) first.'
        )
    return f'{err}. Install the missing Python package {name!r}.'


def parser(prog: str, description: str) -> argparse.ArgumentParser:
    """Return an argument parser in the common style of all commands."""
    return argparse.ArgumentParser(
        prog=f'spikeseg {prog}',
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )


if __name__ == '__main__':
    sys.exit(main())
