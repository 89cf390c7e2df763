from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from functools import cache
from itertools import cycle
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.energy.days import Basis, DayEnergy, day_of
from agent.energy.ledger import CANDIDATES, FRESH, Ledger, flow_of, minute_of, of_day, of_today, resumed, shifted
from agent.energy.readings import advance, explained
from agent.energy.state import from_json, to_json
from agent.energy.turnover import Register

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


def run(
    *readings: tuple[str, float],
    daily: bool = False,
    ledger: Ledger | None = None,
    register: Register | None = None,
) -> Ledger:
    for when, value in readings:
        ledger = advance(ledger, value, at(when), BRUSSELS, register or Register(daily=daily))
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


@pytest.mark.parametrize(("late_s", "basis"), [(0, Basis.SEEN), (1, Basis.INTERPOLATED)])
def test_midnight_is_seen_if_the_interval_is_at_most_half_as_long_again_as_the_one_before(
    late_s: int, basis: Basis
) -> None:
    ledger = run(("2026-06-01T23:58", 1000), ("2026-06-01T23:59", 1010), (f"2026-06-02T00:00:{30 + late_s}", 1025))
    assert of_today(ledger)[2] is basis


@pytest.mark.parametrize(("growth", "step_Wh"), [(1078.0, 1100.0), (1077.0, 1077 * 1.01)])
def test_a_growth_teaches_a_step_only_if_it_is_finer_than_a_rounding_error(growth: float, step_Wh: float) -> None:
    start = at("2026-06-01T10:00")
    ledger: Ledger | None = None
    for number in range(4):
        ledger = advance(ledger, 1e6 + growth * (number > 2), start + 10 * number, BRUSSELS)
    assert ledger is not None
    assert minute_of(ledger) == pytest.approx(step_Wh + 30_000 / 60)


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
    ledger = run(("2026-06-01T12:00", 5000), ("2026-06-05T12:00", 101_000))
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
    assert (ledger.best.value, ledger.at) == (1e6, start + 10 * len(values))


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
        evening, night = ("2026-05-31T23:59", 99_999_000), ("2026-06-01T00:01", 99_999_000)
        ledger = run(evening, night, ("2026-06-01T10:00", 1e8), *reset(first))
        assert of_day(ledger, "2026-06-01") == DayEnergy(1000 + 2800, Basis.REPLACED)


def test_what_is_lost_over_midnight_is_declared_for_both_days() -> None:
    """A meter is replaced in the night. Until then, the day before had no gap."""
    evening, night = ("2026-05-31T23:59", 99_999_000), ("2026-06-01T00:01", 99_999_000)
    after = [(f"2026-06-02T01:{minute:02}", 5e6 + 100 * minute) for minute in range(30)]
    ledger = run(evening, night, ("2026-06-01T23:00", 1e8))
    assert of_day(ledger, "2026-06-01") == DayEnergy(1000, Basis.SEEN)
    ledger = run(*after, ledger=ledger)
    assert of_day(ledger, "2026-06-01") == DayEnergy(1000, Basis.REPLACED)
    assert of_day(ledger, "2026-06-02") == DayEnergy(2900, Basis.REPLACED)


def test_a_counter_that_goes_back_to_its_last_backup_brings_no_energy() -> None:
    ledger = run(("2026-06-01T09:00", 950), ("2026-06-01T10:00", 1000), *reset(first=900, power_Wh_a_minute=1))
    assert energy(ledger, "2026-06-01") == 50 + 28


def test_what_was_counted_long_ago_is_not_taken_out() -> None:
    rise = [(f"2026-06-01T09:{minute:02}", 100.0 + 30 * minute) for minute in range(31)]
    ledger = run(*rise, ("2026-06-01T10:00", 1000))
    assert energy(run(*reset(first=0, power_Wh_a_minute=1), ledger=ledger), "2026-06-01") == 900 + 28


def test_a_jump_in_the_first_reading_of_a_day_does_not_move_its_beginning() -> None:
    ledger = run(("2026-06-01T22:00", 1000), ("2026-06-02T01:59:50", 0), ("2026-06-02T02:00", 1400))
    assert energy(ledger, "2026-06-02") == 200


def test_a_doubtful_counter_is_not_believed_at_once_and_its_energy_is_still_there() -> None:
    ledger = run(("2026-06-01T09:59", 8990), ("2026-06-01T10:00", 9000), *reset(first=0)[:5])
    assert ledger.best.at == at("2026-06-01T10:00")
    assert energy(ledger, "2026-06-01") == 10


@pytest.mark.parametrize("end", [2**16 * 10.0, 2**16 * 100.0, 2.0**32, 2**32 * 0.1, 2**32 * 100.0])
def test_a_counter_that_rolls_over_goes_on(end: float) -> None:
    register = Register(range_Wh=end)
    ledger = run(("2026-06-01T09:59", end - 310), ("2026-06-01T10:00", end - 300), register=register)
    ledger = run(
        *((f"2026-06-01T10:{minute:02}", 300.0 + 100 * minute) for minute in range(1, 4)),
        register=register,
        ledger=ledger,
    )
    assert energy(ledger, "2026-06-01") == pytest.approx(910)


def test_a_counter_whose_range_nobody_knows_does_not_roll_over() -> None:
    readings = [("2026-06-01T09:59", 2.0**32 - 310), ("2026-06-01T10:00", 2.0**32 - 300), *reset(first=400)]
    assert energy(run(*readings), "2026-06-01") == 10 + 400 + 2800
    assert of_day(run(*readings), "2026-06-02") == DayEnergy(0, Basis.SEEN)


def test_two_zeros_at_the_end_of_a_register_are_no_rollover() -> None:
    end = 2.0**32
    register = Register(range_Wh=end)
    ledger = run(("2026-06-01T09:59:50", end - 30), ("2026-06-01T10:00", end - 20), register=register)
    ledger = run(("2026-06-01T10:00:10", 0), ("2026-06-01T10:00:20", 0), register=register, ledger=ledger)
    assert energy(ledger, "2026-06-01") == 10
    ledger = run(("2026-06-01T10:00:30", end - 17), ("2026-06-01T10:00:40", end - 16), register=register, ledger=ledger)
    assert energy(ledger, "2026-06-01") == 14


def test_a_signed_counter_rolls_over_to_its_other_end() -> None:
    register = Register(range_Wh=2.0**32)
    before = [("2026-06-01T09:59", 2.0**31 - 110), ("2026-06-01T10:00", 2.0**31 - 100)]
    after = [(f"2026-06-01T10:{minute:02}", 60.0 * (minute - 1) - 2**31) for minute in (1, 2, 3)]
    assert energy(run(*before, *after, register=register), "2026-06-01") == 230


