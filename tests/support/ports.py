"""TCP and UDP ports for servers that a test starts later, or stops and starts again."""

from __future__ import annotations

import itertools
import socket
from functools import cache

FIRST, SIZE, RANGES = 16_000, 250, 64
"""All ranges are below the ports that the kernel gives to outgoing connections."""
_HELD: list[socket.socket] = []
"""Holds the first port of the range until this process ends."""


@cache
def _ports() -> itertools.cycle[int]:
    """The ports of this process: a range whose first port no other process holds, also none of another run.

    A port of the kernel's range can become the local port of any connection as soon as its server stops.
    """
    for first in range(FIRST, FIRST + RANGES * SIZE, SIZE):
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", first))
        except OSError:
            held.close()
            continue
        _HELD.append(held)
        return itertools.cycle(range(first + 1, first + SIZE))
    raise RuntimeError(f"all {RANGES} ranges of ports are in use")


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens, and which no outgoing connection and no other test process takes."""
    for port in itertools.islice(_ports(), SIZE - 1):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host}")
