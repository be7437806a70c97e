# SPDX-License-Identifier: Apache-2.0
"""Node processes of a graph: started together, watched, and stopped as a launch file would."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spikeseg_ros.recordings.opening import PACKED_IMAGE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


def heard_as(topic: str, kind: str) -> str:
    """Return the name under which nodes find a topic: that of packed images ends in /compressed.

    Args:
        topic: Topic of a recording.
        kind: Its message type.
    """
    ending = '/compressed'
    return topic if kind != PACKED_IMAGE or topic.endswith(ending) else topic + ending


@dataclass
class NodeProcess:
    """One node in a process of its own.

    Attributes:
        name: Name of the node module in spikeseg_ros.nodes.
        process: The running process.
        log: File that takes its output.
        finishes: Whether it is expected to end by itself.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    finishes: bool = False

    @property
    def failed(self) -> bool:
        """Whether it ended though it should run, or with an error."""
        code = self.process.poll()
        return code is not None and (code != 0 or not self.finishes)

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of its output."""
        with suppress(OSError):
            return '\n'.join(self.log.read_text(errors='replace').splitlines()[-lines:])
        return ''


class Graph:
    """Node processes that live and end together.

    A context manager: leaving it interrupts every process, waits, and kills what is left.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        """Prepare an empty graph.

        Args:
            logs: Existing directory for the nodes' output.
            environment: Environment of the processes.
        """
        self.logs = logs
        self.environment = dict(environment)
        self.nodes: list[NodeProcess] = []

    def start(
        self,
        name: str,
        parameters: Mapping[str, object],
        finishes: bool = False,
        arguments: Sequence[str] = (),
    ) -> NodeProcess:
        """Start the node of module spikeseg_ros.nodes.<name> with parameters.

        Args:
            name: Module name of the node.
            parameters: ROS parameters by name.
            finishes: Whether the node is expected to end by itself.
            arguments: Further arguments before --ros-args is closed, e.g. remappings.
        """
        command = [sys.executable, '-m', f'spikeseg_ros.nodes.{name}', '--ros-args']
        for key, value in parameters.items():
            command += ['-p', f'{key}:={_yaml(value)}']
        command += arguments
        log = self.logs / f'{name}.log'
        with log.open('wb') as stream:
            process = subprocess.Popen(
                command,
                stdout=stream,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=self.environment,
                cwd=self.logs,  # a source folder here would hide the built package
                start_new_session=True,
            )
        node = NodeProcess(name, process, log, finishes)
        self.nodes.append(node)
        return node

    @property
    def failed(self) -> list[NodeProcess]:
        """Nodes that ended though they should run, or with an error."""
        return [node for node in self.nodes if node.failed]

    def stop(self, names: Sequence[str] | None = None, patience: float = 30.0) -> None:
        """Interrupt nodes in reverse order of their start and wait for them.

        Args:
            names: Nodes to stop; all where None.
            patience: Seconds until a node that does not end is killed.
        """
        chosen = [node for node in self.nodes if names is None or node.name in names]
        for node in reversed(chosen):
            if node.process.poll() is None:
                node.finishes = True
                with suppress(ProcessLookupError):
                    node.process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + patience
        for node in chosen:
            try:
                node.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                node.process.kill()
                node.process.wait()

    def __enter__(self) -> Graph:
        """Return the graph."""
        return self

    def __exit__(self, *exc: object) -> None:
        """Stop every process."""
        self.stop()


def _yaml(value: object) -> str:
    """Return a value as the YAML text of a command line parameter."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, (list, tuple)):
        return '[' + ', '.join(_yaml(item) for item in value) + ']'
    return str(value)
