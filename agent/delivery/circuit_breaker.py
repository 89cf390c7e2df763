"""When the endpoint may be tried again: shared by the live and the backlog worker. Pure but for the dice.

Whether the endpoint is well is in `DeliveryStats`; this module keeps the times that follow from it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from agent.outbox import Record

# After so many different messages are refused and none delivered in between, the schema is the cause. If a tick has
# more messages, some may be of a kind that the receiver does not know: one tick alone is no proof.
REFUSALS_THAT_MEAN_SCHEMA = 3
_MAX_DOUBLINGS = 60


@dataclass(slots=True)
class Backoff:
    """Full jitter: a random time between 0 and a bound that doubles from `initial_s` up to `max_s`, in seconds."""

    initial_s: float
    max_s: float
    dice: random.Random = field(default_factory=random.Random)

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after this many failures in a row."""
        bound = min(self.max_s, self.initial_s * 2.0 ** min(max(0, failures - 1), _MAX_DOUBLINGS))
        return self.dice.uniform(0.0, bound)


@dataclass(slots=True)
class CircuitBreaker:
    """Times are monotonic seconds."""

    backoff: Backoff
    failures: int = 0
    """Failures of the endpoint since the last delivery."""
    retry_at: float = 0.0
    """No message of the backlog is sent before. A new live message does not wait for it."""
    held_until: float = 0.0
    """Nothing is sent before: the endpoint asked for it, or it is misconfigured."""
    refused: set[int] = field(default_factory=set)
    """Seqs of messages refused since the last delivery that are newer than every delivered one. Refusals of older
    messages are about these alone: some receivers accept nothing that is older than a day."""
    newest_delivered: int = 0
    """The seq of the newest message delivered so far."""
    parked: list[Record] = field(default_factory=list)
    """The dead letters among `refused`."""

    def delivered(self, seq: int) -> None:
        """The message `seq` was delivered: the endpoint is well."""
        self.newest_delivered = max(self.newest_delivered, seq)
        self.failures = 0
        self.retry_at = self.held_until = 0.0
        self.refused.clear()
        self.parked.clear()

    def failed(self, now: float, after_s: float | None) -> float:
        """The endpoint failed; returns the seconds to wait. `after_s` is what it asked for."""
        self.failures += 1
        if after_s:
            # A date in Retry-After names the same moment to every agent of a fleet.
            after_s *= self.backoff.dice.uniform(1.0, 1.1)
            self.held_until = now + after_s
        wait = max(after_s or 0.0, self.backoff.delay(self.failures))
        self.retry_at = now + wait
        return wait

    def misconfigured(self, now: float) -> float:
        """The endpoint accepts nothing; returns the seconds until the next probe."""
        self.failures += 1
        wait = self.backoff.max_s / 2 + self.backoff.delay(self.failures) / 2
        self.retry_at = self.held_until = now + wait
        return wait

    def release(self) -> None:
        """Something changed, such as the token: try at once."""
        self.retry_at = self.held_until = 0.0

    def refuse(self, record: Record, per_tick: int) -> bool:
        """Note a refused message, where each tick makes `per_tick`; returns whether the schema is the cause."""
        if record.seq > self.newest_delivered:
            self.refused.add(record.seq)
        return len(self.refused) >= max(REFUSALS_THAT_MEAN_SCHEMA, per_tick + 1)
