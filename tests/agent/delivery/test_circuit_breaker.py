"""How long the sender waits, and what makes it wait."""

from __future__ import annotations

import random
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


class Highest(random.Random):
    """Dice that always show the upper bound."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def test_a_misconfigured_endpoint_is_probed_slowly_from_the_first_answer_on() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
    waits = [breaker.misconfigured(0.0, live=True) for _ in range(12)]
    assert waits == [150 + min(300.0, 2.0**number) / 2 for number in range(12)]
    assert breaker.live_at() == breaker.backlog_at() == 300.0
    breaker.release()
    assert breaker.live_at() == breaker.backlog_at() == 0.0


def test_attempts_side_by_side_that_fail_together_are_one_failure() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
    assert [breaker.failed(10.0 + number, None, live=True, began=9.0) for number in range(8)] == [1.0] * 8
    assert breaker.failed(20.0, None, live=True, began=18.0) == 2.0
    assert breaker.failed(21.0, None, live=True, began=20.0) == 4.0, "it began when the one before had failed"
    assert [breaker.misconfigured(30.0 + number, live=True, began=29.0) for number in range(3)] == [154.0] * 3


def test_after_a_delivery_the_delays_are_those_of_a_new_outage() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
    assert breaker.live_at() == breaker.backlog_at() == breaker.next_at() == 0.0
    for now in (1000.0, 2000.0):
        assert [breaker.failed(now + number, None, live=True, began=now + number) for number in range(3)] == [1, 2, 4]
        assert breaker.backlog_at() == breaker.next_at() == now + 2.0 + 4.0
        breaker.delivered(live=True)
        assert breaker.live_at() == breaker.backlog_at() == breaker.next_at() == 0.0
    assert breaker.failed(2003.0, None, live=True, began=1999.0) == 1.0, "an attempt that began before the delivery"


def test_the_next_attempt_is_at_the_end_of_the_last_delay() -> None:
    """Also of one that an answer to an old message caused, and that is shorter than the one before."""
    breaker = CircuitBreaker(Backoff(0.1, 300.0, Highest()))
    assert breaker.failed(1000.0, None, live=True) == pytest.approx(0.1)
    wait_s = breaker.misconfigured(1000.0, live=False)
    assert breaker.next_at() == breaker.backlog_at() == 1000.0 + wait_s > breaker.live_at()
    breaker.commission(1001.0)
    assert breaker.misconfigured(1001.0, live=False) == 6.0
    assert breaker.next_at() == 1075.0, "the probe"
    assert breaker.backlog_at() == 1007.0


@pytest.mark.parametrize("live", [True, False])
def test_what_the_endpoint_asks_for_is_kept_and_spread(live: bool) -> None:
    waits = []
    for _ in range(200):
        breaker = CircuitBreaker(Backoff(1.0, 300.0))
        breaker.failed(1000.0, 60.0, live=live)
        waits.append(breaker.backlog_at() - 1000.0)
    assert min(waits) >= 60
    assert 63 < max(waits) <= 66


def test_an_answer_to_an_old_message_leaves_live_messages_a_probe_a_minute() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0))
    breaker.failed(1000.0, 600.0, live=False)
    probes = []
    while (at := breaker.live_at()) < breaker.backlog_held_until:
        assert breaker.admit_live(at - 1.0) == 1.0
        assert breaker.admit_live(at) == 0.0
        probes.append(at)
    gaps = [later - earlier for earlier, later in zip([1000.0, *probes], probes, strict=False)]
    assert 45 <= min(gaps) < max(gaps) <= 75
    assert breaker.admit_live(breaker.live_at()) == 0.0
    assert breaker.live_at() == 0.0, "the wait is over"
    breaker.failed(2000.0, 600.0, live=False)
    breaker.delivered(live=True)
    assert breaker.live_at() == 0.0
    assert breaker.backlog_at() >= 2600.0


def test_the_probe_of_a_short_pause_is_at_its_end_and_the_only_one() -> None:
    for pause_s in (5.0, 30.0):
        breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
        breaker.failed(1000.0, pause_s, live=False)
        assert breaker.live_at() == breaker.backlog_at() == 1000.0 + pause_s * 1.1
        assert breaker.admit_live(breaker.live_at()) == 0.0
        assert breaker.live_at() == 0.0


def test_only_refusals_of_live_messages_without_a_delivery_mean_the_schema() -> None:
    def refused(seq: int, per_tick: int = 1) -> bool:
        return breaker.refuse(Record(seq, f"msg_{seq}", b"", 0.0), per_tick)

    breaker = CircuitBreaker(Backoff(1.0, 300.0))
    assert [refused(100 + number) for number in (1, 1, 2)] == [False, False, False]
    breaker.delivered(live=False)
    assert refused(103), "the delivery of an old message says nothing of new ones"
    breaker.delivered(live=True)
    many = 2 * REFUSALS_THAT_MEAN_SCHEMA
    assert [refused(110 + number, many) for number in range(many + 1)] == [False] * many + [True]
    assert refused(130, many)
    assert len(breaker.refused) == many + 1, "no more are kept than the verdict needs"


def test_while_a_person_is_present_a_misconfigured_endpoint_is_tried_every_few_seconds() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
    breaker.commission(1000.0)
    assert [breaker.misconfigured(now, live=True) for now in (1000.0, 1006.0, 1179.0)] == [6.0] * 3
    assert breaker.live_at() == 1185.0
    assert breaker.misconfigured(1180.0, live=True) > 150
    breaker.commission(2000.0)  # a reload
    assert breaker.misconfigured(2000.0, live=True) == 6.0


def test_an_answer_to_a_parallel_attempt_does_not_shorten_a_pause() -> None:
    breaker = CircuitBreaker(Backoff(1.0, 300.0, Highest()))
    breaker.commission(1000.0)
    breaker.failed(1000.0, 3600.0, live=True, began=999.0)
    asked = breaker.live_at()
    assert asked == pytest.approx(1000.0 + 3600.0 * 1.1)
    breaker.failed(1000.5, 10.0, live=True, began=999.0)
    assert breaker.live_at() == asked
    breaker.misconfigured(1000.6, live=True, began=999.0)
    assert breaker.live_at() == breaker.backlog_at() == asked
    breaker.failed(1000.7, 3700.0, live=True, began=999.0)
    assert breaker.live_at() == pytest.approx(1000.7 + 3700.0 * 1.1), "a longer one counts"
    now = breaker.live_at()
    breaker.failed(now, 10.0, live=True, began=now)
    assert breaker.live_at() == pytest.approx(now + 11.0), "an attempt after the pause"
    breaker.release()
    breaker.misconfigured(now, live=True, began=now)
    assert breaker.live_at() < now + 400


def test_a_short_maximum_stays_the_maximum() -> None:
    breaker = CircuitBreaker(Backoff(0.1, 1.0, Highest()))
    breaker.commission(0.0)
    assert breaker.misconfigured(0.0, live=True) <= 1.0
