"""The links of delivery: what a message costs, how the messages of a tick share their turns, what ends a retry."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx
from structlog.testing import capture_logs

from agent.config.push import PushConfig
from agent.delivery.outcome import LABELS, Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.delivery.sender import Sender
from agent.delivery.stats import DeliveryStats, State
from agent.outbox.queue import Outbox
from agent.outbox.record import Record
from tests.agent.delivery.test_circuit_breaker import Highest
from tests.faults.http import Exchange, HttpFaults, answer
from tests.support.delivery import FastClock, at_work, sending
from tests.support.simulated_clock import DrivenClock

URL = "https://telemetry.example.com/v1"
QUIET_S = 0.3


class CountingOutbox:
    """Counts the calls to an outbox by name."""

    def __init__(self, outbox: Outbox) -> None:
        self.calls: Counter[str] = Counter()
        self._outbox = outbox

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outbox, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            self.calls[name] += 1
            return found(*arguments, **options)

        return counted if callable(found) else found


async def test_a_delivered_live_message_costs_a_put_and_an_ack(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url()) as made:
        counting = CountingOutbox(made.outbox)
        made.sender._queue._outbox = counting  # type: ignore[assignment]  # has all its methods
        await made.submit(b"first")
        await made.all_delivered()
        await server.until(
            lambda: made.sender._backlog._next_read_at > 0
        )  # after a start the backlog worker looks once
        for number in range(3):
            counting.calls.clear()
            await made.submit(b"%d" % number)
            await server.until(lambda: counting.calls["ack"] == 1)
            await asyncio.sleep(QUIET_S)
            assert counting.calls == {"put": 1, "ack": 1}


@pytest.mark.simulated_time
async def test_a_queue_is_read_every_30_seconds_and_every_second_while_a_message_waits(tmp_path: Path) -> None:
    """A command may put a dead letter back."""
    retry = {"initial_s": 1000, "max_s": 1000, "dead_letter_after": 2}
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), retry=retry) as made:
        counting = CountingOutbox(made.outbox)
        made.sender._queue._outbox = counting  # type: ignore[assignment]  # has all its methods
        made.sender._breaker.backoff.dice = Highest()
        await asyncio.sleep(3)
        assert counting.calls == {"note": 1, "undated": 1, "counts": 2, "backlog": 1}
        await asyncio.sleep(300)
        assert counting.calls == {"note": 1, "undated": 1, "counts": 12, "backlog": 11}
        server.script.append(answer(422))
        await made.submit(b"refused")
        await made.submit(b"newer")
        await asyncio.sleep(5)
        assert sorted(made.kinds) == ["Delivered", "Refused"]
        counting.calls.clear()
        await asyncio.sleep(100)
        assert 99 <= counting.calls["backlog"] <= 101
        (record,) = made.outbox.backlog(1e12, limit=9)
        made.outbox.update(replace(record, next_try=0.0))
        await asyncio.sleep(2)
        assert made.waiting == 0
    assert "messages_dated" not in {each["event"] for each in made.logs}


@contextlib.contextmanager
def no_garbage(count: int) -> Iterator[None]:
    """No kind of object is left to the collector `count` times.

    The collector runs rarely (`collect_rarely`). What it must find stays in memory for hundreds of messages.
    """
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = Counter(type(each).__name__ for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert {kind: found for kind, found in kinds.items() if found >= count} == {}


async def test_a_delivered_message_leaves_no_garbage(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url()) as made:
        await made.submit(b"first")
        await made.all_delivered()
        with no_garbage(30):
            for number in range(30):
                await made.submit(b"%d" % number)
                await made.all_delivered()


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_failed_attempt_leaves_no_garbage(tmp_path: Path, reachable: bool) -> None:
    async with HttpFaults(answer(503, b"later")) as server, sending(tmp_path, server.url(), run=False) as made:
        if not reachable:
            await server.down()
        await made.attempt(b"first")
        (record,) = made.outbox.live()
        with no_garbage(30):
            for _ in range(30):
                assert isinstance(await made.sender._endpoint.post(record, 0), Retry)


async def test_the_messages_of_a_tick_share_its_turns(tmp_path: Path) -> None:
    together: list[int] = []
    held: set[bytes] = set()

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if exchange.request.body == b"slow":
            await asyncio.sleep(0.2)
            await exchange.answer(200)
            return
        held.add(exchange.request.body)
        together.append(len(held))
        async with asyncio.timeout(20):
            while len(held) < 3 and len(together) <= 6:  # noqa: ASYNC110 - until three are here
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.02)
        held.discard(exchange.request.body)
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), connections=3) as made:
        await made.submit(b"slow")
        await made.all_delivered()
        await made.submit(*(b"%d" % number for number in range(9)))
        await made.all_delivered()
        assert made.kinds == ["Delivered"] * 10
    assert max(together) == 3
    assert sorted(request.body for request in server.accepted[1:]) == [b"%d" % number for number in range(9)]


async def test_one_message_at_a_time_where_that_is_fast_enough(tmp_path: Path) -> None:
    busy = 0
    most = 0

    async def behave(exchange: Exchange) -> None:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await exchange.accept()
        await asyncio.sleep(0.01)
        busy -= 1
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), interval_s=3600) as made:
        await made.submit(*(b"%d" % number for number in range(5)))
        await made.all_delivered()
    assert [request.body for request in server.accepted] == [b"%d" % number for number in range(5)]
    assert most == 1


async def test_the_others_of_a_tick_go_on_while_a_refused_message_waits(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await exchange.answer(422 if exchange.request.body == b"bad" else 200)

    retry = {"initial_s": 1000, "max_s": 1000}
    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), retry=retry) as made:
        await made.submit(b"bad", b"good", b"also good")
        await server.until(lambda: made.waiting == 1)
        assert made.kinds == ["Refused", "Delivered", "Delivered"]
        assert made.sender._live.open == 1


async def test_the_others_of_a_tick_wait_while_the_endpoint_fails(tmp_path: Path) -> None:
    retry = {"initial_s": 1000, "max_s": 1000}
    async with HttpFaults(answer(503)) as server, sending(tmp_path, server.url(), retry=retry) as made:
        await made.submit(b"1", b"2", b"3")
        await server.until(lambda: len(made.kinds) == 1)
        await asyncio.sleep(QUIET_S)
        assert made.kinds == ["Retry"]
        assert made.waiting == 3


@pytest.mark.simulated_time
async def test_as_many_attempts_at_once_as_the_mean_round_trip_needs(tmp_path: Path) -> None:
    """A quarter of the interval is a second, so that 10 messages need 10 times the mean round trip at once."""
    here = most = 0
    took_s = 0.0
    at: list[float] = []

    async def behave(exchange: Exchange) -> None:
        nonlocal here, most
        await exchange.accept()
        here += 1
        most = max(most, here)
        at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(took_s)
        here -= 1
        await exchange.answer(200)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), clock=FastClock(1.0), interval_s=4, connections=10) as made,
    ):
        for took_s, messages, at_once in (  # noqa: B007 - `behave` takes `took_s` seconds
            (0.15, 1, 1),
            (0.15, 10, 2),  # 0.15 s
            (1.15, 1, 1),  # now 0.35 s
            (0.35, 10, 4),
        ):
            most = 0
            at.clear()
            before = len(made.outcomes)
            await made.submit(*[b"x"] * messages)
            await asyncio.sleep(3.0)
            assert len(made.outcomes) == before + messages
            assert most == at_once
            assert at[at_once - 1] - at[0] < 0.1, "from the first attempt on"
        made.sender.stats.state = State.FAILING
        at.clear()
        await made.submit(b"x", b"x")
        await asyncio.sleep(3.0)
        assert at[1] - at[0] >= 0.35, "the first one shows whether the endpoint is well"


@pytest.mark.simulated_time
async def test_a_misconfigured_endpoint_is_tried_again_when_the_breaker_allows_it(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server:
        server.script.append(answer(401))
        async with sending(tmp_path, server.url(), clock=FastClock(1.0)) as made:
            await made.submit(b"1")
            await asyncio.sleep(0.5)  # the maximum of the delays is 0.02 s
            assert made.kinds == ["Misconfigured", "Delivered"]


async def test_a_message_that_the_live_worker_does_not_take_is_stuck(tmp_path: Path) -> None:
    clock = DrivenClock()
    async with sending(tmp_path, URL, clock=clock, run=False, timeout_s=30) as made:
        watchdog = made.sender._watchdog
        await made.submit(b"1")
        clock.jump(149.0)
        await made.submit(b"2")
        assert watchdog.overdue() == []
        clock.jump(2.0)
        assert watchdog.overdue() == ["live push"]
        await made.sender.stop(0)
        assert watchdog.overdue() == []


async def test_a_message_that_waits_for_its_next_try_is_not_stuck(tmp_path: Path) -> None:
    clock = DrivenClock()
    retry = {"initial_s": 1000, "max_s": 1000}
    async with HttpFaults(answer(503)) as server, sending(tmp_path, server.url(), clock=clock, retry=retry) as made:
        made.sender._breaker.backoff.dice = Highest()
        await made.submit(b"1")
        await server.until(lambda: made.kinds == ["Retry"])
        clock.jump(500.0)
        assert made.sender._watchdog.overdue() == []


@pytest.mark.simulated_time
async def test_the_others_of_a_tick_wait_for_a_moment_too(tmp_path: Path) -> None:
    begun: list[float] = []

    async def behave(exchange: Exchange) -> None:
        begun.append(asyncio.get_running_loop().time())
        await exchange.accept()
        await exchange.answer(503 if len(begun) == 1 else 200)

    retry = {"initial_s": 0.9, "max_s": 0.9}
    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), retry=retry, interval_s=60) as made:
        made.sender._breaker.backoff.dice = Highest()
        await made.submit(b"1", b"2")
        await made.all_delivered()
    assert begun[1] - begun[0] == pytest.approx(0.9, abs=0.1)


@pytest.mark.simulated_time
async def test_a_backlog_without_a_live_message_is_tried_again(tmp_path: Path) -> None:
    outbox = Outbox.open(tmp_path / "outbox.sqlite3", max_age_s=1e9, max_size_mb=8)
    outbox.put([b"old"])
    outbox.close()
    async with HttpFaults(answer(200)) as server:
        server.script.append(answer(503))
        async with sending(tmp_path, server.url()) as made:
            await made.all_delivered()
        assert made.kinds == ["Retry", "Delivered"]


async def test_no_more_than_two_ticks_hang_at_once(tmp_path: Path) -> None:
    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.Event().wait()

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), timeout_s=30) as made:
        server.script.extend([answer(200), answer(200)])
        for _ in range(2):
            await made.submit(b"delivered")
            await made.all_delivered()
        server.accepted.clear()
        for number in range(4):
            await made.submit(b"%d" % number)
            if number == 2:
                await asyncio.sleep(QUIET_S)
                assert [request.body for request in server.accepted] == [b"0", b"1"]
            else:
                await server.until(lambda number=number: len(server.accepted) == min(number + 1, 3))  # type: ignore[misc]
        await asyncio.sleep(QUIET_S)
        assert [request.body for request in server.accepted] == [b"0", b"1", b"2"], "the third is backlog by now"


async def test_a_sender_that_waits_for_the_next_try_ends_when_it_is_stopped(tmp_path: Path) -> None:
    retry = {"initial_s": 1000, "max_s": 1000}
    async with HttpFaults(answer(503)) as server, sending(tmp_path, server.url(), run=False, retry=retry) as made:
        running = asyncio.create_task(made.sender.run())
        await made.submit(b"1")
        await server.until(lambda: made.kinds == ["Retry"])
        await made.sender.stop(0)
        async with asyncio.timeout(60):
            await running
    assert len(server.requests) == 1


async def test_a_tick_that_waits_ends_when_a_newer_one_comes(tmp_path: Path) -> None:
    """Or the third tick would wait for the first."""
    retry = {"initial_s": 1000, "max_s": 1000}
    async with HttpFaults(answer(503)) as server, sending(tmp_path, server.url(), retry=retry) as made:
        for number in range(5):
            await made.submit(b"%d" % number)
            await server.until(lambda number=number: len(made.kinds) == number + 1)  # type: ignore[misc]
    assert [request.body for request in server.accepted] == [b"%d" % number for number in range(5)]


@pytest.mark.parametrize(
    ("status", "attempts", "failures", "wait_s"),
    [
        (503, 0, 0, 1),
        (503, 8, 0, 256),  # the message itself may be the cause: it falls behind the others
        (503, 0, 8, 256),
        (None, 8, 0, 0),  # the receiver did not see it
        (403, 3, 0, 8),
        (403, 0, 8, 1),
    ],
)
async def test_when_a_message_is_tried_again(
    tmp_path: Path, respx_mock: respx.MockRouter, status: int | None, attempts: int, failures: int, wait_s: float
) -> None:
    reply: Any = httpx.ConnectError("x") if status is None else [httpx.Response(status)]
    respx_mock.post(URL).mock(side_effect=reply)
    clock = DrivenClock()
    async with sending(tmp_path, URL, clock=clock, run=False, retry={"initial_s": 1, "max_s": 1000}) as made:
        links = made.sender._attempts
        links._breaker.backoff.dice = Highest()
        links._breaker.failures = failures
        (record,) = made.outbox.put([b"x"])
        await links.send(replace(record, attempts=attempts), live=False)
        (now,) = made.outbox.live()
        assert now.attempts == attempts + 1
        assert now.next_try - clock.time() == pytest.approx(wait_s, abs=0.01)


async def test_after_an_answer_that_is_not_about_the_message_a_live_one_waits_only_for_the_endpoint(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).respond(403)
    clock = DrivenClock()
    async with sending(tmp_path, URL, clock=clock, run=False) as made:
        (record,) = made.outbox.put([b"x"])
        await made.sender._attempts.send(record, live=True)
        assert [(each.attempts, each.next_try) for each in made.outbox.live()] == [(1, clock.time())]


async def test_a_refused_message_waits_twice_as_long_each_time_until_it_is_a_dead_letter(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).respond(422)
    clock = DrivenClock()
    retry = {"initial_s": 1, "max_s": 1000, "dead_letter_after": 4}
    async with sending(tmp_path, URL, clock=clock, run=False, retry=retry) as made:
        made.sender._breaker.backoff.dice = Highest()
        (record,) = made.outbox.put([b"x"])
        waits = []
        while not (parked := made.outbox.parked()):
            await made.sender._attempts.send(record, live=False)
            waits += [each.next_try - clock.time() for each in made.outbox.live()]
            record = (*made.outbox.live(), record)[0]
        assert waits == [1, 2, 4]
        assert [(each.attempts, each.refusals, each.next_try) for each in parked] == [(4, 4, clock.time())]
        assert [getattr(outcome, "again_s", 0) for _, outcome in made.outcomes] == [1, 2, 4, None]


async def test_messages_whose_schema_is_refused_wait_only_for_the_endpoint(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).respond(422, text="no such field")
    clock = DrivenClock()
    retry = {"initial_s": 1, "max_s": 1000, "dead_letter_after": 1}
    async with sending(tmp_path, URL, clock=clock, run=False, retry=retry) as made:
        for body in (b"1", b"2", b"3"):
            (record,) = made.outbox.put([body])
            await made.sender._attempts.send(record, live=True)
        assert [type(outcome).__name__ for _, outcome in made.outcomes] == ["Refused", "Refused", "Misconfigured"]
        waiting = [*made.outbox.backlog(clock.time(), limit=9), *made.outbox.live()]
        assert [each.body for each in waiting] == [b"1", b"2", b"3"]
        assert {each.next_try for each in waiting} == {clock.time()}
        breaker = made.sender._breaker
        assert breaker.live_at() == breaker.backlog_at() > clock.monotonic(), "live messages too"


async def test_a_message_has_one_attempt_at_a_time_and_none_after_the_stop(tmp_path: Path) -> None:
    answers = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await answers.wait()
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), run=False) as made:
        links = made.sender._attempts
        one, two = made.outbox.put([b"1", b"2"])
        attempt = asyncio.create_task(links.send(one, live=True))
        await server.until(lambda: len(server.accepted) == 1)
        assert await links.send(one, live=False) == Stopped()
        answers.set()
        assert await attempt == Delivered(200)
        await made.sender.stop(0)
        assert await links.send(two, live=True) == Stopped()
    assert len(server.requests) == 1


async def test_each_message_says_how_many_wait_behind_it(tmp_path: Path) -> None:
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url(), run=False) as made:
        await made.submit(b"1", b"2", b"3")
        for record in made.outbox.live():
            await made.sender._attempts.send(record, live=True)
    assert [each.headers["x-telemetry-backlog"] for each in server.accepted] == ["2", "1", "0"]


async def test_a_sender_that_is_closed_leaves_no_thread(tmp_path: Path) -> None:
    before = {*threading.enumerate()}
    async with HttpFaults(answer(200)) as server, sending(tmp_path, server.url()) as made:
        await made.submit(b"x")
        await made.all_delivered()
    assert [each.name for each in threading.enumerate() if each not in before and each.name.startswith("outbox")] == []


@pytest.mark.parametrize("parked", [False, True])
async def test_a_message_that_is_gone_or_parked_is_not_sent_again(tmp_path: Path, parked: bool) -> None:
    """`telemetry-agent outbox drop --waiting` beside the running agent, or a verdict of the backlog worker."""
    clock = DrivenClock()
    async with (
        HttpFaults(answer(503)) as server,
        sending(tmp_path, server.url(), clock=clock, retry={"initial_s": 1, "max_s": 1}, wait_for_clock_s=0.0) as made,
    ):
        await made.submit(b"1")
        await server.until(lambda: made.kinds == ["Retry"])
        (record,) = made.outbox.live()
        if parked:
            made.outbox.update(replace(record, parked="why"))
        else:
            made.outbox.ack(record)
        server.behaviour = answer(200)
        await clock.advance(2)
        await server.until(lambda: made.sender._live.open == 0)
    assert len(server.requests) == 1


class TimedStats(DeliveryStats):
    """Notes the monotonic second of each outcome."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[tuple[str, float]] = []

    def count(self, record: Record, outcome: Outcome, *, now: float, at: float) -> bool:
        self.noted.append((outcome.label, now))
        return super().count(record, outcome, now=now, at=at)


