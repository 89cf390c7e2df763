"""The outbox in a thread of its own: its calls may wait for the disk, the event loop may not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from agent.runtime import STUCK_S, Watchdog

T = TypeVar("T")


class OutboxExecutor:
    """Calls run one after the other, in the order in which they were made."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._thread = ThreadPoolExecutor(1, "outbox")
        self._watchdog = watchdog

    async def __call__(self, call: Callable[..., T], *arguments: Any) -> T:
        """What was begun is finished, cancelled or not."""
        work = asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)
        with self._watchdog.running("disk", STUCK_S):
            return await asyncio.shield(work)

    async def close(self) -> None:
        await asyncio.to_thread(self._thread.shutdown)
