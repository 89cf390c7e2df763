"""What happens while nobody knows the time, when it becomes known, and when it steps."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from structlog.testing import capture_logs

from agent.aggregation.groups import Summary
from agent.app import App
from agent.config.loader import parse
from agent.config.push import PushConfig
from agent.contract.envelope import with_time
from agent.contract.payload import PayloadOptions, bodies
from agent.delivery.sender import Sender
from agent.delivery.undated import TIME_UNKNOWN, Now, dated
from agent.outbox.queue import Outbox
from agent.outbox.record import Record
from agent.runtime import clock_trust
from agent.runtime.clock_trust import ClockTrust, boot_id, kernel_synchronised
from agent.site.builder import Site
from drivers.model import NodeType
from tests.agent.delivery.test_circuit_breaker import Highest
from tests.support.delivery import at_work
from tests.support.simulated_clock import START, DrivenClock

URL = "https://telemetry.example.com/v1"
SOME = "1970-01-01T00:00:00+00:00"
NO_RTC = 40.0
"""Seconds since 1970 at which a controller without a battery-backed clock starts."""


class Kernel:
    """Says whether the clock is synchronised."""

    synchronised = False

    def __call__(self) -> bool:
        return self.synchronised


class CountingClock(DrivenClock):
    """Counts how often somebody goes to sleep."""

    sleeps = 0

    async def sleep(self, seconds: float) -> None:
        self.sleeps += 1
        await super().sleep(seconds)


@asynccontextmanager
async def sender(
    path: Path, clock: DrivenClock, kernel: Callable[[], bool], boot: str = "boot-1", **changes: Any
) -> AsyncIterator[tuple[Sender, Outbox]]:
    config = PushConfig(**{"url": URL, "token": "secret-token"} | changes)
    outbox = Outbox.open(path, max_age_s=604_800, max_size_mb=8, now=clock.time)
    trust = ClockTrust(clock, config.wait_for_clock_s, kernel, boot, lambda: True)
    made = Sender(config, outbox, backlog_rate_per_s=1000, clock=clock, environ={}, user_agent="agent/0", trust=trust)
    async with at_work(made, outbox):
        yield made, outbox


async def until(clock: DrivenClock, condition: Callable[[], bool], step_s: float = 0.1) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await clock.advance(step_s)


def message(time: float, number: int) -> bytes:
    return json.dumps({"time": int(time), "siteNodeId": "s", "number": number}, separators=(",", ":")).encode()


def times_of(route: respx.Route) -> dict[int, int]:
    sent = [json.loads(call.request.content) for call in route.calls]
    return {each["number"]: each["time"] for each in sent}


@pytest.mark.parametrize("wall", [NO_RTC, 0.0])
async def test_messages_wait_for_the_clock_and_get_the_time_at_which_they_were_measured(
    tmp_path: Path, respx_mock: respx.MockRouter, wall: float
) -> None:
    route = respx_mock.post(URL).respond(200)
    clock, kernel = DrivenClock(wall=wall), Kernel()
    began = clock.monotonic()
    with capture_logs() as logs:
        async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
            for number in range(3):
                await made.submit([message(clock.time(), number)], clock.monotonic())
                await clock.advance(60)
            assert not route.called
            assert made.waits_for_clock
            assert outbox.counts().waiting == 3
            clock.set_time(START + clock.monotonic() - began)
            kernel.synchronised = True
            await until(clock, lambda: outbox.counts().waiting == 0)
    assert times_of(route) == {0: int(START), 1: int(START) + 60, 2: int(START) + 120}
    assert len({call.request.headers["webhook-id"] for call in route.calls}) == 3
    assert all(re.fullmatch(r"(1970|2025)-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", entry.get("clock", SOME)) for entry in logs)
    assert [entry["event"] for entry in logs if "clock" in entry] == ["clock_not_set", "messages_dated"]


async def test_a_clock_that_falls_back_to_1970_while_the_agent_runs_dates_nothing(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    """As by a clock chip that is found late, and whose battery is empty."""
    route = respx_mock.post(URL).respond(200)
    clock, kernel = DrivenClock(), Kernel()
    kernel.synchronised = True
    right = clock.time() - clock.monotonic()
    with capture_logs() as logs:
        async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
            for number in range(6):
                if number in (2, 4):
                    clock.set_time(NO_RTC if number == 2 else right + clock.monotonic())
                await made.submit([message(clock.time(), number)], clock.monotonic())
                assert made.waits_for_clock is (number in (2, 3))
                await clock.advance(60)
            await until(clock, lambda: outbox.counts().waiting == 0)
    assert times_of(route) == {number: int(START) + 60 * number for number in range(6)}
    assert len(route.calls) == 6
    assert [entry["event"] for entry in logs if "clock" in entry] == ["clock_not_set", "messages_dated"]


async def test_the_next_attempt_is_that_of_a_retry_while_new_messages_wait_for_the_clock(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).respond(503)
    clock, kernel = DrivenClock(), Kernel()
    kernel.synchronised = True
    retry = {"initial_s": 3600, "max_s": 3600}
    async with sender(tmp_path / "o.sqlite3", clock, kernel, interval_s=10, retry=retry) as (made, _):
        made._breaker.backoff.dice = Highest()
        await made.submit([message(clock.time(), 0)], clock.monotonic())
        await until(clock, lambda: made.stats.attempts == 1, 0.0)
        assert made.next_attempt_at == clock.monotonic() + 10
        clock.set_time(NO_RTC)
        assert made.next_attempt_at == clock.monotonic() + 3600


async def test_dated_messages_that_a_newer_tick_replaces_are_counted_as_late(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    """Of three messages, the first is delivered, and the second has no answer when the next tick comes."""
    hangs = asyncio.Event()

    async def reply(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["number"] == 1:
            await hangs.wait()
        return httpx.Response(200)

    respx_mock.post(URL).mock(side_effect=reply)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
        await made.submit([message(clock.time(), number) for number in range(3)], clock.monotonic())
        clock.set_time(START)
        kernel.synchronised = True
        await until(clock, lambda: outbox.counts().waiting == 2)
        await made.submit([message(clock.time(), 3)])
        await until(clock, lambda: made.stats.superseded > 0)  # as soon as the next message is delivered
        assert made.stats.superseded == 1
        hangs.set()
        await until(clock, lambda: outbox.counts().waiting == 0)


async def test_a_restart_in_the_same_boot_dates_what_was_there(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    route = respx_mock.post(URL).respond(200)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, _):
        await made.submit([message(clock.time(), 1)], clock.monotonic())
    await clock.advance(600)
    clock.set_time(START + 600)
    kernel.synchronised = True
    async with sender(tmp_path / "o.sqlite3", clock, kernel, gzip=True) as (_, outbox):
        await until(clock, lambda: outbox.counts().waiting == 0)
    assert json.loads(gzip.decompress(route.calls[0].request.content)) == {
        "time": int(START),
        "siteNodeId": "s",
        "number": 1,
    }


async def test_of_an_earlier_boot_a_possible_date_stays_and_an_impossible_one_is_parked(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post(URL).respond(200)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel, "boot-1") as (made, _):
        await made.submit([message(clock.time(), 1)], clock.monotonic())
        clock.set_time(START - 5000)  # as a stored clock has it; still not synchronised
        await made.submit([message(clock.time(), number) for number in (2, 3)], clock.monotonic())
    clock, kernel = DrivenClock(), Kernel()
    kernel.synchronised = True
    with capture_logs() as logs:
        async with sender(tmp_path / "o.sqlite3", clock, kernel, "boot-2") as (made, outbox):
            await until(clock, lambda: outbox.counts().waiting == 0)
            (parked,) = outbox.parked()
            assert (json.loads(parked.body)["number"], parked.parked) == (1, TIME_UNKNOWN)
            assert made.stats.parked == 1
    assert times_of(route) == dict.fromkeys((2, 3), int(START - 5000))
    told = [(entry["id"], entry["reason"]) for entry in logs if entry["event"] == "message_parked"]
    assert told == [(parked.id, TIME_UNKNOWN)]


@pytest.mark.parametrize(
    ("created", "parked"),
    [(START, False), (START - 3600.0, False), (START + 0.001, True), (START + 86_400.0, True), (NO_RTC, True)],
)
def test_a_date_of_an_earlier_boot_is_possible_up_to_now(created: float, parked: bool) -> None:
    record = Record(1, "msg_1", b"body", created, boot="boot-1", mono=5.0)
    now = dated(record, Now("boot-2", 9.0, START), with_time)
    assert (now.parked is not None, now.boot, now.created, now.body) == (parked, None, created, b"body")


async def test_of_two_messages_in_the_same_boot_each_gets_its_own_date_within_seconds(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    """Within a second after a start without the time, and within five if the time was known before."""
    route = respx_mock.post(URL).respond(200)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
        await clock.advance(0.5)
        await made.submit([message(clock.time(), 0), message(clock.time(), 1)], clock.monotonic())
        kernel.synchronised = True
        clock.set_time(START)
        await clock.advance(0.6)
        assert not outbox.undated()
        await until(clock, lambda: outbox.counts().waiting == 0)
        clock.set_time(NO_RTC)
        await made.submit([message(clock.time(), 2)], clock.monotonic())
        clock.set_time(START + 3600)
        await clock.advance(5.1)
        assert not outbox.undated()
        await until(clock, lambda: outbox.counts().waiting == 0)
    assert times_of(route) == {0: int(START), 1: int(START), 2: int(START + 3600)}


async def test_bytes_are_final_from_the_first_attempt_on(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    answers = iter([503, 503, 200])
    route = respx_mock.post(URL).mock(side_effect=lambda _: httpx.Response(next(answers)))
    clock, kernel = DrivenClock(), Kernel()
    kernel.synchronised = True
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
        await made.submit([message(clock.time(), 1)])
        await until(clock, lambda: route.call_count >= 1)
        clock.set_time(clock.time() - 3600)
        await until(clock, lambda: route.call_count >= 2)
        clock.set_time(clock.time() + 86_400)
        await until(clock, lambda: outbox.counts().waiting == 0)
    assert len({(call.request.content, call.request.headers["webhook-id"]) for call in route.calls}) == 1


@pytest.mark.parametrize("step", [-86_400.0, -3600.0, -1.0, 1.0, 3600.0, 86_400.0 * 3])
async def test_a_step_of_the_clock_delays_no_retry_of_the_backlog(
    tmp_path: Path, respx_mock: respx.MockRouter, step: float
) -> None:
    answers = iter([503, 200, 200])
    respx_mock.post(URL).mock(side_effect=lambda _: httpx.Response(next(answers)))
    clock, kernel = DrivenClock(), Kernel()
    kernel.synchronised = True
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
        await made.submit([message(clock.time(), 1)])
        await until(clock, lambda: made.stats.attempts >= 1)
        clock.set_time(clock.time() + step)
        began = clock.monotonic()
        await made.submit([message(clock.time(), 2)])
        await until(clock, lambda: outbox.counts().waiting == 0)
        assert clock.monotonic() - began < 10


def test_where_no_time_service_runs_nothing_is_waited_for() -> None:
    clock = DrivenClock(monotonic=20.0)
    trust = ClockTrust(clock, 300.0, lambda: False, "boot-1", lambda: False)
    assert not trust.is_trusted(), "one may still start"
    clock._monotonic = 30.0
    assert trust.is_trusted()
    assert not ClockTrust(clock, 300.0, lambda: False, "boot-1", lambda: True).is_trusted()
    clock.set_time(NO_RTC)
    assert not ClockTrust(clock, 300.0, lambda: False, "boot-1", lambda: False).is_trusted()


def test_a_host_that_never_hears_of_a_synchronisation_is_held_back_for_a_while_only() -> None:
    clock = DrivenClock(monotonic=20.0)
    trust = ClockTrust(clock, 300.0, lambda: False, "boot-1", lambda: True)
    assert not trust.is_trusted()
    clock._monotonic = 299.0
    assert not trust.is_trusted()
    clock._monotonic = 300.0
    assert trust.is_trusted()
    clock.set_time(NO_RTC)
    assert not trust.is_trusted(), "but for a date that cannot be"
    clock.set_time(START)
    assert trust.is_trusted(), "once known, the time stays known"


def test_a_date_before_the_agent_was_written_is_never_trusted() -> None:
    clock = DrivenClock(monotonic=1e6, wall=NO_RTC)
    trust = ClockTrust(clock, 300.0, lambda: True, "boot-1")
    assert not trust.is_trusted()
    clock.set_time(START)
    assert trust.is_trusted()
    assert ClockTrust(DrivenClock(wall=NO_RTC), 0.0, lambda: False, "boot-1").is_trusted(), "0 trusts any clock"


def test_the_kernel_can_be_asked() -> None:
    assert 0 <= clock_trust._max_error_us() <= 16_000_000
    assert kernel_synchronised() in (True, False)
    assert boot_id() == boot_id()


def test_another_time_in_every_kind_of_body() -> None:
    summary = Summary(1_700_000_000, (), {type_: {} for type_ in NodeType})
    for options in (
        PayloadOptions("s", ("device_type", "device"), "snapshot"),
        PayloadOptions("s", time_format="string", quality=True),
    ):
        later = Summary(1_750_000_000, (), summary.groups)
        assert [with_time(body, 1_750_000_000) for body in bodies(summary, options)] == bodies(later, options)


async def test_steps_neither_stop_nor_repeat_nor_burst_the_pushes_of_the_daemon(tmp_path: Path) -> None:
    path = tmp_path / "o.sqlite3"
    device = {"node_id": "meter-1", "type": "grid", "driver": "eastron-sdm630", "host": "127.0.0.1"}
    push = {"url": URL, "token": "secret-token", "interval_s": 60}
    table = {"site": {"node_id": "s"}, "push": push, "outbox": {"path": str(path)}, "device": [device]}
    clock = DrivenClock()
    app = App(
        parse(table, {}, "test"), Site(()), clock, {}, trust=ClockTrust(clock, 1e9, lambda: False, None, lambda: True)
    )
    running = asyncio.create_task(app.run())
    for step in (0.0, 7200.0, -7200.0, 31.0, -29.0, 86_400.0 * 40, -86_400.0 * 40):
        clock.set_time(clock.time() + step)
        await clock.advance(300)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    outbox = Outbox.open(path, max_age_s=1e9, max_size_mb=8)
    at = [record.mono for record in outbox.undated(limit=100)]  # the moments that were pushed, by the monotonic clock
    outbox.close()
    gaps = [later - earlier for earlier, later in pairwise(at)]
    assert 34 <= len(at) <= 36
    assert min(gaps) >= 29.9
    assert max(gaps) <= 90.1


async def test_a_message_that_is_under_way_while_older_ones_are_dated_is_sent_once(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    hangs = asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["number"] == 1:
            await hangs.wait()
        return httpx.Response(200)

    route = respx_mock.post(URL).mock(side_effect=answer)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel) as (made, outbox):
        await made.submit([message(clock.time(), 0)])
        clock.set_time(START)
        kernel.synchronised = True
        await made.submit([message(START, 1), message(START, 2)])
        await until(clock, lambda: made.stats.delivered >= 1)
        await clock.advance(5)
        hangs.set()
        await until(clock, lambda: outbox.counts().waiting == 0)
        await clock.advance(5)
    assert sorted(json.loads(call.request.content)["number"] for call in route.calls) == [0, 1, 2]


async def test_a_message_that_waits_for_its_next_try_while_older_ones_are_dated_is_delivered_once(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    answers = iter([503])
    route = respx_mock.post(URL).mock(side_effect=lambda _: httpx.Response(next(answers, 200)))
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    slow = {"initial_s": 60, "max_s": 60}  # the next try is later than the dating
    async with sender(tmp_path / "o.sqlite3", clock, kernel, retry=slow) as (made, outbox):
        await made.submit([message(clock.time(), 0)])
        clock.set_time(START)
        kernel.synchronised = True
        await made.submit([message(START, 1)])
        await until(clock, lambda: made.stats.attempts == 1)
        await clock.advance(70)
        await until(clock, lambda: outbox.counts().waiting == 0)
        await clock.advance(70)
    assert sorted(json.loads(call.request.content)["number"] for call in route.calls) == [0, 1, 1]


async def test_a_refused_message_is_not_tried_sooner_when_older_ones_are_dated(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    route = respx_mock.post(URL).respond(422)
    clock, kernel = DrivenClock(wall=NO_RTC), Kernel()
    async with sender(tmp_path / "o.sqlite3", clock, kernel, retry={"initial_s": 600, "max_s": 600}) as (made, outbox):
        made._breaker.backoff.dice = Highest()
        await made.submit([message(clock.time(), 0)])
        clock.set_time(START)
        kernel.synchronised = True
        await made.submit([message(START, 1)])
        await until(clock, lambda: made.stats.attempts >= 1)
        await until(clock, lambda: not outbox.undated())
        await clock.advance(60)
    assert [json.loads(call.request.content)["number"] for call in route.calls].count(1) == 1


async def test_a_message_that_waits_for_its_next_try_waits_without_work(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    hangs, tried = asyncio.Event(), asyncio.Event()

    async def answer(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["number"] == 1:
            tried.set()
            await hangs.wait()
        return httpx.Response(503)

    respx_mock.post(URL).mock(side_effect=answer)
    clock, kernel = CountingClock(wall=NO_RTC), Kernel()
    slow = {"initial_s": 60, "max_s": 60}
    async with sender(tmp_path / "o.sqlite3", clock, kernel, retry=slow) as (made, outbox):
        await made.submit([message(clock.time(), 0)])
        clock.set_time(START)
        kernel.synchronised = True
        await made.submit([message(START, 1)])
        await until(clock, tried.is_set, 0)
        await made.submit([message(START, 2)])
        await until(clock, lambda: made.stats.attempts == 1, 0)
        await until(clock, lambda: not outbox.undated())
        await clock.advance(1)
        begun = clock.sleeps
        for _ in range(1000):
            await asyncio.sleep(0)
        assert clock.sleeps - begun < 10
        hangs.set()
