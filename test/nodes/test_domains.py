# SPDX-License-Identifier: Apache-2.0
"""The choice of a ROS domain that nobody uses."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from spikeseg_ros.nodes import domains


def test_a_domain_in_use_is_not_free() -> None:
    domain = domains.free_domain()
    assert domain in domains.DOMAINS
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(('127.0.0.1', 7400 + 250 * domain + 10))
        assert not domains.is_free(domain)


def test_without_a_free_domain_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domains, 'is_free', lambda domain: False)
    with pytest.raises(OSError, match='between 1 and 101; set one'):
        domains.free_domain()


def test_what_the_user_has_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('ROS_DOMAIN_ID', '7')
    monkeypatch.setenv('ROS_AUTOMATIC_DISCOVERY_RANGE', 'SUBNET')
    found = domains.own_environment()
    assert found['ROS_DOMAIN_ID'] == '7'
    assert found['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'SUBNET'
    monkeypatch.delenv('ROS_DOMAIN_ID')
    monkeypatch.delenv('ROS_AUTOMATIC_DISCOVERY_RANGE')
    found = domains.own_environment()
    assert int(found['ROS_DOMAIN_ID']) in domains.DOMAINS
    assert found['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'


def test_the_program_prints_a_domain() -> None:
    command = [sys.executable, '-m', 'spikeseg_ros.nodes.domains']
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) in domains.DOMAINS
