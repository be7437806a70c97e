# SPDX-License-Identifier: Apache-2.0
"""How the process of a node ends, whenever a signal comes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip('rclpy', reason='needs ROS 2: source it or run through make')
pytest.importorskip('spikeseg_ros.msg', reason='needs the built messages: make build')
pytestmark = pytest.mark.ros

PROGRAM = """
import os, signal, sys, time
from rclpy.node import Node
from rclpy.task import Future
from spikeseg_ros.nodes import runtime

NUMBER, MOMENT = int(sys.argv[1]), sys.argv[2]

def strike(moment):
    if moment == MOMENT:
        os.kill(os.getpid(), NUMBER)
        time.sleep(0.05)

class Recorder(Node):
    def __init__(self):
        strike('make')
        super().__init__('recorder')
        self.done = Future()
        if MOMENT != 'spin':
            self.done.set_result(3)
        else:
            self.create_timer(0.1, lambda: strike('spin'))

    def start(self):
        strike('start')
        if MOMENT == 'error':
            raise ValueError('no disk')

    def close(self):
        for _ in range(3):
            os.kill(os.getpid(), NUMBER)
            time.sleep(0.01)
        print('closed', flush=True)

restore = runtime.uninstall_signal_handlers

def uninstall():
    strike('end')
    restore()
    strike('between')

runtime.uninstall_signal_handlers = uninstall
sys.exit(runtime.run(Recorder))
"""


@pytest.mark.parametrize('signal', [2, 15])
@pytest.mark.parametrize(
    ('moment', 'status'),
    [('start', 0), ('spin', 0), ('end', 3), ('between', 3), ('never', 3), ('error', 1)],
)
def test_nothing_interrupts_the_end(signal: int, moment: str, status: int) -> None:
    done = subprocess.run(
        [sys.executable, '-c', PROGRAM, str(signal), moment],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'RCUTILS_COLORIZED_OUTPUT': '0'},
    )
    assert done.returncode == status, done.stderr
    assert done.stdout.count('closed') == 1, done.stderr
    assert 'Traceback' not in done.stderr


@pytest.mark.parametrize('signal', [2, 15])
def test_a_signal_before_there_is_a_node(signal: int) -> None:
    command = [sys.executable, '-c', PROGRAM, str(signal), 'make']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert 'Traceback' not in done.stderr
