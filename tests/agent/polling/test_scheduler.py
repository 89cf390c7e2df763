"""Rounds and closed intervals on a driven clock, and a rhythm that changes under way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from agent.polling.scheduler import Answers, Rhythm, Scheduler
from agent.polling.ticks import Tick
from tests.support.simulated_clock import START, DrivenClock


class Site:
    """Notes what is asked of it, in seconds after the start."""

    def __init__(self, rhythm: Rhythm) -> None:
        self.clock = DrivenClock(wall=START + 1)
        self.began = self.clock.monotonic()
        self.schedule = Scheduler(rhythm, self.clock, self.request, self.close)
        self.rounds: list[float] = []
        self.closed: list[float] = []
        self.labels: list[int] = []
        self.hold = asyncio.Event()
        self.hold.set()

    def request(self) -> Answers:
        self.rounds.append(self.clock.monotonic() - self.began)
        return []

    async def close(self, tick: Tick, answers: Answers) -> None:
        self.closed.append(self.clock.monotonic() - self.began)
        self.labels.append(tick.time)
        await self.hold.wait()


@asynccontextmanager
async def running(rhythm: Rhythm, after: int = 0) -> AsyncIterator[Site]:
    site = Site(rhythm)
    task = asyncio.create_task(site.schedule.run(after=after))
    try:
        yield site
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_round_at_once_then_at_its_pace_and_one_at_each_tick() -> None:
    async with running(Rhythm(60, 0, 20.0)) as site:
        await site.clock.advance(180)
        assert site.rounds == [0, 20, 40, 59, 79, 99, 119, 139, 159, 179]
        assert site.closed == [59, 119, 179]
        assert site.labels == [START + 60, START + 120, START + 180]


async def test_labels_go_on_after_the_last_one_of_before_the_start() -> None:
    async with running(Rhythm(60, 0, 20.0), after=int(START) + 120) as site:
        await site.clock.advance(240)
        assert site.labels == [START + 180, START + 240]


async def test_no_round_shortly_before_that_of_a_tick() -> None:
    async with running(Rhythm(60, 0, 25.0)) as site:
        await site.clock.advance(90)
        assert site.rounds == [0, 25, 59, 84]


async def test_rounds_that_are_rarer_than_pushes_come_with_them() -> None:
    async with running(Rhythm(10, 0, 60.0)) as site:
        await site.clock.advance(30)
        assert site.rounds == [0, 9, 19, 29]


async def test_an_interval_that_is_slow_to_close_holds_up_no_other() -> None:
    async with running(Rhythm(10, 0, 10.0)) as site:
        site.hold.clear()
        await site.clock.advance(30)
        assert site.closed == [9, 19, 29]


async def test_another_pace_of_polls_leaves_the_next_push_where_it_is() -> None:
    async with running(Rhythm(60, 0, 20.0)) as site:
        await site.clock.advance(30)
        site.clock.set_time(site.clock.time() + 0.3)  # as little as a time service slews
        site.schedule.change(Rhythm(60, 0, 5.0))
        await site.clock.advance(35)
        assert site.rounds == [0, 20, 35, 40, 45, 50, 55, 59, 64]
        assert site.closed == [59]


@pytest.mark.parametrize("new", [Rhythm(10, 0, 10.0), Rhythm(60, 30, 10.0), Rhythm(300, 7, 10.0)])
@pytest.mark.parametrize("after_s", [58, 59, 60])
async def test_another_interval_or_phase_takes_hold_at_once_and_repeats_no_label(new: Rhythm, after_s: float) -> None:
    async with running(Rhythm(60, 0, 20.0)) as site:
        await site.clock.advance(after_s)
        before = len(site.labels)
        site.schedule.change(new)
        await site.clock.advance(2 * new.push_s)
        labels = site.labels[before:]
        assert len(labels) >= 1
        assert all(label % new.push_s == new.phase_s for label in labels)
        assert all(earlier < later for earlier, later in pairwise(site.labels))


async def test_a_change_at_the_moment_of_a_push_repeats_none() -> None:
    async with running(Rhythm(60, 0, 20.0)) as site:
        await site.clock.advance(59)
        site.clock.set_time(site.clock.time() - 1)  # the clock is stepped back onto the tick before
        site.schedule.change(Rhythm(10, 0, 10.0))
        await site.clock.advance(30)
        assert site.labels == sorted(set(site.labels))


@pytest.mark.parametrize(("after_s", "first"), [(65, 70), (58, 60), (60, 70)])
async def test_another_interval_begins_with_its_first_tick_that_is_not_closed_yet(after_s: float, first: int) -> None:
    async with running(Rhythm(60, 0, 20.0)) as site:
        await site.clock.advance(after_s)
        before = len(site.labels)
        site.schedule.change(Rhythm(10, 0, 10.0))
        await site.clock.advance(25)
        assert site.labels[before : before + 2] == [START + first, START + first + 10]
