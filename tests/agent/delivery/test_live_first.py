"""Answers to old messages neither delay live messages nor decide what the endpoint accepts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from agent.outbox.queue import Outbox
from tests.faults.http import Behaviour, Exchange, HttpFaults, answer
from tests.support.delivery import UP_S, FastClock, Sending, sending

pytestmark = pytest.mark.simulated_time

INTERVAL_S = 60
RETRY = {"initial_s": 1, "max_s": 300}


def by_age(old: Behaviour, live: Behaviour) -> Behaviour:
    """An endpoint that answers old messages and live ones differently."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await (old if exchange.request.body.startswith(b"old") else live)(exchange)

    return behave


def put_old(folder: Path, number: int) -> None:
    """Messages that an earlier run could not deliver."""
    outbox = Outbox.open(folder / "outbox.sqlite3", max_age_s=1e9, max_size_mb=8)
    for each in range(number):
        outbox.put([b"old %d" % each])
    outbox.close()


class Ticks:
    """Submits a live message each interval; notes how late it is delivered, in the clock's seconds."""

    def __init__(self, made: Sending, server: HttpFaults, clock: FastClock) -> None:
        self.late_s: list[float] = []
        self._made, self._server, self._clock = made, server, clock

    async def run(self, number: int) -> None:
        for tick in range(number):
            begun = self._clock.monotonic()
            await self._made.submit(b"live %d" % tick)
            await self._server.until(partial(self._delivered, tick))
            self.late_s.append(self._clock.monotonic() - begun)
            await self._clock.sleep(max(0.0, INTERVAL_S - self.late_s[-1]))

    def _delivered(self, tick: int) -> bool:
        return any(each.body == b"live %d" % tick and each.answered == 200 for each in self._server.accepted)


async def test_the_newest_message_goes_first_after_a_start(tmp_path: Path) -> None:
    put_old(tmp_path, 5)
    clock = FastClock(100)
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=INTERVAL_S) as made,
    ):
        await clock.sleep(INTERVAL_S * 0.8)
        assert not server.requests, "the backlog waits for the first live message"
        await made.submit(b"live")
        await made.all_delivered()
    assert [each.body for each in server.accepted] == [b"live", *(b"old %d" % each for each in range(5))]


@pytest.mark.parametrize(("number", "gap_s"), [(4, 0.5), (20, 0.001)])
async def test_the_backlog_follows_the_first_live_message_within_a_second_at_its_rate(
    tmp_path: Path, number: int, gap_s: float
) -> None:
    put_old(tmp_path, number)
    loop = asyncio.get_running_loop()
    at: list[float] = []

    async def behave(exchange: Exchange) -> None:
        at.append(loop.time())
        await exchange.accept()
        await exchange.answer(200)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), clock=FastClock(1.0), rate_per_s=1 / gap_s, interval_s=INTERVAL_S) as made,
    ):
        begun = loop.time()
        await made.submit(b"live")
        await asyncio.sleep(2 + number * gap_s)
    assert [each.body for each in server.accepted] == [b"live", *(b"old %d" % each for each in range(number))]
    assert at[0] - begun < 0.1
    assert at[1] - begun == pytest.approx(1.0, abs=0.1)
    assert [later - earlier for earlier, later in pairwise(at[2:])] == pytest.approx([gap_s] * (number - 2), abs=0.05)


async def test_a_refused_message_of_the_backlog_is_tried_again_before_newer_ones(tmp_path: Path) -> None:
    put_old(tmp_path, 3)
    retry = {"initial_s": 0.1, "max_s": 0.1}
    async with HttpFaults(answer(200)) as server:
        server.script.extend([answer(200), answer(422)])
        async with sending(tmp_path, server.url(), clock=FastClock(1.0), rate_per_s=0.5, retry=retry) as made:
            await made.submit(b"live")
            await asyncio.sleep(20)
    assert [each.body for each in server.accepted] == [b"live", b"old 0", b"old 0", b"old 1", b"old 2"]


