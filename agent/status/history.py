"""Keeps the powers and attempts of the last 24 hours in memory, for the status page. Pure.

A series has one value of 4 bytes for each step of ten minutes.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from math import isnan, nan
from typing import Any

from agent.aggregation import Fields
from agent.status.model import EndpointStatus, Snapshot

STEP_S = 600.0
STEPS = 144
SAMPLE_S = 60.0
"""Seconds between two samples. The power of a step is the mean of its samples."""
_MOST = 0xFFFF_FFFF
"""The largest count that fits 4 bytes."""


@dataclass(slots=True)
class _Power:
    """The mean power of one node type in each step, in W; NaN if no sample of the step has a power."""

    means: array[float] = field(default_factory=lambda: array("f", [nan]) * STEPS)
    total: float = 0.0
    """The sum of the samples in the present step, in W."""
    samples: int = 0

    def add(self, at: int, power: float) -> None:
        self.total += power
        self.samples += 1
        self.means[at] = self.total / self.samples

    def clear(self, at: int) -> None:
        self.means[at] = nan
        self.total, self.samples = 0.0, 0


@dataclass(slots=True)
class _Attempts:
    """The numbers of delivered and of failed attempts to one endpoint in each step."""

    before: tuple[int, int]
    """The counters of delivered and of failed attempts at the last sample.

    Attempts before the first sample are not counted, because they may be older than the first step.
    """
    delivered: array[int] = field(default_factory=lambda: array("I", [0]) * STEPS)
    failed: array[int] = field(default_factory=lambda: array("I", [0]) * STEPS)

    def add(self, at: int, counted: tuple[int, int]) -> None:
        for series, new, old in zip((self.delivered, self.failed), counted, self.before, strict=True):
            series[at] = min(_MOST, series[at] + max(0, new - old))
        self.before = counted

    def clear(self, at: int) -> None:
        self.delivered[at] = self.failed[at] = 0


class History:
    """The last 144 steps. `now` is in monotonic seconds."""

    def __init__(self, now: float) -> None:
        self._started = now
        self._step = 0
        """The number of the present step. The first step has number 0."""
        self._powers: dict[str, _Power] = {}
        self._attempts: dict[str, _Attempts] = {}

    def add(self, now: float, snapshot: Snapshot) -> None:
        """Add a sample. Call it every `SAMPLE_S` seconds."""
        self._advance(now)
        at = self._step % STEPS
        # A group without a power also has a series. Its empty steps tell the page that a sum of several groups is
        # partial.
        self._powers = {group: self._powers.get(group) or _Power() for group in snapshot.flow}
        for group, fields in snapshot.flow.items():
            power = _power(fields)
            if power is not None:
                self._powers[group].add(at, power)
        names = {endpoint.name for endpoint in snapshot.endpoints}
        self._attempts = {name: each for name, each in self._attempts.items() if name in names}
        for endpoint in snapshot.endpoints:
            counted = _counted(endpoint)
            self._attempts.setdefault(endpoint.name, _Attempts(counted)).add(at, counted)

    def shown(self, now: float, time: float) -> dict[str, Any]:
        """Return the history as JSON values, oldest step first. `time` is the Unix second of `now`.

        `began` is the Unix second in which the oldest step began. A power is null if no sample of the step has one.
        """
        self._advance(now)
        order = [step % STEPS for step in range(max(0, self._step - STEPS + 1), self._step + 1)]
        return {
            "step_s": STEP_S,
            "began": round(time - (now - self._started) % STEP_S - (len(order) - 1) * STEP_S),
            "power_W": {
                group: [None if isnan(each.means[at]) else round(each.means[at]) for at in order]
                for group, each in self._powers.items()
            },
            "endpoints": {
                name: {"delivered": [each.delivered[at] for at in order], "failed": [each.failed[at] for at in order]}
                for name, each in self._attempts.items()
            },
        }

    def _advance(self, now: float) -> None:
        """Go to the step of monotonic second `now`, and clear every step that began since the last call."""
        step = max(self._step, int((now - self._started) // STEP_S))
        for at in {number % STEPS for number in range(max(self._step, step - STEPS) + 1, step + 1)}:
            for power in self._powers.values():
                power.clear(at)
            for attempts in self._attempts.values():
                attempts.clear(at)
        self._step = step


def _power(fields: Fields) -> float | None:
    power = fields.get("active_power_W")
    return float(power) if isinstance(power, int | float) else None


def _counted(endpoint: EndpointStatus) -> tuple[int, int]:
    """Return the numbers of delivered attempts and of all other attempts since the start."""
    delivered = endpoint.outcomes.get("delivered", 0)
    return delivered, sum(endpoint.outcomes.values()) - delivered
