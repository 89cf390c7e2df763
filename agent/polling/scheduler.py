"""When a round is asked for and when an interval closes, as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent.polling.ticks import Tick, first_tick, next_tick
from agent.runtime import Clock, sleep_unless

Answers = list[asyncio.Future[None]]
"""Of one round, a future for each link."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Interval and phase of the pushes in whole seconds, and the seconds between two rounds of polls."""

    push_s: int
    phase_s: int
    poll_s: float


class Scheduler:
    """Calls `request` for each round and `close` at each tick, with the answers of the tick's own round."""

    def __init__(
        self,
        rhythm: Rhythm,
        clock: Clock,
        request: Callable[[], Answers],
        close: Callable[[Tick, Answers], Coroutine[Any, Any, None]],
    ) -> None:
        self._rhythm = rhythm
        self._clock = clock
        self._request = request
        self._close = close
        self._changed = asyncio.Event()

    def change(self, rhythm: Rhythm) -> None:
        """Go on in another rhythm. The tick that comes next stays where it is unless interval or phase changed."""
        self._rhythm = rhythm
        self._changed.set()

    async def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Until cancelled. `ready` is called once the first round was asked for."""
        self._request()
        ready()
        pushes = self._pushes
        tick = first_tick(*self._now, *pushes)
        closed: Tick | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                if await self._poll_until(tick):
                    group.create_task(self._close(tick, self._request()))
                    closed = tick
                    tick = next_tick(tick, *self._now, *self._pushes)
                elif self._pushes != pushes:
                    pushes = self._pushes
                    tick = first_tick(*self._now, *pushes)
                    if closed is not None and tick.time <= closed.time:
                        tick = next_tick(tick, *self._now, *pushes)

    @property
    def _pushes(self) -> tuple[int, int]:
        return self._rhythm.push_s, self._rhythm.phase_s

    @property
    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    async def _poll_until(self, tick: Tick) -> bool:
        """Ask for the rounds between two pushes; the one of the tick itself is left to the caller.

        False when the rhythm was changed before.
        """
        interval = self._rhythm.poll_s
        at = max(self._clock.monotonic(), tick.at - self._rhythm.push_s) + interval
        while at < tick.at - interval / 2:
            if not await self._until(at):
                return False
            self._request()
            at += interval
        return await self._until(tick.at)

    async def _until(self, at: float) -> bool:
        """Whether the moment came before a change."""
        while (remaining := at - self._clock.monotonic()) > 0:
            if await sleep_unless(self._clock, remaining, self._changed):
                self._changed.clear()
                return False
        return True
