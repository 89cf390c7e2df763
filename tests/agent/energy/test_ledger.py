from __future__ import annotations

import random
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.ledger import PATIENCE_S, Ledger, advance, of_day, shifted

BRUSSELS = ZoneInfo("Europe/Brussels")
ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Brussels",
        "America/Sao_Paulo",  # midnight skipped until 2018
        "Africa/Cairo",  # midnight skipped, to this day
        "America/Havana",  # midnight twice
        "America/St_Johns",  # until 2011 set back at 00:01, over midnight
        "Australia/Lord_Howe",  # half an hour
        "Asia/Kathmandu",
        "Pacific/Kiritimati",
    )
]


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=BRUSSELS).timestamp()


def run(*readings: tuple[str, float], daily: bool = False, ledger: Ledger | None = None) -> Ledger:
    for when, value in readings:
        ledger = advance(ledger, value, at(when), BRUSSELS, daily=daily)
    assert ledger is not None
    return ledger


def energy(ledger: Ledger, day: str) -> float:
    found = of_day(ledger, day)
    assert found is not None
    return found.energy


def test_the_first_day_counts_from_the_first_reading_and_says_so() -> None:
    ledger = run(("2026-06-01T10:00", 5000), ("2026-06-01T10:10", 5250))
    assert of_day(ledger, "2026-06-01") == DayEnergy(250, Basis.PARTIAL)


def test_a_day_begins_with_what_was_read_around_midnight() -> None:
    ledger = run(("2026-06-01T23:59:50", 1000), ("2026-06-02T00:00:10", 1020), ("2026-06-02T08:00", 1500))
    assert of_day(ledger, "2026-06-02") == DayEnergy(490, Basis.SEEN)
    assert of_day(ledger, "2026-06-01") == DayEnergy(10, Basis.PARTIAL)


def test_an_old_value_after_downtime_over_midnight_moves_no_energy_into_the_new_day() -> None:
    """What a data logger had kept from the evening comes once more."""
    ledger = run(("2026-06-01T22:00", 1000), ("2026-06-02T02:00", 20_000))
    back = run(("2026-06-02T02:01", 1000), ("2026-06-02T02:02", 20_000), ("2026-06-02T02:03", 20_100), ledger=ledger)
    assert of_day(ledger, "2026-06-02") == DayEnergy(9500, Basis.INTERPOLATED)
    assert of_day(back, "2026-06-02") == DayEnergy(9600, Basis.INTERPOLATED)
    assert energy(back, "2026-06-01") == 9500


def test_downtime_over_midnight_is_divided_by_time_and_said() -> None:
    ledger = run(("2026-06-01T22:00", 1000), ("2026-06-02T02:00", 1400))
    assert of_day(ledger, "2026-06-02") == DayEnergy(200, Basis.INTERPOLATED)


def test_downtime_without_growth_hides_nothing() -> None:
    ledger = run(("2026-06-01T21:00", 1000), ("2026-06-02T06:00", 1000), ("2026-06-02T12:00", 9000))
    assert of_day(ledger, "2026-06-02") == DayEnergy(8000, Basis.SEEN)


def test_days_off_leave_yesterday_and_today_known() -> None:
    ledger = run(("2026-06-01T12:00", 0), ("2026-06-05T12:00", 96_000))
    assert of_day(ledger, "2026-06-05") == DayEnergy(12_000, Basis.INTERPOLATED)
    assert of_day(ledger, "2026-06-04") == DayEnergy(24_000, Basis.INTERPOLATED)
    assert of_day(ledger, "2026-06-03") is None


def test_a_new_day_is_empty_before_its_first_reading() -> None:
    ledger = run(("2026-06-01T10:00", 0), ("2026-06-01T10:10", 100))
    assert of_day(ledger, "2026-06-02") == DayEnergy(0, Basis.SEEN)


@pytest.mark.parametrize("dip", [0.0, 65_536.0, 1e6, -5.0])
def test_a_jump_down_and_back_adds_what_really_grew(dip: float) -> None:
    ledger = run(("2026-06-01T10:00", 9e6), ("2026-06-01T10:01", dip), ("2026-06-01T10:02", 9e6 + 70))
    assert ledger.at == at("2026-06-01T10:02")
    assert energy(ledger, "2026-06-01") == 70


@pytest.mark.parametrize("spike", [300.0, 5_000.0, 65_536.0, 4e9])
def test_a_value_that_was_too_high_is_taken_out_again(spike: float) -> None:
    """A 32-bit value whose halves are of two moments, in a fine or a coarse resolution."""
    ledger = run(("2026-06-01T10:00", 1e5), ("2026-06-01T10:00:10", 1e5 + spike), ("2026-06-01T10:00:20", 1e5 + 20))
    assert energy(ledger, "2026-06-01") == 20


