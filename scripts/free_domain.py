# SPDX-License-Identifier: Apache-2.0
"""Print a ROS_DOMAIN_ID that no process on this machine uses."""

from __future__ import annotations

import os
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


def main() -> int:
    """Print the first free domain, starting at one that depends on the process."""
    start = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[start:], *DOMAINS[:start]):
        if is_free(domain):
            print(domain)
            return 0
    print('no free ROS_DOMAIN_ID between 1 and 101', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
