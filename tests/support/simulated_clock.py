"""A clock that only the test advances."""

from __future__ import annotations

import asyncio

from tests.steady_loop import SteadyLoop

START = 1_750_000_020.0


async def settled() -> None:
    """Let the tasks run until all of them wait and no thread has work. The disk has its own thread."""
    loop = asyncio.get_running_loop()
    while True:
        for _ in range(10):
            await asyncio.sleep(0)
            if _all_wait(loop):
                break
        if not isinstance(loop, SteadyLoop) or not loop.in_threads:
            break
        await asyncio.wait(loop.in_threads)


def _all_wait(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether only a timer, a thread or this task can make another task run."""
    return isinstance(loop, SteadyLoop) and not loop.has_ready and not loop.has_connections


class DrivenClock:
    """Both clocks stop until `advance` or `jump`. `set_time` sets the wall clock."""

    def __init__(self, monotonic: float = 100.0, wall: float = START) -> None:
        self._monotonic = monotonic
        self._offset = wall - monotonic
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def monotonic(self) -> float:
        return self._monotonic

    def time(self) -> float:
        return self._monotonic + self._offset

    def set_time(self, wall: float) -> None:
        """Set the wall clock, like a time service or the command `date`."""
        self._offset = wall - self._monotonic

    async def sleep(self, seconds: float) -> None:
        woken = asyncio.Event()
        sleeper = (self._monotonic + seconds, woken)
        self._sleepers.append(sleeper)
        try:
            if seconds > 0:
                await woken.wait()
        finally:
            self._sleepers.remove(sleeper)

    def jump(self, seconds: float) -> None:
        """Advance the time in one step. Sleeping tasks wake late, as on a busy machine."""
        self._monotonic += seconds
        for at, woken in self._sleepers:
            if at <= self._monotonic:
                woken.set()

    async def advance(self, seconds: float) -> None:
        """Advance the time. Each sleeping task wakes at its time, and runs before the time advances further."""
        end = self._monotonic + seconds
        loop = asyncio.get_running_loop()
        while True:
            if not isinstance(loop, SteadyLoop) or loop.has_connections:
                await asyncio.sleep(0.001)  # for the data that are in transit
            await settled()
            due = [at for at, woken in self._sleepers if at <= end and not woken.is_set()]
            if not due:
                break
            self._monotonic = max(self._monotonic, min(due))
            for at, woken in self._sleepers:
                if at <= self._monotonic:
                    woken.set()
        self._monotonic = end
