"""How the reference explains two readings."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from tests.support.energy_reference.facts import DAY_SHIFT, HOUR, Facts, Link, Now, Point, date_of, shift_of
from tests.support.energy_reference.power import Power


@dataclass
class Links:
    """The kinds of links: continued, late, estimated, rolled over, new day, reset, replaced."""

    facts: Facts
    known: Power

    def explain(self, then: Point, now: Now) -> Link:
        seconds = now.at - then.at
        if self.facts.daily and seconds > 2 * DAY_SHIFT:
            shift = shift_of(then.zeroed)
            midnight = date_of(now.at - DAY_SHIFT - shift)[1] + shift
            if then.at + DAY_SHIFT < midnight:
                return self._another_day(then, now, midnight)
        most = self.possible(self.known.gap if self._gap(then, now) else self.near(now), then, now)
        return self._rise(then, now, most) if now.value >= then.value else self._fall(then, now, most)

    def near(self, now: Now) -> float:
        known = self.known
        return known.near if known.ratio else min(known.most, max(known.near, 2 * now.expected))

    @staticmethod
    def _gap(then: Point, now: Now) -> bool:
        return not now.regular and now.at - then.at > 60

    def possible(self, power: float, then: Point, now: Now) -> float:
        late = self.known.ratio * (1.5 * (now.integral - then.integral) + now.flow)
        return now.step + power * (now.at - then.at + 5) / HOUR + late

    def _rise(self, then: Point, now: Now, most: float) -> Link:
        known, facts, rise = self.known, self.facts, now.value - then.value
        if then.value == 0 and then.total == 0 and then.changed is None and not facts.daily:
            most = min(most, now.step + known.near * 60 / HOUR)  # a device that starts shows 0
        if rise <= most:
            turns = self._turns(rise, then, now, most)
            proven = most
            if self._gap(then, now):
                at_ends = 2 * now.expected * max(1.0, known.ratio)
                proven = min(most, self.possible(max(at_ends, self.known.proven()), then, now))
            estimated = turns > 0 or rise > proven or self._small_range(then, now, most)
            return Link("estimated" if estimated else "continued", 0.0, rise + turns * facts.range)
        since = then.changed
        if since is None:
            # A counter that has not moved can only have grown since the previous reading.
            since = then.at if now.regular and now.at - then.at <= now.seconds else math.inf
        hours = (now.at - since + 5) / HOUR
        single = 1.5 * now.weight
        if rise <= now.step + known.gap * hours:
            late = rise <= now.step + self.known.proven() * hours
            return Link("late" if late else "estimated", max(60.0, single), rise)
        if rise <= now.step + known.most * hours:
            return Link("estimated", max(300.0, single), rise)
        return Link("replaced", 1000.0 if facts.daily else 600.0, 0.0)

    def _fall(self, then: Point, now: Now, most: float) -> Link:
        facts, value, fall = self.facts, now.value, then.value - now.value
        if not facts.daily and facts.step <= 100 and fall <= 1.01 * facts.step:
            return Link("continued", 60.0, -fall)
        if facts.range:
            around = facts.range - fall
            if 0 <= around <= most:
                turns = self._turns(around, then, now, most)
                estimated = turns > 0 or self._small_range(then, now, most)
                price = max(60.0, 1.5 * now.weight)
                return Link("estimated" if estimated else "rolled over", price, around + turns * facts.range)
        if facts.daily and 0 <= value <= most and self._may_begin_a_day(then, now):
            return Link("new day", 10.0, max(value, min(most, self._unread(then, now))))
        if 0 <= value <= min(most, then.value / 2):
            return Link("reset", 600.0, value)
        return Link("replaced", 600.0, 0.0)

    def _another_day(self, then: Point, now: Now, midnight: float) -> Link:
        value = now.value
        if not 0 <= value <= now.step + self.known.gap * (now.at - midnight + DAY_SHIFT) / HOUR:
            return Link("replaced", 600.0, 0.0)
        repeated = value > 0 and abs(value - then.value) < now.step / 2
        return Link("new day", 600.0 if repeated else 0.0, value)

    def _small_range(self, then: Point, now: Now, most: float) -> bool:
        return self.facts.range > 0 and self._gap(then, now) and most > self.facts.range / 20

    def _turns(self, growth: float, then: Point, now: Now, most: float) -> int:
        size = self.facts.range
        if not size or growth + size > most:
            return 0
        expected = self.known.ratio * now.expected * (now.at - then.at) / HOUR
        return max(0, min(int((most - growth) / size), round((expected - growth) / size)))

    def _unread(self, then: Point, now: Now) -> float:
        """The energy between the last reading and the return to zero."""
        hours = (now.at - then.at) / HOUR
        if hours > 60 / HOUR:
            return 0.0
        ratio = self.known.ratio
        since_step = ratio * (now.integral - then.integral - now.expected * hours)
        return min(max(0.0, since_step), self.facts.step) + ratio * now.steady * hours

    def _may_begin_a_day(self, then: Point, now: Now) -> bool:
        if then.zeroed and now.at - then.zeroed < 18 * HOUR:
            return False
        shifts = {0.0, shift_of(then.zeroed)}
        return any(date_of(now.at + DAY_SHIFT - each)[1] + each >= then.at - DAY_SHIFT for each in shifts)

    @staticmethod
    def confirmed(link: Link, skipped: list[Point], now: Now) -> Link:
        """Readings of one path that were skipped grew by more than the counter: it may have been set to zero."""
        if link.kind != "continued":
            return link
        paths: dict[float, list[float]] = {}
        for each in skipped:
            paths.setdefault(each.cost, []).append(each.total)
        grown = [total - totals[0] for totals in paths.values() for total in totals]
        return link._replace(kind="estimated") if max(grown, default=0.0) > link.growth + now.step else link

    def exceeds(self, origin: Point, skipped: list[Point], now: Now) -> bool:
        fitting = [origin]
        for each in skipped:
            if fitting[-1].value <= each.value <= now.value:
                fitting.append(each)
        parts = [(each.value, each.at, each.integral) for each in fitting] + [(now.value, now.at, now.integral)]
        known = self.known
        for (value, at, integral), (value_then, at_then, integral_then) in pairwise(parts):
            seconds, growth = at_then - at, value_then - value
            if seconds > 60:
                continue
            if known.ratio:
                most = now.step + 1.5 * known.ratio * (integral_then - integral) + known.near * 5 / HOUR
            else:
                step = self.facts.step or known.proven_step()
                most = step + self.near(now) * max(seconds, 5.0) / HOUR
            if growth > most:
                return True
        return False
