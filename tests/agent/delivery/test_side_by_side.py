"""Many messages a tick: side by side, spread evenly, and told when the endpoint is too slow for them."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from agent.delivery.live_tick import attempts_needed
from agent.outbox import queued
from agent.status import endpoint_status
from tests.faults.http import Exchange, HttpFaults, answer
from tests.support.delivery import Sending, sending


class Distant:
    """An endpoint at a distance. Notes how many requests are there at once, and whether two are of one message."""

    def __init__(self, round_trip_s: float) -> None:
        self.round_trip_s = round_trip_s
        self.most = 0
        self.twice = False
        self._here: Counter[str] = Counter()

    async def behave(self, exchange: Exchange) -> None:
        await exchange.accept()
        identity = exchange.request.headers["webhook-id"]
        self._here[identity] += 1
        self.most = max(self.most, self._here.total())
        self.twice |= self._here[identity] > 1
        await asyncio.sleep(self.round_trip_s)
        self._here[identity] -= 1
        await exchange.answer(200)


async def ticks(made: Sending, number: int, nodes: int, interval_s: float) -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for tick in range(number):
        await made.submit(*(b"%d of %d" % (node, tick) for node in range(nodes)))
        await asyncio.sleep(max(0.0, begun + (tick + 1) * interval_s - loop.time()))


async def test_many_messages_are_sent_in_time(tmp_path: Path) -> None:
    """As 200 nodes at 5 s with 100 ms, at a quarter of the size: one after the other would take 5 s."""
    distant = Distant(0.1)
    async with (
        HttpFaults(distant.behave) as server,
        sending(tmp_path, server.url(), interval_s=2, connections=16) as made,
    ):
        await ticks(made, 2, 50, 2)
        await made.all_delivered()
        assert made.sender.stats.behind is None
    assert 8 < distant.most <= 16
    assert not distant.twice
    assert server.connections <= 16
    ids = [request.headers["webhook-id"] for request in server.accepted]
    assert len(ids) == len(set(ids)) == 100


@pytest.mark.simulated_time
@pytest.mark.parametrize(("interval_s", "round_trip_s", "oldest_s"), [(5, 0.1, 6), (60, 0.3, 20)])
async def test_two_hundred_nodes_keep_up(tmp_path: Path, interval_s: int, round_trip_s: float, oldest_s: float) -> None:
    """With the default number of connections, the value of each node is young when it arrives, at every push."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    ages: dict[tuple[int, int], float] = {}

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        await asyncio.sleep(round_trip_s)
        node, tick = map(int, exchange.request.body.split(b" of "))
        ages[node, tick] = loop.time() - begun - tick * interval_s
        await exchange.answer(200)

    async with HttpFaults(behave) as server, sending(tmp_path, server.url(), interval_s=interval_s) as made:
        await ticks(made, 3, 200, interval_s)
        assert made.waiting == 0
        assert made.sender.stats.superseded == 0
        assert made.sender.stats.behind is None
    assert set(ages) == {(node, tick) for node in range(200) for tick in range(3)}
    late_s = max(age for (_, tick), age in ages.items() if tick)
    assert late_s < oldest_s
    assert len(server.accepted) == len(ages), "no message is sent twice"


@pytest.mark.simulated_time
async def test_an_endpoint_that_is_too_slow_is_told_and_each_node_gets_its_share(tmp_path: Path) -> None:
    distant = Distant(0.15)
    async with (
        HttpFaults(distant.behave) as server,
        sending(tmp_path, server.url(), interval_s=1, connections=1, rate_per_s=0.001) as made,
    ):
        await ticks(made, 9, 12, 1)
        stats = made.sender.stats
        assert stats.superseded > 10
        assert stats.behind is not None
        push, backlog = made.sender._endpoint._config, queued(made.outbox, 0.0)
        reason = endpoint_status(push, stats, backlog, 0.0, waits_for_clock=False).reason
        assert reason is not None
        assert reason.startswith("live messages are late: the endpoint takes ")
        assert reason.endswith(" messages/s, the site makes 12")
        shares = Counter(int(request.body.split()[0]) for request in server.accepted)
        assert set(shares) == set(range(12)), "every node"
        assert max(shares.values()) - min(shares.values()) <= 2, shares
        distant.round_trip_s = 0.0
        await ticks(made, 8, 12, 1)
        assert stats.behind is not None
        await ticks(made, 5, 12, 1)
        assert stats.behind is None
        assert [int(each.body.split()[0]) for each in server.accepted[-12:]] == [*range(12)], "in their order again"
    events = [each["event"] for each in made.logs if each["event"].startswith("live_")]
    assert events == ["live_behind", "live_in_time"]
    assert distant.most <= 3, "one of a tick, one of the tick before, one of the backlog"
    assert not distant.twice


