"""A link that is too slow for the intervals of its devices: what is counted, told and sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import structlog

from agent.polling import Rhythm
from drivers.errors import ConnectError, DriverError, SilentError
from drivers.model import NodeType
from tests.support.polling import Site, running

UNITS = 25
ANSWER_S = 0.25
CYCLE_S = UNITS * ANSWER_S


def slow_down(site: Site, answer_s: float = ANSWER_S) -> None:
    for driver in site.drivers.values():
        driver.takes_s = answer_s


def fail(site: Site, error: DriverError | None, names: Iterable[str] = ()) -> None:
    """Let these devices, by default all, fail with `error`; None: let them answer again."""
    for name in names or site.drivers:
        site.drivers[name].error = error


def told(events: Sequence[Any]) -> list[tuple[str, str]]:
    return [(event["event"], event["address"]) for event in events if event["event"].startswith("poll_interval")]


def delays(site: Site, since: float = 0.0) -> list[float]:
    """How long each push waited after its tick."""
    return [left - closed for left, closed in zip(site.left, site.closed, strict=True) if closed >= since]


async def make_grid_meter(site: Site, name: str) -> None:
    site.connections = [
        replace(
            link,
            devices=tuple(
                replace(device, nodes=(replace(device.nodes[0], type=NodeType.GRID),))
                if device.name == name
                else device
                for device in link.devices
            ),
        )
        for link in site.connections
    ]
    await site.poller.replace(site.connections)


async def test_polls_that_were_due_are_counted_and_the_units_take_turns() -> None:
    async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
        slow_down(site)
        await site.clock.advance(60.5)
        for name, polls in site.polled.items():
            assert abs(len(polls) + site.skips[name] - 61) <= 1, "each due time was polled, skipped or waits"
            assert 60 / (CYCLE_S + 1) - 1 <= len(polls) <= 60 / CYCLE_S + 2
        gaps = [late - early for name in site.polled for early, late in pairwise(site.polls(name))]
        assert max(gaps) <= CYCLE_S + 1


async def test_a_link_that_cannot_hold_its_interval_is_told_once_and_once_when_it_can() -> None:
    with structlog.testing.capture_logs() as events:
        async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
            slow_down(site)
            await site.clock.advance(120.5)
            assert told(events) == [("poll_interval_missed", "a0")], "at the second check"
            await site.clock.advance(79.5)
            slow = {device.health.cycle_s for link in site.connections for device in link.devices}
            slow_down(site, 0.0)
            await site.clock.advance(200)
            fast = {device.health.cycle_s for link in site.connections for device in link.devices}
    polls = [event for event in events if event["event"].startswith("poll")]
    assert [(event["event"], event["log_level"], event["address"]) for event in polls] == [
        ("poll_interval_missed", "warning", "a0"),
        ("poll_interval_held", "info", "a0"),
    ]
    assert polls[0]["interval_s"] == 1.0
    assert 0.9 * CYCLE_S <= polls[0]["cycle_s"] <= 1.2 * CYCLE_S
    assert all(0.8 * CYCLE_S <= (cycle_s or 0) <= 1.2 * CYCLE_S for cycle_s in slow)
    assert fast == {None}


async def test_a_short_disturbance_is_not_told() -> None:
    with structlog.testing.capture_logs() as events:
        async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
            await site.clock.advance(30)
            slow_down(site)
            await site.clock.advance(5)
            slow_down(site, 0.0)
            await site.clock.advance(100)
    assert not [event for event in events if event["event"].startswith("poll")]


async def test_grid_meters_come_first_and_starve_nobody() -> None:
    async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
        await make_grid_meter(site, "0.24")
        slow_down(site)
        await site.clock.advance(60)
        grid = [at for at in site.polls("0.24") if at > 1]
        assert len(grid) >= 58
        assert max(late - early for early, late in pairwise(grid)) <= 1 + 2 * ANSWER_S
        for name in site.polled:
            assert len(site.polled[name]) >= 60 / (CYCLE_S * 4 / 3) - 1
    async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
        for unit in range(20):
            await make_grid_meter(site, f"0.{unit}")
        slow_down(site)
        await site.clock.advance(60)
        assert all(len(site.polled[f"0.{unit}"]) >= 4 for unit in range(20, UNITS)), "many grid meters starve nobody"


async def test_a_short_interval_is_held_beside_many_long_ones() -> None:
    async with running(Rhythm(60, 0), [1.0], [60.0] * UNITS + [1.0]) as site:
        slow_down(site)
        await site.clock.advance(180)
        assert site.skips.get("1.25", 0) == 0
        assert len(site.polled["1.25"]) >= 180


async def test_a_push_does_not_wait_for_a_round_that_cannot_end_in_time() -> None:
    async with running(Rhythm(10, 0, deadline_s=5.0), [1.0] * UNITS, [1.0]) as site:
        slow_down(site)
        await site.clock.advance(62)
        late = [left - closed for left, closed in zip(site.left, site.closed, strict=True)]
        assert late[0] <= ANSWER_S, "it waits for the other link"
        assert max(late[1:]) <= ANSWER_S
        await make_grid_meter(site, "0.3")
        await site.clock.advance(60)
        late = [left - closed for left, closed in zip(site.left, site.closed, strict=True)][-5:]
        assert 0 < max(late) <= 3 * ANSWER_S, "it waits for the grid meter"


async def test_a_push_waits_for_a_round_that_can_end_in_time() -> None:
    async with running(Rhythm(10, 0, deadline_s=5.0), [10.0] * 10) as site:
        slow_down(site)
        await site.clock.advance(62)
        late = [left - closed for left, closed in zip(site.left, site.closed, strict=True)]
        assert late[1:] == [10 * ANSWER_S] * 5


@pytest.mark.parametrize(("answer_s", "interval_s"), [(10.0, 1.0), (0.25, 1.0), (3.0, 30.0)])
async def test_the_cycle_that_is_told_is_the_time_between_two_polls(answer_s: float, interval_s: float) -> None:
    cycle_s = UNITS * answer_s
    with structlog.testing.capture_logs() as events:
        async with running(Rhythm(60, 0), [interval_s] * UNITS) as site:
            slow_down(site, answer_s)
            await site.clock.advance(3 * cycle_s + 120)
            shown = [device.health.cycle_s or 0.0 for device in site.connections[0].devices]
    (event,) = [event for event in events if event["event"].startswith("poll_interval")]
    assert 0.95 * cycle_s <= event["cycle_s"] <= cycle_s + interval_s
    assert all(0.8 * cycle_s <= each <= cycle_s + interval_s for each in shown), shown


async def test_a_link_that_is_down_does_not_hold_its_interval() -> None:
    with structlog.testing.capture_logs() as events:
        async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
            slow_down(site)
            await site.clock.advance(100)
            fail(site, ConnectError("no connection"))
            await site.clock.advance(300)
            fail(site, None)
            await site.clock.advance(600)
            slow_down(site, 0.0)
            await site.clock.advance(200)
    assert told(events) == [("poll_interval_missed", "a0"), ("poll_interval_held", "a0")]


async def test_each_link_is_judged_alone_and_each_change_is_told() -> None:
    with structlog.testing.capture_logs() as events:
        async with running(Rhythm(10, 0), [1.0] * UNITS, [1.0] * UNITS, [1.0] * 3) as site:
            first = [driver for name, driver in site.drivers.items() if name.startswith("0.")]
            slow_down(site)
            await site.clock.advance(200)
            assert sorted(told(events)) == [("poll_interval_missed", "a0"), ("poll_interval_missed", "a1")]
            for driver in first:
                driver.takes_s = 0.0
            await site.clock.advance(200)
            for driver in first:
                driver.takes_s = ANSWER_S
            await site.clock.advance(200)
    assert told(events)[2:] == [("poll_interval_held", "a0"), ("poll_interval_missed", "a0")]


async def test_a_push_does_not_wait_for_a_lost_grid_meter_of_a_slow_link() -> None:
    async with running(Rhythm(10, 0, deadline_s=5.0), [1.0] * UNITS) as site:
        await make_grid_meter(site, "0.3")
        await make_grid_meter(site, "0.4")
        slow_down(site)
        await site.clock.advance(60)
        fail(site, SilentError("no answer"), ["0.3"])
        await site.clock.advance(300)
        assert max(delays(site, since=70)) <= 3 * ANSWER_S
        assert max(delays(site, since=70)) > 0, "it waits for the other grid meter"


async def test_a_push_does_not_wait_for_more_grid_meters_than_answer_in_time() -> None:
    async with running(Rhythm(10, 0, deadline_s=5.0), [1.0] * UNITS) as site:
        for unit in range(22):
            await make_grid_meter(site, f"0.{unit}")
        slow_down(site)
        await site.clock.advance(120)
        assert max(delays(site, since=30)) <= ANSWER_S


async def test_without_a_deadline_a_push_waits_for_no_poll() -> None:
    async with running(Rhythm(10, 0), [10.0]) as site:
        slow_down(site)
        await site.clock.advance(20)
        assert site.left == site.closed == [9, 19]


async def test_a_lost_grid_meter_of_a_slow_link_keeps_its_back_off() -> None:
    async with running(Rhythm(10, 0), [1.0] * 3) as site:
        await make_grid_meter(site, "0.2")
        slow_down(site, 0.6)
        fail(site, SilentError("no answer"), ["0.2"])
        await site.clock.advance(30)
        assert 3 <= len(site.polled["0.2"]) <= 5, "after 2, 4, 8 and 16 s"


async def test_grid_meters_come_back_first() -> None:
    async with running(Rhythm(10, 0), [1.0] * UNITS) as site:
        await make_grid_meter(site, f"0.{UNITS - 1}")
        slow_down(site)
        await site.clock.advance(60)
        fail(site, ConnectError("no connection"))
        await site.clock.advance(60)
        fail(site, None)
        began = site.clock.monotonic() - site.began
        await site.clock.advance(100)
        back = {name: min(at for at in site.polls(name) if at > began) for name in site.polled}
        assert back[f"0.{UNITS - 1}"] <= min(back.values()) + ANSWER_S


async def test_a_push_waits_for_the_short_intervals_if_the_link_has_no_time_for_the_long_ones() -> None:
    """All together need 4 s, but those with the short interval are polled again meanwhile."""
    async with running(Rhythm(10, 0, deadline_s=5.0), [1.0] * 20 + [60.0] * 20) as site:
        slow_down(site, 0.1)
        await site.clock.advance(308)
        assert max(delays(site, since=30)) <= 4.1
        assert min(delays(site, since=30)) >= 1.8
