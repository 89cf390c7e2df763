"""Decides when the live and the backlog worker may try the endpoint again. Pure, except for random numbers.

Whether the endpoint is well is in `DeliveryStats`; this module keeps the times that follow from it.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from agent.outbox import Record

# If this many different live messages in a row are refused, the schema is the cause. If a tick has as many messages or
# more, one message more than a tick must be refused, because the receiver may refuse only some kinds of messages.
REFUSALS_THAT_MEAN_SCHEMA = 3
# Mean seconds between two live messages while a pause lasts that an answer to a message of the backlog asked for.
PROBE_S = 60.0
_MAX_DOUBLINGS = 60
COMMISSIONING_S = 180.0
"""For this many seconds after a start or a reload, a misconfigured endpoint is tried often: a person may be correcting
the URL or the token and waiting for the result."""
_SOON_S = 5.0
"""Mean seconds between two attempts of a misconfigured endpoint in that time."""


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
    """Decides from which time a message may be sent. Times are monotonic seconds.

    Only an answer to a live message stops live messages. An answer to a message of the backlog may be about the age of
    that message. It stops the backlog for as long as the endpoint asks, and live messages only until the next probe.
    """

    backoff: Backoff
    failures: int = 0
    """Failures of the endpoint since the last delivery."""
    retry_at: float = 0.0
    """No message of the backlog is sent before this time. A new live message does not wait for this time."""
    held_until: float = 0.0
    """No message is sent before this time. Set by an answer to a live message: Retry-After or misconfigured."""
    backlog_held_until: float = 0.0
    """No message of the backlog is sent before this time. Set by an answer to a message of the backlog. A live message
    before this time is a probe, unless a message was delivered since that answer."""
    commissioning_until: float = 0.0
    """Before this time, a misconfigured endpoint is tried every few seconds."""
    refused: set[int] = field(default_factory=set)
    """Seqs of live messages refused since the last delivery of a live message."""
    parked: list[int] = field(default_factory=list)
    """Seqs of the dead letters since the last delivery of a live message."""
    _failed_at: float = 0.0
    _probe_at: float = 0.0
    """Time of the next probe; 0 if live messages are not limited to probes."""

    def delivered(self, *, live: bool) -> None:
        """Note that a message was delivered, so the endpoint is well."""
        self.failures = 0
        self.retry_at = self.held_until = self._probe_at = 0.0
        if live:
            self.refused.clear()
            self.parked.clear()

    def failed(self, now: float, after_s: float | None, *, live: bool, began: float | None = None) -> float:
        """Note a failed attempt that began at monotonic second `began`. Return the seconds to wait.

        `after_s` is the pause in seconds that the endpoint asked for.
        """
        self._count(now, began)
        if after_s:
            # A date in Retry-After is the same moment for every agent of a fleet, so the pause gets a random part.
            after_s *= self.backoff.dice.uniform(1.0, 1.1)
            self._hold(now, after_s, live=live)
        wait = max(after_s or 0.0, self.backoff.delay(self.failures))
        self.retry_at = now + wait
        return wait

    def misconfigured(self, now: float, *, live: bool, began: float | None = None) -> float:
        """Note that the endpoint accepts nothing. Return the seconds until the next attempt."""
        self._count(now, began)
        wait = self.backoff.max_s / 2 + self.backoff.delay(self.failures) / 2
        if now < self.commissioning_until:
            wait = min(wait, _SOON_S * self.backoff.dice.uniform(0.8, 1.2))
        self.retry_at = now + wait
        self._hold(now, wait, live=live)
        return wait

    def commission(self, now: float) -> None:
        """Note a start or a reload. For `COMMISSIONING_S`, a misconfigured endpoint is tried every few seconds."""
        self.commissioning_until = now + COMMISSIONING_S

    def resume(self, now: float, live_s: float, backlog_s: float) -> None:
        """Continue the pauses that the endpoint asked for before a restart.

        `live_s` and `backlog_s` are the seconds that are left of them.
        """
        self.held_until = now + live_s
        if backlog_s:
            self._hold(now, backlog_s, live=False)

    def release(self) -> None:
        """Allow an attempt at once, because something changed, such as the token."""
        self.retry_at = self.held_until = self.backlog_held_until = self._probe_at = 0.0

    def refuse(self, record: Record, per_tick: int) -> bool:
        """Note a refused live message. A tick has `per_tick` messages. Return whether the schema is the cause."""
        enough = max(REFUSALS_THAT_MEAN_SCHEMA, per_tick + 1)
        if len(self.refused) < enough:
            self.refused.add(record.seq)
        return len(self.refused) >= enough

    def live_at(self) -> float:
        """No live message is sent before this second."""
        return max(self.held_until, self._probe_at)

    def backlog_at(self) -> float:
        """No message of the backlog is sent before this second."""
        return max(self.retry_at, self.held_until, self.backlog_held_until)

    def next_at(self) -> float:
        """The next attempt is made before this second, or at the next live message if no message waits."""
        return max(self.retry_at, self.live_at())

    def admit_live(self, now: float) -> float:
        """Return the seconds until a live message may be sent. If they are 0, the caller sends one at once.

        If that message is a probe, this sets the time of the next probe.
        """
        wait_s = self.live_at() - now
        if wait_s > 0:
            return wait_s
        if self._probe_at:
            self._probe_at = now + self._until_probe_s() if now < self.backlog_held_until else 0.0
        return 0.0

    def _count(self, now: float, began: float | None) -> None:
        """Count a failure. Attempts that run side by side and fail count as one failure."""
        if began is None or began >= self._failed_at:
            self.failures += 1
        self._failed_at = now

    def _hold(self, now: float, seconds: float, *, live: bool) -> None:
        if live:
            self.held_until = now + seconds
            return
        self.backlog_held_until = now + seconds
        if not self._probe_at:
            self._probe_at = now + min(seconds, self._until_probe_s())

    def _until_probe_s(self) -> float:
        return PROBE_S * self.backoff.dice.uniform(0.75, 1.25)
