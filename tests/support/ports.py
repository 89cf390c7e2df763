"""TCP and UDP ports for servers that a test starts later, or stops and starts again."""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from functools import cache
from pathlib import Path

FIRST, SIZE, RANGES = 16_000, 250, 64
"""All ranges are below the ports that the kernel gives to outgoing connections."""


@cache
def _ports() -> itertools.cycle[int]:
    """The ports of this process. A lock keeps its range from all other processes, also from those of another run.

    A port of the kernel's range can become the local port of any connection as soon as its server stops.
    """
    folder = Path(tempfile.gettempdir()) / f"ports-of-tests-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for number in range(RANGES):
        lock = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # until this process ends
        except OSError:
            os.close(lock)
            continue
        return itertools.cycle(range(FIRST + number * SIZE, FIRST + (number + 1) * SIZE))
    raise RuntimeError(f"all {RANGES} ranges of ports are in use")


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens, and which no outgoing connection and no other test process takes."""
    for port in itertools.islice(_ports(), SIZE):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host}")
