"""A campaign against the ledger of energies: simulated days, one disturbance or two, and a judge.

Polls every 10 s, pushes every 60 s, register steps from 0.1 Wh to 1 kWh. The physics here share nothing with those of
the simulator. `python -m tests.support.energy_campaign 20` prints the table of all rows over 20 seeds,
`python -m tests.support.energy_campaign 0 10000` tries 10000 combinations of two rows at random.
"""

from __future__ import annotations

import json
import math
import sys
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from agent.energy import Basis, Ledger, Published, Register, advance, day_of, of_day, publish
from agent.energy.state import from_json, to_json

ZONE = ZoneInfo("Europe/Brussels")
POLL_S, PUSH_S, SAVE_S = 10, 60, 900
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
PEAKS = {"house": 8e3, "pv": 8e3, "battery": 5e3, "charger": 11e3, "plant": 60e3}
STARTS = {"summer": 1_780_264_800.0, "spring": 1_774_652_400.0, "autumn": 1_792_792_800.0}
"""Local midnights before days of 24, 23 and 25 hours: 2026-06-01, 2026-03-28, 2026-10-24."""

Fault = Callable[[float, float], float | None]
"""What is read instead of a value at a moment; None is a poll that fails."""
Off = Literal["clean", "cut", "silent"]
"""The agent was stopped, lost its power, or the device did not answer."""


class Physics(NamedTuple):
    """A device on a grid of polls."""

    start: float
    polls: int
    power: list[float]
    """W at each poll, as the device tells it."""
    energy: list[float]
    """Wh since the start."""


