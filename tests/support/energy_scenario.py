"""A simulated device with one counter: its physics, its register, and its disturbances.

It shares no code with the physics of the simulator.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Literal, NamedTuple
from zoneinfo import ZoneInfo

from agent.energy import day_of

ZONE = ZoneInfo("Europe/Brussels")
POLL_S, PUSH_S, SAVE_S = 10, 60, 900
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
BEFORE_S, AFTER_S = 300.0, 1800.0
PEAKS = {"house": 8e3, "pv": 8e3, "battery": 5e3, "charger": 11e3, "plant": 60e3}
STARTS = {"summer": 1_780_264_800.0, "spring": 1_774_652_400.0, "autumn": 1_792_792_800.0}
"""Local midnights before days of 24, 23 and 25 hours: 2026-06-01, 2026-03-28, 2026-10-24."""

Fault = Callable[[float, float], float | None]
"""Maps the value and the moment to the value that is read. None is a failed poll."""
Off = Literal["clean", "cut", "silent"]
"""The agent stops cleanly, the agent loses power, or the device does not answer."""


class Physics(NamedTuple):
    """The true values of a device at each poll."""

    start: float
    polls: int
    power: list[float]
    """Power that the device reports at each poll, in W."""
    energy: list[float]
    """True energy since the start at each poll, in Wh."""


@lru_cache(maxsize=256)
def physics(kind: str, seed: int, first: str, days: int) -> Physics:
    """Return the true values from four hours before the first day to ten minutes after the last day."""
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
    """One device, its register, and its disturbances. Times are Unix seconds, energies Wh."""

    dice: Random
    kind: str
    first: str
    days: int
    step: float
    daily: bool
    seed: int
    offset: float = 0.0
    """Value of the counter at the start, Wh."""
    range: float = 0.0
    tells_range: bool = True
    tells_step: bool = True
    limit_W: float = 0.0
    connection_W: float = 0.0
    levels: list[tuple[float, float]] = field(default_factory=list)
    """(moment, Wh): at the moment the counter is set to the value."""
    faults: list[tuple[float, float, Fault]] = field(default_factory=list)
    offs: list[tuple[float, float, Off]] = field(default_factory=list)
    fine: list[tuple[float, float]] = field(default_factory=list)
    """(start, end) of the periods with a poll each second."""
    late_s: float = 0.0
    turn_s: float = 0.0
    """Seconds from local midnight to the midnight of the device."""
    power_factor: float | None = 1.0
    tolerance: float = 0.0
    """Additional error in Wh that the disturbance makes unavoidable."""

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
        self._quiet_until = self.start
        self.interval_s = POLL_S
        self._watched: list[tuple[float, float]] | None = None

    def energy(self, moment: float) -> float:
        """Return the true energy since the start in Wh."""
        place = (moment - self.start) / POLL_S
        poll = int(place)
        known = self.physics.energy
        if poll >= self.physics.polls:
            return known[-1]
        return known[poll] + (known[poll + 1] - known[poll]) * (place - poll)

    def moment(self, margin_s: float = HOUR) -> float:
        """Return the time of a random poll."""
        return (
            self.start + margin_s + self.dice.randrange(int((self.end - self.start - 2 * margin_s) / POLL_S)) * POLL_S
        )

    def fault(self, at: float, seconds: float, fault: Fault) -> None:
        self.faults.append((at, at + seconds, fault))

    def off(self, at: float, seconds: float) -> None:
        self.offs.append((at, at + seconds, self.dice.choice(("clean", "cut", "silent"))))

    def shown(self, moment: float) -> float:
        """Return the value of the register in Wh, without faults."""
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
        """What the agent reads; None if the poll fails. Moments never go back."""
        value: float | None = self.shown(moment)
        if moment >= self._quiet_until:
            self.faults = [each for each in self.faults if each[1] > moment]
            self._quiet_until = min((begin for begin, _, _ in self.faults), default=self.end)
            for begin, end, fault in self.faults:
                if begin <= moment < end and value is not None:
                    value = fault(value, moment)
        return value

    def watch_closely(self) -> None:
        """Poll every 60 s, except from five minutes before to half an hour after a disturbance and midnight."""
        times = [(begin, end) for begin, end, _ in (*self.faults, *self.offs)]
        times += [(at, at) for at, _ in self.levels]
        times += [(at, at) for each in self.midnights for at in (each, each + self.turn_s)]
        self._watched = sorted((begin - BEFORE_S, end + AFTER_S) for begin, end in times)

    def next_poll(self, moment: float) -> float:
        """The moment of the poll after `moment`, which sets `interval_s`."""
        self.interval_s = POLL_S
        if self.fine and any(begin <= moment < end for begin, end in self.fine):
            self.interval_s = 1
        elif self._watched is not None and (moment - self.start) % MINUTE == 0:
            while self._watched and self._watched[0][1] < moment:
                self._watched.pop(0)
            if not self._watched or moment + MINUTE < self._watched[0][0]:
                self.interval_s = int(MINUTE)
        return moment + self.interval_s

    def power(self, moment: float) -> float | None:
        if self.power_factor is None:
            return None
        return self.physics.power[min(self.physics.polls, int((moment - self.start) / POLL_S))] * self.power_factor
