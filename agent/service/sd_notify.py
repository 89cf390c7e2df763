"""Messages to the service manager, as in sd_notify(3) and sd_watchdog_enabled(3).

Without a service manager, the functions do nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from agent.runtime import printable


def notify(*lines: str, environ: Mapping[str, str] | None = None) -> None:
    """Send assignments such as "READY=1". Does nothing if the service manager cannot be reached.

    If `environ` is None, the environment of this process has the address.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET")
    if not address:
        return
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
    ):
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall("\n".join(lines).encode())


def reloading() -> tuple[str, str]:
    """Return the assignments that begin a reload. READY=1 ends the reload."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def status(text: str) -> str:
    """Return the assignment of the status line, which `systemctl status` shows."""
    return "STATUS=" + printable(" ".join(text.split()))


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the watchdog limit of process `pid` in seconds; None if no watchdog watches it."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or not int(text) or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 1e6