@pytest.mark.parametrize("slip", [300.0, 3000.0])
@pytest.mark.parametrize("spike", [3300.0, 5000.0, 65_536.0])
def test_a_small_spike_does_not_vouch_for_a_larger_one_minutes_later(slip: float, spike: float) -> None:
    """A device of 1 MW grows 2.8 kWh between two polls 10 s apart, and 67 kWh in the 240 s between the spikes."""
    values = [1e6 + slip, *[1e6] * 24, 1e6 + spike, *[1e6] * 6]
    start = at("2026-06-01T10:00")
    ledger = advance(None, 1e6, start, BRUSSELS)
    for number, value in enumerate(values, 1):
        ledger = advance(ledger, value, start + 10 * number, BRUSSELS)
    assert energy(ledger, "2026-06-01") == 0
    assert (ledger.value, ledger.at) == (1e6, start + 10 * len(values))


def test_a_spike_as_the_first_reading_of_a_day() -> None:
    ledger = run(("2026-06-01T23:59:55", 1000), ("2026-06-02T00:00:05", 1700), ("2026-06-02T00:00:15", 1020))
    assert energy(ledger, "2026-06-01") == pytest.approx(5)
    assert energy(ledger, "2026-06-02") == pytest.approx(15)


def reset(first: float, *, power_Wh_a_minute: float = 100) -> list[tuple[str, float]]:
    return [(f"2026-06-01T10:{minute:02}", first + power_Wh_a_minute * (minute - 1)) for minute in range(1, 30)]


def test_a_reset_to_zero_goes_on_counting() -> None:
    ledger = run(("2026-06-01T09:00", 8000), ("2026-06-01T10:00", 9000), *reset(first=40))
    assert energy(ledger, "2026-06-01") == 1000 + 40 + 2800


def test_a_replaced_meter_brings_no_energy_of_its_own() -> None:
    for first in (5e6, 5e8):
        ledger = run(("2026-06-01T09:00", 99_999_000), ("2026-06-01T10:00", 1e8), *reset(first))
        assert energy(ledger, "2026-06-01") == 1000 + 2800


def test_a_counter_that_goes_back_to_its_last_backup_brings_no_energy() -> None:
    ledger = run(("2026-06-01T09:00", 950), ("2026-06-01T10:00", 1000), *reset(first=900, power_Wh_a_minute=1))
    assert energy(ledger, "2026-06-01") == 50 + 28


def test_what_was_counted_long_ago_is_not_taken_out() -> None:
    ledger = run(("2026-06-01T09:00", 0), ("2026-06-01T09:01", 900), ("2026-06-01T10:00", 900))
    assert energy(run(*reset(first=0, power_Wh_a_minute=1), ledger=ledger), "2026-06-01") == 900 + 28


def test_a_jump_in_the_first_reading_of_a_day_does_not_move_its_beginning() -> None:
    ledger = run(("2026-06-01T22:00", 1000), ("2026-06-02T01:59:50", 0), ("2026-06-02T02:00", 1400))
    assert energy(ledger, "2026-06-02") == 200


def test_a_doubtful_counter_is_not_believed_at_once() -> None:
    ledger = run(("2026-06-01T10:00", 9000), *reset(first=0)[:5])
    assert ledger.at == at("2026-06-01T10:00")
    assert energy(ledger, "2026-06-01") == 0


@pytest.mark.parametrize("end", [2**16 * 10.0, 2**16 * 100.0, 2.0**32, 2**32 * 0.1, 2**32 * 100.0])
def test_a_counter_that_rolls_over_goes_on(end: float) -> None:
    ledger = run(("2026-06-01T10:00", end - 300), ("2026-06-01T10:01", 400.0), ("2026-06-01T10:02", 500))
    assert energy(ledger, "2026-06-01") == pytest.approx(800)


def test_a_signed_counter_rolls_over_to_its_other_end() -> None:
    ledger = run(
        ("2026-06-01T10:00", 2.0**31 - 100), ("2026-06-01T10:01", -(2.0**31)), ("2026-06-01T10:02", 60 - 2**31)
    )
    assert energy(ledger, "2026-06-01") == 160


