"""Due times: each is taken once, whatever the lateness, and none moves."""

from __future__ import annotations

from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.polling.due_times import DueTimes, fitted, lead_s, lead_share, same_phase

INTERVALS = st.floats(0.05, 3600.0)


@given(INTERVALS, st.integers(1, 86_400))
def test_a_fitted_interval_is_not_longer_and_goes_into_the_push_interval(interval_s: float, push_s: int) -> None:
    found = fitted(interval_s, push_s)
    assert 0 < found <= interval_s * (1 + 1e-6)
    times = max(found, push_s) / min(found, push_s)
    assert abs(times - round(times)) < 1e-6 * times
    assert found >= interval_s / 2 * (1 - 1e-6)


@given(
    INTERVALS,
    st.floats(0.0, 1.0),
    st.floats(0.0, 1e8),
    st.lists(st.floats(0.0, 1e5), min_size=1, max_size=30),
)
def test_every_due_time_is_taken_once(interval_s: float, part: float, begin: float, waits: list[float]) -> None:
    grid = DueTimes(interval_s, part * interval_s, begin + 7.0)
    grid.take(begin)
    first, now, taken = grid.next, begin, 0
    assert begin < first <= begin + interval_s * (1 + 1e-9) + 1e-6
    for wait_s in waits:
        now += wait_s
        taken += grid.take(now)
        assert grid.next > now, "or the caller would never end"
        assert grid.next <= now + interval_s * (1 + 1e-9) + 1e-6
    assert abs(taken - (floor((now - first) / interval_s) + 1 if now >= first else 0)) <= 1
    assert abs(grid.next - (first + taken * interval_s)) <= 1e-6 * max(1.0, now)


def test_a_due_time_is_its_lead_before_the_tick() -> None:
    grid = DueTimes(10.0, 0.5, 100.0)
    grid.take(93.0)
    assert grid.next == 99.5


def test_the_first_due_time_may_be_earlier() -> None:
    grid = DueTimes(10.0, 0.0, 100.0)
    grid.take(93.0)
    grid.start(94.0)
    assert (grid.next, grid.take(94.0), grid.next) == (94.0, 1, 100.0)
    grid.start(105.0)
    assert grid.next == 100.0
    grid.start(100.0)
    assert grid.take(100.0) == 1, "one due time is not two"


def test_a_due_time_is_taken_once_if_the_quotient_is_rounded_down() -> None:
    """4.3 / 0.1 is less than 43."""
    grid = DueTimes(0.1, 0.0, 0.0)
    grid.take(4.25)
    assert (grid.take(4.3), round(grid.next, 9), grid.take(4.35)) == (1, 4.4, 0)


@pytest.mark.parametrize(
    ("moved_s", "same"),
    [(0.0, True), (60.0, True), (-180.0, True), (60.0009, True), (59.9991, True), (60.0012, False), (90.0, False)],
)
def test_ticks_a_whole_number_of_intervals_apart_have_the_same_phase(moved_s: float, same: bool) -> None:
    assert same_phase(1000.0, 1000.0 + moved_s, 60.0) is same


@pytest.mark.parametrize(("links", "moments"), [(1, 1), (64, 1), (65, 2), (128, 2), (129, 3), (1600, 25), (5000, 25)])
def test_a_site_has_one_moment_for_64_links_and_at_most_25(links: int, moments: int) -> None:
    shares = {lead_share(f"10.0.{number // 250}.{number % 250}:502", links) for number in range(1000)}
    assert sorted(shares) == [number / moments for number in range(moments)]


def test_a_link_has_the_same_moment_after_each_start() -> None:
    addresses = ("10.0.0.1:502", "10.0.0.2:502", "/dev/ttyUSB0")
    assert [lead_share(address, 1600) for address in addresses] == [2 / 25, 16 / 25, 16 / 25]


def test_the_leads_span_5_ms_for_each_link_and_at_most_one_interval() -> None:
    assert lead_s(0.5, 100, 10.0) == 0.25
    assert lead_s(0.5, 4000, 10.0) == 5.0


@given(st.text(), st.integers(1, 2000), INTERVALS)
def test_a_place_is_less_than_one_interval_before_the_tick(address: str, links: int, interval_s: float) -> None:
    lead = lead_s(lead_share(address, links), links, interval_s)
    assert 0 <= lead < min(interval_s, 0.005 * links)
    assert links > 8 or lead == 0
