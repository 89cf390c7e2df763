"""Limits how many links connect at the same time.

Without a limit, many connects would keep the event loop busy, so that some of them would exceed their timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_STEPS = 10
"""Number of steps in which `time_out` counts its time."""


class Turns:
    """Limits how many blocks of code have a turn at the same time in one event loop."""

    def __init__(self, at_once: int, hold_s: float) -> None:
        """At most `at_once` blocks have a turn at the same time.

        A turn ends with its block, at the latest after `hold_s` seconds: a host that does not answer must not delay
        the others.
        """
        self._at_once = at_once
        self._hold_s = hold_s
        self._free: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn. The block of the `async with` may continue after the end of its turn."""
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
    """Raise TimeoutError if the block takes longer than `seconds`.

    The time is counted in ten equal steps. A step begins only when the event loop runs, so each period in which the
    loop is blocked counts as at most a tenth of `seconds`.
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
