"""How fast a backlog goes, alone and with a whole fleet behind the same endpoint."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import respx
from hypothesis import given
from hypothesis import strategies as st

from agent.config.push import PushConfig
from agent.delivery.pacing import LONG_S, SPREAD, Pace, SendSlot
from agent.delivery.sender import Sender
from agent.outbox.queue import Outbox
from benchmarks.fleet import simulate
from tests.support.delivery import FastClock


@given(
    waiting=st.integers(1, 100_000),
    interval=st.integers(1, 86_400),
    per_tick=st.integers(1, 50),
)
def test_a_backlog_is_slower_than_live_messages_and_never_takes_days(
    waiting: int, interval: int, per_tick: int
) -> None:
    pace = Pace(interval)
    gap, start = pace.gap_s(waiting, per_tick), pace.start_s(waiting, per_tick)
    assert 0 <= start <= SPREAD * interval / per_tick
    assert 0 < gap <= 1.5 * LONG_S / waiting
    assert gap <= 1.5 * SPREAD * interval / per_tick
    if waiting * interval / per_tick <= LONG_S / SPREAD:
        assert gap >= 0.5 * SPREAD * interval / per_tick


def test_a_backlog_of_a_day_takes_about_14_hours() -> None:
    """As docs/writing-an-endpoint.md says."""
    pace = Pace(60)
    assert 13 * 3600 < sum(pace.gap_s(waiting, 1) for waiting in range(1440, 0, -1)) < 14.5 * 3600


def test_a_fixed_rate_is_kept() -> None:
    pace = Pace(60, 20.0)
    assert pace.start_s(1000, 1) == 0
    assert pace.gap_s(1000, 1) == 0.05


def test_a_pace_without_messages_is_that_of_one() -> None:
    for waiting, per_tick in ((0, 0), (1, 0), (0, 1)):
        gaps = [Pace(60.0).gap_s(waiting, per_tick) for _ in range(100)]
        assert 54.0 <= min(gaps) <= max(gaps) <= 162.0
    assert min(Pace(86_400.0).gap_s(1, 1) for _ in range(100)) >= LONG_S / 2


def test_a_slot_at_a_fixed_rate() -> None:
    slot = SendSlot(Pace(60.0, 2.0))
    assert slot.at == 0.0
    slot.begin(100.0, 9)
    assert slot.at == 100.0
    for now, at in ((100.0, 100.5), (100.5, 101.0), (105.0, 105.0), (105.0, 105.5)):
        slot.take(now, 9)
        assert slot.at == at, "a slot that was missed is not made up for"
    for until, at in ((200.0, 200.0), (150.0, 200.0)):
        slot.hold(until, 9)
        assert slot.at == at


def test_a_slot_after_a_start_or_a_pause_is_at_a_random_moment() -> None:
    """For 100 messages that wait, and one new message in each minute."""
    begins, held, gaps = [], [], []
    for _ in range(1000):
        slot = SendSlot(Pace(60.0))
        slot.begin(1000.0, 100)
        begins.append(slot.at)
        slot.hold(2000.0, 100)
        held.append(slot.at)
        before = slot.at
        slot.take(2000.0, 100)
        gaps.append(slot.at - before)
    for at, moments in ((1000.0, begins), (2000.0, held)):
        assert at <= min(moments) < at + 5.0
        assert at + 103.0 < max(moments) <= at + 108.0
    assert 53.9 <= min(gaps) < max(gaps) <= 162.1


def test_a_fleet_does_not_return_at_once() -> None:
    for dated in (False, True):
        result = simulate(300, seed=2, dated=dated, outage_s=600, after_s=2400)
        assert 600 < result.caught_up_s < 2000
        assert result.after_mean < 1.7 * result.mean
        assert result.late_live == 0


async def test_live_messages_do_not_wait_and_the_backlog_does_not_hurry(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    url = "https://telemetry.example.com/v1"
    seen: list[bytes] = []
    live = asyncio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.content)
        if request.content == b"live":
            live.set()
        return httpx.Response(200)

    respx_mock.post(url).mock(side_effect=answer)
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8)
    for number in range(30):
        outbox.put([b"%d" % number])
    outbox.put([])
    config = PushConfig(url=url, token="a", interval_s=1, wait_for_clock_s=0)
    sender = Sender(config, outbox, clock=FastClock(1.0), environ={}, user_agent="telemetry-push-agent/0")
    running = asyncio.create_task(sender.run())
    await sender.submit([b"live"])
    await asyncio.wait_for(live.wait(), 60)
    await asyncio.sleep(1.0)  # at most: one at the start, one 0.9 s later; the old fixed pace sent 20
    assert len(seen) <= 3
    await sender.stop(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await sender.close()
    outbox.close()


def test_after_a_recovery_the_agents_of_a_fleet_begin_at_different_moments() -> None:
    begins = [Pace(60.0).start_s(100, 1) for _ in range(1000)]
    assert 0.0 <= min(begins) < 5.0
    assert 103.0 < max(begins) <= SPREAD * 60.0
