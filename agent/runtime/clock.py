"""Time as a dependency. Schedules use monotonic time; messages and logs have wall time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol


class Clock(Protocol):
    """The source of time. Tests use a clock that they control."""

    def monotonic(self) -> float:
        """Return seconds that never step. They are comparable only within one boot."""
        ...

    def time(self) -> float:
        """Return Unix seconds of the wall clock, which may step."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The clocks of the operating system."""

    monotonic = staticmethod(time.monotonic)
    time = staticmethod(time.time)
    sleep = staticmethod(asyncio.sleep)


async def sleep_unless(clock: Clock, seconds: float, event: asyncio.Event) -> bool:
    """Sleep for `seconds`, or until `event` is set. Returns whether `event` is set."""
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
    """Return a function that returns Unix seconds and ignores later steps of the wall clock."""
    offset = clock.time() - clock.monotonic()
    return lambda: offset + clock.monotonic()
