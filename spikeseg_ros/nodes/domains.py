# SPDX-License-Identifier: Apache-2.0
"""Finds a ROS_DOMAIN_ID that no process on this machine uses; as a program, prints it."""

from __future__ import annotations

import os
import random
import socket
import sys

DOMAINS = range(1, 102)  # all of them below the ephemeral ports of Linux


def is_free(domain: int) -> bool:
    """Say whether the first participant's ports of a DDS domain can be bound."""
    base = 7400 + 250 * domain
    for port in (base + 10, base + 11):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('127.0.0.1', port))
            except OSError:
                return False
    return True


def free_domain() -> int:
    """Return a domain nobody uses now, at random, so that two who ask at once rarely meet.

    Raises:
        OSError: All of them are in use.
    """
    for domain in random.SystemRandom().sample(DOMAINS, len(DOMAINS)):
        if is_free(domain):
            return domain
    msg = f'No free ROS_DOMAIN_ID between {DOMAINS[0]} and {DOMAINS[-1]}; set one yourself.'
    raise OSError(msg)


def own_environment() -> dict[str, str]:
    """Return the environment of node processes: this machine only, a domain of its own.

    Raises:
        OSError: No domain is set, and none is free.
    """
    environment = {'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', **os.environ}
    if 'ROS_DOMAIN_ID' not in environment:
        environment['ROS_DOMAIN_ID'] = str(free_domain())
    return environment


if __name__ == '__main__':
    try:
        print(free_domain())  # noqa: T201
    except OSError as err:
        sys.exit(str(err))
