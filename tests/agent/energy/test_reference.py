"""The ledger decides as the plain second implementation of its rules does, reading by reading.

Each world is one counter with wrong values, gaps, resets and rollovers. Many of its readings are just below or just
above a bound of the rules, so that a changed bound is noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from math import isclose
from random import Random

import pytest

from agent.energy.ledger import CANDIDATES, Ledger, flow_of, minute_of, of_day, of_today
from agent.energy.readings import advance
from agent.energy.turnover import Register
from tests.support.energy_reference import HOUR, ZONE, Facts, Now, Point, Reference

REGISTERS = [
    Facts(),
    Facts(step=0.1, limit_W=11_000.0),
    Facts(step=1.0),
    Facts(step=1.0, range=65_536.0),
    Facts(step=10.0, range=100_000.0, limit_W=5000.0),
    Facts(step=100.0, connection_W=35_000.0),
    Facts(step=125.0),
    Facts(step=1000.0),
    Facts(daily=True),
    Facts(daily=True, step=10.0),
    Facts(daily=True, step=100.0, limit_W=10_000.0),
]
GAPS_S = [1.0, 5.0, 15.0, 30.0, 31.0, 60.0, 61.0, 90.0, 181.0, 300.0, 301.0, 400.0, 901.0, 1800.0, 7200.0, 3e4, 9e4]
SHARES = [1 - 1e-6, 1 + 1e-6]


@pytest.mark.seeds(*range(40))
def test_the_ledger_decides_as_its_rules_say(seed: int) -> None:
    dice = Random(seed)
    for facts in REGISTERS:
        _World(dice, facts, [1.0, 10.0, 60.0, 90.0, 100.0, 300.0]).run()


@pytest.mark.seeds(*range(6))
def test_the_ledger_decides_as_its_rules_say_after_days(seed: int) -> None:
    """The limits of the power depend on what was seen in a day.

    Without the register that may roll over more than once in a usual interval, at the powers of these worlds.
    """
    dice = Random(seed)
    for facts in (each for each in REGISTERS if each.range != 65_536):
        _World(dice, facts, [100.0, 300.0, 300.0]).run(600)


def _may_be_thinned(ledger: Ledger) -> bool:
    """Whether the next reading may thin the candidates that are near each other."""
    each = ledger.candidates
    return len(each) >= CANDIDATES and any(late.observed_s - early.observed_s < 90 for early, late in pairwise(each))


class _World:
    def __init__(self, dice: Random, facts: Facts, intervals: Sequence[float]) -> None:
        self.dice = dice
        self.facts = facts
        self.reference = Reference(facts)
        self.ledger: Ledger | None = None
        start = datetime(2026, *dice.choice([(6, 1), (3, 28), (10, 24)]), dice.choice([8, 17, 20, 23]), tzinfo=ZONE)
        self.now = start.timestamp()
        self.intervals = intervals
        self.interval = dice.choice(intervals)
        self.counter = dice.choice([0.0, 5000.0, 60_000.0])
        self.power = dice.choice([0.0, 1080.0, 3600.0])
        self.measured = dice.choice([0.0, 1.0, 1.0, 0.2, 5.0])
        """The part of the power that the device measures; 0 if it measures none."""
        self.dead = False
        """The device measures 0 W whatever its power is."""
        self.midnight = self.now - self.now % 86_400 + dice.choice([-2, 0, 9]) * HOUR

    def run(self, readings: int = 0) -> None:
        for _ in range(readings or self.dice.choice([20, 60, 200])):
            self._elapse()
            watts = None
            if self.measured and self.dice.random() < 0.97:
                watts = self.power * self.measured * (not self.dead)
            value = self._shown()
            if self.ledger is not None and self.dice.random() < 0.12:
                value = self._tempting(watts)
                if self.dice.random() < 0.6:  # it stays there
                    self.counter = value
            self._read(value, watts)
            assert self.ledger is not None
            if _may_be_thinned(self.ledger):
                break

    def _elapse(self) -> None:
        dice = self.dice
        seconds = self.interval if dice.random() < 0.92 else dice.choice(GAPS_S)
        if dice.random() < 0.1:
            self.power = dice.choice([0.0, 0.0, 1080.0, 3600.0, 7200.0, 36_000.0])
        if dice.random() < 0.02:
            self.interval = dice.choice(self.intervals)
        if dice.random() < 0.005:
            self.dead = not self.dead
        self.now += seconds
        self.counter += self.power * seconds / HOUR
        if self.facts.daily and self.now >= self.midnight + 86_400:
            self.midnight += 86_400 * ((self.now - self.midnight) // 86_400)
            self.counter = self.power * (self.now - self.midnight) / HOUR

    def _shown(self) -> float:
        step = self.facts.step or 1.0
        value = self.counter // step * step
        return value % self.facts.range if self.facts.range else value

    def _tempting(self, watts: float | None) -> float:
        """Return a value just below or just above a bound of the rules."""
        reference = self.reference.at_trial()
        now = reference._now(0.0, self.now, watts)
        then = self.dice.choice([reference._best(), *reference.points[-3:]])
        share = self.dice.choice(SHARES)
        if self.dice.random() < 0.2:
            return self.dice.choice([0.0, -5.0, 4e9, then.value, then.value + 0.4 * now.step])
        if self.dice.random() < 0.25:
            lower = [then.value - 1.01 * self.facts.step * share, then.value / 2 * share]
            return self.dice.choice(lower)
        rise = self.dice.choice(_bounds(reference, then, now)) * share
        if self.facts.range:
            return (then.value + rise) % self.facts.range
        return self.dice.choice([then.value + rise, then.value + rise, rise])

    def _read(self, value: float, watts: float | None) -> None:
        facts = self.facts
        register = Register(facts.daily, facts.step, facts.range, facts.limit_W, facts.connection_W)
        self.reference.read(value, self.now, watts)
        self.ledger = ledger = advance(self.ledger, value, self.now, ZONE, register, watts)
        reference, best = self.reference, self.reference._best()
        date, energy, basis = of_today(ledger)
        assert _same_day((date, energy, int(basis)), reference.today())
        assert isclose(ledger.best.value, best.value, rel_tol=1e-6)
        assert isclose(ledger.best.total, best.total, rel_tol=1e-6, abs_tol=1e-12)
        if (yesterday := reference.yesterday()) is not None:
            found = of_day(ledger, yesterday[0])
            assert found is not None
            assert _same_day((yesterday[0], found.energy, int(found.basis)), yesterday)
        assert (ledger.best.before is None) == (yesterday is None)
        assert [tuple(event) for event in ledger.decided] == reference.told
        assert isclose(minute_of(ledger), reference.minute(), rel_tol=1e-6)
        assert isclose(flow_of(ledger), reference.present_power(), rel_tol=1e-6)


def _same_day(one: tuple[str, float, int], other: tuple[str, float, int]) -> bool:
    return (one[0], one[2]) == (other[0], other[2]) and abs(one[1] - other[1]) <= 1e-6


def _bounds(reference: Reference, then: Point, now: Now) -> list[float]:
    """Return the growths at which an explanation ends."""
    known, step, near = reference.known, now.step, reference.links.near(now)
    since = now.at - (then.at if then.changed is None else then.changed) + 5
    powers = [known.near, known.gap, known.most, near, known.proven(), 2 * now.expected]
    found = [reference.links.possible(power, then, now) for power in powers]
    found += [step + power * since / HOUR for power in powers]
    found += [step + near * max(now.at - then.at, 5.0) / HOUR, step + known.near * 60 / HOUR]
    found += [near * max(now.at - then.at, 5.0) / HOUR]
    found += [step + 1.5 * known.ratio * (now.integral - then.integral) + known.near * 5 / HOUR]
    found += [0.98 * known.step, reference.facts.range / 20, step / 2, step]
    return found
