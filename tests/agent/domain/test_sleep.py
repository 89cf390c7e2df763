from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import NamedTuple

from hypothesis import given
from hypothesis import settings as hsettings
from hypothesis import strategies as st

from agent.domain.node import Node
from agent.domain.sleep import (
    LATE_S,
    LONGEST_S,
    Night,
    after_reading,
    all_sleep,
    in_monotonic_seconds,
    in_unix_seconds,
    may_sleep,
    silence_in_words,
    why_awake,
)
from drivers.model import Kind, NodeType

HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
STEP_S = 600.0

PV = Node("pv", NodeType.SOLAR, Kind.INVERTER, when_offline="sleep")


def told(*words: tuple[float, float], night: Night | None = None) -> Night:
    """After these (hour, W)."""
    for hour, power_W in words:
        night = after_reading(night, power_W, hour * HOUR_S)
    assert night is not None
    return night


def sleeps(night: Night | None, hour: float) -> bool:
    return may_sleep(PV, night, hour * HOUR_S)


def day(number: int, begin: float = 8.0, end: float = 16.0) -> list[tuple[float, float]]:
    """An answer every ten minutes, dim at both ends."""
    hours = [begin + step / 6 for step in range(round((end - begin) * 6) + 1)]
    return [(24 * number + hour, 5.0 if hour in (hours[0], hours[-1]) else 3400.0) for hour in hours]


def test_a_cable_cut_at_noon_is_no_night() -> None:
    night = told(*day(0), *day(1, end=12.0)[:-1])
    assert not sleeps(night, 24 + 12)
    assert why_awake(night, 36 * HOUR_S) == "its last power was 3400 W"


def test_a_night_ends_two_hours_after_the_hour_of_waking() -> None:
    night = told(*day(0), *day(1))
    assert sleeps(night, 24 + 16.1)
    assert sleeps(night, 48 + 10)
    assert not sleeps(night, 48 + 10.1)
    assert why_awake(night, 59 * HOUR_S) == "it has not answered for 19.0 h, and it should be awake by now"


def test_own_consumption_is_dim() -> None:
    assert sleeps(told((16.0, -30.0)), 17)
    assert not sleeps(told((16.0, -130.0)), 17)


def test_an_inverter_that_dies_at_dawn_is_missing_in_the_morning() -> None:
    night = told(*day(0), *day(1), (48 + 7.8, 5.0), (48 + 8.1, 30.0))
    assert sleeps(night, 48 + 9)
    assert not sleeps(night, 48 + 10.1)


def test_an_inverter_that_comes_and_goes_at_dusk_and_dawn_sleeps_in_between() -> None:
    flaps = [(24 + 17.0, 0.0), (24 + 18.5, 0.0), (48 + 6.5, 0.0), (48 + 7.2, 3.0)]
    night = told(*day(0), *day(1), *flaps[:2])
    assert sleeps(night, 24 + 19)
    night = told(*flaps[2:], *day(2), night=night)
    assert sleeps(night, 72 + 6.5 + 2), "it was up from half past six on"
    assert not sleeps(night, 72 + 6.5 + 2.1)


def test_the_first_night_is_bounded_by_the_longest_there_is() -> None:
    night = told((15.0, 50.0), (16.0, 0.0))
    assert sleeps(night, 16 + 20)
    assert not sleeps(night, 16 + 20.1)


def test_an_inverter_that_has_never_slept_does_not_begin_to() -> None:
    night = told(*((hour, 0.0) for hour in range(49)))
    # An hour without an answer is a restart.
    assert not sleeps(night, 49)


def test_of_an_unknown_one_nothing_is_believed() -> None:
    assert not sleeps(None, 12)
    assert why_awake(None, 0.0) == "its last power is not known"


def test_the_other_two_are_what_they_say() -> None:
    lit = told((12.0, 3400.0))
    assert may_sleep(replace(PV, when_offline="zero"), None, 0.0)
    assert may_sleep(replace(PV, when_offline="zero"), lit, 13 * HOUR_S)
    assert not may_sleep(replace(PV, when_offline="missing"), told((16.0, 0.0)), 17 * HOUR_S)


def test_a_device_sleeps_when_all_its_nodes_do() -> None:
    nights = {"pv": told((16.0, 0.0))}
    meter = Node("m", NodeType.GRID, Kind.HYBRID)
    assert all_sleep([PV], nights, 17 * HOUR_S)
    assert not all_sleep([PV, meter], nights, 17 * HOUR_S)


def test_what_silence_means_in_words() -> None:
    assert silence_in_words(PV) == (
        "if it does not answer at night it counts 0 W; if its last power was 100 W or more, or it does not wake within "
        "2 h of yesterday's time, it is missing"
    )
    assert silence_in_words(replace(PV, when_offline="zero")) == (
        'if it does not answer it counts 0 W, also by day (when_offline = "zero")'
    )
    assert silence_in_words(replace(PV, when_offline="missing")) == "if it does not answer it is missing, also at night"
    assert silence_in_words(Node("m", NodeType.SOLAR, Kind.METER)) is None


