"""What the daemon notes along the way so that others can see how it does: counters, last scans, last attempts.

Kept small and always on; nothing is computed before somebody asks (`status_snapshot`).
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass, field

from agent.aggregation import Summary
from agent.delivery import Delivered, Misconfigured, Outcome, Refused, Retry, Stopped
from agent.outbox import Record
from agent.polling import Device
from agent.runtime import Clock
from drivers.errors import DriverError
from drivers.model import Scan

KEPT_ATTEMPTS = 20


@dataclass(slots=True)
class Polls:
    """The polls of one device since the start."""

    answered: int = 0
    seconds: float = 0.0
    """Spent in polls that were answered."""
    last_s: float | None = None
    errors: Counter[str] = field(default_factory=Counter)
    """Failed polls by kind."""
    scan: Scan | None = None
    """The last answer."""
    seen: int = 0


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One attempt to deliver a message; times in Unix seconds."""

    at: float
    id: str
    created: float
    attempt: int
    """0 is the first."""
    outcome: str
    reason: str | None


class Recorder:
    """A poll.Sink that also sees each push interval and each attempt. Only the event loop's thread calls it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.started = clock.monotonic()
        self.polls: dict[str, Polls] = {}
        self.outcomes: Counter[str] = Counter(dict.fromkeys(("delivered", "refused", "retry", "misconfigured"), 0))
        self.attempts: deque[RecordedAttempt] = deque(maxlen=KEPT_ATTEMPTS)
        self.summary: Summary | None = None
        self.last_delivery: float | None = None
        """Monotonic seconds."""
        self.failing_since: float | None = None
        """Monotonic seconds; None while the last attempt was answered well, or the message alone was refused."""

    def observe(self, device: Device, scan: Scan) -> None:
        polls = self.polls.setdefault(device.name, Polls())
        polls.seen = device.health.polls
        polls.answered += 1
        polls.last_s = max(0.0, scan.finished - scan.started)
        polls.seconds += polls.last_s
        polls.scan = scan

    def missed(self, device: Device, error: Exception, at: float) -> None:
        polls = self.polls.setdefault(device.name, Polls())
        if device.health.polls != polls.seen:  # else it was left out of the round, in its back-off
            polls.seen = device.health.polls
            polls.errors[kind_of(error)] += 1

    def interval(self, summary: Summary) -> None:
        """A push interval was closed."""
        self.summary = summary

    def outcome(self, record: Record, outcome: Outcome) -> None:
        """An attempt ended."""
        if isinstance(outcome, Stopped):
            return
        name = type(outcome).__name__.lower()
        self.outcomes[name] += 1
        reason = None if isinstance(outcome, Delivered) else outcome.reason
        self.attempts.append(
            RecordedAttempt(self._clock.time(), record.id, record.created, record.attempts, name, reason),
        )
        now = self._clock.monotonic()
        if isinstance(outcome, Delivered):
            self.last_delivery = now
        if isinstance(outcome, Delivered | Refused):
            self.failing_since = None
        elif isinstance(outcome, Retry | Misconfigured) and self.failing_since is None:
            self.failing_since = now


def kind_of(error: Exception) -> str:
    """One word for counters: `silent`, `link`, `illegal_address` …; `defect` for what is no DriverError."""
    if not isinstance(error, DriverError):
        return "defect"
    words = re.findall("[A-Z][a-z]*", type(error).__name__.removesuffix("Error"))
    return "_".join(words).lower()
