"""The ticks of a further endpoint on a driven clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agent.polling.push_clock import PushClock
from agent.polling.ticks import phase_s
from tests.support.simulated_clock import START, DrivenClock


@asynccontextmanager
async def ticking(
    clock: DrivenClock, interval_s: int, phase: int, after: int = 0
) -> AsyncIterator[list[tuple[float, int]]]:
    """The seconds since the start and the labels of the ticks."""
    began = clock.monotonic()
    ticks: list[tuple[float, int]] = []
    running = asyncio.create_task(
        PushClock(
            interval_s,
            phase,
            clock,
            lambda tick: ticks.append((clock.monotonic() - began, tick.time - int(START))),
            after,
        ).run()
    )
    try:
        yield ticks
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_ticks_on_its_phase() -> None:
    clock = DrivenClock(wall=START + 1)
    async with ticking(clock, 15, 4) as ticks:
        await clock.advance(50)
    assert ticks == [(3, 4), (18, 19), (33, 34), (48, 49)]


async def test_a_tick_that_is_near_is_not_early() -> None:
    clock = DrivenClock(wall=START + 3.5)
    async with ticking(clock, 15, 4) as ticks:
        await clock.advance(1)
    assert ticks == [(0.5, 4)]


async def test_no_label_is_repeated_after_a_change() -> None:
    clock = DrivenClock(wall=START)
    async with ticking(clock, 5, 0, int(START)) as ticks:
        await clock.advance(12)
    assert ticks == [(5, 5), (10, 10)]


async def test_no_label_is_repeated_after_a_change_while_the_clock_is_set_back() -> None:
    clock = DrivenClock(wall=START)
    async with ticking(clock, 5, 0, int(START) + 20) as ticks:
        await clock.advance(31)
    assert [label for _, label in ticks] == [25, 30]


def test_the_phase_of_the_unnamed_endpoint_is_that_of_the_site_and_others_differ() -> None:
    names = [f"endpoint-{number}" for number in range(50)]
    alone = phase_s("splay", "SITE_1", 60)
    phases = {phase_s("splay", "SITE_1", 60, name) for name in names}
    assert alone == phase_s("splay", "SITE_1", 60, "")
    assert len(phases) > 25
    sites = [phase_s("splay", f"SITE_{number}", 60, "trader") for number in range(60)]
    assert max(sites.count(phase) for phase in set(sites)) <= 2, "a fleet stays spread"
    assert phase_s("clock", "SITE_1", 60, "trader") == 0
