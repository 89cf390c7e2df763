"""Messages to the service manager, as in sd_notify(3) and sd_watchdog_enabled(3)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from threading import Thread

from agent.runtime import printable


def notify(*lines: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send assignments such as "READY=1" in one message. Return False if the message was dropped.

    This function never waits. If the socket of the service manager is full:

    - A thread sends a message with READY=1 when the socket has room. systemd ends a service that never sends READY=1.
    - Any other message is dropped.

    If there is no service manager, or if it cannot be reached, nothing is sent, and the result is True. `environ` has
    the address of the service manager; None means the environment of this process.
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
    """Send the message. Return False only if the socket is full. With `wait`, wait until it has room."""
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
    """Return the assignments that announce a reload. READY=1 announces its end."""
    return "RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


def status(text: str) -> str:
    """Return the assignment of the status line, which `systemctl status` shows."""
    return "STATUS=" + printable(" ".join(text.split()))


def watchdog_s(environ: Mapping[str, str], pid: int) -> float | None:
    """Return the limit of systemd's watchdog for process `pid`, in seconds; None if systemd does not watch `pid`."""
    text = environ.get("WATCHDOG_USEC", "")
    if not text.isdecimal() or not int(text) or environ.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(text) / 1e6