@pytest.mark.simulated_time
async def test_an_endpoint_that_becomes_too_slow_is_told_with_its_rate(tmp_path: Path) -> None:
    distant = Distant(0.0)
    async with (
        HttpFaults(distant.behave) as server,
        sending(tmp_path, server.url(), interval_s=1, connections=1, rate_per_s=0.001) as made,
    ):
        await ticks(made, 4, 12, 1)
        assert made.sender.stats.behind is None
        before = len(server.accepted)
        distant.round_trip_s = 0.4
        assert [int(each.body.split()[0]) for each in server.accepted] == [*range(12)] * 4, "in their order"
        await ticks(made, 4, 12, 1)
        assert made.sender.stats.behind is not None
        assert 1.5 <= float(made.sender.stats.behind.split()[3]) <= 4
    sent: dict[int, list[int]] = {}
    for request in server.accepted[before:]:
        node, tick = map(int, request.body.split(b" of "))
        sent.setdefault(tick, []).append(node)
    # Without the first one: the backlog worker sends a message of it.
    assert [sent[tick + 1][0] for tick in (1, 2)] == [(sent[tick][-1] + 1) % 12 for tick in (1, 2)], sent


@pytest.mark.simulated_time
async def test_one_message_a_tick_for_an_endpoint_that_needs_several_ticks_is_too_slow(tmp_path: Path) -> None:
    """Two attempts of successive ticks run side by side. The ticks after them are not tried at all."""
    distant = Distant(20.0)
    async with (
        HttpFaults(distant.behave) as server,
        sending(tmp_path, server.url(), interval_s=5, timeout_s=60, rate_per_s=0.001) as made,
    ):
        await ticks(made, 40, 1, 5)
        stats = made.sender.stats
        assert stats.superseded >= 15
        assert stats.behind is not None
        assert stats.behind.endswith(" messages/s, the site makes 0.2")
        assert 0.05 <= float(stats.behind.split()[3]) <= 0.15
    events = [each["event"] for each in made.logs if each["event"].startswith("live_")]
    assert events == ["live_behind"]
    assert not distant.twice


@pytest.mark.simulated_time
@pytest.mark.parametrize("nodes", [1, 20])
async def test_an_endpoint_that_hangs_is_not_called_slow(tmp_path: Path, nodes: int) -> None:
    hangs = True

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if hangs:
            await asyncio.sleep(60)
        await exchange.answer(200)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), interval_s=1, timeout_s=10, rate_per_s=0.001) as made,
    ):
        await ticks(made, 15, nodes, 1)
        hangs = False
        await ticks(made, 30, nodes, 1)
        assert made.sender.stats.superseded == 0
        assert made.sender.stats.behind is None
    assert not [each for each in made.logs if each["event"].startswith("live_")]


@pytest.mark.simulated_time
async def test_ticks_in_a_pause_that_the_endpoint_asked_for_are_not_late(tmp_path: Path) -> None:
    async with (
        HttpFaults(answer(200)) as server,
        sending(tmp_path, server.url(), interval_s=1, rate_per_s=0.001) as made,
    ):
        server.script += [answer(200), answer(429, retry_after="5")]
        await ticks(made, 15, 1, 1)
        assert made.sender.stats.delivered >= 8
        assert made.sender.stats.superseded == 0
        assert made.sender.stats.behind is None


@pytest.mark.simulated_time
async def test_a_message_that_a_newer_tick_replaced_goes_at_once_as_backlog(tmp_path: Path) -> None:
    """Though the backlog worker had nothing to do before."""

    async def behave(exchange: Exchange) -> None:
        await exchange.accept()
        if exchange.request.body == b"slow":
            await asyncio.sleep(3.0)
        await exchange.answer(200)

    async with (
        HttpFaults(behave) as server,
        sending(tmp_path, server.url(), interval_s=60, connections=1) as made,
    ):
        await made.submit(b"first")
        await asyncio.sleep(5.0)
        await made.submit(b"slow", b"replaced")
        await asyncio.sleep(1.0)
        await made.submit(b"newer")
        await asyncio.sleep(1.0)
        assert b"replaced" in {each.body for each in server.accepted}


@pytest.mark.parametrize(
    ("messages", "round_trip_s", "interval_s", "most", "turns"),
    [
        (1, 0.3, 60, 8, 1),
        (5, 0.1, 60, 8, 1),
        (200, 0.3, 60, 8, 4),
        (200, 0.1, 5, 8, 8),
        (200, 0.1, 5, 64, 16),
        (3, 10.0, 1, 64, 3),
    ],
)
def test_as_few_turns_as_the_interval_allows(
    messages: int, round_trip_s: float, interval_s: float, most: int, turns: int
) -> None:
    assert attempts_needed(messages, round_trip_s, interval_s, most) == turns
