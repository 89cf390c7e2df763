"""Due times: each is taken once, whatever the lateness, and none moves."""

from __future__ import annotations

from math import floor

from hypothesis import given
from hypothesis import strategies as st

from agent.polling.due_times import DueTimes, fitted, lead_s, lead_share

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


@given(st.text(), st.integers(1, 2000), INTERVALS)
def test_a_place_is_less_than_one_interval_before_the_tick(address: str, links: int, interval_s: float) -> None:
    lead = lead_s(lead_share(address, links), links, interval_s)
    assert 0 <= lead < min(interval_s, 0.005 * links)
    assert links > 8 or lead == 0
