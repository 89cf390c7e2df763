"""Startup, run, ordered shutdown: signals and the service manager's notifications around any coroutine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import structlog

log = structlog.get_logger(__name__)


def notify(message: str, environ: Mapping[str, str] = os.environ) -> None:
    """Tell the service manager (sd_notify(3)); nothing happens without one."""
    address = environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(message.encode())


def run(main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
    """Run `main(ready)` until it ends or SIGTERM or SIGINT cancels it; the handlers are restored afterwards."""
    asyncio.run(_supervised(main))


async def _supervised(main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(lambda: notify("READY=1")))
    signals = (signal.SIGTERM, signal.SIGINT)
    previous = [signal.getsignal(number) for number in signals]
    for number in signals:
        loop.add_signal_handler(number, _stop, task, number)
    try:
        await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
    finally:
        for number, handler in zip(signals, previous, strict=True):
            loop.remove_signal_handler(number)
            signal.signal(number, handler)


def _stop(task: asyncio.Future[None], number: int) -> None:
    log.info("stopping", signal=signal.Signals(number).name)
    notify("STOPPING=1")
    task.cancel()