def test_a_register_that_may_have_gone_around_more_than_once_is_estimated_by_the_power() -> None:
    """65 kWh a turn, 60 kW, three hours in which nobody looked."""
    register, start = Register(step_Wh=1.0, range_Wh=65_536.0), at("2026-06-01T10:00")
    ledger: Ledger | None = None
    for second in range(0, 8 * 3600, 10):
        ledger = advance(ledger, (60_000 * second / 3600) % 65_536 // 1, start + second, BRUSSELS, register, 60_000.0)
    for second in range(11 * 3600, 11 * 3600 + 120, 10):
        ledger = advance(ledger, (60_000 * second / 3600) % 65_536 // 1, start + second, BRUSSELS, register, 60_000.0)
    assert ledger is not None
    found = of_day(ledger, "2026-06-01")
    assert found is not None
    assert found.energy == pytest.approx(60_000 * (11 + 110 / 3600), abs=2)
    assert found.basis is Basis.PARTIAL
    assert Basis.ESTIMATED < Basis.PARTIAL


def test_a_coarse_counter_steps_at_once_where_its_step_is_known() -> None:
    """100 kWh at a time, as large chargers count."""
    readings = [("2026-06-01T08:00", 5e5), ("2026-06-01T12:00", 5e5), ("2026-06-01T12:00:10", 6e5)]
    assert energy(run(*readings, register=Register(step_Wh=1e5)), "2026-06-01") == 1e5


def test_a_coarse_counter_steps_once_it_is_confirmed_where_its_step_is_not_known() -> None:
    start = at("2026-06-01T08:00")
    ledger = advance(None, 5e5, start, BRUSSELS)
    for second in range(60, 4 * 3600, 60):
        ledger = advance(ledger, 5e5 + 10 * (second > 120), start + second, BRUSSELS)
    steps = [(start + 4 * 3600 + second, 6e5) for second in range(0, 600, 60)]
    ledger = advance(ledger, steps[0][1], steps[0][0], BRUSSELS)
    assert energy(ledger, "2026-06-01") == 10
    for moment, value in steps[1:]:
        ledger = advance(ledger, value, moment, BRUSSELS)
    assert energy(ledger, "2026-06-01") == 1e5


def test_a_device_that_did_not_run_for_a_day_is_believed_when_it_starts() -> None:
    """28.8 kW at once: nothing was learned of its power, because there was none."""
    now, ledger = at("2026-06-01T08:00"), None
    for _ in range(290):
        ledger = advance(ledger, 5000.0, now := now + 300, BRUSSELS, Register(step_Wh=1.0))
    assert advance(ledger, 7400.0, now + 300, BRUSSELS, Register(step_Wh=1.0)).best.total == 2400


def test_a_growth_above_the_power_of_a_known_device_is_believed_when_five_minutes_show_it() -> None:
    """1 kW for 25 hours; then 1 kWh in a minute, which the connection of a house allows."""
    register, now, ledger, value = Register(step_Wh=1.0), at("2026-06-01T08:00"), None, 5000.0
    for interval in (*[300] * 300, *[60] * 10):
        value += interval / 3.6
        ledger = advance(ledger, value, now := now + interval, BRUSSELS, register, 1000.0)
    assert ledger is not None
    before, believed, value = ledger.best.total, [], value + 1000
    for _ in range(10):
        value += 60 / 3.6
        ledger = advance(ledger, value, now := now + 60, BRUSSELS, register, 1000.0)
        believed.append(ledger.best.total - before > 1000)
    assert believed == [reading >= 4 for reading in range(10)]


@pytest.mark.parametrize(("grown_Wh", "used"), [(390.0, True), (410.0, False), (890.0, False)])
def test_a_power_register_that_stays_zero_while_the_counter_counts_is_not_used(grown_Wh: float, used: bool) -> None:
    """100 Wh compare the two. Then the register shows 0, until the counter has grown by five times as much."""
    register, now, ledger = Register(step_Wh=1.0, limit_W=6000.0), at("2026-06-01T08:00"), None
    value = 5000.0
    for minute in range(22):
        power_W, rate_W = (575.0, 620.0) if minute < 11 else (0.0, 6 * grown_Wh)
        value += rate_W / 60
        ledger = advance(ledger, value, now := now + 60, BRUSSELS, register, power_W)
    assert ledger is not None
    assert (flow_of(ledger) == 0.0) == used


def test_the_power_of_the_device_bounds_what_is_believed() -> None:
    for limit, believed in ((0.0, 1599.0), (5000.0, 0.0)):
        start = advance(None, 1.0, 0.0, BRUSSELS, Register(limit_W=limit))
        after = advance(start, 1600.0, 60.0, BRUSSELS, Register(limit_W=limit))
        assert after.best.total == believed


def test_a_device_that_showed_zero_while_it_started_brings_no_energy_of_its_own() -> None:
    """Whatever follows: the controller is switched off for an hour, in which so much could have flowed."""
    ledger = run(("2026-06-01T10:00", 0), ("2026-06-01T10:00:10", 0), ("2026-06-01T10:00:20", 700_000))
    ledger = run(("2026-06-01T11:30", 700_400), ("2026-06-01T11:30:10", 700_400), ledger=ledger)
    assert energy(ledger, "2026-06-01") == 400


@pytest.mark.parametrize("seconds", [10, 60, 300])
def test_more_than_a_minute_of_energy_after_a_zero_is_not_believed_at_once(seconds: int) -> None:
    """30 kW for a minute, and the step, are 600 Wh. The counter may have shown 0 while the device started."""
    register, now, ledger = Register(step_Wh=100.0), at("2026-06-01T10:00"), None
    for _ in range(20):
        now += seconds
        ledger = advance(ledger, 0.0, now, BRUSSELS, register)
    assert advance(ledger, 700.0, now + seconds, BRUSSELS, register).best.total == 0.0
    most = 150.0 if seconds < 60 else 600.0
    assert advance(ledger, most, now + seconds, BRUSSELS, register).best.total == most


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


@pytest.mark.parametrize(
    ("when", "value", "basis"),
    [
        ("12:00", 150_010.0, Basis.REGISTER),
        ("12:00", 150_020.0, Basis.PARTIAL),
        ("12:00", 0.0, Basis.REGISTER),
        ("12:00", -10.0, Basis.PARTIAL),
        ("03:00", 5000.0, Basis.REGISTER),
        ("02:59:59", 5000.0, Basis.PARTIAL),
    ],
)
def test_the_first_value_of_a_daily_register_counts_if_it_can_be_the_energy_since_midnight(
    when: str, value: float, basis: Basis
) -> None:
    """10 kW with a margin of a quarter are 150 kWh at noon; the register may be one step ahead."""
    ledger = run((f"2026-06-01T{when}", value), register=Register(daily=True, step_Wh=10.0, limit_W=10_000.0))
    assert of_day(ledger, "2026-06-01") == DayEnergy(value if basis is Basis.REGISTER else 0.0, basis)


def test_a_daily_register_that_starts_at_midnight() -> None:
    ledger = run(("2026-06-01T23:59:50", 8000), ("2026-06-02T00:00:05", 0), ("2026-06-02T00:01:00", 20), daily=True)
    assert of_day(ledger, "2026-06-02") == DayEnergy(20, Basis.SEEN)
    assert of_day(ledger, "2026-06-01") == DayEnergy(8000, Basis.REGISTER)


def test_a_daily_register_that_is_read_at_midnight_after_a_gap() -> None:
    """Of the energy of the new day, which lasts no time yet, no part is from before midnight."""
    ledger = run(("2026-06-01T23:50", 8000), ("2026-06-02T00:00", 0), daily=True)
    assert energy(ledger, "2026-06-02") == 0


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
    day = [(f"2026-06-02T15:{minute:02}", 8000.0 + minute * 50 / 59) for minute in range(60)]
    ledger = run(*before, *day, *after, daily=True)
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
        ledger = advance(ledger, 10.0 * since_reset, start + 60 * minute, BRUSSELS, Register(daily=True))
    assert ledger is not None
    assert energy(ledger, "2026-06-03") == pytest.approx(14_400, abs=15)
    assert energy(ledger, "2026-06-04") == pytest.approx(7190, abs=15)


@pytest.mark.parametrize(("hours", "basis"), [(18.5, Basis.SEEN), (17.5, Basis.RESET)])
def test_a_daily_register_begins_its_next_day_after_18_hours_at_the_earliest(hours: float, basis: Basis) -> None:
    """It begins a day at 02:30, and shows 0 again some hours later, before the local midnight."""
    register, now, counter = Register(daily=True, step_Wh=1.0), at("2026-06-01T22:00"), 8000.0
    begins = at("2026-06-02T02:30")
    again = begins + 3600 * hours
    ledger = advance(None, counter, now, BRUSSELS, register, 360.0)
    while now < again + 1800:
        now, counter = now + 60, counter + 6
        if now in (begins, again):
            counter = 0.0
        ledger = advance(ledger, counter, now, BRUSSELS, register, 360.0)
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.basis is basis
    assert found.energy == pytest.approx(360 * (3 + hours), abs=20)


@pytest.mark.parametrize(
    ("when", "back_s", "events"),
    [
        ("20:45", 0, ["counter_reset"]),
        ("21:00", 0, []),
        ("03:01", 0, []),
        ("03:15", 0, ["counter_reset"]),
        ("03:45", 4 * 3600, ["counter_reset"]),
    ],
)
def test_a_daily_register_begins_its_day_at_most_three_hours_from_midnight(
    when: str, back_s: int, events: list[str]
) -> None:
    """It is read every minute; half an hour before it shows 0, the clock is set back."""
    register, zero, counter = Register(daily=True, step_Wh=1.0), at(f"2026-06-01T{when}"), 500.0
    ledger: Ledger | None = None
    told: list[str] = []
    for minute in range(-60, 30):
        now, counter = zero + 60 * minute, counter + 6 if minute else 0.0
        if ledger is not None and minute == -30:
            ledger = shifted(ledger, -back_s, BRUSSELS)
        ledger = advance(ledger, counter, now + back_s * (minute < -30), BRUSSELS, register, 360.0)
        told += [event.name for event in ledger.decided]
    assert ledger is not None
    assert [*told, *(event.name for event in ledger.best.events)] == events


@pytest.mark.parametrize(
    ("value", "energy_Wh", "basis"), [(187_510.0, 187_510.0, Basis.REGISTER), (187_511.0, 0.0, Basis.ESTIMATED)]
)
def test_a_daily_register_over_downtime_has_at_most_the_energy_since_its_earliest_midnight(
    value: float, energy_Wh: float, basis: Basis
) -> None:
    """10 kW with a margin of a quarter are 187.5 kWh from 21:00 to noon; the register may be one step ahead."""
    register = Register(daily=True, step_Wh=10.0, limit_W=10_000.0)
    ledger = run(("2026-06-01T12:00", 0), ("2026-06-01T12:01", 10), ("2026-06-02T12:00", value), register=register)
    assert of_day(ledger, "2026-06-02") == DayEnergy(energy_Wh, basis)


def test_a_daily_register_that_is_set_to_zero_twice_loses_nothing_of_the_first_part() -> None:
    """360 W; it begins its day at midnight, and shows 0 again at 0:40."""
    register, now, counter = Register(daily=True, step_Wh=1.0), at("2026-06-01T23:00"), 500.0
    ledger: Ledger | None = None
    for minute in range(150):
        counter = 0.0 if minute in (60, 100) else counter + 6
        ledger = advance(ledger, counter, now + 60 * minute, BRUSSELS, register, 360.0)
    assert ledger is not None
    assert of_day(ledger, "2026-06-02") == DayEnergy(39 * 6 + 49 * 6, Basis.RESET)


def test_a_daily_register_over_downtime_counts_from_local_midnight() -> None:
    """The device's day begins at 22:00. It is read again at 03:00, so three of its five hours are of the new day."""
    register, now = Register(daily=True, step_Wh=1.0), at("2026-06-01T12:00")
    ledger: Ledger | None = None
    for minute in range(30 * 60):
        counted = (minute + 14 * 60) % (24 * 60)
        ledger = advance(ledger, 6.0 * counted, now + 60 * minute, BRUSSELS, register, 360.0)
    ledger = run(("2026-06-03T03:00", 5 * 360.0), ledger=ledger, register=register)
    assert energy(ledger, "2026-06-03") == pytest.approx(3 * 360, abs=6)
    assert of_today(ledger)[2] is Basis.REGISTER


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
    for minute in range(20):
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
    assert day_of(ledger.at, ZoneInfo("America/New_York"))[1:] == (moved.best.day.start, moved.best.day.end)


@pytest.mark.parametrize(
    ("seconds", "found"),
    [
        (-3600, ("2026-06-01", 490, Basis.SEEN)),
        (2 * 3600, ("2026-06-01", 490, Basis.SEEN)),  # to midnight
        (14 * 3600 - 1, ("2026-06-01", 490, Basis.SEEN)),
        (14 * 3600, ("2026-06-02", 490, Basis.PARTIAL)),  # to the next noon
        (-24 * 3600, ("2026-05-31", 500, Basis.PARTIAL)),  # to the day before, of which there are readings
        (-48 * 3600, ("2026-05-30", 490, Basis.PARTIAL)),
    ],
)
def test_a_clock_that_is_set_forward_to_less_than_half_a_day_after_midnight_keeps_the_day(
    seconds: int, found: tuple[str, float, Basis]
) -> None:
    night = [("2026-05-31T23:59:50", 1000.0), ("2026-06-01T00:00:10", 1020.0)]
    assert of_today(shifted(run(*night, ("2026-06-01T22:00", 1500)), seconds, BRUSSELS)) == found


@pytest.mark.parametrize(
    ("when", "keeps"),
    [
        ("2026-05-31T23:59:59", False),
        ("2026-06-01T00:00", True),
        ("2026-06-02T11:59:59", True),
        ("2026-06-02T12:00", False),
    ],
)
def test_a_clock_that_comes_back_until_noon_of_the_next_day_goes_on_with_the_day_before(when: str, keeps: bool) -> None:
    then = run(("2026-05-31T23:59:50", 1000), ("2026-06-01T00:00:10", 1020), ("2026-06-01T11:00", 1500))
    ledger = run((when, 1600))
    assert resumed(ledger, then).best.day == (then if keeps else ledger).best.day


@pytest.mark.parametrize(("back_s", "events"), [(3 * 3600, ["counter_reset"]), (3 * 3600 + 1, [])])
def test_when_a_daily_register_began_its_day_is_known_after_a_clock_is_set_by_three_hours(
    back_s: int, events: list[str]
) -> None:
    """It begins a day at 0:30. Half an hour after the clock is set back at 2:00, it shows 0 again."""
    register, now, counter = Register(daily=True, step_Wh=1.0), at("2026-06-01T12:00"), 0.0
    ledger: Ledger | None = None
    for minute in range(15 * 60):
        if minute in (12 * 60 + 30, 14 * 60 + 30):
            counter = 0.0
        if minute == 14 * 60:
            assert ledger is not None
            ledger, now = shifted(ledger, -back_s, BRUSSELS), now - back_s
        now, counter = now + 60, counter + 6
        ledger = advance(ledger, counter, now, BRUSSELS, register, 360.0)
    assert ledger is not None
    assert [event.name for event in ledger.best.events] == events


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
        ledger = advance(ledger, value, now, BRUSSELS, Register(daily=daily))
        today = of_day(ledger, day_of(now, BRUSSELS)[0])
        assert today is not None
        assert today.energy >= 0


honest = st.lists(st.tuples(st.floats(1, 20_000), st.floats(0, 500_000)), min_size=3, max_size=60)
"""(seconds, W) between readings."""
STRONG = Register(limit_W=500_000.0)


@given(starts, honest)
def test_the_days_of_an_honest_counter_are_the_integral_of_its_power(
    start: float, steps: list[tuple[float, float]]
) -> None:
    """Its power is even between two readings, as interpolation assumes."""
    now, counter = start, 1e6
    ledger = advance(None, counter, now, BRUSSELS, STRONG)
    days: dict[str, float] = {}
    for seconds, power in steps:
        begin, now, counter = now, now + seconds, counter + power * seconds / 3600
        ledger = advance(ledger, counter, now, BRUSSELS, STRONG)
        while begin < now:
            name, _, end = day_of(begin, BRUSSELS)
            days[name] = days.get(name, 0.0) + power * (min(end, now) - begin) / 3600
            begin = end
        today, yesterday = ledger.best.day, ledger.best.before
        assert energy(ledger, today.date) == pytest.approx(days.get(today.date, 0.0), abs=0.01)
        if yesterday is not None:
            assert energy(ledger, yesterday.date) == pytest.approx(days[yesterday.date], abs=0.01)


# The invariants of the ledger, in the order of its docstring. Polls every ten seconds.

powers = st.lists(st.floats(0, 11_000), min_size=30, max_size=120)
"""W in the ten seconds before each reading."""
wrong = st.lists(
    st.sampled_from([0.0, -5.0, 4e9]) | st.floats(0.1, 0.9).map(lambda share: -share) | st.floats(1, 70_000),
    min_size=1,
    max_size=12,
)
"""Readings in a row: a number as it is (0, -5, 4e9), else what is added; a share below 0 is a part of the counter."""


def shown(counter: float, fault: float) -> float:
    if fault in (0.0, -5.0, 4e9):
        return fault
    return counter * -fault if fault < 0 else counter + fault


@cache
def warmed_up(now: float, counter: float, register: Register) -> tuple[Ledger, float]:
    """Twenty minutes of 3 kW, to the moment `now`."""
    ledger: Ledger | None = None
    for step in range(121):
        at_step = counter - 3000 * (120 - step) / 360
        ledger = advance(ledger, at_step, now - 1200 + 10 * step, BRUSSELS, register, 3000.0)
    assert ledger is not None
    return ledger, counter


def polled(ledger: Ledger, counter: float, now: float, watts: list[float], register: Register) -> tuple[Ledger, float]:
    for number, power in enumerate(watts, 1):
        counter += power / 360
        ledger = advance(ledger, counter, now + 10 * number, BRUSSELS, register, power)
    return ledger, counter


def kept(ledger: Ledger) -> Ledger:
    return from_json(json.loads(json.dumps(to_json(ledger))))


FINE = Register(step_Wh=0.1, limit_W=11_000.0)
BARE = Register(step_Wh=0.1)


@given(starts, powers, wrong, powers, st.booleans())
@settings(max_examples=50)
def test_1_and_2_wrong_readings_for_less_than_two_minutes_leave_no_trace(
    start: float,
    before: list[float],
    faults: list[float],
    after: list[float],
    restart: bool,
) -> None:
    """Whatever they show, in a row, and whether the agent restarts among them."""
    ledger, counter = warmed_up(start, 1e6, FINE)
    ledger, counter = polled(ledger, counter, start, before, FINE)
    now = start + 10 * len(before)
    for fault in faults:
        now += 10
        ledger = advance(ledger, shown(counter, fault), now, BRUSSELS, FINE, 0.0)
    if restart:
        ledger = kept(ledger)
    ledger, counter = polled(ledger, counter, now, [*after, *[3000.0] * 12], FINE)
    assert ledger.best.value == pytest.approx(counter)
    assert ledger.best.total == pytest.approx(counter - 1e6 + 1000, abs=1e-3)
    assert of_day(ledger, ledger.best.day.date) is not None


@given(starts, st.lists(st.tuples(st.floats(1, 4000), st.floats(-1e6, 1e10)), max_size=40), st.floats(1e3, 1e5))
def test_3_no_total_exceeds_the_step_and_what_the_device_can_turn_over(
    start: float, readings: list[tuple[float, float]], limit: float
) -> None:
    register = Register(step_Wh=100.0, limit_W=limit)
    ledger = advance(None, 1e6, start, BRUSSELS, register)
    now = start
    for seconds, value in readings:
        now += seconds
        ledger = advance(ledger, value, now, BRUSSELS, register)
    # Each transition adds its step, the slack of five seconds, and may be as long as the counter has not moved.
    assert (
        ledger.best.total <= len(readings) * (100 + 1.25 * limit * 5 / 3600) + 1.25 * limit * (now - start) / 3600 + 1
    )


@given(st.floats(150, 1000) | st.floats(2e4, 1e5), st.integers(1, 5), st.sampled_from([0.0, None]), st.booleans())
def test_3_a_growth_that_no_known_power_explains_is_held_back_until_it_is_confirmed(
    spike: float, polls: int, power: float | None, stays: bool
) -> None:
    """Before the power of the device is known. A right value is counted after a minute, a wrong one leaves no trace."""
    now, ledger = at("2026-06-01T23:57"), None
    for _ in range(20):
        now += 10
        ledger = advance(ledger, 1e6, now, BRUSSELS, BARE, power)
    for number in range(polls + 12):
        now += 10
        high = number < polls or stays
        ledger = advance(ledger, 1e6 + spike * high, now, BRUSSELS, BARE, power)
        if number < polls:
            found = of_day(ledger, "2026-06-02")
            assert found is not None
            assert found.basis is Basis.ESTIMATED
            assert found.energy == 0 or spike < 30e3 * (10 * number + 25) / 3600 + 0.2
    assert ledger is not None
    assert ledger.best.total == pytest.approx(spike if stays and spike <= 1000 else 0, abs=1e-6)


@given(starts, powers, wrong, st.integers(0, 11))
@settings(max_examples=50)
def test_5_what_is_not_decided_survives_a_restart(
    start: float, before: list[float], faults: list[float], at_fault: int
) -> None:
    """A restart among wrong readings changes nothing of what follows."""
    ledger, counter = warmed_up(start, 1e6, FINE)
    ledger, counter = polled(ledger, counter, start, before, FINE)
    now = start + 10 * len(before)
    restarted = ledger
    for number, fault in enumerate(faults):
        now += 10
        ledger = advance(ledger, shown(counter, fault), now, BRUSSELS, FINE, 0.0)
        restarted = advance(restarted, shown(counter, fault), now, BRUSSELS, FINE, 0.0)
        if number == at_fault:
            restarted = kept(restarted)
    for _ in range(30):
        now, counter = now + 10, counter + 3
        ledger = advance(ledger, counter, now, BRUSSELS, FINE, 1080.0)
        restarted = advance(restarted, counter, now, BRUSSELS, FINE, 1080.0)
    assert restarted.best.total == pytest.approx(ledger.best.total)
    assert restarted.best.value == ledger.best.value


@given(starts, powers, st.sampled_from([0.0, 0.2, 0.9, 3.0]), st.integers(70, 120))
@settings(max_examples=50)
def test_7_a_level_that_stays_is_followed_and_declared(
    start: float, before: list[float], share: float, polls: int
) -> None:
    """Set to zero, or replaced by a lower or a higher counter: what it grows from there on counts."""
    ledger, counter = warmed_up(start, 1e8, FINE)
    ledger, counter = polled(ledger, counter, start, before, FINE)
    grown = counter - 1e8 + 1000
    now = start + 10 * len(before)
    ledger, end = polled(ledger, share * counter, now, [3600.0] * polls, FINE)
    first = 10.0 if share == 0.0 else 0.0
    assert ledger.best.total == pytest.approx(grown + first + 10 * (polls - 1), abs=0.2)
    found = of_day(ledger, ledger.best.day.date)
    assert found is not None
    assert found.basis >= (Basis.RESET if share == 0.0 else Basis.REPLACED)
    ledger, _ = polled(ledger, end, now + 10 * polls, [3600.0] * 200, FINE)
    events = [event.name for event in ledger.best.events]
    assert events == []


def test_7_events_are_told_once_when_they_are_decided() -> None:
    ledger, counter = warmed_up(at("2026-06-01T10:00"), 1e6, FINE)
    now, told = at("2026-06-01T10:00"), []
    readings = [1e6 + 10 * number for number in range(100)]
    readings[20] = 4e9
    readings += [10.0 * number for number in range(400)]
    for value in readings:
        now += 10
        ledger = advance(ledger, value, now, BRUSSELS, FINE, 3600.0)
        told += [(event.name, event.before, event.after) for event in ledger.decided]
    assert told == [("counter_glitch_removed", 1e6 + 190, 4e9), ("counter_reset", 1e6 + 990, 0.0)]
    assert counter == 1e6


def test_7_every_glitch_is_told_while_there_are_many() -> None:
    ledger, _ = warmed_up(at("2026-06-01T10:00"), 1e6, FINE)
    now, wrong, told = at("2026-06-01T10:00"), [], []
    for number in range(400):
        now += 10
        wrong += [now] if number % 6 == 3 and number < 200 else []
        value = 4e9 + number if now in wrong else 1e6 + 10 * number
        ledger = advance(ledger, value, now, BRUSSELS, FINE, 3600.0)
        told += [event.at for event in ledger.decided]
        if number == 199:
            assert len(told) >= len(wrong) - 8
    assert told == wrong


def test_7_a_glitch_of_a_register_that_stands_still_is_told() -> None:
    """Half an hour in which a daily register does not move: no earlier path is left when the glitch is over."""
    ledger, now, told = None, at("2026-06-01T22:00"), []
    for poll in range(200):
        now += 10
        value = 9000.0 if poll == 190 else 5000.0
        ledger = advance(ledger, value, now, BRUSSELS, Register(daily=True, step_Wh=10.0))
        told += [(event.name, event.before, event.after) for event in ledger.decided]
    assert told == [("counter_glitch_removed", 5000.0, 9000.0)]


@given(powers, wrong)
def test_the_state_of_a_counter_is_small_and_returns_as_it_was(before: list[float], faults: list[float]) -> None:
    start = at("2026-06-01T23:50")
    ledger, counter = warmed_up(start, 123_456_789.125, FINE)
    ledger, counter = polled(ledger, counter, start, [watts + 0.123 for watts in before] * 3, FINE)
    now = start + 30 * len(before)
    for fault in faults:
        now += 10
        ledger = advance(ledger, shown(counter, fault), now, BRUSSELS, FINE, 0.0)
    assert len(ledger.candidates) <= 60
    text = json.dumps(to_json(ledger), separators=(",", ":"))
    assert len(text) < 4096
    again = from_json(json.loads(text))
    assert again.best == ledger.best
    assert to_json(again) == json.loads(text)


@pytest.mark.parametrize("begins_s", [30, -30])
def test_what_a_daily_register_counts_between_the_last_minute_and_its_new_day_is_not_lost(begins_s: int) -> None:
    """6 kW, read every minute from 12:00 to 1:00. The register shows 1 kWh at first; its day begins near midnight."""
    ledger, now, midnight = None, at("2026-06-01T12:00"), at("2026-06-02T00:00")
    begin = midnight + begins_s
    while now < midnight + 3600:
        counted_s = now - begin if now >= begin else now - at("2026-06-01T12:00")
        value = counted_s * 6000 / 3600 + (0 if now >= begin else 1000)
        ledger = advance(ledger, value // 100 * 100, now, BRUSSELS, Register(daily=True, step_Wh=100.0), 6000.0)
        now += 60
    assert ledger is not None
    days = [of_day(ledger, date) for date in ("2026-06-01", "2026-06-02")]
    assert [day.energy for day in days if day is not None] == pytest.approx([73_000, 5900], abs=1)


@pytest.mark.parametrize(("limit_W", "basis"), [(50_000.0, Basis.SEEN), (0.0, Basis.ESTIMATED)])
def test_the_limits_of_a_device_explain_what_its_counter_grows_in_a_gap(limit_W: float, basis: Basis) -> None:
    """0.5 kW for two hours over midnight, then 45 kW over an hour without readings. The power is not measured."""
    register = Register(step_Wh=1.0, limit_W=limit_W)
    ledger, now, counter = None, at("2026-06-01T23:00"), 1e6
    for _ in range(720):
        now, counter = now + 10, counter + 500 / 360
        ledger = advance(ledger, counter // 1, now, BRUSSELS, register)
    ledger = advance(ledger, counter // 1 + 45_000, now + 3600, BRUSSELS, register)
    assert of_day(ledger, "2026-06-02") == DayEnergy(45_500, basis)


def test_of_a_counter_that_only_counts_at_most_twelve_candidates_are_saved() -> None:
    ledger, numbers = None, set()
    for number in range(40):
        ledger = advance(ledger, 1e6 + 10 * number, 10.0 * number, BRUSSELS, FINE)
        count, saved = len(ledger.candidates), len(kept(ledger).candidates)
        assert saved == count if count <= 12 else 6 <= saved <= 12
        numbers.add(count)
    assert numbers >= set(range(1, 33))


def test_a_counter_that_is_often_wrong_keeps_few_readings() -> None:
    """Every half minute, of a reading a second. The wrong readings of half an hour are 60, and each is kept."""
    ledger, counts = None, []
    for second in range(3600):
        ledger = advance(ledger, 3e6 if second % 30 == 0 else 1e6 + second, 1.78e9 + second, BRUSSELS, FINE, 3600.0)
        counts.append(len(ledger.candidates))
    assert max(counts) < 100
    assert ledger is not None
    assert ledger.best.total == 3598


def test_a_power_that_reads_five_times_too_low_costs_no_energy() -> None:
    """For three days, with two hours without readings on each."""
    register, now, counter = Register(step_Wh=10.0), at("2026-06-01T08:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS, register, 2000.0)
    for poll in range(3 * 8640):
        now, counter = now + 10, counter + 10_000 / 360
        if poll % 8640 > 720:
            ledger = advance(ledger, counter // 10 * 10, now, BRUSSELS, register, 2000.0)
    assert ledger.best.total == pytest.approx(counter - 1e6, abs=10)
    assert ledger.turnover.ratio == pytest.approx(5, abs=0.1)


def test_a_meter_replaced_by_one_with_a_higher_counter_brings_no_energy_of_its_own() -> None:
    """8 kW; half a minute and eight hours without readings."""
    for gap_s in (30, 8 * 3600):
        register, now, counter = Register(step_Wh=1.0, connection_W=35_000.0), at("2026-06-01T02:00"), 1e6
        ledger = advance(None, counter, now, BRUSSELS, register, 8000.0)
        for poll in range(6 * 360):
            if poll == 3 * 360:
                now, counter = now + gap_s, 7e6
            now, counter = now + 10, counter + 8000 / 360
            ledger = advance(ledger, counter // 1, now, BRUSSELS, register, 8000.0)
        assert ledger.best.total == pytest.approx(6 * 8000, abs=50)
        assert ledger.best.day.basis is Basis.PARTIAL


@pytest.mark.parametrize("value", [1234.5, 2.0])
def test_a_ledger_of_the_file_before_goes_on(value: float) -> None:
    """It began with the value; now a row begins with 2, the version."""
    row: list[object] = [value, at("2026-06-01T10:00"), at("2026-06-01T09:59"), 900.0]
    row += [["2026-06-01", at("2026-06-01T00:00"), at("2026-06-02T00:00"), 100.0, 3, 0.0], None, None, None]
    ledger = from_json(row)
    assert of_day(ledger, "2026-06-01") == DayEnergy(800, Basis.PARTIAL)
    after = advance(ledger, value + 6, at("2026-06-01T10:00:10"), BRUSSELS)
    assert of_day(after, "2026-06-01") == DayEnergy(806, Basis.PARTIAL)


SAVED = """
[2, [[1039.0, 1780351170.0, 1780351170.0, 90.0, 0.0, 39.0, 29.0, 0, -1, 0.0, []],
     [1040.0, 1780351320.0, 1780351260.0, 150.0, 0.0, 40.0, 30.0, 1, 0, 0.0, []],
     [5.0, 1780351380.0, 1e15, 210.0, 600.0, 45.0, 50.0, 2, 0, 1780350000.0,
      [["counter_reset", 1780351380.0, 1040.0, 5.0]]]],
 [["2026-06-01", 1780264800.0, 1780351200.0, 1.0, 6, 7.0], ["2026-06-02", 1780351200.0, 1780437600.0, 20.0, 2, 0.0],
  ["2026-06-02", 1780351200.0, 1780437600.0, 20.0, 4, 0.0]],
 1, 1780351380.0, 60.0, 211.0, 51.0, 600.0,
 [30000.0, 250000.0, 260000.0, 1.5, 601.0, 2.0, 3.0, 4.0, 5.0, 600.0, 6.0, 7.0, 1.0], 8.0]
"""
"""A counter that went to zero at 2026-06-02T00:03, in the format of the file: later releases read it."""


def test_a_ledger_of_the_present_file_is_read_by_later_releases() -> None:
    ledger = from_json(json.loads(SAVED))
    assert json.dumps(to_json(ledger)) == json.dumps(json.loads(SAVED))
    assert [each.before is None for each in ledger.candidates] == [True, False, False]
    assert (of_day(ledger, "2026-06-01"), of_day(ledger, "2026-06-02")) == (
        DayEnergy(19, Basis.PARTIAL),
        DayEnergy(20, Basis.ESTIMATED),
    )
    told: list[tuple[str, float, float, float]] = []
    for minute in range(4, 40):
        ledger = advance(ledger, 5.0 + 10 * minute, at(f"2026-06-02T00:{minute:02}"), BRUSSELS, Register(step_Wh=1.0))
        told += ledger.decided
    assert told == [("counter_reset", at("2026-06-02T00:03"), 1040, 5)]
    assert of_day(ledger, "2026-06-02") == DayEnergy(25 + 390, Basis.RESET)


def test_a_ledger_of_a_later_version_is_not_read() -> None:
    with pytest.raises(TypeError):
        from_json([3, *json.loads(SAVED)[1:]])


def test_growth_in_a_gap_beyond_what_the_device_was_seen_to_turn_over_is_an_estimate() -> None:
    """A meter replaced by one whose counter is 25 kWh higher, before a day was observed; an honest gap is none."""
    for gap, basis in ((25_000.0, Basis.ESTIMATED), (500.0, Basis.SEEN)):
        for power in (None, 1000.0):
            register, now, counter = Register(step_Wh=0.1), at("2026-06-01T22:00"), 1e6
            ledger: Ledger | None = None
            for poll in range(4 * 360):
                if poll == 3 * 360:
                    now, counter = now + 1800, counter + gap
                now, counter = now + 10, counter + 1000 / 360
                ledger = advance(ledger, counter, now, BRUSSELS, register, power)
            assert ledger is not None
            found = of_day(ledger, "2026-06-02")
            assert found is not None
            assert found.basis is basis
            assert found.energy == pytest.approx(2000 + gap)


def test_growth_after_standing_still_beyond_what_the_device_was_seen_to_turn_over_is_an_estimate() -> None:
    """A meter replaced between two polls by one whose counter is 25 kWh higher, after an hour without consumption."""
    register, now, counter = Register(step_Wh=0.1), at("2026-06-01T22:00"), 1e6
    ledger: Ledger | None = None
    for poll in range(5 * 360):
        growing = poll < 3 * 360 or poll > 4 * 360
        counter += 25_000 if poll == 4 * 360 else 1000 / 360 if growing else 0
        now += 10
        ledger = advance(ledger, counter, now, BRUSSELS, register)
    assert ledger is not None
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.basis is Basis.ESTIMATED


def test_an_unknown_step_is_learned_from_the_growth() -> None:
    """3 kW in steps of 10 Wh. 500 Wh in one second are then a wrong value from the first reading on."""
    now, counter = at("2026-06-01T10:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS, power_W=3000.0)
    for _ in range(360):
        now, counter = now + 10, counter + 3000 / 360
        ledger = advance(ledger, counter // 10 * 10, now, BRUSSELS, power_W=3000.0)
    before = energy(ledger, "2026-06-01")
    ledger = advance(ledger, counter // 10 * 10 + 500, now + 1, BRUSSELS, power_W=3000.0)
    assert energy(ledger, "2026-06-01") == before
    assert kept(ledger).turnover.step_Wh == pytest.approx(10, rel=0.02)


def test_an_unknown_step_of_a_kilowatt_hour_is_accepted() -> None:
    now, counter = at("2026-06-01T10:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS)
    for _ in range(24 * 360):
        now, counter = now + 10, counter + 3000 / 360
        ledger = advance(ledger, counter // 1000 * 1000, now, BRUSSELS)
        assert ledger.best.value == counter // 1000 * 1000


def test_a_wrong_value_teaches_no_step_that_confirms_another_one() -> None:
    """Regression (combination 20247): the counter does not move; it shows 156 Wh too much, an hour later 115 Wh."""
    now, ledger = at("2026-06-01T22:00"), None
    for poll in range(4 * 360):
        now += 10
        ledger = advance(ledger, 1e6 + {1000: 156.0, 1400: 115.0}.get(poll, 0.0), now, BRUSSELS)
        if poll in (1000, 1400):
            assert of_today(ledger)[2] is Basis.ESTIMATED
    assert ledger is not None
    assert of_today(ledger) == ("2026-06-02", 0.0, Basis.SEEN)


def test_an_unknown_step_counts_when_the_counter_has_grown_by_five_of_it() -> None:
    """2 kW in steps of 1 kWh, without a power: each of the first growths needs a minute, the later ones do not."""
    now, counter, waits = at("2026-06-01T20:00"), 1e6, []
    ledger = advance(None, counter, now, BRUSSELS)
    for _ in range(12 * 360):
        now, counter, before = now + 10, counter + 2000 / 360, ledger.best.value
        ledger = advance(ledger, counter // 1000 * 1000, now, BRUSSELS)
        if ledger.best.value != before:
            waits.append(ledger.unconfirmed_until > ledger.observed_s)
    assert waits == [True] * 6 + [False] * (len(waits) - 6)
    assert len(waits) > 20


def test_an_unknown_step_is_not_that_of_a_counter_in_whole_kilowatt_hours() -> None:
    """15 kW, read every five minutes, shows no step. Then the counter shows 1105 Wh too much ten seconds later."""
    now, counter = at("2026-06-01T22:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS)
    for _ in range(40):
        now, counter = now + 300, counter + 1250
        ledger = advance(ledger, counter, now, BRUSSELS)
    assert of_today(ledger)[2] is Basis.SEEN
    ledger = advance(ledger, counter + 1105, now + 10, BRUSSELS)
    assert of_today(ledger)[2] is Basis.ESTIMATED


registers = st.sampled_from([FINE, Register(), Register(step_Wh=10.0), Register(step_Wh=1.0, range_Wh=65_536.0)])
readings_in_a_row = st.lists(
    st.tuples(
        st.sampled_from([10.0, 10.0, 10.0, 1.0, 15.0, 70.0, 900.0, -5.0]),
        st.sampled_from([0.0, 0.0, 0.0, 3.0, 5.0, 11.0, 700.0, -3.0, -1e5, 1e6]),
        st.sampled_from([1080.0, 1080.0, 1200.0, 1500.0, 0.0, 4000.0, None]),
    ),
    max_size=60,
)
"""(seconds, Wh beside the counter's own growth of 3 Wh, W)."""


STEADY = [(10.0, 0.0, 1080.0)] * 130


@cache
def steady_both_ways(register: Register, *, growing: bool) -> tuple[Ledger, float, float]:
    """The ledger, the moment and the counter after the readings of `STEADY`, by both ways."""
    now, counter = at("2026-06-01T23:20"), 1e6
    short = long = advance(None, counter, now, BRUSSELS, register, 1080.0)
    for seconds, _, power in STEADY:
        now, counter = now + seconds, counter + (3.0 if growing else 0.0)
        short = advance(short, counter, now, BRUSSELS, register, power)
        long = explained(long, counter, now, BRUSSELS, register, power)
        assert short == long
    return short, now, counter


@given(registers, readings_in_a_row, st.booleans())
def test_the_short_way_of_a_common_reading_is_equal_to_the_general_one(
    register: Register, readings: list[tuple[float, float, float | None]], growing: bool
) -> None:
    short, now, counter = steady_both_ways(register, growing=growing)
    long = short
    for seconds, beside, power in [*readings, *STEADY]:
        now, counter = now + seconds, counter + (3.0 if growing else 0.0)
        short = advance(short, counter + beside, now, BRUSSELS, register, power)
        long = explained(long, counter + beside, now, BRUSSELS, register, -1.0 if power is None else power)
        assert short == long


@pytest.mark.parametrize(
    ("intervals", "register", "power", "general"),
    [
        ([10.0], FINE, 3600.0, 1),
        ([1.0], Register(step_Wh=1.0), 3600.0, 1),
        ([10.0], Register(step_Wh=1.0, range_Wh=2.0**32), 3600.0, 1),
        ([60.0], Register(step_Wh=1.0), None, 1),
        ([10.0, 60.0], Register(step_Wh=1.0), 3600.0, 1),
        ([90.0, 270.0], Register(step_Wh=1.0), 3600.0, 1),
        ([10.0], Register(step_Wh=1000.0), 3600.0, 7),
        ([10.0], Register(), 3600.0, 1),
        ([10.0], FINE, 0.0, 1),
    ],
)
def test_a_common_reading_takes_the_short_way(
    monkeypatch: pytest.MonkeyPatch, intervals: list[float], register: Register, power: float | None, general: int
) -> None:
    """`general`: the number of readings of a day that take the general way, which is slower."""
    taken: list[float] = []

    def noticed(ledger: Ledger, value: float, moment: float, *rest: Any) -> Ledger:
        taken.append(moment)
        return explained(ledger, value, moment, *rest)

    monkeypatch.setattr("agent.energy.readings.explained", noticed)
    now, counter, step = at("2026-06-01T00:00"), 1e6, register.step_Wh or 1.0
    ledger: Ledger | None = None
    turns, evening = cycle(intervals), at("2026-06-01T23:54")
    while now < evening:
        seconds = next(turns)
        now, counter = now + seconds, counter + (3600.0 if power is None else power) * seconds / 3600
        ledger = advance(ledger, counter // step * step, now, BRUSSELS, register, power)
    assert len(taken) == general


@pytest.mark.parametrize("register", [FINE, Register(), Register(step_Wh=10.0)])
def test_the_short_way_of_a_power_that_rises_all_morning_is_equal_to_the_general_one(register: Register) -> None:
    now, counter = at("2026-06-01T06:00"), 1e6
    short = long = advance(None, counter, now, BRUSSELS, register, 0.0)
    for reading in range(720):
        now, power = now + 10, 10.0 * reading
        counter += power * 10 / 3600
        short = advance(short, counter, now, BRUSSELS, register, power)
        long = explained(long, counter, now, BRUSSELS, register, power)
        assert short == long


def test_a_daily_register_that_stays_at_zero_although_power_flows_is_an_estimate() -> None:
    """It shows 0 for a quarter of an hour, two hours before midnight: a new day of the device cannot be excluded."""
    register, now, counter = Register(daily=True, step_Wh=10.0), at("2026-06-01T16:00"), 0.0
    ledger: Ledger | None = None
    for poll in range(7 * 360):
        zero = 6 * 360 <= poll < 6 * 360 + 90
        now, counter = now + 10, counter + 4000 / 360
        ledger = advance(ledger, 0.0 if zero else counter // 10 * 10, now, BRUSSELS, register, 4000.0)
        if poll > 5 * 360:
            found = of_day(ledger, "2026-06-01")
            assert found is not None
            assert found.basis is Basis.ESTIMATED or found.energy >= counter - 60
    assert ledger is not None
    assert energy(ledger, "2026-06-01") == pytest.approx(counter, abs=10)
    assert ledger.best.day.basis is Basis.REGISTER


@pytest.mark.parametrize("seconds", [10, 60, 300])
@pytest.mark.parametrize("register", [FINE._replace(limit_W=0.0), Register()])
def test_a_load_that_begins_right_after_a_reading_is_no_glitch(seconds: int, register: Register) -> None:
    now, counter = at("2026-06-01T02:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS, register, 300.0)
    for power in [300.0] * (3 * 3600 // seconds) + [0.0] * 10 + [5000.0] * 3:
        now, counter = now + seconds, counter + power * seconds / 3600
        ledger = advance(ledger, counter, now, BRUSSELS, register, power)
        assert ledger.best.value == counter


@pytest.mark.parametrize("power", [20_000.0, None])
def test_a_power_that_explains_the_growth_makes_it_no_estimate(power: float | None) -> None:
    """The first growth of a device, over midnight: 20 kW from one poll to the next."""
    now, counter = at("2026-06-01T23:00"), 1e6
    ledger: Ledger | None = None
    for poll in range(400):
        growing = poll > 370
        now, counter = now + 10, counter + (20_000 / 360 if growing else 0.0)
        flow = None if power is None else power * growing
        ledger = advance(ledger, counter, now, BRUSSELS, BARE, flow)
        assert ledger.best.value == counter
    assert ledger is not None
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.basis is Basis.SEEN
    assert found.energy == pytest.approx(29 * 20_000 / 360)


def test_a_growth_over_a_skipped_reading_that_fits_is_not_confirmed() -> None:
    """30 kW could give 150 Wh in twenty seconds. The reading between shows that the growth took only ten."""
    now, ledger = at("2026-06-01T22:00"), None
    for poll in range(1200):
        now += 10
        ledger = advance(ledger, 1e6 + poll * 4.0, now, BRUSSELS, Register(step_Wh=1.0))
    assert ledger is not None
    ledger = advance(ledger, ledger.best.value + 154.0, now + 10, BRUSSELS, Register(step_Wh=1.0))
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.basis is Basis.ESTIMATED


def test_a_small_range_does_not_confirm_a_counter_after_a_gap() -> None:
    """If the device can count the whole range of a register in the gap, any value fits."""
    for range_Wh, basis in ((65_536.0, Basis.ESTIMATED), (65_536_000.0, Basis.SEEN)):
        register, now, counter = Register(step_Wh=1.0, range_Wh=range_Wh), at("2026-06-01T22:00"), 1000.0
        ledger: Ledger | None = None
        for poll in range(4 * 360):
            gap = poll == 3 * 360
            now, counter = now + (1800 if gap else 10), counter + (360 if gap else 2)
            ledger = advance(ledger, counter, now, BRUSSELS, register, 720.0)
        assert ledger is not None
        found = of_day(ledger, "2026-06-02")
        assert found is not None
        assert found.basis is basis
        assert found.energy == pytest.approx(ledger.best.value - 2440, abs=5)


def test_a_daily_register_begins_one_day_a_day() -> None:
    """The register shows 0 for a quarter of an hour soon after its midnight."""
    register, now, counter = Register(daily=True, step_Wh=10.0), at("2026-06-01T18:00"), 0.0
    ledger: Ledger | None = None
    for poll in range(10 * 360):
        if poll == 6 * 360:
            counter = 0.0
        zero = 7 * 360 <= poll < 7 * 360 + 90
        ledger = advance(ledger, 0.0 if zero else counter // 10 * 10, now, BRUSSELS, register, 4000.0)
        now, counter = now + 10, counter + 4000 / 360
    assert ledger is not None
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.energy == pytest.approx(counter, abs=30)


def test_a_counter_that_reaches_its_value_again_after_a_reset_is_an_estimate() -> None:
    """The counter rolled over, is set to zero at 370 Wh, and is at 370 Wh again within ten minutes."""
    register, now = Register(step_Wh=1.0, range_Wh=2.0**32), at("2026-06-01T22:00")
    counter = register.range_Wh - 780 * 7
    ledger: Ledger | None = None
    for poll in range(4 * 360):
        now, counter = now + 10, 0.0 if poll == 833 else (counter + 7) % register.range_Wh
        ledger = advance(ledger, counter, now, BRUSSELS, register, 2520.0)
    assert ledger is not None
    found = of_day(ledger, "2026-06-02")
    assert found is not None
    assert found.basis >= Basis.ESTIMATED


def test_a_power_register_that_stays_at_zero_is_not_compared_any_more() -> None:
    """1 kW for half an hour; then 31 W, which the device measures as 0 W.

    After a day the measured energy counts no more, but the counter has not grown enough to say so.
    """
    register, now, counter = Register(step_Wh=1.0), at("2026-06-01T02:00"), 1e6
    ledger = advance(None, counter, now, BRUSSELS, register, 1000.0)
    for poll in range(500):
        dead = poll >= 6
        now, counter = now + 300, counter + (2.575 if dead else 1000 / 12)
        ledger = advance(ledger, counter, now, BRUSSELS, register, 0.0 if dead else 1000.0)
        if poll == 330:
            assert ledger.turnover.ratio > 1.0
    assert ledger.turnover.ratio == 0.0


def test_a_counter_that_moves_after_a_day_is_believed_at_once() -> None:
    register, now = Register(step_Wh=1.0), at("2026-06-01T02:00")
    ledger = advance(None, 1e6, now, BRUSSELS, register)
    for _ in range(300):
        now += 300
        ledger = advance(ledger, 1e6, now, BRUSSELS, register)
    assert advance(ledger, 1e6 + 100, now + 300, BRUSSELS, register).best.total == 100.0


@pytest.mark.parametrize("back_s", [0, 60])
@pytest.mark.parametrize(("rise", "basis"), [(3001.0, Basis.SEEN), (3001.5, Basis.ESTIMATED)])
def test_a_late_growth_is_an_estimate_if_it_exceeds_the_power_of_a_house(
    rise: float, basis: Basis, back_s: int
) -> None:
    """The counter stood still for 355 s. With 5 s of delay, 30 kW give 3000 Wh, and the step is 1 Wh."""
    register, now, counter = Register(step_Wh=1.0), at("2026-06-01T23:35"), 1e6
    ledger: Ledger | None = None
    for poll in range(400):
        if ledger is not None and poll == 290:
            ledger, now = shifted(ledger, -back_s, BRUSSELS), now - back_s
        now, counter = now + (5 if poll == 299 else 10), counter + {263: 1.0, 299: rise}.get(poll, 0.0)
        ledger = advance(ledger, counter, now, BRUSSELS, register)
    assert ledger is not None
    assert of_today(ledger) == ("2026-06-02", rise + 1, basis)


@pytest.mark.parametrize(("rise", "counted"), [(62_501.0, True), (62_501.4, False)])
def test_more_than_the_largest_power_of_a_site_is_another_counter(rise: float, counted: bool) -> None:
    """A device of 1 kW that is known for more than a day stood still for 895 s: 250 kW give 62,500 Wh."""
    register, now, counter = Register(step_Wh=1.0), at("2026-06-01T12:00"), 1e6
    ledger: Ledger | None = None
    for _ in range(24 * 12 + 6):
        now, counter = now + 300, counter + 1000 / 12
        ledger = advance(ledger, counter // 1, now, BRUSSELS, register, 1000.0)
    assert ledger is not None
    before = energy(ledger, "2026-06-02")
    for poll in range(12):
        now += 295 if poll == 2 else 300
        ledger = advance(ledger, counter // 1 + rise * (poll >= 2), now, BRUSSELS, register, 0.0)
    assert energy(ledger, "2026-06-02") == before + rise * counted
    assert of_today(ledger)[2] is (Basis.ESTIMATED if counted else Basis.REPLACED)


@pytest.mark.parametrize(
    ("measured", "after_W", "grown", "basis"),
    [(0.2, 5000.0, 4000.0, Basis.SEEN), (1.0, 3000.0, 6000.0, Basis.ESTIMATED)],
)
def test_the_power_at_the_ends_of_a_gap_explains_twice_its_energy(
    measured: float, after_W: float, grown: float, basis: Basis
) -> None:
    """1 kW before a gap of an hour, `after_W` after it. The device measures a part of its power."""
    register, now, counter = Register(step_Wh=1.0), at("2026-06-01T22:00"), 1e6
    ledger: Ledger | None = None
    for _ in range(3 * 360):
        now, counter = now + 10, counter + 1000 / 360
        ledger = advance(ledger, counter // 1, now, BRUSSELS, register, 1000.0 * measured)
    ledger = advance(ledger, counter // 1 + grown, now + 3600, BRUSSELS, register, after_W * measured)
    assert energy(ledger, "2026-06-02") == pytest.approx(1000 + grown, abs=2)
    assert of_today(ledger)[2] is basis


def test_a_growth_of_all_that_a_house_can_use_is_no_estimate_when_it_is_confirmed() -> None:
    """30 kW give 125 Wh in ten seconds and 5 s of delay; the step is 1 Wh."""
    now, ledger = at("2026-06-01T23:50"), None
    for poll in range(200):
        now += 10
        ledger = advance(ledger, 1e6 + 126 * (poll >= 150), now, BRUSSELS, Register(step_Wh=1.0))
    assert ledger is not None
    assert of_today(ledger) == ("2026-06-02", 126.0, Basis.SEEN)


def test_a_rollover_over_all_that_a_house_can_use_is_one_at_once() -> None:
    """30 kW give 125 Wh in ten seconds and 5 s of delay; the step is 1 Wh."""
    register, now, events = Register(step_Wh=1.0, range_Wh=65_536.0), at("2026-06-01T23:50"), []
    ledger: Ledger | None = None
    for poll in range(400):
        now += 10
        ledger = advance(ledger, (65_500.0 + 126 * (poll >= 150)) % 65_536, now, BRUSSELS, register)
        events += [event.name for event in ledger.decided]
    assert ledger is not None
    assert events == ["counter_rolled_over"]
    assert energy(ledger, "2026-06-02") == 126


def test_a_power_that_was_seen_is_not_forgotten_while_nothing_flows() -> None:
    """780 W for ten minutes, then nothing for a day and a half. 10 kW in a gap of two hours are then an estimate."""
    register, now, counter = Register(step_Wh=1.0), at("2026-06-01T06:00"), 1e6
    ledger: Ledger | None = None
    for poll in range(440):
        now, counter = now + 300, counter + 65 * (10 <= poll < 12)
        ledger = advance(ledger, counter, now, BRUSSELS, register)
    ledger = advance(ledger, counter + 20_000, now + 7200, BRUSSELS, register)
    assert of_today(ledger) == ("2026-06-02", 20_000.0, Basis.ESTIMATED)


def test_of_two_readings_at_one_moment_the_first_counts() -> None:
    register, now, ledger = Register(step_Wh=1.0), at("2026-06-01T10:00"), None
    for poll in range(100):
        ledger = advance(ledger, 1e6 + 10 * poll, now + 10 * poll, BRUSSELS, register, 3600.0)
    assert ledger is not None
    second = advance(advance(None, 1e6, now, BRUSSELS, register), 1e6 + 10, now + 10, BRUSSELS, register)
    for before in (ledger, second, shifted(ledger, -60.0, BRUSSELS)):
        for value in (before.best.value, before.best.value + 5):
            assert advance(before, value, before.at, BRUSSELS, register, 3600.0).best == before.best


def ten_wh_a_minute(start: str, polls: int, register: Register, power: float | None = None) -> Ledger:
    """The first power is unknown. The twelfth reading compares 100 Wh, which are just enough, with the power."""
    ledger, begin = None, at(start)
    for poll in range(polls):
        ledger = advance(ledger, 1e6 + 10 * poll, begin + 60 * poll, BRUSSELS, register, power if poll else None)
    assert ledger is not None
    return ledger


def test_a_growth_and_an_integrated_power_that_are_just_enough_are_compared() -> None:
    register = Register(step_Wh=10.0)
    assert flow_of(ten_wh_a_minute("2026-06-01T10:00", 11, register, 600.0)) == 30_000
    assert flow_of(ten_wh_a_minute("2026-06-01T10:00", 12, register, 600.0)) == 600


def test_a_growth_of_just_five_times_what_is_enough_ends_the_use_of_the_power() -> None:
    """99 Wh that are left of the 100 before, 10, 47, and eight times 43; nothing more of the power."""
    register = Register(step_Wh=10.0, limit_W=11_000.0)
    ledger = ten_wh_a_minute("2026-06-01T10:00", 12, register, 600.0)
    assert flow_of(ledger) == 600
    for growth, power in [(47.0, None), *[(43.0, None)] * 8, (43.0, 0.0)]:
        ledger = advance(ledger, ledger.best.value + growth, ledger.at + 60, BRUSSELS, register, power)
    assert flow_of(ledger) == 1.25 * 11_000


@pytest.mark.parametrize(
    ("register", "growth", "seconds", "basis"),
    [
        (Register(step_Wh=10.0), 20_000.0, 7200.0, Basis.ESTIMATED),  # 10 kW after 600 W
        (Register(), 505.0, 60.0, Basis.SEEN),  # 30 kW and half of the step that was learned
    ],
)
def test_a_growth_that_is_just_enough_limits_the_power_and_proves_the_step(
    register: Register, growth: float, seconds: float, basis: Basis
) -> None:
    ledger = ten_wh_a_minute("2026-06-01T23:45", 18, register)
    assert of_today(ledger)[::2] == ("2026-06-02", Basis.SEEN)
    after = advance(ledger, ledger.best.value + growth, ledger.at + seconds, BRUSSELS, register)
    assert (after.best.value, of_today(after)[2]) == (ledger.best.value + growth, basis)


@pytest.mark.parametrize("way", [advance, explained])
def test_a_growth_beyond_the_measured_power_is_an_estimate_for_a_minute(way: Any) -> None:
    """The step is 10 Wh, and 1.5 times the measured energy is 15 Wh. 1200 W give 1.7 Wh in 5 s of delay."""
    register = Register(step_Wh=10.0)
    before = ten_wh_a_minute("2026-06-01T23:45", 26, register, 600.0)
    for growth, basis in [(26.0, Basis.SEEN), (27.0, Basis.ESTIMATED)]:
        value = before.best.value + growth
        ledger = way(before, value, before.at + 60, BRUSSELS, register, 600.0)
        assert (ledger.best.value, of_today(ledger)[2]) == (value, basis)
        ledger = way(ledger, value + 10.0, ledger.at + 60, BRUSSELS, register, 600.0)
        assert of_today(ledger)[2] is Basis.SEEN


@pytest.mark.parametrize("way", [advance, explained])
def test_one_candidate_too_many_leaves_those_that_are_ninety_seconds_apart_and_the_latest(way: Any) -> None:
    begin = at("2026-06-01T10:00")
    ledger = advance(None, 1e6, begin, BRUSSELS, FINE, 3600.0)
    numbers = []
    for poll in range(1, 40):
        ledger = way(ledger, 1e6 + 10 * poll, begin + 10 * poll, BRUSSELS, FINE, 3600.0)
        numbers.append(len(ledger.others))
    assert numbers[:33] == [*range(1, CANDIDATES + 1), 3 + FRESH + 1], "of the first 26: those at 0, 90 and 180 s"


def test_a_glitch_removes_no_candidate_if_there_is_room_for_it() -> None:
    begin = at("2026-06-01T10:00")
    ledger = advance(None, 1e6, begin, BRUSSELS, FINE, 3600.0)
    for poll in range(1, CANDIDATES):
        ledger = advance(ledger, 1e6 + 10 * poll, begin + 10 * poll, BRUSSELS, FINE, 3600.0)
    ledger = advance(ledger, 0.0, begin + 10 * CANDIDATES, BRUSSELS, FINE, 3600.0)
    assert len(ledger.others) == CANDIDATES
