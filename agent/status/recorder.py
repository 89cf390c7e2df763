"""Records the polls of each device for the status: counters and the last scan.

It always runs, so it only stores what it receives. `agent.status.snapshot` computes the status on request.
`agent.delivery.DeliveryStats` counts deliveries.
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
    """Total duration of the answered polls."""
    last_s: float | None = None
    errors: Counter[str] = field(default_factory=Counter)
    """Failed polls by kind."""
    scan: Scan | None = None
    """The last answer."""
    seen: int = 0
    """`Device.health.polls` at the last call of the recorder."""


class Recorder:
    """Records the results of polls. Call it in the thread of the event loop."""

    def __init__(self, clock: Clock) -> None:
        self.started = clock.monotonic()
        self.polls: dict[str, Polls] = {}

    def observe(self, device: Device, scan: Scan) -> None:
        polls = self._of(device)
        polls.seen = device.health.polls
        polls.answered += 1
        polls.last_s = max(0.0, scan.finished - scan.started)
        polls.seconds += polls.last_s
        polls.scan = scan

    def missed(self, device: Device, error: Exception, at: float) -> None:
        polls = self._of(device)
        if device.health.polls != polls.seen:  # otherwise the device was not polled, because of its back-off
            polls.seen = device.health.polls
            polls.errors[kind_of(error)] += 1

    def _of(self, device: Device) -> Polls:
        polls = self.polls.get(device.name)
        if polls is None:
            polls = self.polls[device.name] = Polls()
        return polls


def kind_of(error: Exception) -> str:
    """Return the kind of an error for counters: `silent`, `link`, …, or `defect` if it is not a DriverError."""
    return error.label if isinstance(error, DriverError) else "defect"
