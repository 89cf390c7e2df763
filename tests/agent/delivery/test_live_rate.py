"""When live messages are late, and when they are in time again."""

from __future__ import annotations

import pytest

from agent.delivery.live_rate import LiveRate


def test_late_messages_are_told_once_with_all_messages_of_their_ticks() -> None:
    rate = LiveRate(60.0)
    for tried in (4, 10, 7):
        rate.superseded(10, tried)
    assert rate.confirmed() == (9, 20), "the tick in which all messages had an attempt does not count"
    assert rate.confirmed() == (0, 0)
    rate.superseded(10, 9)
    assert rate.confirmed() == (1, 10)


@pytest.mark.parametrize(
    ("interval_s", "ticks"), [(1, 10), (18, 10), (19, 9), (60, 3), (90, 2), (100, 1), (180, 1), (600, 1)]
)
def test_after_some_ticks_in_a_row_without_late_messages_the_endpoint_is_fast_enough(
    interval_s: int, ticks: int
) -> None:
    enough = [False] * (ticks - 1) + [True]
    rate = LiveRate(interval_s)
    assert [rate.superseded(2, 2) for _ in range(ticks)] == enough
    rate.superseded(2, 2)
    assert not rate.superseded(2, 1)
    assert [rate.superseded(2, 2) for _ in range(ticks)] == enough
    rate.forget()
    assert [rate.superseded(2, 2) for _ in range(ticks)] == enough


def test_the_rates_are_those_of_the_last_ten_ticks() -> None:
    rate = LiveRate(60.0)
    assert rate.words is None
    rate.superseded(12, 0)
    assert rate.words is None
    rate.superseded(120, 60)
    assert rate.words == "the endpoint takes 0.5 messages/s, the site makes 1.1"
    for _ in range(9):
        rate.superseded(12, 6)
    assert rate.words == "the endpoint takes 0.19 messages/s, the site makes 0.38"
    rate.superseded(12, 6)
    assert rate.words == "the endpoint takes 0.1 messages/s, the site makes 0.2"
    rate.forget()
    assert rate.words is None
    assert rate.confirmed() == (0, 0)