def test_a_coarse_counter_steps_once_it_is_confirmed() -> None:
    """100 kWh at a time, as large chargers count."""
    ledger = run(("2026-06-01T08:00", 0), ("2026-06-01T12:00", 0), ("2026-06-01T12:00:10", 1e5))
    assert energy(ledger, "2026-06-01") == 0
    assert energy(run(("2026-06-01T12:00:20", 1e5), ledger=ledger), "2026-06-01") == 1e5


def test_the_power_of_the_device_bounds_what_is_believed() -> None:
    start = advance(None, 1.0, 0.0, BRUSSELS)
    assert advance(start, 2000.0, 60.0, BRUSSELS).doubt is None
    assert advance(start, 2000.0, 60.0, BRUSSELS, power_W=5000).doubt is not None


def test_a_device_that_showed_zero_while_it_started_brings_no_energy_of_its_own() -> None:
    """Whatever follows: the controller is switched off for an hour, in which so much could have flowed."""
    ledger = run(("2026-06-01T10:00", 0), ("2026-06-01T10:00:10", 0), ("2026-06-01T10:00:20", 700_000))
    ledger = run(("2026-06-01T11:30", 700_400), ledger=ledger.bare())
    assert energy(ledger, "2026-06-01") == 400


@pytest.mark.parametrize("first", [500_000, -1])
def test_a_first_reading_that_was_wrong_brings_no_energy_whatever_silence_follows(first: float) -> None:
    """Half a value, or none, and then the right ones; the silence is long enough for all of it to have flowed."""
    ledger = run(("2026-06-01T10:00", first), ("2026-06-01T10:00:10", 1e6), ("2026-06-01T10:00:20", 1e6 + 10))
    ledger = run(("2026-06-01T10:00:30", 1e6 + 10), ("2026-06-01T20:00", 1e6 + 5000), ledger=ledger)
    assert energy(ledger, "2026-06-01") == 5000


# Registers that the device itself sets to zero


def test_a_daily_register_gives_the_whole_first_day() -> None:
    ledger = run(("2026-06-01T12:00", 8000), ("2026-06-01T12:10", 8100), daily=True)
    assert of_day(ledger, "2026-06-01") == DayEnergy(8100, Basis.REGISTER)


def test_a_daily_register_shortly_after_midnight_may_still_be_yesterdays() -> None:
    ledger = run(("2026-06-01T00:05", 8000), ("2026-06-01T00:10", 8100), daily=True)
    assert of_day(ledger, "2026-06-01") == DayEnergy(100, Basis.PARTIAL)


def test_a_daily_register_that_starts_at_midnight() -> None:
    ledger = run(("2026-06-01T23:59:50", 8000), ("2026-06-02T00:00:05", 0), ("2026-06-02T00:01:00", 20), daily=True)
    assert of_day(ledger, "2026-06-02") == DayEnergy(20, Basis.SEEN)
    assert of_day(ledger, "2026-06-01") == DayEnergy(8000, Basis.REGISTER)


def test_what_a_daily_register_counted_last_before_midnight_stays_yesterdays() -> None:
    ledger = run(("2026-06-01T12:00", 0), ("2026-06-01T23:59:50", 10), ("2026-06-02T00:00:05", 0), daily=True)
    assert energy(ledger, "2026-06-01") == 10


@pytest.mark.parametrize(
    "before",
    [
        [("2026-06-02T12:00", 8000.0)],  # seen for the first time
        [("2026-06-01T15:00", 9000.0), ("2026-06-02T12:00", 8000.0)],  # set to zero while nobody looked
    ],
)
def test_a_daily_register_that_turns_out_to_be_of_another_day_is_not_believed(
    before: list[tuple[str, float]],
) -> None:
    """It starts its day at four in the afternoon."""
    after = [(f"2026-06-02T16:{minute:02}", float(minute)) for minute in range(20)]
    ledger = run(*before, ("2026-06-02T15:59", 8050), *after, daily=True)
    assert of_day(ledger, "2026-06-02") == DayEnergy(50 + 19, Basis.PARTIAL)


def test_a_daily_register_over_downtime() -> None:
    ledger = run(("2026-06-01T20:00", 8000), ("2026-06-02T09:00", 900), daily=True)
    assert of_day(ledger, "2026-06-02") == DayEnergy(900, Basis.REGISTER)


@pytest.mark.parametrize("resets_at", [-5, 5, 120, 600, -400])
def test_a_daily_register_whose_day_is_another(resets_at: int) -> None:
    """Minutes from local midnight to the device's own. 10 Wh a minute, seen for three days."""
    ledger: Ledger | None = None
    start = at("2026-06-01T12:00")
    for minute in range(3 * 24 * 60):
        since_reset = (minute + 12 * 60 - resets_at) % (24 * 60)
        ledger = advance(ledger, 10.0 * since_reset, start + 60 * minute, BRUSSELS, daily=True)
    assert ledger is not None
    assert energy(ledger, "2026-06-03") == pytest.approx(14_400, abs=15)
    assert energy(ledger, "2026-06-04") == pytest.approx(7190, abs=15)


