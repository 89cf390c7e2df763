"""Runs a coroutine until a signal ends it: startup, run, shutdown."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from agent.service.sd_notify import notify

log = structlog.get_logger(__name__)


def run(main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
    """Run `main(ready)` until it ends, or SIGTERM or SIGINT cancels it. Restores the signal handlers.

    `main` calls `ready` when the service manager may regard the service as started.
    """
    collect_rarely()
    asyncio.run(_supervised(main))


def collect_rarely() -> None:
    """Make Python's garbage collector run rarely, and skip the objects that exist now, such as modules and devices.

    Readings form no reference cycles. With many devices, a search for cycles takes a fifth of the time of a push.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)


async def _supervised(main: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
    def ready() -> None:
        notify("READY=1")

    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(main(ready))
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
