"""An event loop with simulated time: while nothing is ready, the time jumps to the next timer.

Sockets, threads and files are real. The time does not pass while a task can run, data arrives, or a thread runs. So a
delay in simulated time is a wait in the code under test, never the load of the machine. `FastClock(1.0)` gives this
time to an agent.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
from collections.abc import Collection, Coroutine
from typing import Any, TypeVar

from tests.steady_loop import SteadyLoop, SteadySelector

T = TypeVar("T")

# After this real time without an event, no data is in transit between two sockets of this machine. On a serial line, no
# data is ever in transit: see `tests.faults.pty`.
_QUIET_S = 0.002
_LOOK_S = 0.01
_ITERATION_S = 1e-6
"""The time of each iteration. Without it, a task would never end that waits for less than a float can add."""


class _Jumping(SteadySelector):
    """Jumps to the next timer instead of waiting for it."""

    in_threads: Collection[Any] = ()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        wait = selectors.DefaultSelector.select
        self.now += _ITERATION_S
        if (ready := wait(self, 0)) or timeout == 0:
            return ready
        if timeout is None:
            return wait(self, None)
        while self.in_threads or _is_looking_up():
            if ready := wait(self, _LOOK_S):
                return ready
        if ready := wait(self, _QUIET_S):
            return ready
        self.now += max(0.0, timeout)
        return []


def _is_looking_up() -> bool:
    """Whether a thread of `drivers.modbus.resolver` runs. The loop does not start these threads."""
    return any(each.name.startswith("look up") for each in threading.enumerate())


class SimulatedLoop(SteadyLoop):
    selector = _Jumping

    def __init__(self) -> None:
        super().__init__()
        assert isinstance(self._steady, _Jumping)
        self._steady.in_threads = self.in_threads

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Wait for the threads without the time-out of Python 3.12, which would be over in simulated time."""
        await super().shutdown_default_executor()


def simulated(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(work)