# The clock


def test_a_clock_set_forward_changes_nothing() -> None:
    ledger = run(("2026-06-01T10:00", 0), ("2026-06-01T10:10", 100), ("2026-06-01T13:10:10", 102))
    assert energy(ledger, "2026-06-01") == 102


@pytest.mark.parametrize("back_s", [30, 3600, 3 * 86_400])
def test_a_clock_set_back_loses_no_energy(back_s: int) -> None:
    start = at("2026-06-04T10:00")
    ledger = advance(None, 5000.0, start, BRUSSELS)
    for second in range(60, 3600, 60):
        ledger = advance(ledger, 5000.0 + second, start + second - back_s, BRUSSELS)
    assert energy(ledger, day_of(ledger.at, BRUSSELS)[0]) == 3540
    assert ledger.at == start + 3540 - back_s


def test_what_grew_while_the_clock_was_ahead_is_counted() -> None:
    """The agent was off for a week, and had been told a wrong year before."""
    ledger = run(("2027-01-01T10:00", 1e6))
    for minute in range(12):
        ledger = run((f"2026-06-01T10:{minute:02}", 1e6 + 2e5), ledger=ledger)
    assert energy(ledger, "2026-06-01") == 2e5


def test_a_clock_set_forward_over_midnight_ends_the_day_where_it_was() -> None:
    ledger = run(("2026-06-01T23:00", 1000), ("2026-06-01T23:30", 1030))
    later = run(("2026-06-02T00:31", 1040), ledger=shifted(ledger, 3600, BRUSSELS))
    assert energy(later, "2026-06-01") == 30
    assert energy(later, "2026-06-02") == 10


def test_a_midnight_that_was_not_is_taken_back() -> None:
    ledger = run(("2026-06-01T23:59", 1000), ("2026-06-02T00:01", 1010), ("2026-06-02T00:05", 1030))
    earlier = shifted(ledger, -3600, BRUSSELS)
    assert of_day(earlier, "2026-06-01") == DayEnergy(30, Basis.PARTIAL)
    later = run(("2026-06-02T00:10", 1100), ledger=earlier)
    assert energy(later, "2026-06-01") + energy(later, "2026-06-02") == 100


def test_a_ledger_of_another_zone_begins_its_day_anew() -> None:
    ledger = run(("2026-06-01T10:00", 0), ("2026-06-01T10:10", 100))
    moved = shifted(ledger, 0.0, ZoneInfo("America/New_York"))
    assert of_day(moved, "2026-06-01") == DayEnergy(100, Basis.PARTIAL)
    assert day_of(ledger.at, ZoneInfo("America/New_York"))[1:] == (moved.day.start, moved.day.end)


changes = [at(f"{day}T04:00") for day in ("2018-11-04", "2018-02-18", "2010-11-07", "2026-04-24", "2026-11-01")]
moments = st.floats(at("2005-01-01"), at("2035-01-01")) | st.builds(
    float.__add__, st.sampled_from(changes), st.floats(-86_400, 86_400)
)


@given(st.sampled_from(ZONES), moments)
@settings(max_examples=400)
def test_days_tile_the_time(zone: ZoneInfo, moment: float) -> None:
    name, start, end = day_of(moment, zone)
    assert start <= moment < end
    assert 22.9 * 3600 <= end - start <= 25.1 * 3600
    after, after_start, _ = day_of(end, zone)
    assert after_start == end
    assert date.fromisoformat(after) == date.fromisoformat(name) + timedelta(days=1)
    assert day_of(end - 1, zone)[0] == name


def test_days_of_23_and_25_hours_and_of_a_skipped_midnight() -> None:
    def hours(day: str, zone: str) -> float:
        _, start, end = day_of(datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone)).timestamp(),
                               ZoneInfo(zone))  # fmt: skip
        return (end - start) / 3600

    assert hours("2026-03-29", "Europe/Brussels") == 23
    assert hours("2026-10-25", "Europe/Brussels") == 25
    assert hours("2018-11-04", "America/Sao_Paulo") == 23
    assert hours("2018-02-17", "America/Sao_Paulo") == 25
    assert hours("2026-04-24", "Africa/Cairo") == 23
    assert hours("2026-04-05", "Australia/Lord_Howe") == 24.5


