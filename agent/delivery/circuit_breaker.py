"""What the attempts so far say about the endpoint: a breaker shared by live and backlog. Pure but for the dice."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import StrEnum

from tenacity import RetryCallState, Retrying, wait_random_exponential

from agent.outbox import Record

# So many different messages refused, none delivered in between: it is not the messages. A tick may make more of them,
# and some of these may be of a kind that the receiver does not know: all of one tick say nothing yet.
REFUSALS_THAT_MEAN_SCHEMA = 3


class State(StrEnum):
    """As one event per change of it is logged."""

    WELL = "well"
    FAILING = "failing"
    MISCONFIGURED = "misconfigured"


class Backoff:
    """Full jitter: anything between 0 and a bound that doubles from `initial_s` up to `max_s`."""

    def __init__(self, initial_s: float, max_s: float) -> None:
        self.max_s = max_s
        self._wait = wait_random_exponential(multiplier=initial_s, max=max_s)

    def __call__(self, tries: int) -> float:
        """Seconds to wait after this many failures in a row."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = max(1, tries)
        return self._wait(state)


@dataclass(slots=True)
class EndpointHealth:
    """Times are monotonic seconds."""

    backoff: Backoff
    state: State = State.WELL
    since: float = 0.0
    """When it last was well, while it is not."""
    failures: int = 0
    retry_at: float = 0.0
    """When an attempt is worth while again. A new live message does not wait for it."""
    held_until: float = 0.0
    """Before, nothing at all is sent: the endpoint said so, or would take nothing."""
    refused: set[int] = field(default_factory=set)
    """By seq, the messages refused since the last delivery that are newer than all delivered so far. Refusals of older
    ones are about these alone: some receivers take nothing that is older than a day."""
    newest_taken: int = 0
    """The newest message delivered so far, by seq."""
    parked: list[Record] = field(default_factory=list)
    """Those of them that were made dead letters."""

    def delivered(self, seq: int) -> None:
        """`seq` is the message's."""
        self.newest_taken = max(self.newest_taken, seq)
        self.state = State.WELL
        self.failures = 0
        self.retry_at = self.held_until = 0.0
        self.refused.clear()
        self.parked.clear()

    def failed(self, now: float, after_s: float | None) -> tuple[bool, float]:
        """Whether that is news, and how long to wait. `after_s` is what the endpoint asked for."""
        news = self._enter(State.FAILING, now) if self.state is State.WELL else False
        self.failures += 1
        if after_s:
            # A date in Retry-After names the same moment to every agent of a fleet.
            after_s *= random.uniform(1.0, 1.1)  # noqa: S311 - spreads load, guards nothing
        wait = max(after_s or 0.0, self.backoff(self.failures))
        self.retry_at = now + wait
        if after_s:
            self.held_until = now + after_s
        return news, wait

    def misconfigured(self, now: float) -> tuple[bool, float]:
        """Whether that is news, and how long to wait."""
        news = self._enter(State.MISCONFIGURED, now)
        self.failures += 1
        wait = self.backoff.max_s / 2 + self.backoff(self.failures) / 2
        self.retry_at = self.held_until = now + wait
        return news, wait

    def release(self) -> None:
        """Something has changed, a token perhaps: it is worth trying."""
        self.retry_at = self.held_until = 0.0

    def refuse(self, record: Record, per_tick: int) -> bool:
        """Note a refused message, where each tick makes `per_tick`; whether it is the schema by now."""
        if record.seq > self.newest_taken:
            self.refused.add(record.seq)
        return len(self.refused) >= max(REFUSALS_THAT_MEAN_SCHEMA, per_tick + 1)

    def _enter(self, state: State, now: float) -> bool:
        if self.state is State.WELL:
            self.since = now
        news = self.state is not state
        self.state = state
        return news