async def test_a_recovery_says_how_long_the_endpoint_failed(tmp_path: Path, respx_mock: respx.MockRouter) -> None:
    statuses = iter([200, 503, 503, 200, 503, 200])
    respx_mock.post(URL).mock(side_effect=lambda _: httpx.Response(next(statuses)))
    clock, stats = DrivenClock(), TimedStats()
    config = PushConfig.model_validate({"url": URL, "token": "t", "wait_for_clock_s": 0.0, "retry": {"initial_s": 1}})
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8, now=clock.time)
    options = {"clock": clock, "environ": {}, "user_agent": "agent/0", "stats": stats}
    sender = Sender(config, outbox, backlog_rate_per_s=1000, **options)  # type: ignore[arg-type]  # each of its type
    with capture_logs() as logs:
        async with at_work(sender, outbox):
            for delivered in (1, 2, 3):
                await sender.submit([b"x"])
                async with asyncio.timeout(20):
                    while stats.delivered < delivered:
                        await clock.advance(0.25)
    labels = [label for label, _ in stats.noted]
    assert labels == ["delivered", "retry", "retry", "delivered", "retry", "delivered"]
    at = [second for _, second in stats.noted]
    told = [each["after_s"] for each in logs if each["event"] == "push_recovered"]
    assert told == [round(at[3] - at[1], 1), round(at[5] - at[4], 1)]
    warnings = [each["event"] for each in logs if each["log_level"] in ("warning", "error")]
    assert warnings == ["push_failed", "push_failed"], "one for each outage"


