"""Polls and closed intervals on a driven clock, and a rhythm that changes under way."""

from __future__ import annotations

from itertools import pairwise

import pytest
import structlog

from agent.polling import Rhythm, Tick
from tests.support.polling import running
from tests.support.simulated_clock import START


async def test_a_round_at_once_then_at_its_pace_and_one_at_each_tick() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(180)
        assert site.rounds == [0, 19, 39, 59, 79, 99, 119, 139, 159, 179]
        assert site.closed == [59, 119, 179]
        assert site.labels == [START + 60, START + 120, START + 180]


async def test_labels_go_on_after_the_last_one_of_before_the_start() -> None:
    async with running(Rhythm(60, 0), [20.0], after=int(START) + 120) as site:
        await site.clock.advance(240)
        assert site.labels == [START + 180, START + 240]


@pytest.mark.parametrize(
    ("interval_s", "between_s"), [(25.0, 20.0), (59.0, 30.0), (40.0, 30.0), (60.0, 60.0), (90.0, 60.0), (200.0, 180.0)]
)
async def test_an_interval_is_fitted_to_the_pushes_and_never_longer_than_asked(
    interval_s: float, between_s: float
) -> None:
    async with running(Rhythm(60, 0), [interval_s]) as site:
        await site.clock.advance(59 + 3 * 180)
        rounds = site.rounds[-8:] if between_s < 60 else [at for at in site.rounds if at >= 59]
        assert {late - early for early, late in pairwise(rounds)} == {between_s}
        assert set(rounds) & set(site.closed)


async def test_devices_of_one_link_have_their_own_intervals() -> None:
    async with running(Rhythm(10, 0), [1.0, 5.0, 60.0]) as site:
        await site.clock.advance(120)
        assert site.polls("0.0") == [0, *range(1, 121)]
        assert site.polls("0.1") == [0, 4, *range(9, 120, 5)]
        assert site.polls("0.2") == [0, 9, 69]


async def test_an_interval_that_is_slow_to_close_holds_up_no_other() -> None:
    async with running(Rhythm(10, 0), [10.0]) as site:
        site.hold.clear()
        await site.clock.advance(30)
        assert site.closed == [9, 19, 29]


@pytest.mark.parametrize("push_s", [1, 10])
async def test_a_stall_across_each_tick_loses_no_round(push_s: int) -> None:
    async with running(Rhythm(push_s, 0), [1.0]) as site:
        await site.clock.advance(0.95)
        for _ in range(60):
            site.clock.jump(0.7)  # wakes 0.65 s late
            await site.clock.advance(0.3)
        assert 60 <= len(site.rounds) <= 62
        assert site.skips == {}
        assert len(site.closed) == 61 // push_s


async def test_a_late_round_moves_no_other() -> None:
    async with running(Rhythm(10, 0), [2.0]) as site:
        await site.clock.advance(8.9)
        site.clock.jump(0.9)
        await site.clock.advance(4)
        assert site.rounds == [0, 1, 3, 5, 7, 9.8, 11, 13]


async def test_rounds_that_are_too_late_are_skipped_by_count() -> None:
    async with running(Rhythm(10, 0), [1.0, 5.0]) as site:
        await site.clock.advance(5)
        with structlog.testing.capture_logs() as events:
            site.clock.jump(3.5)  # the rounds of 6, 7 and 8 s
            await site.clock.advance(3)
        assert site.rounds == [0, 1, 2, 3, 4, 5, 8.5, 9, 10, 11]
        assert site.skips == {"0.0": 2}
        assert [device.health.skipped for device in site.connections[0].devices] == [2, 0]
        assert [event for event in events if event["event"] == "polls_skipped"] == [
            {
                "event": "polls_skipped",
                "log_level": "warning",
                "polls": 2,
                "reason": "the process got no time to make them",
            }
        ]


async def test_skipped_polls_are_told_every_five_minutes_at_most_with_all_since_the_last_time() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        with structlog.testing.capture_logs() as events:
            for pause_s in (20, 20, 160, 20):  # two polls are skipped at 80, 160, 380 and 460 s
                await site.clock.advance(pause_s)
                site.clock.jump(60)
            await site.clock.advance(1)
        assert site.skips == {"0.0": 8}
        assert [event["polls"] for event in events if event["event"] == "polls_skipped"] == [2, 4]


async def test_a_long_interval_before_a_short_one_delays_no_poll_after_a_reload() -> None:
    async with running(Rhythm(60, 0), [60.0, 1.0]) as site:
        await site.clock.advance(3.5)
        await site.poller.replace(site.connections)
        await site.clock.advance(3)
        assert site.polls("0.1") == [0, 1, 2, 3, 4, 5, 6]


