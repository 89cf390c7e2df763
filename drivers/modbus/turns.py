"""Limits parallel connects, so that many links that open at the same moment do not time out in a busy event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_STEPS = 10


class Turns:
    """Limits the work that begins at the same time in one event loop."""

    def __init__(self, at_once: int, hold_s: float) -> None:
        """There are at most `at_once` turns at the same time.

        A turn ends after at most `hold_s` seconds, because a host that does not answer must not delay the others.
        """
        self._at_once = at_once
        self._hold_s = hold_s
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. The block of the caller may take longer than the turn."""
        loop = asyncio.get_running_loop()
        free = self._free.setdefault(loop, asyncio.Semaphore(self._at_once))
        await free.acquire()
        held = True

        def release() -> None:
            nonlocal held
            if held:
                held = False
                free.release()

        end = loop.call_later(self._hold_s, release)
        try:
            yield
        finally:
            end.cancel()
            release()


@asynccontextmanager
async def time_out(seconds: float) -> AsyncIterator[None]:
    """Raise TimeoutError if the block takes longer than `seconds`. Time in which the loop is blocked does not count.

    The time is counted in steps. A step begins only when the event loop runs, so a blocked loop uses at most one step.
    """
    loop = asyncio.get_running_loop()
    timer: asyncio.TimerHandle | None = None

    def step(left: int) -> None:
        nonlocal timer
        if left:
            timer = loop.call_later(seconds / _STEPS, step, left - 1)
        else:
            limit.reschedule(loop.time())

    async with asyncio.timeout(None) as limit:
        step(_STEPS)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
