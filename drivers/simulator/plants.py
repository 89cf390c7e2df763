"""The plants of the simulated site: roofs under one sky, a household, a heat pump, a boiler, a charger. Pure.

`step` is called every `STEP_S` simulated seconds. The `step` of a load returns its power in W until the next step. Its
`hour` is the local time of day, in hours. The same seed always gives the same days.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

STEP_S = 10.0
_STEP_H = STEP_S / 3600


def random_generator(seed: int, name: str) -> Random:
    """Return the generator for `name`. Its numbers do not depend on how other generators are used."""
    return Random(f"{seed} {name}")  # noqa: S311 - weather, not a secret


class Sky:
    """The sun and the clouds of a spring day at 51 degrees north."""

    _LATITUDE = math.radians(51)
    _DECLINATION = math.radians(15)
    _NOON_H = 12.7

    def __init__(self, seed: int) -> None:
        self._random = random_generator(seed, "sky")
        self._target = 1.0
        self.clearness = 1.0
        """Share of the direct light that passes the clouds, 0..1."""

    def step(self) -> None:
        """Change the clearness towards a target. A target is chosen every ten minutes on average."""
        if self._random.random() < STEP_S / 600:
            self._target = 1.0 if self._random.random() < 0.5 else self._random.uniform(0.1, 0.7)
        self.clearness += 0.1 * (self._target - self.clearness)

    def sun(self, hour: float) -> tuple[float, float, float]:
        """Return the direction of the sun as a unit vector: south, west, up. `hour` is standard time."""
        angle = math.radians(15 * (hour - self._NOON_H))
        latitude, declination = self._LATITUDE, self._DECLINATION
        around = math.cos(declination) * math.cos(angle)
        return (
            math.sin(latitude) * around - math.cos(latitude) * math.sin(declination),
            math.cos(declination) * math.sin(angle),
            math.cos(latitude) * around + math.sin(latitude) * math.sin(declination),
        )


@dataclass(frozen=True, slots=True)
class Roof:
    """PV modules on one plane, with their inverter. `azimuth_deg` is 0 for south and 90 for west."""

    peak_W: float
    rated_W: float
    tilt_deg: float
    azimuth_deg: float

    def power(self, sun: tuple[float, float, float], clearness: float) -> float:
        """Return the production in W."""
        south, west, up = sun
        if up <= 0:
            return 0.0
        tilt, azimuth = math.radians(self.tilt_deg), math.radians(self.azimuth_deg)
        facing = math.sin(tilt) * (south * math.cos(azimuth) + west * math.sin(azimuth)) + up * math.cos(tilt)
        # Direct light at sea level, in kW/m2, by the formula of Meinel: 1.353 * 0.7 ** (air mass ** 0.678), with an air
        # mass of 1 / up. Diffuse light, in kW/m2: 0.15 * up.
        direct = 1.353 * math.pow(0.7, math.pow(up, -0.678)) * clearness * max(0.0, facing)
        return min(self.rated_W, self.peak_W * (direct + 0.15 * up))


class Household:
    """A base load, a morning and an evening peak, and appliances that run for some minutes."""

    def __init__(self, seed: int) -> None:
        self._random = random_generator(seed, "household")
        self._appliance_W = 0.0
        self._steps_left = 0

    def step(self, hour: float) -> float:
        self._steps_left -= 1
        if self._steps_left <= 0:
            self._appliance_W = 0.0
            if self._random.random() < STEP_S / 1500:
                self._appliance_W = self._random.uniform(300, 2200)
                self._steps_left = self._random.randint(6, 90)
        habits = 350 * math.exp(-((hour - 7.5) ** 2)) + 900 * math.exp(-((hour - 19.5) ** 2) / 4)
        return 180 + habits + self._random.uniform(0, 60) + self._appliance_W


class SimulatedHeatPump:
    """A heat pump that a thermostat switches on and off."""

    _RATED_W = 1800.0
    _COEFFICIENT = 3.5  # W of heat per W of electric power
    _LOSS_W_K = 150.0
    _CAPACITY_WH_K = 2000.0

    def __init__(self, seed: int) -> None:
        self._inside_C = random_generator(seed, "heat pump").uniform(20.6, 21.4)
        self._on = False

    def step(self, hour: float) -> float:
        if self._inside_C < 20.5:
            self._on = True
        elif self._inside_C > 21.5:
            self._on = False
        power = self._RATED_W if self._on else 0.0
        outside_C = 8 + 5 * math.cos(math.radians(15 * (hour - 15)))
        heat_W = self._COEFFICIENT * power - self._LOSS_W_K * (self._inside_C - outside_C)
        self._inside_C += heat_W * _STEP_H / self._CAPACITY_WH_K
        return power


class Boiler:
    """A heating rod behind a relay. It uses solar surplus, and also grid power while the water is cold."""

    RATED_W = 2000.0
    _FULL_WH = 8000.0
    _COLD_WH = 2000.0
    _DRAIN_W = 250.0

    def __init__(self, seed: int) -> None:
        self._stored_Wh = random_generator(seed, "boiler").uniform(3000, 4500)
        self._on = False

    def step(self, surplus_W: float) -> float:
        """`surplus_W` is the solar power minus the power of the other loads."""
        enough = 500.0 if self._on else self.RATED_W
        needed = self._COLD_WH + (500.0 if self._on else 0.0)
        room = self._stored_Wh < self._FULL_WH - (0.0 if self._on else 1000.0)
        self._on = room and (surplus_W > enough or self._stored_Wh < needed)
        power = self.RATED_W if self._on else 0.0
        self._stored_Wh = max(0.0, self._stored_Wh + (power - self._DRAIN_W) * _STEP_H)
        return power


class Charger:
    """A charger at which a car arrives twice a day.

    While the car charges, the power is 7360 W from 17:00 to midnight. At other times it is the solar surplus, but at
    least 1380 W and at most 11,040 W. The power is rounded down to a multiple of 230 W: one ampere on one phase.
    """

    _MINIMUM_W = 1380.0
    _MAXIMUM_W = 11_040.0
    _EVENING_W = 7360.0
    _PER_AMPERE_W = 230.0

    def __init__(self, seed: int) -> None:
        self._random = random_generator(seed, "charger")
        self._day = -1
        self._arrivals: list[tuple[float, float]] = []
        self._needed_Wh = 0.0

    def step(self, day: int, hour: float, surplus_W: float) -> float:
        """`day` is the number of the local day. `surplus_W` is the solar power minus the power of the household and the
        heat pump."""
        if day != self._day:
            self._day = day
            self._arrivals = [
                (9 + self._random.uniform(0, 0.3), self._random.uniform(4000, 9000)),
                (17.5 + self._random.uniform(0, 2), self._random.uniform(8000, 25_000)),
            ]
        while self._arrivals and hour >= self._arrivals[0][0]:
            self._needed_Wh = self._arrivals.pop(0)[1]
        if self._needed_Wh <= 0:
            return 0.0
        wanted = self._EVENING_W if hour >= 17 else min(self._MAXIMUM_W, max(self._MINIMUM_W, surplus_W))
        power = self._PER_AMPERE_W * math.floor(wanted / self._PER_AMPERE_W)
        self._needed_Wh -= power * _STEP_H
        return power
