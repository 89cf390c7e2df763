"""Makes the ticks of every endpoint except the fastest, which is the one with the shortest interval.

The `Scheduler` makes the ticks of the fastest endpoint. The due times of the polls follow only these ticks.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.polling.ticks import Tick, first_tick, later_tick, next_tick
from agent.runtime import Clock


class PushClock:
    """Calls `on_tick` at each tick. Interval and phase are whole seconds."""

    def __init__(
        self, interval_s: int, phase_s: int, clock: Clock, on_tick: Callable[[Tick], None], after: int = 0
    ) -> None:
        """`after` is the label (`Tick.time`) of the last tick so far, 0 if unknown. The first tick has a later label,
        unless the clock was set back by more than `ticks.WAIT_S`. `on_tick` must not block.
        """
        self.interval_s = interval_s
        self.phase_s = phase_s
        self._clock = clock
        self._on_tick = on_tick
        self._after = after

    async def run(self) -> None:
        pushes = self.interval_s, self.phase_s
        tick = later_tick(first_tick(*self._now, *pushes), self._after, self.interval_s)
        while True:
            while (remaining := tick.at - self._clock.monotonic()) > 0:
                await self._clock.sleep(remaining)
            self._on_tick(tick)
            tick = next_tick(tick, *self._now, *pushes)

    @property
    def _now(self) -> tuple[float, float]:
        return self._clock.monotonic(), self._clock.time()
