"""A site with physics, from a seed. Pure: time is an argument, counters are the integrals of their powers.

At every step grid = loads + storage - solar. Powers in W, energies in Wh, signs of the payload contract.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random

DAY_S = 86_400.0
_STEP_S = 10.0


@dataclass(slots=True)
class Plant:
    """One device: its power now, and what it amounted to with either sign."""

    power: float = 0.0
    positive: float = 0.0
    negative: float = 0.0

    def run(self, power: float, seconds: float) -> None:
        """Hold `power` for `seconds`."""
        self.power = power
        if power >= 0:
            self.positive += power * seconds / 3600
        else:
            self.negative -= power * seconds / 3600


@dataclass(slots=True)
class Site:
    """The whole site. `start_s` is the local time of day at which it begins."""

    seed: int = 1
    start_s: float = 9 * 3600.0
    speed: float = 1.0
    """Simulated seconds per second, for whoever drives it by a real clock."""
    capacity_Wh: float = 10_000.0
    battery_limit_W: float = 5_000.0
    grid: Plant = field(default_factory=Plant)
    pv_south: Plant = field(default_factory=Plant)
    pv_west: Plant = field(default_factory=Plant)
    battery: Plant = field(default_factory=Plant)
    heat_pump: Plant = field(default_factory=Plant)
    boiler: Plant = field(default_factory=Plant)
    charger: Plant = field(default_factory=Plant)
    household: Plant = field(default_factory=Plant)
    stored_Wh: float = 4_000.0
    elapsed_s: float = 0.0
    _random: Random = field(default_factory=Random)
    _cloud: float = 0.9

    def __post_init__(self) -> None:
        self._random.seed(self.seed)
        # Counters of a site that has been running for years.
        for plant in self.plants:
            plant.positive = self._random.uniform(1e6, 9e6)
            plant.negative = self._random.uniform(1e6, 9e6)
        self._step(0.0)

    @property
    def plants(self) -> tuple[Plant, ...]:
        return (*self.solar, *self.loads, self.battery, self.grid)

    @property
    def solar(self) -> tuple[Plant, ...]:
        return (self.pv_south, self.pv_west)

    @property
    def loads(self) -> tuple[Plant, ...]:
        return (self.household, self.heat_pump, self.boiler, self.charger)

    @property
    def soc(self) -> float:
        """Per cent."""
        return 100 * self.stored_Wh / self.capacity_Wh

    @property
    def time_of_day_s(self) -> float:
        return (self.start_s + self.elapsed_s) % DAY_S

    def advance(self, seconds: float) -> None:
        """Let time pass, in steps short enough for clouds and switches."""
        while seconds > 0:
            step = min(_STEP_S, seconds)
            self._step(step)
            self.elapsed_s += step
            seconds -= step

    def _step(self, seconds: float) -> None:
        hour = self.time_of_day_s / 3600
        self._cloud = min(1.0, max(0.2, self._cloud + self._random.gauss(0, 0.01) * math.sqrt(seconds / _STEP_S)))
        self.pv_south.run(6_000 * _sun(hour, 13.0) * self._cloud, seconds)
        self.pv_west.run(4_000 * _sun(hour, 16.0) * self._cloud, seconds)
        evening = math.exp(-((hour - 19.5) ** 2) / 4)
        self.household.run(250 + 1_200 * evening + self._random.uniform(0, 150), seconds)
        self.heat_pump.run(1_800.0 if math.sin(hour * 4 + self.seed) > 0.1 else 0.0, seconds)
        self.boiler.run(2_000.0 if 11 <= hour < 13 or 3 <= hour < 4 else 0.0, seconds)
        self.charger.run(7_360.0 if 9.2 <= hour < 10.5 or 20 <= hour < 22 else 0.0, seconds)
        consumed = sum(plant.power for plant in self.loads)
        produced = sum(plant.power for plant in self.solar)
        self.battery.run(self._battery_power(produced - consumed, seconds), seconds)
        self.stored_Wh += self.battery.power * seconds / 3600
        self.grid.run(consumed + self.battery.power - produced, seconds)

    def _battery_power(self, surplus: float, seconds: float) -> float:
        """Self-consumption: takes the surplus, gives what is missing, within its limits and its room."""
        wanted = max(-self.battery_limit_W, min(self.battery_limit_W, surplus))
        hours = max(seconds, 1e-9) / 3600
        return max(-self.stored_Wh / hours, min((self.capacity_Wh - self.stored_Wh) / hours, wanted))


def _sun(hour: float, noon: float) -> float:
    """0..1: the share of the peak that the sun gives to a roof that faces it at `noon`."""
    return max(0.0, math.cos((hour - noon) * math.pi / 12)) ** 1.5 if 5.5 < hour < 21 else 0.0
