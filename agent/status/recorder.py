"""Records the polls of each device for the status: counters and the last scan.

It is small and always on. Nothing is computed before somebody asks (`agent.status.snapshot`). What was delivered is in
`agent.delivery.DeliveryStats`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agent.polling import Device
from agent.runtime import Clock
from drivers.errors import DriverError
from drivers.model import Scan


@dataclass(slots=True)
class Polls:
    """The polls of one device since the start."""

    answered: int = 0
    seconds: float = 0.0
    """Seconds of the answered polls together."""
    last_s: float | None = None
    errors: Counter[str] = field(default_factory=Counter)
    """Failed polls by kind."""
    scan: Scan | None = None
    """The last answer."""
    seen: int = 0


class Recorder:
    """Takes the results of polls, in the event loop's thread."""

    def __init__(self, clock: Clock) -> None:
        self.started = clock.monotonic()
        self.polls: dict[str, Polls] = {}

    def observe(self, device: Device, scan: Scan) -> None:
        polls = self.polls.setdefault(device.name, Polls())
        polls.seen = device.health.polls
        polls.answered += 1
        polls.last_s = max(0.0, scan.finished - scan.started)
        polls.seconds += polls.last_s
        polls.scan = scan

    def missed(self, device: Device, error: Exception, at: float) -> None:
        polls = self.polls.setdefault(device.name, Polls())
        if device.health.polls != polls.seen:  # else it was not polled: its back-off lasts
            polls.seen = device.health.polls
            polls.errors[kind_of(error)] += 1


def kind_of(error: Exception) -> str:
    """One word for counters: `silent`, `link`, `illegal_address` …; `defect` for what is no DriverError."""
    return error.label if isinstance(error, DriverError) else "defect"
