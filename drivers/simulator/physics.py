"""A simulated site with physics, reproducible by its seed. Pure: time passes only in `SimulatedPlant.advance`.

- At every moment grid = loads + storage - solar. Powers in W, energies in Wh, signs of the payload contract.
- A power changes in steps: every `STEP_S` seconds, and when the battery is full or empty. Counters are exact integrals.
- `advance(60)` has the same result as sixty calls of `advance(1)`.
- The sun follows standard time. The loads follow the local clock, which `clock_changes` sets forward and back.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from drivers.simulator.plants import STEP_S, Boiler, Charger, Household, Roof, SimulatedHeatPump, Sky, random_generator

DAY_S = 86_400.0


class Energy(NamedTuple):
    """Integral of a power, separate for each sign, such as imported and exported energy."""

    positive_Wh: float
    negative_Wh: float


@dataclass(slots=True)
class Flow:
    """The present power of one device, and its lifetime counters."""

    power_W: float = 0.0
    positive_Wh: float = 0.0
    negative_Wh: float = 0.0

    def hold(self, seconds: float) -> None:
        """Add the energy of `seconds` at constant power to the counters."""
        energy = self.power_W * seconds / 3600
        if energy >= 0:
            self.positive_Wh += energy
        else:
            self.negative_Wh -= energy

    @property
    def energy(self) -> Energy:
        return Energy(self.positive_Wh, self.negative_Wh)


@dataclass(slots=True)
class Battery:
    """A battery with limits and losses. It charges if solar power exceeds the loads; otherwise it discharges."""

    stored_Wh: float
    capacity_Wh: float = 10_000.0
    charge_limit_W: float = 4_000.0
    discharge_limit_W: float = 5_000.0
    efficiency: float = 0.95
    """0..1. Applies to charging and to discharging."""

    def power(self, surplus_W: float) -> float:
        """Return the power at the terminals of the battery: positive for charge, negative for discharge.

        `surplus_W` is solar power minus loads.
        """
        if (surplus_W > 0 and self.stored_Wh >= self.capacity_Wh) or (surplus_W < 0 and self.stored_Wh <= 0):
            return 0.0
        return max(-self.discharge_limit_W, min(self.charge_limit_W, surplus_W))

    def lasts(self, power_W: float) -> float:
        """Return the seconds until the battery is full or empty at this power; infinity at 0 W."""
        rate_W = self._rate(power_W)
        if rate_W == 0:
            return math.inf
        left_Wh = (self.capacity_Wh if rate_W > 0 else 0.0) - self.stored_Wh
        return 3600 * left_Wh / rate_W

    def hold(self, power_W: float, seconds: float) -> None:
        """Charge or discharge for `seconds`, which must not be more than `lasts` returns."""
        self.stored_Wh += self._rate(power_W) * seconds / 3600
        # A remaining rounding error would make `advance` take endless small steps.
        for end_Wh in (0.0, self.capacity_Wh):
            if abs(self.stored_Wh - end_Wh) < 1e-6:
                self.stored_Wh = end_Wh

    def _rate(self, power_W: float) -> float:
        return power_W * self.efficiency if power_W > 0 else power_W / self.efficiency


class SimulatedPlant:
    """The whole site.

    - `start_s`: the start, in seconds since the first midnight, without clock changes.
    - `clock_changes`: pairs of a moment (as `start_s`) and the seconds by which the local clock is then set forward.
      With `(7200, 3600)`, day 0 has 23 hours. With `(10800, -3600)`, it has 25 hours.
    - `speed`: simulated seconds per real second. Only a caller with a real clock uses it.

    Raises ValueError if `start_s` is negative or not finite, or if a number in `clock_changes` is not a multiple of
    `STEP_S`.
    """

    def __init__(
        self,
        seed: int = 1,
        start_s: float = 9 * 3600.0,
        speed: float = 1.0,
        clock_changes: Sequence[tuple[float, float]] = (),
    ) -> None:
        if not (math.isfinite(start_s) and start_s >= 0):
            raise ValueError(f"start_s must be 0 or more seconds after midnight (found {start_s})")
        if any(number % STEP_S for change in clock_changes for number in change):
            raise ValueError(f"clock_changes must be multiples of {STEP_S:g} s (found {clock_changes})")
        self.speed = speed
        self.clock_changes = tuple(clock_changes)
        self.now_s = start_s
        """Seconds since the first midnight, without clock changes."""
        self.grid, self.household, self.heat_pump, self.boiler, self.charger = (Flow() for _ in range(5))
        self.pv_south, self.pv_west, self.storage = (Flow() for _ in range(3))
        self.flows = {
            "grid": self.grid,
            "pv_south": self.pv_south,
            "pv_west": self.pv_west,
            "storage": self.storage,
            "household": self.household,
            "heat_pump": self.heat_pump,
            "boiler": self.boiler,
            "charger": self.charger,
        }
        """The flows of all devices and of the household, by name."""
        self.days: list[dict[str, Energy]] = []
        """The true energies of each local day that has ended. On the day of the start, they count from `start_s`."""
        self._sky, self._household = Sky(seed), Household(seed)
        self._heat_pump, self._boiler, self._charger = SimulatedHeatPump(seed), Boiler(seed), Charger(seed)
        self._south = Roof(peak_W=6_600, rated_W=6_000, tilt_deg=35, azimuth_deg=-10)
        self._west = Roof(peak_W=4_000, rated_W=3_680, tilt_deg=25, azimuth_deg=80)
        self._surplus_seen_W = 0.0
        self._age(seed)
        self._midnight = self._energies()
        self._day = self.day
        self._step_end_s = STEP_S * math.floor(start_s / STEP_S)
        self._begin_step()

    @property
    def local_s(self) -> float:
        """Seconds since the first midnight, by the local clock."""
        return self.now_s + sum(forward for when, forward in self.clock_changes if when <= self.now_s)

    @property
    def time_of_day_s(self) -> float:
        """Time of day of the local clock, 0..86400."""
        return self.local_s % DAY_S

    @property
    def day(self) -> int:
        """Number of complete local days since the first midnight."""
        return int(self.local_s // DAY_S)

    @property
    def today(self) -> dict[str, Energy]:
        """The true energies since the last local midnight; on the first day, since the start."""
        return {
            name: Energy(now.positive_Wh - then.positive_Wh, now.negative_Wh - then.negative_Wh)
            for (name, now), then in zip(self._energies().items(), self._midnight.values(), strict=True)
        }

    @property
    def loads(self) -> tuple[Flow, ...]:
        return (self.household, self.heat_pump, self.boiler, self.charger)

    @property
    def solar(self) -> tuple[Flow, ...]:
        return (self.pv_south, self.pv_west)

    @property
    def soc(self) -> float:
        """State of charge of the battery, in per cent."""
        return 100 * self.battery.stored_Wh / self.battery.capacity_Wh

    def advance(self, seconds: float) -> None:
        """Advance the time by `seconds`. Raises ValueError if `seconds` is negative or not finite."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"time cannot pass by {seconds} s")
        end_s = self.now_s + seconds
        while self.now_s < end_s:
            self._hold_until(min(end_s, self._step_end_s, self.now_s + self.battery.lasts(self.storage.power_W)))
            if self.now_s >= self._step_end_s:
                self._begin_step()
            else:
                self._balance()

    def _age(self, seed: int) -> None:
        """Set the counters to the values of a site that is some years old, and charge the battery in part."""
        random = random_generator(seed, "age")
        self.battery = Battery(stored_Wh=random.uniform(2_000, 6_000))
        for flow in (*self.solar, *self.loads, self.storage, self.grid):
            flow.positive_Wh = random.uniform(1e6, 9e6)
        for flow in (self.storage, self.grid):
            flow.negative_Wh = random.uniform(1e6, 9e6)

    def _energies(self) -> dict[str, Energy]:
        return {name: flow.energy for name, flow in self.flows.items()}

    def _hold_until(self, then_s: float) -> None:
        seconds = then_s - self.now_s
        for flow in self.flows.values():
            flow.hold(seconds)
        self.battery.hold(self.storage.power_W, seconds)
        self.now_s = then_s

    def _begin_step(self) -> None:
        self._step_end_s += STEP_S
        if self.day > self._day:
            self.days.append(self.today)
            self._midnight, self._day = self._energies(), self.day
        # The battery reacts to the surplus of the previous step. The difference flows from or to the grid.
        self._surplus_seen_W = self._surplus()
        self._sky.step()
        sun = self._sky.sun(self.now_s % DAY_S / 3600)
        hour = self.time_of_day_s / 3600
        self.pv_south.power_W = self._south.power(sun, self._sky.clearness)
        self.pv_west.power_W = self._west.power(sun, self._sky.clearness)
        self.household.power_W = self._household.step(hour)
        self.heat_pump.power_W = self._heat_pump.step(hour)
        surplus_W = self.pv_south.power_W + self.pv_west.power_W - self.household.power_W - self.heat_pump.power_W
        self.charger.power_W = self._charger.step(self.day, hour, surplus_W)
        self.boiler.power_W = self._boiler.step(surplus_W - self.charger.power_W)
        self._balance()

    def _balance(self) -> None:
        self.storage.power_W = self.battery.power(self._surplus_seen_W)
        self.grid.power_W = self.storage.power_W - self._surplus()

    def _surplus(self) -> float:
        return sum(flow.power_W for flow in self.solar) - sum(flow.power_W for flow in self.loads)
