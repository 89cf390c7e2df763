"""TCP and UDP ports for servers that a test starts later, or stops and starts again."""

from __future__ import annotations

import itertools
import os
import random
import socket

FIRST, PER_WORKER, WORKERS = 16000, 1000, 16


def _ports() -> itertools.cycle[int]:
    """Ports of this pytest-xdist worker, below the range that the kernel gives to outgoing connections.

    A port of the kernel's range can become the local port of any connection as soon as its server stops.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % WORKERS
    found = list(range(FIRST + worker * PER_WORKER, FIRST + (worker + 1) * PER_WORKER))
    start = random.SystemRandom().randrange(PER_WORKER)  # another run on this machine begins elsewhere
    return itertools.cycle(found[start:] + found[:start])


_candidates = _ports()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nothing listens and which no outgoing connection takes."""
    for port in itertools.islice(_candidates, PER_WORKER):
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
                probe.listen()
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port on {host}")