class Weather(NamedTuple):
    """Of one day, in hours: when it begins to answer, when it ends."""

    dawn: float
    dusk: float


def power(weather: Weather, hour: float) -> float | None:
    """A day's power, a third of an hour of it dim at either end; None while it is dark."""
    if not weather.dawn <= hour <= weather.dusk:
        return None
    return min(5000.0, 300.0 * min(hour - weather.dawn, weather.dusk - hour))


weathers = st.lists(st.builds(Weather, st.floats(5.0, 6.9), st.floats(17.0, 22.0)), min_size=3, max_size=5)


@given(weathers, st.floats(1, 3), st.floats(0.0, inf, allow_infinity=False))
@hsettings(max_examples=60)
def test_no_night_is_missed_and_no_day_is_counted_as_zero(days: list[Weather], cut_days: float, boot: float) -> None:
    """Cut off at any moment from the second day on, and asked in every moment."""
    cut_s = cut_days * DAY_S
    boot %= 1e6
    night: Night | None = None
    for step in range(round(len(days) * DAY_S / STEP_S)):
        now = step * STEP_S
        number, hour = int(now // DAY_S), now % DAY_S / HOUR_S
        real_W = power(days[number], hour)
        if now < cut_s:
            if real_W is not None:
                night = after_reading(night, real_W, boot + now)
            elif number:  # a night, as every other
                assert may_sleep(PV, night, boot + now)
        elif may_sleep(PV, night, boot + now):
            assert night is not None
            assert abs(night.power_W) < 100.0
            # Woken at seven at the latest yesterday: nobody sleeps after nine, unless it went dark in this very day.
            assert hour <= 9.0 or night.at - boot >= number * DAY_S


nights = st.builds(
    lambda power_W, at, awake, before: Night(power_W, at, at - awake, at - awake - before),
    st.floats(-50, 1e5),
    st.floats(0, 1e6),
    st.floats(0, DAY_S),
    st.floats(0, DAY_S),
)


@given(nights, st.floats(1.7e9, 1.9e9), st.floats(0, DAY_S), st.floats(0, 1e6))
def test_a_restart_changes_nothing_whatever_the_boot(night: Night, offset: float, away_s: float, boot: float) -> None:
    kept = in_unix_seconds(night, offset)
    wall = kept.at + away_s
    after = in_monotonic_seconds(kept, wall - boot, boot, boot)
    before = night.at + away_s
    assert (why_awake(after, boot) is None) == (why_awake(night, before) is None) or _on_the_edge(night, before)


def _on_the_edge(night: Night, at: float) -> bool:
    """Unix seconds are floats of 0.2 microseconds."""
    return min(abs(at - night.at - LONGEST_S), abs(at - night.woke - DAY_S - LATE_S)) < 1e-3


@given(nights, st.floats(0, 1e6), st.floats(0, DAY_S), st.floats(61, 1e9))
def test_where_the_clock_is_not_set_the_silence_begins_with_the_restart(
    night: Night, started: float, up_s: float, late: float
) -> None:
    now = started + up_s
    kept = in_unix_seconds(night, 1.8e9)
    for offset in (-inf, kept.at - now - late):  # unknown; before it was
        after = in_monotonic_seconds(kept, offset, now, started)
        assert after == Night(night.power_W, started, started, started)


def test_at_100_w_an_inverter_is_not_dim() -> None:
    assert sleeps(told((16.0, 99.9)), 17)
    assert not sleeps(told((16.0, 100.0)), 17)
    assert not sleeps(told((16.0, -100.0)), 17)


def test_an_inverter_that_was_awake_for_less_than_an_hour_has_not_begun_its_day() -> None:
    """It starts and stops at dawn; the hour of waking is that of the day before until it has stayed awake."""
    night = told(*day(0), *day(1), (48 + 7.0, 5.0))
    short = told((48 + 7.9, 5.0), night=night)
    assert (short.up, short.woke) == ((48 + 7) * HOUR_S, (24 + 8) * HOUR_S)
    assert told((48 + 8.0, 5.0), night=short).woke == (48 + 7) * HOUR_S


def test_two_hours_without_an_answer_are_a_night() -> None:
    assert told((8.0, 5.0), (9.9, 5.0)).up == 8 * HOUR_S
    assert told((8.0, 5.0), (10.0, 5.0)).up == 10 * HOUR_S


def test_the_clocks_of_two_boots_may_differ_by_a_minute() -> None:
    kept = Night(5.0, 1060.0, 1000.0, 1000.0)
    assert in_monotonic_seconds(kept, 0.0, 1000.0, 900.0) == kept
    assert in_monotonic_seconds(kept, 0.0, 999.9, 900.0) == Night(5.0, 900.0, 900.0, 900.0)
