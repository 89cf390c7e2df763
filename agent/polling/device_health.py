"""The health of a device: whether it is lost, and when it is polled again.

A device is lost from its first failed poll to its next answer. This answer ends the back-off. `device_poller` calls
`failed` and `answered`, and logs `device_lost` and `device_back`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from drivers.errors import DriverError
from drivers.model import Scan

BACKOFF_FIRST_S = 2.0
"""The back-off after the first failed poll, in seconds. It doubles with each further failed poll."""
BACKOFF_MAX_S = 300.0
"""Maximum back-off in seconds. The next poll can be later: it is at a due time of the device, and other lost devices of
the link may be polled first."""


@dataclass(slots=True)
class DeviceHealth:
    """The last polls of a device. Times are in monotonic seconds."""

    failures: int = 0
    """Failed polls in a row."""
    since: float | None = None
    """Time of the first failed poll since the last answer; None if the last poll succeeded."""
    due: float = 0.0
    """Time at which the back-off ends; 0 while the device is not lost."""
    error: Exception | None = None
    """The error of the last failed poll; None if the last poll succeeded."""
    partial: str | None = None
    """What is missing in the last answer, in words; None if it is complete."""
    last_answer: float | None = None
    """Time of the last answer; None before the first one."""
    back_since: float | None = None
    """Time at which the last outage ended; None if none has ended."""
    told: bool = False
    """Whether the present outage was logged with the level info or warning; see `agent.polling.device_poller`."""
    slow: bool = False
    """Whether the last poll took longer than `Device.patience_s`. While a poll is in progress, whether this poll has
    already taken longer. This is not updated for a device that is alone on its link."""
    took_s: float = 0.0
    """Duration of the last answered poll in seconds."""
    cycle_s: float | None = None
    """Mean seconds between two polls if the link is too slow for the interval of the device; otherwise None. See
    `agent.polling.pace`."""
    skipped: int = 0
    """Due times without a poll, because the device still waited for its poll or was being polled, or because the
    process got no CPU time. Due times at which a lost device is not probed do not count."""
    polls: int = 0
    failed_polls: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    """Failed polls by kind: `silent`, `link`, …, or `defect` if the error is not a DriverError."""
    answered_s: float = 0.0
    """Total duration of the answered polls in seconds."""
    scan: Scan | None = None
    """The last answer."""

    @property
    def answers(self) -> bool:
        """Whether the device answered its last poll."""
        return self.last_answer is not None and not self.failures

    def failed(self, error: Exception, now: float) -> None:
        self.polls += 1
        self.failed_polls += 1
        self.errors[error.label if isinstance(error, DriverError) else "defect"] += 1
        self.failures += 1
        self.error = error
        if self.since is None:
            self.since = now
        self.due = now + min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (min(self.failures, 20) - 1))

    def answered(self, scan: Scan, now: float) -> None:
        self.polls += 1
        self.scan = scan
        self.took_s = scan.finished - scan.started
        self.answered_s += self.took_s
        self.last_answer = now
        if self.failures:
            self.back_since = now
            self.failures = 0
            self.error = None
            self.since = None
            self.due = 0.0
