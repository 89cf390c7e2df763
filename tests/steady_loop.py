"""An event loop for tests, whose time does not pass while the machine stalls.

A device and the agent that reads it share the loop of their test. When other processes keep the machine busy, both
stand still, and neither may time out for it. So one iteration of the loop adds at most what it was told to wait, and
`BUSY_S` for its own work, to `time()`. If data arrived in that wait, it adds less: asyncio would otherwise run a
time-out that became due in the same stall before the task that the data wakes. Time-outs, delays and sleeps are as long
as ever on a machine that is idle.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

BUSY_S = 0.005
MARGIN_S = 0.05
"""A timer is this far away when data has just arrived, or half of the wait if that is less."""


class SteadySelector(selectors.DefaultSelector):
    """Counts the time at each call: the loop makes one in each iteration."""

    def __init__(self) -> None:
        super().__init__()
        self._last = time.monotonic()
        self.now = self._last

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(timeout)
        last, self._last = self._last, time.monotonic()
        passed = self._last - last
        if timeout is not None:
            most = max(0.0, timeout)
            passed = min(passed, max(most / 2, most - MARGIN_S) if ready and most else most + BUSY_S)
        self.now += passed
        return ready


class SteadyLoop(asyncio.SelectorEventLoop):
    """As asyncio's, but for its clock, and that it shows what is `in_threads`."""

    selector: type[SteadySelector] = SteadySelector

    def __init__(self) -> None:
        self._steady = self.selector()
        self.in_threads: set[asyncio.Future[Any]] = set()
        super().__init__(self._steady)

    def time(self) -> float:
        return self._steady.now

    @property
    def has_ready(self) -> bool:
        """Whether a task or callback, other than the one that asks, is ready to run."""
        return bool(self._ready)  # type: ignore[attr-defined]

    @property
    def has_connections(self) -> bool:
        """Whether the loop watches more than its own pair of sockets, by which threads wake it."""
        return len(self._steady.get_map()) > 1

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        work: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self.in_threads.add(work)
        work.add_done_callback(self.in_threads.discard)
        return work
