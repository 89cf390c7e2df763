"""Makes the ticks of the endpoint with the shortest interval. The due times of the polls are counted from them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from agent.polling.ticks import Tick, first_tick, later_tick, next_tick
from agent.runtime import Clock, WakeEvent, sleep_unless

PollFutures = list[asyncio.Future[None]]
"""At most one future per link. It is done when the due devices that can answer in time have answered or failed."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """Interval and phase of the pushes in whole seconds, and for how many seconds a push may wait for polls."""

    push_s: int
    phase_s: int
    deadline_s: float = 0.0


class PollSource(Protocol):
    """What the scheduler needs of the poller; see `agent.polling.poller`."""

    def align(self, push_s: float, at: float) -> None: ...

    def answers(self, within_s: float) -> PollFutures: ...


class Scheduler:
    """Aligns the polls with its ticks. At each tick it calls `on_tick` with the futures that the push may wait for."""

    def __init__(
        self,
        rhythm: Rhythm,
        clock: Clock,
        polls: PollSource,
        on_tick: Callable[[Tick, PollFutures], Coroutine[Any, Any, None]],
    ) -> None:
        self._rhythm = rhythm
        self._clock = clock
        self._polls = polls
        self._on_tick = on_tick
        self._changed = WakeEvent()
        self._last: Tick | None = None

    def change(self, rhythm: Rhythm, last: Tick | None = None) -> None:
        """Use another rhythm. If interval and phase are unchanged, the next tick does not move.

        If the scheduler now makes the ticks of another endpoint, `last` is the last tick of that endpoint, if any.
        """
        self._rhythm = rhythm
        self._last = last or self._last
        self._changed.set()

    async def run(self, ready: Callable[[], None] = lambda: None, after: int = 0) -> None:
        """Run until cancelled. Call `ready` when the polls have begun.

        `after` is the label (`Tick.time`) of the last tick before the start, 0 if unknown. The first tick has a later
        label, unless the clock was set back by more than `ticks.WAIT_S`.
        """
        pushes = self._pushes
        tick = later_tick(first_tick(*self._now, *pushes), after, pushes[0])
        self._polls.align(pushes[0], tick.at)
        ready()
        async with asyncio.TaskGroup() as group:
            while True:
                if await self._reached(tick):
                    within_s = tick.at + self._rhythm.deadline_s - self._clock.monotonic()
                    group.create_task(self._on_tick(tick, self._polls.answers(within_s)))
                    self._last = tick
                    tick = next_tick(tick, *self._now, *self._pushes)
                elif self._pushes != pushes:
                    pushes = self._pushes
                    if self._last is not None:
                        after = self._last.time
                    tick = later_tick(first_tick(*self._now, *pushes), after, pushes[0])
                self._polls.align(pushes[0], tick.at)

    @property
    def _pushes(self) -> tuple[int, int]:
        return self._rhythm.push_s, self._rhythm.phase_s

    @property
    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()

    async def _reached(self, tick: Tick) -> bool:
        """Wait until the tick, and return True. Return False if `change` was called before the tick."""
        while (remaining := tick.at - self._clock.monotonic()) > 0:
            if await sleep_unless(self._clock, remaining, self._changed):
                self._changed.clear()
                return False
        return True
