"""How a device has been answering: when it is called lost, and when it is polled again.

A device is lost from its first failed poll to its next answer. The first answer after that ends all back-off.
"""

from __future__ import annotations

from dataclasses import dataclass

BACKOFF_FIRST_S = 2.0
BACKOFF_MAX_S = 300.0


@dataclass(slots=True)
class DeviceHealth:
    """How a device has been answering; monotonic seconds."""

    failures: int = 0
    """Failed polls in a row."""
    since: float | None = None
    """When the failures in a row began."""
    due: float = 0.0
    """No poll before this moment."""
    error: Exception | None = None
    partial: str | None = None
    """What the last poll could not read, if it answered at all."""
    last_answer: float | None = None
    back_since: float | None = None
    """When the last failures in a row ended."""
    told: bool = False
    """Whether the present failures were told to the operator."""
    slow: bool = False
    """Its last poll outlasted the patience of its neighbours."""
    polls: int = 0
    failed_polls: int = 0

    def failed(self, error: Exception, now: float) -> None:
        self.polls += 1
        self.failed_polls += 1
        self.failures += 1
        self.error = error
        if self.since is None:
            self.since = now
        self.due = now + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (min(self.failures, 20) - 1))

    def answered(self, now: float) -> None:
        self.polls += 1
        if self.failures:
            self.back_since = now
        self.failures = 0
        self.error = None
        self.since = None
        self.due = 0.0
        self.last_answer = now
