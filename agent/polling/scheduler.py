"""Requests the rounds of polls and closes the push intervals, as long as the agent runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from agent.polling.ticks import Tick, first_tick, later_tick, next_tick
from agent.runtime import Clock, sleep_unless

Answers = list[asyncio.Future[None]]
"""One future per link; it is done when the round on this link is complete."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Interval and phase of the pushes in whole seconds, and the seconds between two rounds of polls."""

    push_s: int
    phase_s: int
    poll_s: float


class Scheduler:
    """Calls `request` for each round. At each tick it calls `close` with the answers of the tick's round."""

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
        """Use another rhythm. If interval and phase are unchanged, the next tick does not move."""
        self._rhythm = rhythm
        self._changed.set()

    async def run(self, ready: Callable[[], None] = lambda: None, after: int = 0) -> None:
        """Run until cancelled. `ready` is called after the request of the first round.

        `after` is the label of the last tick before the start, 0 if unknown. Labels continue after it.
        """
        self._request()
        ready()
        pushes = self._pushes
        tick = later_tick(first_tick(*self._now, *pushes), after, pushes[0])
        closed: Tick | None = None
        async with asyncio.TaskGroup() as group:
            while True:
                if await self._poll_until(tick):
                    group.create_task(self._close(tick, self._request()))
                    closed = tick
                    tick = next_tick(tick, *self._now, *self._pushes)
                elif self._pushes != pushes:
                    pushes = self._pushes
                    tick = later_tick(first_tick(*self._now, *pushes), after, pushes[0])
                    if closed is not None and tick.time <= closed.time:
                        tick = next_tick(tick, *self._now, *pushes)

    @property
    def _pushes(self) -> tuple[int, int]:
        return self._rhythm.push_s, self._rhythm.phase_s

    @property
    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    async def _poll_until(self, tick: Tick) -> bool:
        """Request the rounds between two pushes, and return at the tick. The caller requests the round of the tick.

        Returns False if the rhythm changed before the tick.
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
        """Wait until `at`, in monotonic seconds. Returns False if the rhythm changed before."""
        while (remaining := at - self._clock.monotonic()) > 0:
            if await sleep_unless(self._clock, remaining, self._changed):
                self._changed.clear()
                return False
        return True
