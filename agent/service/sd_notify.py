"""The service manager, as sd_notify(3) and sd_watchdog_enabled(3) describe it; without one, nothing happens."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


def notify(*lines: str, environ: Mapping[str, str] | None = None) -> None:
    """Send assignments such as "READY=1". A manager that cannot be reached must not end the service."""
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
    """What to send when a reload begins; READY=1 ends it."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def status(text: str) -> str:
    """The one line that `systemctl status` shows."""
    return "STATUS=" + " ".join(text.split())


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Within how many seconds the manager wants to hear from process `pid`; None when it does not."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or not int(text) or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 1e6
