"""The clocks. Schedules use monotonic time; messages and logs have wall time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


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


class WakeEvent(asyncio.Event):
    """An event that ends `sleep_unless`."""

    def __init__(self) -> None:
        super().__init__()
        self.sleeps: set[asyncio.Future[None]] = set()
        """The sleeps that this event ends."""

    def set(self) -> None:
        super().set()
        for sleep in self.sleeps:
            sleep.cancel()


async def sleep_unless(clock: Clock, seconds: float, event: WakeEvent) -> bool:
    """Sleep for `seconds`, or until `event` is set. Return whether `event` is set."""
    if event.is_set():
        return True
    # A second task that waits for the event would double the CPU time of this function. The schedule of the polls calls
    # this function many times a second.
    sleep = asyncio.ensure_future(clock.sleep(seconds))
    event.sleeps.add(sleep)
    try:
        await asyncio.wait((sleep,))
    finally:
        event.sleeps.discard(sleep)
        sleep.cancel()
    return event.is_set()


def steady(clock: Clock) -> Callable[[], float]:
    """Return a function that returns Unix seconds and ignores later steps of the wall clock."""
    offset = clock.time() - clock.monotonic()
    return lambda: offset + clock.monotonic()
