from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from agent.energy import Day, advance, midnight, of_today

ZONE = ZoneInfo("Europe/Brussels")


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp()


def run(*readings: tuple[str, float]) -> Day:
    day: Day | None = None
    for when, value in readings:
        day = advance(day, value, at(when), ZONE)
    assert day is not None
    return day


def test_growth_since_the_first_reading_of_the_first_day() -> None:
    day = run(("2026-06-01T10:00", 5000.0), ("2026-06-01T10:10", 5250.0))
    assert of_today(day, at("2026-06-01T10:11"), ZONE) == 250
    assert not day.whole


def test_midnight_between_two_readings_is_interpolated() -> None:
    day = run(("2026-06-01T23:50", 1000.0), ("2026-06-02T00:10", 1200.0))
    assert of_today(day, at("2026-06-02T00:10"), ZONE) == 100
    assert day.whole


def test_nothing_of_yesterday_is_shown_before_the_first_reading_of_today() -> None:
    day = run(("2026-06-01T10:00", 0.0), ("2026-06-01T10:10", 100.0))
    assert of_today(day, at("2026-06-02T00:00"), ZONE) == 0


def test_a_reset_loses_only_its_own_step() -> None:
    day = run(("2026-06-01T10:00", 9000.0), ("2026-06-01T10:10", 0.0), ("2026-06-01T10:20", 50.0))
    assert of_today(day, at("2026-06-01T10:20"), ZONE) == 50


def test_a_jump_to_zero_and_back_adds_what_really_grew() -> None:
    day = run(("2026-06-01T10:00", 9e6), ("2026-06-01T10:10", 0.0), ("2026-06-01T10:20", 9e6 + 70))
    assert of_today(day, at("2026-06-01T10:20"), ZONE) == 70


def test_a_half_written_counter_is_waited_out() -> None:
    day = run(("2026-06-01T10:00", 65_535.0), ("2026-06-01T10:00:10", 4e9), ("2026-06-01T10:00:20", 65_545.0))
    assert of_today(day, at("2026-06-01T10:00:20"), ZONE) == 10


def test_days_of_23_and_25_hours_begin_at_their_own_midnight() -> None:
    assert midnight("2026-03-30", ZONE) - midnight("2026-03-29", ZONE) == 23 * 3600
    assert midnight("2026-10-26", ZONE) - midnight("2026-10-25", ZONE) == 25 * 3600


@given(
    st.lists(st.tuples(st.floats(1, 3 * 3600), st.floats(0, 1e10, allow_nan=False)), min_size=1, max_size=40),
    st.sampled_from(["2026-03-29T00:00", "2026-10-25T00:00", "2026-06-01T20:00"]),
)
def test_never_negative_whatever_the_counter_does(steps: list[tuple[float, float]], start: str) -> None:
    now = at(start)
    day: Day | None = None
    for seconds, value in steps:
        now += seconds
        day = advance(day, value, now, ZONE)
        today = of_today(day, now, ZONE)
        assert today is not None
        assert today >= 0


@given(st.lists(st.tuples(st.floats(1, 3600), st.floats(0, 20_000)), min_size=2, max_size=60))
def test_what_an_honest_counter_grew_is_what_the_days_add_up_to(steps: list[tuple[float, float]]) -> None:
    now, counter = at("2026-10-24T12:00"), 1e6
    day = advance(None, counter, now, ZONE)
    start, total, current = counter, 0.0, day
    for seconds, power in steps:
        now += seconds
        counter += power * seconds / 3600
        after = advance(current, counter, now, ZONE)
        if after.date != current.date:
            total += current.energy + (counter - current.last - after.energy)
        current = after
    assert abs(total + current.energy - (counter - start)) < 1e-3
