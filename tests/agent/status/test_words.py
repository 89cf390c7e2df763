"""The clock in words."""

from __future__ import annotations

import pytest

from agent.status.words import clock_in_words


@pytest.mark.parametrize(
    ("state", "possible", "service", "words"),
    [
        ("synchronised", True, True, None),
        ("unsynchronised", True, True, "perhaps it does not reach its server. Messages have"),
        ("unsynchronised", True, False, "no time service runs on this machine. Messages have the time of this clock"),
        ("waiting", True, True, "Messages are stored; they are dated and sent when the clock is set, or 5 min after"),
        (
            "waiting",
            False,
            True,
            "too old to be right: the clock was not set after the boot. Messages are stored; they are dated",
        ),
    ],
)
def test_why_the_clock_is_not_synchronised(state: str, possible: bool, service: bool, words: str | None) -> None:
    said = clock_in_words(state, possible=possible, service=service, wait_s=300.0)
    assert (said is None) == (words is None)
    assert words is None or words in str(said)
    assert possible or "5 min" not in str(said)
