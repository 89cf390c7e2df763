"""Decides when the live and the backlog worker may try the endpoint again. Pure, except for random numbers.

`DeliveryStats` has the state of the endpoint. This module has the times before which no message is sent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from agent.outbox import Record

# If this many different live messages are refused and no live message is delivered meanwhile, the schema counts as
# wrong. If each tick has 3 or more messages, the number is larger: the messages of a tick plus one, such as 6 with 5
# messages per tick. The reason: an endpoint may refuse the first messages of each tick, and accept a message of another
# kind at the end of the tick.
REFUSALS_THAT_MEAN_SCHEMA = 3
# Mean seconds between two probes. An answer to a message of the backlog can start a pause. A live message that is sent
# during this pause is a probe.
PROBE_S = 60.0
# Maximum number of times that the bound of a delay is doubled. A float would overflow after about 1000 times.
_MAX_DOUBLINGS = 60
COMMISSIONING_S = 180.0
"""For this many seconds after a start or a reload, a misconfigured endpoint is tried often. A person may have just
corrected the URL or the token."""
_SOON_S = 5.0
"""Mean seconds until a misconfigured endpoint is tried again during `COMMISSIONING_S`."""


@dataclass(slots=True)
class Backoff:
    """Full jitter: a random delay between 0 and a bound, in seconds.

    The bound is `initial_s` after the first failure. It doubles with each further failure, up to `max_s`.
    """

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

    An answer to a live message can hold all messages. An answer to a message of the backlog may be about the age of
    that message. Such an answer holds the backlog for its whole pause, but live messages only until the next probe.
    """

    backoff: Backoff
    failures: int = 0
    """Failures of the endpoint since the last delivery. Failures of attempts that run in parallel count as one."""
    retry_at: float = 0.0
    """No message of the backlog is sent before this time. A new live message does not wait for this time."""
    held_until: float = 0.0
    """No message is sent before this time. An answer to a live message sets it: one with Retry-After, or one that shows
    that the endpoint is misconfigured."""
    asked_until: float = 0.0
    """End of the longest Retry-After of an answer to a live message."""
    backlog_held_until: float = 0.0
    """No message of the backlog is sent before this time. An answer to a message of the backlog sets it. A live message
    before this time is a probe, unless a message was delivered since that answer."""
    commissioning_until: float = 0.0
    refused: set[int] = field(default_factory=set)
    """Seqs of live messages refused since the last delivery of a live message."""
    parked: list[int] = field(default_factory=list)
    """Seqs of messages that became dead letters since the last delivery of a live message."""
    _failed_at: float = 0.0
    _probe_at: float = 0.0
    """Time of the next probe; 0 if live messages are not limited to probes."""

    def delivered(self, *, live: bool) -> None:
        """End all pauses except `backlog_held_until`. Live messages are no longer limited to probes."""
        self.failures = 0
        self.retry_at = self.held_until = self.asked_until = self._probe_at = 0.0
        if live:
            self.refused.clear()
            self.parked.clear()

    def failed(self, now: float, after_s: float | None, *, live: bool, began: float | None = None) -> float:
        """Note a failed attempt that began at monotonic second `began`. Return the seconds until the next attempt.

        `after_s` is the pause in seconds that the endpoint asked for; None or 0 if it asked for none. If `began` is
        None, the attempt counts as one that ran alone.
        """
        self._count(now, began)
        if after_s:
            # A date in Retry-After is the same moment for every agent of a fleet, so a random time is added.
            after_s *= self.backoff.dice.uniform(1.0, 1.1)
            self._hold(now, after_s, live=live)
            if live:
                self.asked_until = max(self.asked_until, now + after_s)
        wait = max(after_s or 0.0, self.backoff.delay(self.failures))
        self.retry_at = now + wait
        return wait

    def misconfigured(self, now: float, *, live: bool, began: float | None = None) -> float:
        """Note an answer that shows that the endpoint accepts nothing. Return the seconds until the next attempt.

        `began` is as in `failed`.
        """
        self._count(now, began)
        wait = self.backoff.max_s / 2 + self.backoff.delay(self.failures) / 2
        if now < self.commissioning_until:
            wait = min(wait, _SOON_S * self.backoff.dice.uniform(0.8, 1.2))
        self.retry_at = now + wait
        self._hold(now, wait, live=live)
        return wait

    def commission(self, now: float) -> None:
        """Note a start or a reload."""
        self.commissioning_until = now + COMMISSIONING_S

    def resume(self, now: float, live_s: float, backlog_s: float) -> None:
        """Continue the pauses that the endpoint asked for before a restart.

        `live_s` are the remaining seconds of the pause that an answer to a live message asked for, `backlog_s` those of
        an answer to a message of the backlog. 0 means no pause.
        """
        self.held_until = self.asked_until = now + live_s
        if backlog_s:
            self._hold(now, backlog_s, live=False)

    def release(self) -> None:
        """Allow an attempt at once, because something changed, such as the token."""
        self.retry_at = self.held_until = self.asked_until = self.backlog_held_until = self._probe_at = 0.0

    def refuse(self, record: Record, per_tick: int) -> bool:
        """Note a refused live message. A tick has `per_tick` messages. Return whether the schema counts as wrong."""
        enough = max(REFUSALS_THAT_MEAN_SCHEMA, per_tick + 1)
        if len(self.refused) < enough:
            self.refused.add(record.seq)
        return len(self.refused) >= enough

    def live_at(self) -> float:
        """Return the monotonic second before which no live message is sent."""
        return max(self.held_until, self._probe_at)

    def backlog_at(self) -> float:
        """Return the monotonic second before which no message of the backlog is sent."""
        return max(self.retry_at, self.held_until, self.backlog_held_until)

    def next_at(self) -> float:
        """Return the monotonic second at which a waiting live message is tried at the latest."""
        return max(self.retry_at, self.live_at())

    def admit_live(self, now: float) -> float:
        """Return the seconds until a live message may be sent. If the result is 0, the caller must send one at once.

        If that message is a probe, the time of the next probe is set.
        """
        wait_s = self.live_at() - now
        if wait_s > 0:
            return wait_s
        if self._probe_at:
            self._probe_at = now + self._until_probe_s() if now < self.backlog_held_until else 0.0
        return 0.0

    def _count(self, now: float, began: float | None) -> None:
        """Count a failure at `now`, unless the attempt ran in parallel with the last one that failed."""
        if began is None or began >= self._failed_at:
            self.failures += 1
        self._failed_at = now

    def _hold(self, now: float, seconds: float, *, live: bool) -> None:
        if live:
            # An answer during a pause is from an attempt that began before the pause, so it cannot shorten the pause.
            self.held_until = max(self.held_until, now + seconds)
            return
        self.backlog_held_until = now + seconds
        if not self._probe_at:
            self._probe_at = now + min(seconds, self._until_probe_s())

    def _until_probe_s(self) -> float:
        return PROBE_S * self.backoff.dice.uniform(0.75, 1.25)
