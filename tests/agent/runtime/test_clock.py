from __future__ import annotations

import asyncio

import pytest

from agent.runtime import WakeEvent, sleep_unless
from tests.support.simulated_clock import DrivenClock, settled


async def test_a_sleep_ends_at_its_time() -> None:
    clock, event = DrivenClock(), WakeEvent()
    sleeping = asyncio.ensure_future(sleep_unless(clock, 5.0, event))
    await clock.advance(4.9)
    assert not sleeping.done()
    await clock.advance(0.1)
    assert await sleeping is False


async def test_an_event_ends_all_its_sleeps_and_those_that_begin_later() -> None:
    clock, event = DrivenClock(), WakeEvent()
    sleeping = [asyncio.ensure_future(sleep_unless(clock, seconds, event)) for seconds in (5.0, 60.0)]
    await settled()
    event.set()
    assert await asyncio.gather(*sleeping) == [True, True]
    assert await sleep_unless(clock, 5.0, event) is True
    event.clear()
    again = asyncio.ensure_future(sleep_unless(clock, 5.0, event))
    await clock.advance(5.0)
    assert await again is False


async def test_a_cancelled_sleep_ends_its_timer_too() -> None:
    clock, event = DrivenClock(), WakeEvent()
    sleeping = asyncio.ensure_future(sleep_unless(clock, 5.0, event))
    await settled()
    sleeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeping
    await settled()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    event.set()  # has nothing left to end
