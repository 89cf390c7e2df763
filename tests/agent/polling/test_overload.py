"""A link that is too slow for the intervals of its devices: what is counted, told and sent."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import structlog

from agent.polling import Rhythm
from drivers.model import NodeType
from tests.support.polling import Site, running

UNITS = 25
ANSWER_S = 0.25
CYCLE_S = UNITS * ANSWER_S


def slow_down(site: Site, answer_s: float = ANSWER_S) -> None:
    for driver in site.drivers.values():
        driver.takes_s = answer_s


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
            await site.clock.advance(200)
            slow = {device.health.cycle_s for link in site.connections for device in link.devices}
            slow_down(site, 0.001)
            await site.clock.advance(200)
            fast = {device.health.cycle_s for link in site.connections for device in link.devices}
    told = [event for event in events if event["event"].startswith("poll")]
    assert [(event["event"], event["log_level"], event["address"]) for event in told] == [
        ("poll_interval_missed", "warning", "a0"),
        ("poll_interval_held", "info", "a0"),
    ]
    assert told[0]["interval_s"] == 1.0
    assert 0.9 * CYCLE_S <= told[0]["cycle_s"] <= 1.2 * CYCLE_S
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
