"""Whether the endpoint is well, and what was delivered. No other module decides whether the endpoint is well.

Log, systemd STATUS, /readyz, metrics, status page and `telemetry-agent status` read `DeliveryStats`. `OutcomeHandler`
changes it. There are two exceptions: `Undated` counts the messages that it makes dead letters, and `Delivery` resets
the state if a reload changes the configuration of the endpoint or of its queue. A reload does not reset the counters.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from enum import StrEnum

from agent.delivery.outcome import LABELS, Delivered, Misconfigured, Outcome, Refused, Stopped
from agent.outbox import Record

KEPT_ATTEMPTS = 20
"""Maximum number of attempts in `recent`."""


class State(StrEnum):
    """The state of the endpoint."""

    WELL = "well"
    """No attempt failed since the last delivery, or since `DeliveryStats.forget_endpoint`. A refusal of a single
    message is not a failure."""
    FAILING = "failing"
    """An attempt failed since the last delivery, or `DeliveryStats.pause_continues` was called. The endpoint is not
    misconfigured."""
    MISCONFIGURED = "misconfigured"
    """Since the last delivery, an answer showed that the URL, the token or the schema is wrong."""


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


@dataclass(slots=True)
class DeliveryStats:
    """The state and the counters of one endpoint."""

    since: float = 0.0
    """Monotonic second at which delivery to the endpoint began: at the start, or at the reload that added it."""
    state: State = State.WELL
    failing_since: float | None = None
    """Monotonic second since which the endpoint is not well; None while it is well."""
    accepted: bool = False
    """Whether the endpoint accepted a message since the start, or since `forget_endpoint`."""
    last_failure: str | None = None
    """Why the endpoint is not well, in words; None while it is well."""
    last_delivery: float | None = None
    """Unix second of the last delivery; None before the first one."""
    delivered_at: float | None = None
    """Monotonic second of the last delivery; None before the first one."""
    superseded: int = 0
    """Live messages that a newer tick replaced before their first attempt, while the endpoint was well."""
    behind: str | None = None
    """The rates of the endpoint and of the site in words (`LiveRate.words`); None while live messages are in time."""
    attempts: int = 0
    delivered: int = 0
    refused: int = 0
    """Answers that refuse a message, including those whose cause is the schema."""
    parked: int = 0
    """Messages that became dead letters, minus those that the agent put back into the queue."""
    outcomes: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(LABELS, 0)))
    """Attempts by the label of their outcome."""
    failures: Counter[str] = field(default_factory=Counter)
    """Attempts that did not deliver, by kind: `http_503`, `timeout`, `dns`, …"""
    recent: deque[RecordedAttempt] = field(default_factory=lambda: deque(maxlen=KEPT_ATTEMPTS))
    """The last attempts, newest last."""

    def count(self, record: Record, outcome: Outcome, *, now: float, at: float) -> bool:
        """Count the outcome of one attempt. Return whether the outcome changes the state.

        `now` is in monotonic seconds, `at` in Unix seconds.
        """
        if isinstance(outcome, Stopped):
            return False
        self.attempts += 1
        self.outcomes[outcome.label] += 1
        reason = None if isinstance(outcome, Delivered) else outcome.reason
        self.recent.append(RecordedAttempt(at, record.id, record.created, record.attempts, outcome.label, reason))
        before = self.state
        if isinstance(outcome, Delivered):
            self.delivered += 1
            self.accepted = True
            self.last_delivery, self.delivered_at = at, now
            self.state, self.failing_since, self.last_failure = State.WELL, None, None
            return before is not State.WELL
        self.failures[outcome.kind] += 1
        if isinstance(outcome, Refused):
            return False
        self.last_failure = outcome.reason
        if self.failing_since is None:
            self.failing_since = now
        if isinstance(outcome, Misconfigured):
            self.state = State.MISCONFIGURED
        elif before is State.WELL:
            self.state = State.FAILING
        return self.state is not before

    def pause_continues(self, now: float) -> None:
        """Note at monotonic second `now` that a pause continues.

        The endpoint asked for it before a restart, or before a reload that replaced the sender.
        """
        self.state, self.failing_since = State.FAILING, now
        self.last_failure = "the endpoint asked for a pause before the restart or reload"

    def forget_endpoint(self) -> None:
        """Reset the state, because another configuration can have another endpoint."""
        self.accepted = False
        self.behind = None
        self.state, self.failing_since, self.last_failure = State.WELL, None, None
