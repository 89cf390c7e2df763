"""Messages to the service manager, as in sd_notify(3) and sd_watchdog_enabled(3).

Without a service manager, the functions do nothing.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from threading import Thread

from agent.runtime import printable


def notify(*lines: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send assignments such as "READY=1". Does nothing if the service manager cannot be reached.

    This never waits. If the service manager does not read and its socket is full, the message is dropped, and the
    result is False. But READY=1 then waits in a thread, because systemd would end a service that never sends it.

    If `environ` is None, the environment of this process has the address.
    """
    address = (os.environ if environ is None else environ).get("NOTIFY_SOCKET")
    if not address:
        return True
    message = "\n".join(lines).encode()
    if _send(address, message, wait=False):
        return True
    if "READY=1" not in lines:
        return False
    Thread(target=_send, args=(address, message), kwargs={"wait": True}, daemon=True).start()
    return True


def _send(address: str, message: bytes, *, wait: bool) -> bool:
    """Return False if the message does not fit into the socket of the service manager. With `wait`, wait until it fits.

    True if it was sent, or if the service manager cannot be reached.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(wait)
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(message)
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


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
