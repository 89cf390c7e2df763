from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.polling.ticks import WAIT_S, Tick, first_tick, later_tick, next_tick, phase_s


def test_a_day_of_ticks_does_not_drift() -> None:
    tick = first_tick(monotonic=100.25, wall=1_700_000_003.5, interval_s=60, phase_s=17)
    assert (tick.time - 17) % 60 == 0
    assert tick.at - 100.25 == tick.time - 1_700_000_003.5
    first = tick
    for _ in range(1440):
        now = tick.at + 0.004  # the work of each tick takes some time
        tick = next_tick(tick, now, now + 1_699_999_903.25, 60, 17)
    assert tick.at == first.at + 1440 * 60
    assert tick.time == first.time + 1440 * 60


@given(
    step=st.floats(-1e7, 1e7),
    interval=st.integers(1, 900),
    phase=st.integers(0, 899),
    late=st.floats(0, 0.2),
)
@example(step=0.5, interval=2, phase=1, late=0.0)
def test_a_step_of_the_wall_clock_neither_stops_repeats_nor_bursts(
    step: float, interval: int, phase: int, late: float
) -> None:
    phase %= interval
    tick = first_tick(0.0, 1_700_000_000.0, interval, phase)
    after = next_tick(tick, tick.at + late, 1_700_000_000.0 + tick.at + late + step, interval, phase)
    waits = -step + interval if -WAIT_S - interval <= step < 0 else 0.0
    assert interval / 2 - 0.001 <= after.at - tick.at <= interval * 1.5 + waits + 0.001
    assert after.time > tick.time or step < -WAIT_S
    assert (after.time - phase) % interval == 0
    assert abs(after.time - (1_700_000_000.0 + after.at + step)) <= 0.5 + 1e-6


@pytest.mark.parametrize("step", [-31.0, -45.0, -60.0, -600.0])
def test_a_clock_that_is_set_back_a_little_gives_no_label_twice(step: float) -> None:
    tick = first_tick(0.0, 1_700_000_000.0, 60, 0)
    labels = [tick.time]
    for _ in range(5):
        tick = next_tick(tick, tick.at, 1_700_000_000.0 + tick.at + step, 60, 0)
        labels.append(tick.time)
    assert labels == sorted(set(labels))


def test_a_clock_that_is_set_back_by_a_day_goes_on_at_once() -> None:
    tick = first_tick(0.0, 1_700_000_000.0, 60, 0)
    after = next_tick(tick, tick.at, 1_700_000_000.0 + tick.at - 86_400, 60, 0)
    assert after.at - tick.at == 60
    assert after.time == tick.time + 60 - 86_400


def test_ticks_that_were_slept_through_are_left_out() -> None:
    tick = Tick(at=0.0, time=1_700_000_040)
    after = next_tick(tick, 605.0, 1_700_000_645.0, 60, 0)
    assert after == Tick(660.0, 1_700_000_700)


def test_splay_spreads_a_fleet() -> None:
    phases = {phase_s("splay", f"site_{number}", 60) for number in range(2000)}
    assert phases == set(range(60))


def test_serial_numbers_in_a_row_fill_the_interval_evenly() -> None:
    for first in (0, 10**15):
        for step in (1, 10):
            sites = (f"M1S{first + step * number:016d}D_site_0" for number in range(6000))
            counts = Counter(phase_s("splay", site, 60) for site in sites)
            assert len(counts) == 60
            assert max(counts.values()) <= 1.1 * 100


@given(st.text(max_size=40), st.integers(1, 86_400))
def test_any_site_has_a_phase(site: str, interval: int) -> None:
    assert 0 <= phase_s("splay", site, interval) < interval


def test_a_phase_is_for_ever_and_clock_has_none() -> None:
    """An upgrade that changes a phase would move a whole fleet."""
    known = {
        "M1S0000000000000000D_site_0": [1, 17, 257],
        "M1S0000000000000001D_site_0": [2, 27, 419],
        "SITE_1": [4, 54, 824],
        "Haus Müller": [0, 0, 4],
    }
    assert {site: [phase_s("splay", site, interval) for interval in (5, 60, 900)] for site in known} == known
    assert phase_s("clock", "site_1", 60) == 0
    named = {
        name: [phase_s("splay", "SITE_1", interval, name) for interval in (5, 60, 900)] for name in ("trader", "grid")
    }
    assert named == {"trader": [3, 40, 613], "grid": [4, 58, 877]}


@pytest.mark.parametrize(
    ("label", "moved"), [(0, 0), (940, 0), (1000, 60), (1059, 60), (1060, 120), (1900, 960), (1901, 0)]
)
def test_the_first_tick_is_later_than_the_last_label_of_before(label: int, moved: int) -> None:
    tick = Tick(5.0, 1000)
    assert later_tick(tick, label, 60) == Tick(5.0 + moved, 1000 + moved)


def test_the_phase_of_an_id_with_many_digits_is_for_ever() -> None:
    """Its number is larger than the 64 bits of the hash."""
    known = {
        "99999999999999999999": [3, 44, 670],
        "88888888888888888888888888888888": [3, 46, 692],
        "0f8fad5b-d9cb-469f-a165-70867728950e": [0, 10, 154],
    }
    assert {site: [phase_s("splay", site, interval) for interval in (5, 60, 900)] for site in known} == known


def test_a_tick_that_a_step_of_the_clock_moves_into_the_past_is_left_out() -> None:
    """The tick before is almost an interval late, and the clock has just been set forward by 20 s."""
    start = 1_700_000_040
    after = next_tick(Tick(0.0, start), 59.0, start + 59.0 + 20.0, 60, 0)
    assert after == Tick(100.0, start + 120)
    after = next_tick(Tick(0.0, start), 40.0, start + 40.0 + 20.0, 60, 0)
    assert after == Tick(40.0, start + 60), "a tick at this moment is not in the past"


@given(
    step=st.floats(-1e7, 1e7),
    interval=st.integers(1, 900),
    late=st.floats(0, 5000),
)
def test_the_next_tick_is_never_in_the_past(step: float, interval: int, late: float) -> None:
    tick = first_tick(0.0, 1_700_000_000.0, interval, 0)
    now = tick.at + late
    after = next_tick(tick, now, 1_700_000_000.0 + now + step, interval, 0)
    assert after.at >= now - 1e-6
    assert after.time % interval == 0
