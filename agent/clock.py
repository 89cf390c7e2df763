"""Time, injected: monotonic seconds schedule, wall seconds label."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


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
