"""How long the sender waits, and what makes it wait."""

from __future__ import annotations

from statistics import mean

import pytest

from agent.delivery.circuit_breaker import REFUSALS_THAT_MEAN_SCHEMA, Backoff, CircuitBreaker
from agent.outbox.record import Record


@pytest.mark.parametrize(
    ("tries", "bound_s"), [(1, 1.0), (2, 2.0), (5, 16.0), (9, 256.0), (10, 300.0), (10_000, 300.0)]
)
def test_jitter_is_drawn_below_a_bound_that_was_capped_before(tries: int, bound_s: float) -> None:
    """Capped afterwards, most of a fleet would wait for exactly the cap, and return together."""
    backoff = Backoff(1.0, 300.0)
    waits = [backoff.delay(tries) for _ in range(2000)]
    assert 0 <= min(waits) < 0.05 * bound_s
    assert 0.95 * bound_s < max(waits) <= bound_s
    assert mean(waits) == pytest.approx(bound_s / 2, rel=0.1)


def test_what_the_endpoint_asks_for_is_kept_and_spread() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0))
    waits = []
    for _ in range(200):
        breaker.failed(1000.0, 60.0)
        waits.append(breaker.held_until - 1000.0)
    assert min(waits) >= 60
    assert 63 < max(waits) <= 66


def test_refusals_of_what_is_newer_than_all_that_was_taken_mean_the_schema() -> None:
    def refused(seq: int, per_tick: int = 1) -> bool:
        return breaker.refuse(Record(seq, f"msg_{seq}", b"", 0.0), per_tick)

    breaker = CircuitBreaker(Backoff(1.0, 300.0))
    breaker.delivered(100)
    assert not any(refused(seq) for seq in range(1, 100))
    assert [refused(100 + number) for number in (1, 1, 2, 3)] == [False, False, False, True]
    breaker.delivered(104)
    many = 2 * REFUSALS_THAT_MEAN_SCHEMA
    assert [refused(110 + number, many) for number in range(many + 1)] == [False] * many + [True]
