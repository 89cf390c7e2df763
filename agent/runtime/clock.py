"""Time, injected: monotonic seconds schedule, wall seconds label."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """The only way the agent learns the time, so that tests own it."""

    def monotonic(self) -> float:
        """Seconds that never step; comparable only within one boot."""
        ...

    def time(self) -> float:
        """Unix seconds of the wall clock; may step."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The real one."""

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


async def sleep_unless(clock: Clock, seconds: float, event: asyncio.Event) -> bool:
    """Sleep for `seconds`, or until `event` is set; whether it is."""
    timer = asyncio.ensure_future(clock.sleep(seconds))
    waiter = asyncio.ensure_future(event.wait())
    both: set[asyncio.Future[Any]] = {timer, waiter}
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in both:
            each.cancel()
        await asyncio.gather(*both, return_exceptions=True)
    return event.is_set()


def steady(clock: Clock) -> Callable[[], float]:
    """Unix seconds that do not step, however the wall clock is set from now on."""
    offset = clock.time() - clock.monotonic()
    return lambda: offset + clock.monotonic()
