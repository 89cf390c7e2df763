"""What the reference learns of the power of a device."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.energy_reference.facts import HOUR, Facts


@dataclass
class Power:
    """What is known of the power of the device, W."""

    facts: Facts
    near: float = 0.0
    gap: float = 0.0
    most: float = 0.0
    ratio: float = 0.0
    peak: float = 0.0
    mean: float = 0.0
    compared: float = 0.0
    grown: float = 0.0
    flowed: float = 0.0
    review: float = 600.0
    total: float = 0.0
    integral: float = 0.0
    step: float = 1100.0

    def __post_init__(self) -> None:
        facts = self.facts
        limit = 1.25 * facts.limit_W
        self.near = limit or facts.connection_W or 30_000.0
        self.gap = self.most = limit or facts.connection_W or 250_000.0
        self.step = facts.step or 1100.0

    def enough(self) -> float:
        return max(100.0, 5 * self.step)

    def proven(self) -> float:
        """The power up to which a growth in a gap is no estimate."""
        if self.facts.limit_W or self.ratio:
            return self.near
        if self.grown < self.enough():
            return min(self.most, 30_000.0)
        return min(self.most, max(6 * self.mean, 2 * self.peak))

    def proven_step(self) -> float:
        """The learned step; 0 until the counter has grown by five of it."""
        return self.step if self.step != 1100.0 and self.grown >= self.enough() else 0.0

    def compare(self, total: float, integral: float, observed: float) -> None:
        """Compare the growth of the last 600 s with the integrated power."""
        grown, flowed = total - self.total, integral - self.integral
        if grown > 0 or flowed > 0:
            self.grown = 0.99 * self.grown + max(0.0, grown)
            self.flowed = 0.99 * self.flowed + flowed
        if self.flowed >= self.enough() and self.grown >= self.enough():
            self.ratio = self.grown / self.flowed
        elif self.grown >= 5 * self.enough():
            self.ratio = 0.0
        self.mean = max(self.mean, grown * 6)
        self.compared += 600
        self.review = observed + 600
        self.total, self.integral = total, integral
        self.bound()

    def bound(self) -> None:
        facts = self.facts
        if facts.limit_W:
            return
        seen = 2 * self.peak * max(1.0, self.ratio)
        self.most = max(facts.connection_W or 250_000.0, 4 * seen)
        self.gap = self.most
        settled = self.compared >= 24 * HOUR
        if self.ratio:
            self.near = min(self.most, seen)
            if settled:
                self.gap = self.near
        elif settled and self.mean:
            self.near = min(self.most, 6 * self.mean)
        else:
            self.near = min(self.most, max(facts.connection_W or 30_000.0, 6 * self.mean, seen))