async def test_the_log_tells_the_first_delivery_and_each_cause_of_an_outage_once(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    refused, unreachable = "Connection refused", "No route to host"
    answers: list[int | str] = [503, 503, refused, unreachable, refused, 503, 401, 503, 401, 200, 200, 503, 200]

    def reply(_: httpx.Request) -> httpx.Response:
        answer = answers.pop(0)
        if isinstance(answer, int):
            return httpx.Response(answer, text=f"answer {len(answers)}")
        raise httpx.ConnectError(answer)

    respx_mock.post(URL).mock(side_effect=reply)
    async with sending(tmp_path, URL, retry={"initial_s": 0.001, "max_s": 0.002}) as made:
        for delivered in (1, 2, 3):
            await made.submit(b"x")
            async with asyncio.timeout(60):
                while made.sender.stats.delivered < delivered:  # noqa: ASYNC110 - respx has no event
                    await asyncio.sleep(0.005)
    told = [(each["event"], each.get("reason", "")) for each in made.logs if each["log_level"] != "debug"]
    assert told == [
        ("push_failed", "HTTP 503: answer 12"),
        ("push_failed", "no connection: Connection refused"),
        ("push_failed", "no connection: No route to host"),
        ("endpoint_misconfigured", "HTTP 401: answer 6"),
        ("first_delivery", ""),
        ("push_recovered", ""),
        ("push_failed", "HTTP 503: answer 1"),
        ("push_recovered", ""),
    ]


async def test_the_log_tells_at_most_eight_causes_of_an_outage_and_when_the_next_attempt_is(
    tmp_path: Path, respx_mock: respx.MockRouter
) -> None:
    respx_mock.post(URL).mock(side_effect=[httpx.ConnectError(f"cause {number}") for number in range(10)])
    retry = {"initial_s": 0.26, "max_s": 0.26}
    async with sending(tmp_path, URL, clock=DrivenClock(), run=False, retry=retry) as made:
        made.sender._breaker.backoff.dice = Highest()
        for _ in range(10):
            (record,) = made.outbox.live() or made.outbox.put([b"x"])
            await made.sender._attempts.send(record, live=True)
    told = [each for each in made.logs if each["log_level"] == "warning"]
    assert told == [
        {
            "event": "push_failed",
            "log_level": "warning",
            "message": record.id,
            "url": URL,
            "reason": f"no connection: cause {number}",
            "again_s": 0.3,
        }
        for number in range(8)
    ]


RECORD = Record(1, "msg_1", b"", 50.0, attempts=2)


def test_what_each_outcome_means_for_the_endpoint() -> None:
    stats = DeliveryStats()
    steps: list[tuple[Outcome, bool, State, float | None, str | None]] = [
        (Delivered(200), False, State.WELL, None, None),
        (Refused(422, "no"), False, State.WELL, None, None),
        (Retry("late", "timeout"), True, State.FAILING, 3.0, "late"),
        (Retry("down", "http_503"), False, State.FAILING, 3.0, "down"),
        (Refused(422, "no"), False, State.FAILING, 3.0, "down"),
        (Stopped(), False, State.FAILING, 3.0, "down"),
        (Misconfigured(404, "gone"), True, State.MISCONFIGURED, 3.0, "gone"),
        (Retry("down", "http_503"), False, State.MISCONFIGURED, 3.0, "down"),
        (Delivered(200), True, State.WELL, None, None),
        (Misconfigured(401, "token"), True, State.MISCONFIGURED, 10.0, "token"),
    ]
    for second, (outcome, changed, state, since, why) in enumerate(steps, 1):
        assert stats.count(RECORD, outcome, now=float(second), at=1000.0 + second) is changed
        assert (stats.state, stats.failing_since, stats.last_failure) == (state, since, why)
    assert stats.outcomes == {"delivered": 2, "refused": 2, "retry": 3, "misconfigured": 2}
    assert stats.failures == {"http_422": 2, "timeout": 1, "http_503": 2, "http_404": 1, "http_401": 1}
    assert (stats.attempts, stats.delivered, stats.last_delivery, stats.delivered_at) == (9, 2, 1009.0, 9.0)
    newest = stats.recent[-1]
    assert (newest.at, newest.id, newest.created, newest.attempt) == (1010.0, "msg_1", 50.0, 2)
    assert (newest.outcome, newest.reason) == ("misconfigured", "token")
    assert stats.accepted
    stats.behind = "the endpoint takes 1 messages/s, the site makes 2"
    stats.forget_endpoint()
    assert [stats.accepted, stats.behind] == [False, None]
    assert (stats.state, stats.failing_since, stats.last_failure, stats.attempts) == (State.WELL, None, None, 9)


def test_the_last_attempts_are_bounded() -> None:
    stats = DeliveryStats()
    for second in range(50):
        stats.count(RECORD, Delivered(200), now=0.0, at=float(second))
    assert [each.at for each in stats.recent] == [float(second) for second in range(30, 50)]


def test_public_labels() -> None:
    """Metrics, status and alert rules use them: a class may be renamed, a label not."""
    assert LABELS == ("delivered", "refused", "retry", "misconfigured")
    assert [state.value for state in State] == ["well", "failing", "misconfigured"]


@pytest.mark.parametrize(
    ("kind", "answered", "reached"),
    [
        ("http_503", True, True),
        ("timeout", False, True),
        ("broken", False, True),
        ("dns", False, False),
        ("tls", False, False),
        ("connect", False, False),
        ("local", False, False),
    ],
)
def test_which_failures_may_be_the_fault_of_the_message(kind: str, answered: bool, reached: bool) -> None:
    outcome = Retry("why", kind)
    assert (outcome.answered, outcome.reached) == (answered, reached)
    assert outcome.cause == (kind if answered or kind == "tls" else "why"), "the words for TLS contain the time"


async def test_a_503_after_a_401_waits_as_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new token is tried within five seconds. The state stays misconfigured, and nothing is hammered meanwhile."""
    monkeypatch.setattr("agent.delivery.circuit_breaker.COMMISSIONING_S", 0.0)
    retry = {"initial_s": 1000, "max_s": 1000}
    token = tmp_path / "token"
    token.write_text("first-token")
    token.chmod(0o600)
    clock = DrivenClock()
    outbox = Outbox.open(tmp_path / "o.sqlite3", max_age_s=1e9, max_size_mb=8, now=clock.time)
    async with HttpFaults(answer(503)) as server:
        server.script.append(answer(401))
        config = PushConfig.model_validate(
            {"url": server.url(), "token_file": token, "wait_for_clock_s": 0.0, "retry": retry}
        )
        sender = Sender(config, outbox, clock=clock, environ={}, user_agent="agent/0")
        async with at_work(sender, outbox):
            await sender.submit([b"x"])
            await server.until(lambda: sender.stats.attempts == 1)
            token.write_text("second-token")
            await clock.advance(5)
            await server.until(lambda: sender.stats.attempts == 2)
            assert sender.stats.state is State.MISCONFIGURED
            await asyncio.sleep(QUIET_S)
            assert sender.stats.attempts == 2
            assert sender.stats.last_failure == "HTTP 503"