async def test_an_interval_is_fitted_to_the_pushes_after_each_change() -> None:
    async with running(Rhythm(60, 0), [40.0]) as site:
        await site.clock.advance(60)
        site.schedule.change(Rhythm(10, 0))
        await site.clock.advance(120)
        assert {late - early for early, late in pairwise(site.rounds[-3:])} == {40}


async def test_labels_go_on_after_the_last_one_of_before_the_start_if_the_interval_changes_at_once() -> None:
    async with running(Rhythm(60, 30), [20.0], after=int(START) + 120) as site:
        await site.clock.advance(1)
        site.schedule.change(Rhythm(10, 0))
        await site.clock.advance(140)
        assert site.labels == [START + 130, START + 140]


async def test_labels_go_on_after_the_last_one_of_the_endpoint_whose_ticks_the_scheduler_takes_over() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(30)
        site.schedule.change(Rhythm(10, 0), Tick(site.clock.monotonic(), int(START) + 50))
        await site.clock.advance(35)
        assert site.labels == [START + 60]


async def test_another_pace_of_polls_leaves_the_next_push_where_it_is() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(30)
        site.clock.set_time(site.clock.time() + 0.3)  # as little as a time service slews
        await site.change(5.0)
        await site.clock.advance(35)
        assert site.rounds == [0, 19, 34, 39, 44, 49, 54, 59, 64]
        assert site.closed == [59]


async def test_a_step_of_the_clock_moves_the_polls_with_the_ticks() -> None:
    async with running(Rhythm(10, 0), [5.0]) as site:
        await site.clock.advance(20)
        site.clock.set_time(site.clock.time() + 3)
        await site.clock.advance(40)
        assert set(site.closed) <= set(site.rounds)
        assert site.skips == {}


@pytest.mark.parametrize("new", [Rhythm(10, 0), Rhythm(60, 30), Rhythm(300, 7)])
@pytest.mark.parametrize("after_s", [58, 59, 60])
async def test_another_interval_or_phase_takes_hold_at_once_and_repeats_no_label(new: Rhythm, after_s: float) -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(after_s)
        before = len(site.labels)
        site.schedule.change(new)
        await site.clock.advance(2 * new.push_s)
        labels = site.labels[before:]
        assert len(labels) >= 1
        assert all(label % new.push_s == new.phase_s for label in labels)
        assert all(earlier < later for earlier, later in pairwise(site.labels))
        assert new.push_s < 20 or set(site.closed[before:]) <= set(site.rounds)


async def test_a_change_at_the_moment_of_a_push_repeats_none() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(59)
        site.clock.set_time(site.clock.time() - 1)  # the clock is stepped back onto the tick before
        site.schedule.change(Rhythm(10, 0))
        await site.clock.advance(30)
        assert site.labels == sorted(set(site.labels))


async def test_a_change_while_the_clock_is_set_back_repeats_no_label() -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(60)
        site.clock.set_time(site.clock.time() - 100)
        site.schedule.change(Rhythm(10, 0))
        await site.clock.advance(120)
        assert site.labels == [START + 60, START + 70, START + 80]


async def test_few_links_are_polled_at_the_tick_and_many_are_spread_before_it() -> None:
    async with running(Rhythm(10, 0), *([1.0] for _ in range(64))) as site:
        await site.clock.advance(9)
        assert all(polls == list(range(10)) for polls in map(site.polls, site.polled))
    async with running(Rhythm(10, 0), *([1.0] for _ in range(400))) as site:
        await site.clock.advance(20.5)
        assert max(site.polls(name)[0] for name in site.polled) > 0.4, "also at the start"
        for name in site.polled:
            polls = [at for at in site.polls(name) if at > 1]
            assert {round(late - early, 6) for early, late in pairwise(polls)} == {1.0}, "each keeps its phase"
        parts = [site.polls(name)[5] % 1 for name in site.polled]
        assert len(set(parts)) == 7
        assert all(30 < parts.count(part) < 90 for part in parts)


@pytest.mark.parametrize(("after_s", "first"), [(65, 70), (58, 60), (60, 70)])
async def test_another_interval_begins_with_its_first_tick_that_is_not_closed_yet(after_s: float, first: int) -> None:
    async with running(Rhythm(60, 0), [20.0]) as site:
        await site.clock.advance(after_s)
        before = len(site.labels)
        site.schedule.change(Rhythm(10, 0))
        await site.clock.advance(25)
        assert site.labels[before : before + 2] == [START + first, START + first + 10]
