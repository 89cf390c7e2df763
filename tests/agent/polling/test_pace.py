"""When a link is too slow for its devices, to the exact second and share."""

from __future__ import annotations

import pytest
import structlog

from agent.domain import Node
from agent.polling import Device
from agent.polling.pace import LinkPace
from drivers.driver import ReadOptions
from drivers.errors import SilentError
from drivers.model import Kind, NodeType, Scan
from drivers.sunspec import SunSpec
from tests.support.polling import Channel


def device(interval_s: float) -> Device:
    node = Node("n", NodeType.VARIABLE_POWER_LOAD, Kind.METER)
    found = Device("d", "sunspec", SunSpec(ReadOptions()), Channel(), (node,), "a", 1, interval_s)
    answer(found, 0.0)
    return found


def answer(device: Device, at: float, polls: int = 1) -> None:
    """Make `polls` polls, the last of which is answered at `at`."""
    for _ in range(polls):
        device.health.answered(Scan((), at, at), at)


def check(pace: LinkPace, devices: list[Device], now: float) -> str:
    """The events of a check."""
    with structlog.testing.capture_logs() as events:
        pace.check(devices, now)
    return " ".join(event["event"].removeprefix("poll_interval_") for event in events)


@pytest.mark.parametrize(("interval_s", "enough_s"), [(1.0, 60.0), (10.0, 60.0), (20.0, 100.0)])
def test_a_cycle_is_measured_for_a_minute_and_five_intervals(interval_s: float, enough_s: float) -> None:
    pace, slow = LinkPace("a", 0.0), device(interval_s)
    assert pace.check_at == 60.0
    pace.missed(slow)
    answer(slow, 50.0)
    pace.missed(slow)  # the measurement goes on
    assert check(pace, [slow], enough_s - 0.5) == ""
    assert pace.check_at == enough_s + 59.5
    assert check(pace, [slow], enough_s) == "missed"
    assert slow.health.cycle_s == 50.0


def test_without_a_poll_there_is_no_cycle_yet() -> None:
    pace, slow = LinkPace("a", 0.0), device(1.0)
    pace.missed(slow)
    assert check(pace, [slow], 100.0) == ""
    answer(slow, 101.0)
    assert check(pace, [slow], 160.0) == "missed"


@pytest.mark.parametrize(("cycle_s", "told"), [(12.5, ""), (12.6, "missed")])
def test_a_link_is_too_slow_if_a_cycle_is_more_than_a_quarter_too_long(cycle_s: float, told: str) -> None:
    pace, slow = LinkPace("a", 0.0), device(10.0)
    pace.missed(slow)
    answer(slow, 10 * cycle_s, 10)
    assert check(pace, [slow], 130.0) == told
    assert slow.health.cycle_s == (cycle_s if told else None)


@pytest.mark.parametrize(
    ("first_s", "second_s", "told"),
    [
        (10.2, 10.2, "held"),
        (10.3, 10.2, ""),
        (10.2, 10.3, ""),
        (None, 10.2, "held"),
        (None, None, "held"),
        (10.2, 60.0, ""),  # the second one was not polled yet
        ("lost", 10.2, "held"),
        ("lost", "lost", ""),
        ("back", "back", ""),
        ("back", 10.2, "held"),
    ],
)
def test_a_link_is_fast_enough_again_if_each_cycle_is_at_most_2_percent_too_long(
    first_s: float | str | None, second_s: float | str | None, told: str
) -> None:
    pace = LinkPace("a", 0.0)
    devices = [device(10.0), device(10.0)]
    for each in devices:
        pace.missed(each)
        answer(each, 100.0, 5)
    assert check(pace, devices, 100.0) == "missed"
    for each, cycle_s in zip(devices, (first_s, second_s), strict=True):
        if cycle_s in ("lost", "back"):
            each.health.failed(SilentError("no answer"), 150.0)
            pace.missed(each)
        elif isinstance(cycle_s, float):
            pace.missed(each)
        if cycle_s == "back":
            answer(each, 151.0)
        elif isinstance(cycle_s, float) and cycle_s < 60.0:
            answer(each, 100.0 + 5 * cycle_s, 5)
    assert check(pace, devices, 200.0) == told
    assert [each.health.cycle_s is None for each in devices] == [
        cycle_s not in ("back", 60.0) for cycle_s in (first_s, second_s)
    ]


def test_a_link_that_is_too_slow_is_told_once() -> None:
    pace, slow = LinkPace("a", 0.0), device(10.0)
    told = []
    for end in range(100, 600, 100):
        pace.missed(slow)
        answer(slow, float(end), 5)
        told.append(check(pace, [slow], float(end)))
    assert told == ["missed", "", "", "", ""]


def test_a_device_that_was_lost_meanwhile_says_nothing_about_its_link() -> None:
    pace, lost = LinkPace("a", 0.0), device(1.0)
    pace.missed(lost)
    lost.health.failed(SilentError("no answer"), 10.0)
    answer(lost, 80.0)
    assert check(pace, [lost], 100.0) == ""
    lost.health.failed(SilentError("no answer"), 110.0)
    pace.missed(lost)
    answer(lost, 200.0)
    assert check(pace, [lost], 300.0) == "", "it was lost when it missed the due time"


def test_a_device_that_is_well_again_for_a_minute_counts_also_if_it_missed_a_due_time_while_it_was_lost() -> None:
    pace, slow = LinkPace("a", 0.0), device(10.0)
    pace.missed(slow)
    answer(slow, 100.0, 5)
    assert check(pace, [slow], 100.0) == "missed"
    slow.health.failed(SilentError("no answer"), 110.0)
    pace.missed(slow)
    answer(slow, 120.0)
    assert check(pace, [slow], 179.0) == ""
    assert check(pace, [slow], 180.0) == "held"


def test_a_device_that_never_answered_has_no_cycle() -> None:
    pace, new = LinkPace("a", 0.0), device(1.0)
    new.health.last_answer = None
    pace.missed(new)
    assert check(pace, [new], 100.0) == ""


def test_the_worst_device_is_named_whatever_their_order() -> None:
    for worst in (0, 1):
        pace, devices = LinkPace("a", 0.0), [device(10.0), device(10.0)]
        for number, each in enumerate(devices):
            each.name = f"d{number}"
            pace.missed(each)
            answer(each, 100.0, 2 if number == worst else 4)
        with structlog.testing.capture_logs() as events:
            pace.check(devices, 100.0)
        assert [(event["device"], event["cycle_s"]) for event in events] == [(f"d{worst}", 50.0)]
