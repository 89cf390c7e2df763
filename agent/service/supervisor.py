"""Runs the main coroutine of the process, and cancels it at a signal."""

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
    """Run `main(ready)` until it ends. SIGTERM and SIGINT cancel it. The old signal handlers are restored at the end.

    `main` must call `ready` when the service has started.
    """
    collect_rarely()
    asyncio.run(_supervised(main))


def collect_rarely() -> None:
    """Make Python's garbage collector run rarely, and skip the objects that exist now, such as modules and devices.

    The collector searches for reference cycles, and readings form none. With many devices, a search takes a fifth of
    the time of a push.
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
