# SPDX-License-Identifier: Apache-2.0
"""The command line: help, errors and the commands that need nothing."""

from __future__ import annotations

import importlib

import pytest

from spikeseg_ros.cli import COMMANDS, main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['--help']) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert ' '.join(command.words) in text


@pytest.mark.parametrize('words', [[], ['fly'], ['train'], ['train', 'fly']])
def test_wrong_usage_gives_status_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    printed = capsys.readouterr()
    assert 'usage: spikeseg' in printed.out + printed.err


def test_every_command_exists() -> None:
    for command in COMMANDS:
        module, name = command.target.split(':')
        if module.startswith('spikeseg_ros.nodes'):
            pytest.importorskip('rclpy', reason='ROS 2 is not installed')
            pytest.importorskip('spikeseg_ros.msg', reason='the messages are not built')
        assert callable(getattr(importlib.import_module(module), name))


def test_info_and_options_print(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info']) == 0
    assert 'torch' in capsys.readouterr().out
    assert main(['options']) == 0
    assert '`events.window_ms`' in capsys.readouterr().out


def test_errors_are_one_line_without_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(['train', 'stdp', '--data', '/nowhere', '--output', '/nowhere/else'])
    assert status == 1
    text = capsys.readouterr().err
    assert text.splitlines()[-1].startswith('spikeseg train stdp: ')
    assert '/nowhere' in text
    assert 'Traceback' not in text