# What holds whatever happens

starts = st.sampled_from(["2026-03-28T20:00", "2026-10-24T20:00", "2026-06-01T20:00"]).map(at)


@given(
    starts, st.lists(st.tuples(st.floats(1, 3 * 3600), st.floats(-1e6, 1e10)), min_size=1, max_size=40), st.booleans()
)
def test_never_negative_whatever_the_counter_does(now: float, steps: list[tuple[float, float]], daily: bool) -> None:
    ledger: Ledger | None = None
    for seconds, value in steps:
        now += seconds
        ledger = advance(ledger, value, now, BRUSSELS, daily=daily)
        today = of_day(ledger, day_of(now, BRUSSELS)[0])
        assert today is not None
        assert today.energy >= 0


honest = st.lists(st.tuples(st.floats(1, 20_000), st.floats(0, 500_000)), min_size=3, max_size=60)
"""(seconds, W) between readings."""


@given(starts, honest)
def test_the_days_of_an_honest_counter_are_the_integral_of_its_power(
    start: float, steps: list[tuple[float, float]]
) -> None:
    """Its power is even between two readings, as interpolation assumes."""
    now, counter = start, 1e6
    ledger = advance(None, counter, now, BRUSSELS)
    days: dict[str, float] = {}
    for seconds, power in steps:
        begin, now, counter = now, now + seconds, counter + power * seconds / 3600
        ledger = advance(ledger, counter, now, BRUSSELS)
        while begin < now:
            name, _, end = day_of(begin, BRUSSELS)
            days[name] = days.get(name, 0.0) + power * (min(end, now) - begin) / 3600
            begin = end
        today, yesterday = ledger.day, ledger.before
        # A step that ends on midnight gives the new day nothing yet.
        assert energy(ledger, today.date) == pytest.approx(days.get(today.date, 0.0), abs=0.01)
        if yesterday is not None:
            assert energy(ledger, yesterday.date) == pytest.approx(days[yesterday.date], abs=0.01)


@given(starts, honest, st.sampled_from([1e6, 15e3, 5e3]), st.randoms(use_true_random=False))
def test_glitches_and_restarts_leave_no_trace(
    start: float, steps: list[tuple[float, float]], power_W: float, chance: random.Random
) -> None:
    """Between honest readings the counter shows zero, halves of two moments, or nothing; the agent restarts."""
    now, counter = start, 1e6
    clean = disturbed = advance(None, counter, now, BRUSSELS)

    def read(ledger: Ledger, value: float, moment: float) -> Ledger:
        return advance(ledger, value, moment, BRUSSELS, power_W=power_W)

    for step_s, power in steps:
        if chance.random() < 0.3:
            glitch = chance.choice([0.0, counter / 2, counter + 65_536, counter + 2.0**31, counter + 300])
            disturbed = read(disturbed, glitch, now + min(step_s, 30) / 2)
        elif chance.random() < 0.3:
            disturbed = disturbed.bare()
        seconds = min(step_s, PATIENCE_S / 2)  # nobody can tell a glitch that is older than that from a reset
        now, counter = now + seconds, counter + power * power_W / 1e6 * seconds / 3600
        clean = read(clean, counter, now)
        disturbed = read(disturbed, counter, now)
    # One more reading that agrees: the last one may be under doubt.
    clean, disturbed = (read(each, counter, now + 1) for each in (clean, disturbed))
    assert disturbed.total == pytest.approx(clean.total, abs=1e-3)
    assert disturbed.day.base == pytest.approx(clean.day.base, abs=1100)
    assert disturbed.value == clean.value


@given(starts, honest, honest, st.floats(0, 1000))
def test_a_reset_costs_no_more_than_the_step_in_which_it_happened(
    start: float, before: list[tuple[float, float]], after: list[tuple[float, float]], lost: float
) -> None:
    now, counter, grown = start, 1e8, 0.0
    ledger = advance(None, counter, now, BRUSSELS)
    for seconds, power in before:
        now, counter = now + seconds, counter + power * seconds / 3600
        grown += power * seconds / 3600
        ledger = advance(ledger, counter, now, BRUSSELS)
    counter = 0.0
    for seconds, power in [(10, 0.0), *after, (PATIENCE_S, 0.0)]:
        now, counter = now + seconds, counter + power * seconds / 3600
        ledger = advance(ledger, counter, now, BRUSSELS)
        assert ledger.total <= grown + counter + 1e-3
    assert ledger.total == pytest.approx(grown + counter, abs=1e-2)
