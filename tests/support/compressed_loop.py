"""An event loop whose time jumps to the next timer when nothing else is left to do.

Hours of the agent pass in minutes, and all of its time-outs, pauses and ticks have their order. For this, every peer of
the agent runs in the same loop: data that one of them sends over loopback can be read at once. While a thread works,
the loop waits for it and its time stops.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_ITERATION_S = 1e-6
"""Each iteration takes this time, so that a task which waits for the time to pass does not wait for ever."""
_WAIT_S = 0.01
_STUCK_S = 60.0
_LOOK_UP = "look up"
"""The threads of `drivers.modbus.resolver`, which the loop does not start, have names that begin with this."""


class _Selector(selectors.DefaultSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.in_threads: set[asyncio.Future[Any]] = set()
        self._waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += _ITERATION_S
        # Before select(): a thread that has ended has also woken the loop.
        working = bool(self.in_threads) or any(each.name.startswith(_LOOK_UP) for each in threading.enumerate())
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            self._waited_s = 0.0
            return ready
        if working or timeout is None:
            # Not for longer: a look-up thread is still alive for a moment after it has woken the loop.
            ready = super().select(_WAIT_S)
            self._waited_s = 0.0 if ready else self._waited_s + _WAIT_S
            assert self._waited_s < _STUCK_S, f"no task has work, and no thread has ended in {_STUCK_S:g} s"
            return ready
        self._waited_s = 0.0
        os.sched_yield()  # on a busy machine, another thread of the kernel may have to deliver the data
        ready = super().select(0)
        if not ready:
            self.now += timeout
        return ready


class CompressedLoop(asyncio.SelectorEventLoop):
    """`time()` begins at `start` seconds."""

    def __init__(self, start: float = 0.0) -> None:
        self._compressed = _Selector()
        self._compressed.now = start
        super().__init__(self._compressed)

    def time(self) -> float:
        return self._compressed.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        work: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._compressed.in_threads.add(work)
        work.add_done_callback(self._compressed.in_threads.discard)
        return work