async def test_a_refused_message_is_tried_again_after_an_hour_even_if_the_delays_are_longer(tmp_path: Path) -> None:
    """The queue takes a longer wait for a clock that was set back, and would return the message at once."""
    put_old(tmp_path, 1)
    clock = FastClock(1.0)
    retry = {"initial_s": 1e9, "max_s": 1e9}
    async with HttpFaults(answer(200)) as server:
        server.script.extend([answer(200), answer(422)])
        async with sending(tmp_path, server.url(), clock=clock, retry=retry) as made:
            await made.submit(b"live")
            await asyncio.sleep(100)
            clock.leap(2900)
            await asyncio.sleep(100)
            assert [each.body for each in server.accepted] == [b"live", b"old 0"]
            clock.leap(900)
            await asyncio.sleep(100)
    assert [each.body for each in server.accepted] == [b"live", b"old 0", b"old 0"]


async def test_a_message_that_a_command_deletes_before_its_turn_is_not_sent(tmp_path: Path) -> None:
    put_old(tmp_path, 3)
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), clock=FastClock(1.0), rate_per_s=0.1) as made,
    ):
        await asyncio.sleep(3)
        await made.submit(b"live")
        await asyncio.sleep(2)
        (one, _) = made.outbox.backlog(1e12, limit=9)
        made.outbox.ack(one)
        await asyncio.sleep(60)
    assert {each.body for each in server.accepted} == {b"live", b"old 0", b"old 2"}


async def test_a_live_message_that_was_refused_holds_no_backlog(tmp_path: Path) -> None:
    """Neither older messages, nor itself when it has become one."""
    put_old(tmp_path, 3)
    retry = {"initial_s": 1000, "max_s": 1000}
    async with (
        HttpFaults(by_age(answer(200), answer(422))) as server,
        sending(tmp_path, server.url(), clock=FastClock(1.0), retry=retry, interval_s=INTERVAL_S) as made,
    ):
        await made.submit(b"live")
        await asyncio.sleep(5)
        assert sorted(made.kinds) == ["Delivered"] * 3 + ["Refused"]


@pytest.mark.parametrize(("interval_s", "after_s"), [(INTERVAL_S, 2 * INTERVAL_S), (3600, 300)])
async def test_a_backlog_goes_alone_where_no_live_message_comes(
    tmp_path: Path, interval_s: int, after_s: float
) -> None:
    put_old(tmp_path, 3)
    clock = FastClock(100)
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=interval_s) as made,
    ):
        await made.all_delivered()
        assert after_s <= clock.monotonic() - UP_S < after_s + 30


@pytest.mark.parametrize("status", [422, 400, 403, 503])
async def test_an_endpoint_that_refuses_old_messages_gets_live_ones_in_time(tmp_path: Path, status: int) -> None:
    """At each of two starts in a row."""
    for start in range(2):
        put_old(tmp_path, 20)
        clock = FastClock(100, 1_800_000_000.0 + 10_000 * start)
        async with (
            HttpFaults(by_age(answer(status, b"too old"), answer(200))) as server,
            sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=INTERVAL_S) as made,
        ):
            ticks = Ticks(made, server, clock)
            await ticks.run(4)
            assert any(each.body.startswith(b"old") for each in server.accepted), "the backlog is tried"
            assert server.accepted[0].body == b"live 0"
        probe_s = 80 if status == 403 else 0  # it says that nothing is accepted: live messages probe
        assert max(ticks.late_s) < probe_s + 50, ticks.late_s
        if status in (400, 422):
            assert not [each for each in made.logs if each["event"] in ("push_failed", "endpoint_misconfigured")]


async def test_a_schema_error_is_found_though_old_messages_are_accepted(tmp_path: Path) -> None:
    put_old(tmp_path, 20)
    push: Mapping[str, Any] = {"retry": {"initial_s": 0.01, "max_s": 0.02, "dead_letter_after": 1}, "interval_s": 1}
    async with (
        HttpFaults(by_age(answer(200), answer(422, b"no such field"))) as server,
        sending(tmp_path, server.url(), rate_per_s=200, push=push) as made,
    ):
        for number in range(3):
            await made.submit(b"live %d" % number)
            await server.until(lambda number=number: made.sender.stats.refused > number)  # type: ignore[misc]
            await server.until(lambda: made.sender.stats.delivered > 2 or made.waiting < 5)
        await server.until(lambda: made.sender.stats.state == "misconfigured")
        await server.until(lambda: not made.outbox.parked())
        assert made.sender.stats.parked == 0


