from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.receiver.sequence import Arrival, Sequence


def test_the_interval_is_learned() -> None:
    stream = Sequence()
    for time in range(0, 600, 60):
        assert stream.arrived(time) == Arrival()
    assert stream.arrived(720) == Arrival(missing=2)
    assert stream.missing == 2


def test_a_receiver_that_starts_after_an_outage_learns_from_the_backlog() -> None:
    stream = Sequence()
    stream.arrived(6000)
    for time in (0, 60, 120, 180):
        assert stream.arrived(time).late
    assert stream.missing == 96


@given(st.sets(st.integers(0, 60), min_size=1), st.randoms(use_true_random=False))
def test_what_is_missing_is_what_did_not_come_whatever_the_order(sent: set[int], random: object) -> None:
    times = sorted(sent)
    random.shuffle(times)  # type: ignore[attr-defined]
    stream = Sequence(interval_s=60.0)
    for time in times:
        assert not stream.arrived(time * 60).surplus
    assert stream.missing == max(sent) - min(sent) + 1 - len(sent)
    assert all(stream.arrived(time * 60).surplus for time in times)


def test_memory_is_bounded() -> None:
    stream = Sequence(interval_s=60.0)
    for number in range(3000):
        stream.arrived(number * 180)
    assert len(stream.holes) == 1000
