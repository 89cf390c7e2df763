"""A plain second implementation of the ledger of a counter, for comparison. The rules are those of docs/energies.md.

It shares no code with `agent.energy`. It has no short way for common readings, and it forgets a path only if the path
is too old or too expensive. So it needs small worlds, and the ledger must not have to thin its candidates in them.
Readings go forward in time. Energies in Wh, times in Unix seconds.
"""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, field, replace

from tests.support.energy_reference.facts import ESTIMATED, HOUR, SEEN, ZONE, Event, Facts, Link, Now, Point
from tests.support.energy_reference.links import Links
from tests.support.energy_reference.paths import extended, first
from tests.support.energy_reference.power import Power

__all__ = ["HOUR", "ZONE", "Facts", "Now", "Point", "Reference"]


@dataclass
class Reference:
    """The state of one counter."""

    facts: Facts
    points: list[Point] = field(default_factory=list)
    best: Point | None = None
    at: float = 0.0
    interval: float = 0.0
    observed: float = 15.0
    integral: float = 0.0
    power: float | None = None
    unconfirmed: float = 0.0
    told: list[Event] = field(default_factory=list)
    """The events that the last reading decided."""

    def __post_init__(self) -> None:
        self.known = Power(self.facts)
        self.links = Links(self.facts, self.known)

    def at_trial(self) -> Reference:
        """A copy that may calculate the next reading. It shares the points, which do not change."""
        trial = copy(self)
        trial.known = copy(self.known)
        trial.links = Links(self.facts, trial.known)
        return trial

    # What is published

    def today(self) -> tuple[str, float, int]:
        best = self._best()
        basis = best.day.basis
        return best.day.date, max(0.0, best.total - best.day.base), max(basis, ESTIMATED if self.undecided() else SEEN)

    def yesterday(self) -> tuple[str, float, int] | None:
        best = self._best()
        if (last := best.yesterday) is None:
            return None
        return last.date, max(0.0, best.day.base - last.base), last.basis

    def undecided(self) -> bool:
        best, known = self._best(), self.known
        if best.seen != self.observed or self.unconfirmed > self.observed:
            return True
        expected = known.ratio * (self.integral - best.integral)
        return best.changed is None and expected > known.step + known.near * 5 / HOUR

    def minute(self) -> float:
        return self.known.step + self.known.near / 60

    def present_power(self) -> float:
        if not self.known.ratio or self.power is None:
            return self.known.near
        return min(self.known.near, self.known.ratio * self.power)

    def _best(self) -> Point:
        assert self.best is not None
        return self.best

    # A reading

    def read(self, value: float, at: float, power: float | None) -> None:
        self.told = []
        if self.best is None:
            self.best = first(self.facts, self.known, value, at, self.known.step, 15.0, 0.0, 0.0)
            self.points = [self.best]
        else:
            self._next(value, at, power)
        self.at, self.power = at, power

    def _next(self, value: float, at: float, power: float | None) -> None:
        now = self._now(value, at, power)
        observed, before = self.observed, self._best()
        points = self._possible_points(observed)
        origin, link, cost = self._cheapest(points, now)
        seen = observed + now.weight
        exceeds = False
        if link is None:
            new = first(self.facts, self.known, value, at, now.step, seen, observed, now.integral)
        else:
            skipped = [each for each in points if each.seen > origin.seen]
            link = self.links.confirmed(link, skipped, now)
            exceeds = link.kind == "continued" and self.links.exceeds(origin, skipped, now)
            new = extended(self.facts, self.known, origin, link, now, seen, cost, skipped)
        self._learn_growth(origin, link, now)
        plain = self._is_plain(origin, link, now)
        free = link is not None and link.price == 0.0
        common = plain and origin is before and not origin.events
        if not common:
            self.points = points
        elif value == origin.value:
            self.points.remove(origin)
        self.points.append(new)
        self.best = new if common else self._cheapest_end(new, seen, free=free)
        if self.best is new and origin.seen < before.seen and origin.total > before.total:
            exceeds = True
        if exceeds:
            self.unconfirmed = seen + 60
        elif self.best is new and origin.seen < self.unconfirmed - 60:
            self.unconfirmed = 0.0
        self.observed, self.integral, self.interval = seen, now.integral, now.seconds
        if not common or new.events:
            self.points = self._possible_points(seen)
            self._tell()

    def _now(self, value: float, at: float, power: float | None) -> Now:
        known, seconds = self.known, at - self.at
        regular = seconds <= max(60.0, 3 * self.interval)
        steady = expected = flow = 0.0
        if power is not None and self.power is not None:
            steady, expected = min(power, self.power), (power + self.power) / 2
            if regular:
                flow = (power + self.power) * seconds / (2 * HOUR)
            if steady > known.peak:
                known.peak = steady
                known.bound()
        integral = self.integral + flow
        weight = min(seconds, self.interval or 15.0, 300.0)
        if self.observed + weight >= known.review:
            known.compare(self._best().total, integral, self.observed + weight)
        step = self.facts.step or (known.step if seconds <= 60 else 1100.0)
        return Now(value, at, step, seconds, self.interval or 15.0, weight, regular, integral, flow, steady, expected)

    def _possible_points(self, observed: float) -> list[Point]:
        """The points that are neither too old nor too expensive."""
        best = self._best()
        limit = self._cost(best, observed) + 1000
        return [
            each
            for each in self.points
            if each is best or (self._cost(each, observed) < limit and observed - each.seen <= 1800)
        ]

    def _tell(self) -> None:
        """An event is decided if it is on all paths."""
        best, others = self._best(), [each for each in self.points if each is not self.best]
        count = 0
        while count < len(best.events) and all(each.events[: count + 1] == best.events[: count + 1] for each in others):
            count += 1
        if count:
            self.told = list(best.events[:count])
            self.points = [replace(each, events=each.events[count:]) for each in self.points]
            self.best = next(each for each in self.points if each.seen == best.seen)

    # Paths

    @staticmethod
    def _cost(point: Point, observed: float) -> float:
        return point.cost + min(observed - point.seen, 1000.0)

    def _cheapest(self, points: list[Point], now: Now) -> tuple[Point, Link | None, float]:
        """If two cost the same, the best one wins if it needs no paid link, else the oldest one."""
        ways = [(self._cost(each, self.observed), each, self.links.explain(each, now)) for each in points]
        cost, _, _, origin, link = min(
            (
                (cost + link.price, each is not self.best or link.price > 0, each.seen, each, link)
                for cost, each, link in ways
            ),
            key=lambda way: way[:3],
        )
        still = all(each.changed is None for each in points)
        if self.observed < 120 and self.observed < cost and still:
            return origin, None, self.observed
        return origin, link, cost

    def _cheapest_end(self, new: Point, seen: float, *, free: bool) -> Point:
        """The oldest one wins, but a new one without a price wins against all others that cost as much."""
        costs = [(self._cost(each, seen), each is not new if free else each is new, each.seen) for each in self.points]
        return self.points[costs.index(min(costs))]

    def _is_plain(self, origin: Point, link: Link | None, now: Now) -> bool:
        return (
            link is not None
            and (link.kind, link.price, link.growth) == ("continued", 0.0, now.value - origin.value)
            and now.at < origin.day.end
        )

    # What is learned

    def _learn_growth(self, origin: Point, link: Link | None, now: Now) -> None:
        if link is None:
            return
        known = self.known
        if not now.regular:
            known.total += link.growth
        usual = now.regular and origin.seen == self.observed
        learns = usual and not self.facts.step and self._is_plain(origin, link, now)
        if learns and 0 < link.growth < 0.98 * known.step:
            known.step = 1.01 * link.growth