async def test_a_dead_letter_of_before_a_delivery_stays_one_when_the_schema_is_wrong_later(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(200 if exchange.request.body == b"good" else 422)

    push: Mapping[str, Any] = {"retry": {"initial_s": 0.01, "max_s": 0.02, "dead_letter_after": 1}, "interval_s": 1}
    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), rate_per_s=200, push=push) as made:
        await made.submit(b"bad 0")
        await server.until(lambda: made.sender.stats.parked == 1)
        await made.submit(b"good")
        await server.until(lambda: made.sender.stats.delivered == 1)
        for number in range(1, 4):
            await made.submit(b"bad %d" % number)
            await server.until(lambda number=number: made.sender.stats.refused > number)  # type: ignore[misc]
        await server.until(lambda: made.sender.stats.state == "misconfigured")
        await server.until(lambda: made.sender.stats.parked == 1)
        await server.until(lambda: [record.body for record in made.outbox.parked()] == [b"bad 0"])


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_to_an_old_message_holds_the_backlog_and_not_live(tmp_path: Path, status: int) -> None:
    put_old(tmp_path, 30)
    clock = FastClock(150)
    async with (
        HttpFaults(by_age(answer(status, retry_after="3600"), answer(200))) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=INTERVAL_S) as made,
    ):
        ticks = Ticks(made, server, clock)
        await ticks.run(20)
        old = [each for each in server.accepted if each.body.startswith(b"old")]
        assert len(old) == 1, "the backlog waits as long as it was asked to"
        assert max(ticks.late_s) < 200, ticks.late_s
        assert sorted(ticks.late_s)[-2] < 60, "after one delivered probe live messages flow again"


async def test_while_the_endpoint_asks_for_silence_there_is_one_probe_a_minute(tmp_path: Path) -> None:
    """Many live messages, and the answer without Retry-After: still one probe a minute, by the newest tick."""
    put_old(tmp_path, 3)
    clock = FastClock(100)
    asked = answer(429, retry_after="1800")
    async with (
        HttpFaults(by_age(asked, answer(200))) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=5) as made,
    ):
        await made.submit(b"live")
        await server.until(lambda: any(record.body.startswith(b"old") for record, _ in made.outcomes), 30)
        server.behaviour = by_age(asked, answer(503))
        earlier = len(server.accepted)
        begun = clock.monotonic()
        newest = 0
        while clock.monotonic() - begun < 600:
            newest += 1
            await made.submit(*(b"live %d of %d" % (newest, each) for each in range(5)))
            await clock.sleep(5)
        probes = server.accepted[earlier:]
        assert 5 <= len(probes) <= 600 / 45 + 1
        assert all(each.body.startswith(b"live") for each in probes)
        server.behaviour = by_age(asked, answer(200))
        before = len(server.accepted)
        await made.submit(*(b"last %d" % each for each in range(5)))
        await server.until(lambda: sum(each.answered == 200 for each in server.accepted[before:]) == 5)


async def test_a_deleted_message_uses_up_no_probe(tmp_path: Path) -> None:
    """`telemetry-agent outbox drop --waiting` beside the running agent."""
    put_old(tmp_path, 1)
    clock = FastClock(1)
    asked = answer(429, retry_after="1800")
    async with (
        HttpFaults(by_age(asked, answer(200))) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=900) as made,
    ):
        await made.submit(b"live")
        await server.until(lambda: any(record.body.startswith(b"old") for record, _ in made.outcomes), 30)
        server.behaviour = by_age(asked, answer(503))
        await made.submit(b"1", b"2")
        while len(made.kinds) < 4:  # until both probes failed
            await clock.sleep(1)
        await clock.sleep(20)
        made.outbox.ack(made.outbox.live()[0])
        await clock.sleep(60)
    assert [each.body for each in server.accepted] == [b"live", b"old 0", b"1", b"2", b"2"]


async def test_retry_after_to_a_live_message_holds_everything(tmp_path: Path) -> None:
    put_old(tmp_path, 3)
    clock = FastClock(300)
    async with (
        HttpFaults(answer(429, retry_after="1800")) as server,
        sending(tmp_path, server.url(), clock=clock, retry=RETRY, interval_s=INTERVAL_S) as made,
    ):
        begun = clock.monotonic()
        while clock.monotonic() - begun < 1700:
            await made.submit(b"live")
            await clock.sleep(INTERVAL_S)
        assert len(server.requests) == 1