@lru_cache(maxsize=8)
def physics(kind: str, seed: int, first: str, days: int) -> Physics:
    """From four hours before the first day to ten minutes after the last."""
    dice, midnight = Random(f"{kind} {seed}"), STARTS[first]
    start = midnight - 4 * HOUR
    end = day_of(midnight + (days - 0.5) * DAY, ZONE)[2] + 10 * MINUTE
    polls, peak = int((end - start) // POLL_S), PEAKS[kind]
    power, energy = [0.0] * (polls + 1), [0.0] * (polls + 1)
    base, load, until, cloud = dice.uniform(100, 400) if kind == "house" else 0.0, 0.0, 0, 1.0
    for poll in range(1, polls + 1):
        flow = peak * dice.uniform(0.9, 1.0)
        if kind == "pv":
            hour = ((start + poll * POLL_S - midnight) % DAY) / HOUR
            cloud = min(1.0, max(0.1, cloud + dice.uniform(-0.3, 0.3))) if poll % 60 == 0 else cloud
            flow = peak * cloud * math.sin((hour - 6) / 13 * math.pi) if 6 < hour < 19 else 0.0
        elif kind != "plant":
            if poll >= until:
                load = 0.0 if dice.random() < 0.5 else dice.uniform(0.2, 1.0) * peak
                until = poll + int(dice.expovariate(1 / 120)) + 1
            flow = min(peak, base + load * dice.uniform(0.98, 1.02))
            if kind == "house" and dice.random() < 0.01:  # a load that runs between two polls
                flow = min(peak, flow + 2000)
        energy[poll] = energy[poll - 1] + flow * POLL_S / HOUR
        power[poll] = base if kind == "house" and dice.random() < 0.02 else flow
    return Physics(start, polls, power, energy)


@dataclass
class Scenario:
    """One device, its register, and what happens."""

    dice: Random
    kind: str
    first: str
    days: int
    step: float
    daily: bool
    seed: int
    offset: float = 0.0
    """What the counter showed at the start, Wh."""
    range: float = 0.0
    tells_range: bool = True
    tells_step: bool = True
    limit_W: float = 0.0
    connection_W: float = 0.0
    levels: list[tuple[float, float]] = field(default_factory=list)
    """(moment, Wh): from then on the counter goes on from there."""
    faults: list[tuple[float, float, Fault]] = field(default_factory=list)
    offs: list[tuple[float, float, Off]] = field(default_factory=list)
    fine: list[tuple[float, float]] = field(default_factory=list)
    """When it is polled each second."""
    late_s: float = 0.0
    turn_s: float = 0.0
    """From local midnight to that of the device."""
    power_factor: float | None = 1.0
    tolerance: float = 0.0
    """Wh beyond the register's step that the row cannot know."""

    def __post_init__(self) -> None:
        self.physics = physics(self.kind, self.seed % 5, self.first, self.days)
        self.start = self.physics.start
        self.end = self.start + self.physics.polls * POLL_S
        self.midnights = []
        moment = day_of(self.start, ZONE)[2]
        while moment < self.end:
            self.midnights.append(moment)
            moment = day_of(moment, ZONE)[2]
        self._turns: list[float] = []

    def energy(self, moment: float) -> float:
        """Wh since the start."""
        place = (moment - self.start) / POLL_S
        poll = int(place)
        known = self.physics.energy
        if poll >= self.physics.polls:
            return known[-1]
        return known[poll] + (known[poll + 1] - known[poll]) * (place - poll)

    def moment(self, margin_s: float = HOUR) -> float:
        """At random, on the grid of polls."""
        return (
            self.start + margin_s + self.dice.randrange(int((self.end - self.start - 2 * margin_s) / POLL_S)) * POLL_S
        )

    def fault(self, at: float, seconds: float, fault: Fault) -> None:
        self.faults.append((at, at + seconds, fault))

    def off(self, at: float, seconds: float) -> None:
        self.offs.append((at, at + seconds, self.dice.choice(("clean", "cut", "silent"))))

    def shown(self, moment: float) -> float:
        """What the register shows."""
        if self.late_s:
            moment = self.start + (moment - self.start) // self.late_s * self.late_s
        if self.daily:
            if not self._turns:
                self._turns = sorted(each + self.turn_s for each in (day_of(self.start, ZONE)[1], *self.midnights))
                self._turns.insert(0, self.start - 8 * HOUR)
            last = self._turns[bisect_right(self._turns, moment) - 1]
            counted = self.energy(moment) - self.energy(max(last, self.start))
            counted += self.offset if last < self.start else 0.0
        else:
            counted = self.energy(moment) + self.offset
            for at, level in self.levels:
                if moment >= at:
                    counted = self.energy(moment) - self.energy(at) + level
        steps = math.floor(counted / self.step + 1e-6)
        return (steps % round(self.range / self.step) if self.range else steps) * self.step

    def read(self, moment: float) -> float | None:
        value: float | None = self.shown(moment)
        for begin, end, fault in self.faults:
            if begin <= moment < end and value is not None:
                value = fault(value, moment)
        return value

    def power(self, moment: float) -> float | None:
        if self.power_factor is None:
            return None
        return self.physics.power[min(self.physics.polls, int((moment - self.start) / POLL_S))] * self.power_factor


class Found(NamedTuple):
    """What the judge found, in Wh; of the whole days after the first evening."""

    day: float
    """The worst error of a day at its end."""
    silent_day: float
    """The worst that was not declared."""
    silent: float
    """The worst error of a message, neither declared nor within two steps and what can flow between two polls."""
    falls: int
    """Messages of a day that fell by more than a step and did not declare it."""
    missing: int
    declared: frozenset[str]
    tolerance: float

    @property
    def holds(self) -> bool:
        return self.silent_day <= self.tolerance and not self.silent and not self.falls and not self.missing


class _Judge:
    """Compares each message with the physics."""

    def __init__(self, scenario: Scenario, register: Register) -> None:
        self.scenario = scenario
        self.register = register
        self.tolerance = scenario.step * (2.001 if scenario.turn_s else 1.001) + scenario.tolerance + 1e-6
        self.published = Published()
        self.errors: list[tuple[float, Basis]] = []
        self.silent = 0.0
        self.falls = self.missing = 0
        self._first = self._date = day_of(scenario.start, ZONE)[0]
        self._last: tuple[float, float, Basis] = 0.0, 0.0, Basis.SEEN

    def message(self, ledger: Ledger, moment: float, read_at: float) -> None:
        date, midnight, _ = day_of(moment, ZONE)
        found = of_day(ledger, date)
        if found is None:
            self.missing += 1
            return
        near_W = ledger.turnover.near_W
        self.published, (energy, basis) = publish(self.published, date, found, self.register.step_Wh, near_W)
        true = self.scenario.energy(max(read_at, midnight)) - self.scenario.energy(max(midnight, self.scenario.start))
        error = energy - true
        if date != self._date:
            if self._date != self._first:
                self.errors.append((abs(self._last[0]), self._last[2]))
            self._date = date
        elif energy < self._last[1] - 1.001 * self.scenario.step and basis < Basis.ESTIMATED:
            self.falls += 1
        transient = self.tolerance + self.scenario.step + near_W * POLL_S / HOUR
        if date != self._first and basis is Basis.SEEN and abs(error) > transient:
            self.silent = max(self.silent, abs(error))
        self._last = error, energy, basis

    def found(self) -> Found:
        return Found(
            max((error for error, _ in self.errors), default=0.0),
            max((error for error, basis in self.errors if basis is Basis.SEEN), default=0.0),
            self.silent,
            self.falls,
            self.missing,
            frozenset(basis.name.lower() for _, basis in self.errors if basis is not Basis.SEEN),
            self.tolerance,
        )


def run(scenario: Scenario) -> Found:
    """Poll, push, save, stop and start again, from the start to the end."""
    register = Register(
        scenario.daily,
        range_Wh=scenario.range if scenario.tells_range else 0.0,
        limit_W=scenario.limit_W,
        connection_W=scenario.connection_W,
    )
    if scenario.tells_step:
        register = register._replace(step_Wh=scenario.step)
    judge = _Judge(scenario, register)
    ledger: Ledger | None = None
    saved: tuple[Any, Published] | None = None
    saved_at = read_at = -math.inf
    offs = sorted(scenario.offs)
    moment, push_at = scenario.start, scenario.start + PUSH_S
    while moment <= scenario.end:
        if offs and moment >= offs[0][0]:
            _, end, how = offs.pop(0)
            if how == "clean" and ledger is not None:
                ledger = _restarted(to_json(ledger))
            elif how == "cut" and saved is not None:
                ledger, judge.published = _restarted(saved[0]), saved[1]
            if end > moment:
                moment = scenario.start + math.ceil((end - scenario.start) / POLL_S) * POLL_S
                continue
        value = scenario.read(moment)
        if value is not None:
            ledger = advance(ledger, value, moment, ZONE, register, scenario.power(moment))
            read_at = moment
        if ledger is not None and moment >= push_at:
            judge.message(ledger, moment, read_at)
            push_at = scenario.start + ((moment - scenario.start) // PUSH_S + 1) * PUSH_S
        if ledger is not None and moment - saved_at >= SAVE_S:
            saved, saved_at = (to_json(ledger), judge.published), moment
        moment += 1 if any(begin <= moment < end for begin, end in scenario.fine) else POLL_S
    return judge.found()


def _restarted(state: Any) -> Ledger:
    return from_json(json.loads(json.dumps(state)))


# The rows: each adds itself to a scenario.


def _wrong(scenario: Scenario) -> Fault:
    amount = scenario.dice.choice([300.0, 700.0, 3000.0, 20_000.0]) * scenario.dice.uniform(0.8, 1.2)
    words = 65_536 * scenario.step
    faults: list[Fault] = [
        lambda value, at: 0.0,
        lambda value, at: value + amount,
        lambda value, at: value + words,
        lambda value, at: value - words,
        lambda value, at: 4e9,
        lambda value, at: value / 2,
        lambda value, at: -5.0,
    ]
    return scenario.dice.choice(faults)


def two_wrong_polls(scenario: Scenario) -> None:
    at, fault = scenario.moment(), _wrong(scenario)
    same = fault(scenario.shown(at), at)
    scenario.fault(at, 20, scenario.dice.choice([fault, lambda value, at: same]))


def two_wrong_seconds(scenario: Scenario) -> None:
    at = scenario.moment()
    scenario.fine.append((at - 600, at + 600))
    scenario.fault(at + scenario.dice.randrange(1, 10), 2, lambda value, at: value + 700)


def burst_of_three(scenario: Scenario) -> None:
    at = scenario.moment()
    for number in range(3):
        scenario.fault(at + 10 * number, 10, _wrong(scenario))


def _upward(scenario: Scenario, times: int, low: float, high: float) -> None:
    for _ in range(times):
        amount = max(1.0, scenario.dice.uniform(low, high) // scenario.step) * scenario.step
        scenario.fault(scenario.moment(), 10, lambda value, at, amount=amount: value + amount)  # type: ignore[misc]


def thirty_glitches(scenario: Scenario) -> None:
    _upward(scenario, 30, 30, 3000)


def plausible_glitches(scenario: Scenario) -> None:
    _upward(scenario, 10, 1, 60)


def glitch_and_restart(scenario: Scenario) -> None:
    at, seconds = scenario.moment(), scenario.dice.choice([10, 20])
    scenario.fault(at, seconds, _wrong(scenario))
    stopped = at + scenario.dice.choice([5, 10, 15])
    scenario.offs.append((stopped, stopped + scenario.dice.choice([0, 0, 60, 600]), "clean"))


def zeros_at_a_guessed_end(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at = scenario.moment()
    end = scenario.dice.choice([65_536.0, 655_360.0, 6_553_600.0, 42_949_672_960.0, 429_496_729.6])
    scenario.offset = end - scenario.dice.uniform(0, 300) - scenario.energy(at)
    return scenario.fault(at, 20, lambda value, at: 0.0)


def zeros_at_a_known_end(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at = scenario.moment()
    scenario.range = 2.0**32 * scenario.step
    scenario.offset = scenario.range - scenario.dice.uniform(1, 3) * scenario.step - scenario.energy(at)
    return scenario.fault(at, 20, lambda value, at: 0.0)


def zero_after_a_gap(scenario: Scenario) -> None:
    at = scenario.moment()
    scenario.off(at, 1800)
    scenario.fault(at + 1800, 10, lambda value, at: 0.0)


def rollover_16_bit_in_a_gap(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    scenario.step = max(scenario.step, 1.0)
    scenario.range = 65_536 * scenario.step
    return scenario.off(scenario.moment(2 * HOUR), 1800)


def rollover_32_bit(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    scenario.range = 2.0**32 * scenario.step
    scenario.offset = scenario.range - scenario.energy(scenario.moment())
    return None


def replaced_by_a_higher(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at, seconds = scenario.moment(10 * HOUR), scenario.dice.choice([0.5, 8]) * HOUR
    scenario.off(at, seconds)
    level = scenario.offset + scenario.energy(at) + scenario.dice.uniform(5e6, 5e7)
    return scenario.levels.append((at + seconds - 60, level))


def replaced_by_a_lower(scenario: Scenario) -> None:
    if scenario.daily:
        return two_wrong_polls(scenario)
    at, seconds = scenario.moment(2 * HOUR), scenario.dice.choice([0, 60, 1800])
    if seconds:
        scenario.off(at, seconds)
    level = scenario.dice.choice([0.0, 0.5 * scenario.shown(at) * scenario.dice.random()])
    return scenario.levels.append((at + max(0, seconds - 30), level))


def zero_for_a_quarter_of_an_hour(scenario: Scenario) -> None:
    scenario.fault(scenario.moment(), 900, lambda value, at: 0.0)


def reboot_to_zero(scenario: Scenario) -> None:
    scenario.fault(scenario.moment(), scenario.dice.choice([10, 30, 60]), lambda value, at: 0.0)


def daily_register_over_a_night_off(scenario: Scenario) -> None:
    scenario.daily = True
    midnight = scenario.dice.choice(scenario.midnights[:-2] or scenario.midnights[:1])
    scenario.off(midnight + 8 * HOUR, scenario.dice.uniform(26, 34) * HOUR)


def daily_register_early_or_late(scenario: Scenario) -> None:
    scenario.daily = True
    scenario.turn_s = scenario.dice.choice([-300, 300, -60, 60, -10, 10, 7200, -7200])


def restarts(scenario: Scenario) -> None:
    for _ in range(3):
        at = scenario.moment()
        scenario.offs.append((at, at + scenario.dice.choice([0, 30, 120, 900]), scenario.dice.choice(("clean", "cut"))))


def gap_over_midnights(scenario: Scenario) -> None:
    midnight = scenario.dice.choice(scenario.midnights[:-2] or scenario.midnights[:1])
    before, after = (scenario.dice.randrange(60, 1800) * POLL_S for _ in range(2))
    scenario.off(midnight - before, before + scenario.dice.choice([0.0, DAY]) + after)


def missed_polls(scenario: Scenario) -> None:
    for _ in range(100):
        scenario.fault(scenario.moment(), scenario.dice.choice([10, 20, 30, 100]), lambda value, at: None)


def late_register(scenario: Scenario) -> None:
    scenario.late_s = scenario.dice.choice([20.0, 30.0, 60.0, 900.0])
    scenario.tolerance += PEAKS[scenario.kind] * (scenario.late_s - POLL_S) / HOUR


def power_five_times_too_low(scenario: Scenario) -> None:
    scenario.power_factor = 0.2


def no_power(scenario: Scenario) -> None:
    scenario.power_factor = None


def power_register_dead(scenario: Scenario) -> None:
    scenario.power_factor = 0.0


def step_unknown(scenario: Scenario) -> None:
    scenario.tells_step = False


def limits(scenario: Scenario) -> None:
    scenario.limit_W = 1.1 * PEAKS[scenario.kind]


def connection(scenario: Scenario) -> None:
    scenario.connection_W = 3 * PEAKS[scenario.kind]


def torn_words(scenario: Scenario) -> None:
    words = 65_536 * scenario.step * scenario.dice.choice([-1, 1])
    scenario.fault(scenario.moment(), 10, lambda value, at: value + words)


ROWS: dict[str, Callable[[Scenario], object]] = {
    row.__name__: row
    for row in (
        *(two_wrong_polls, two_wrong_seconds, burst_of_three, thirty_glitches, plausible_glitches, glitch_and_restart),
        *(zeros_at_a_guessed_end, zeros_at_a_known_end, zero_after_a_gap, rollover_16_bit_in_a_gap, rollover_32_bit),
        *(replaced_by_a_higher, replaced_by_a_lower, zero_for_a_quarter_of_an_hour, reboot_to_zero),
        *(daily_register_over_a_night_off, daily_register_early_or_late, restarts, gap_over_midnights, missed_polls),
        *(late_register, power_five_times_too_low, no_power, power_register_dead, step_unknown, limits, connection),
        torn_words,
    )
}


def scenario_of(rows: tuple[str, ...], seed: int, days: int = 4) -> Scenario:
    """The same for the same rows and seed."""
    dice = Random(f"{rows} {seed}")
    kind = "plant" if "rollover_16_bit_in_a_gap" in rows else dice.choice(["house", "pv", "battery", "charger"])
    lifetime = ("zeros", "rollover", "replaced")
    daily = dice.random() < 0.2 and not any(row.startswith(lifetime) for row in rows)
    daily = daily or any(row.startswith("daily") for row in rows)
    offset = dice.uniform(0, 2e4) if daily else dice.choice([0.0, dice.uniform(1e3, 1e5), dice.uniform(1e5, 1e7)])
    step = dice.choice([0.1, 1.0, 10.0, 100.0, 1000.0])
    first = dice.choice(["summer", "summer", "spring", "autumn"])
    scenario = Scenario(dice, kind, first, days, step, daily, seed, offset=offset)
    for row in rows:
        ROWS[row](scenario)
    return scenario


def combination(seed: int, days: int = 2) -> tuple[tuple[str, ...], Found]:
    """Two rows at random."""
    rows = tuple(Random(seed).sample(sorted(ROWS), 2))
    return rows, run(scenario_of(rows, seed, days))


def main(seeds: int, combinations: int) -> None:
    """Print the table, or what does not hold of the combinations."""
    for row in ROWS if seeds else ():
        found = [run(scenario_of((row,), seed)) for seed in range(seeds)]
        bad = [seed for seed, each in enumerate(found) if not each.holds]
        day, silent = max(each.day for each in found), max(each.silent_day - each.tolerance for each in found)
        declared = ", ".join(sorted(frozenset().union(*(each.declared for each in found)))) or "nothing"
        print(
            f"{row:33} worst day {day:9.1f} Wh; silent beyond its step {max(0.0, silent):7.1f} Wh;"
            f" does not hold: {bad or 'never'}; declared: {declared}",
            flush=True,
        )
    for seed in range(combinations):
        rows, each = combination(seed)
        if not each.holds:
            print(seed, rows, each, flush=True)
        if seed % 100 == 99:
            print(f"{seed + 1} combinations", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0)
