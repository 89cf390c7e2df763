"""A SolarEdge inverter with batteries. The batteries have registers outside SunSpec (profile `solaredge-storedge`).

Only these registers give the readings of the storage node. SunSpec models with storage points are not used, nor models
160 and 714, which list the DC inputs, because they may be a second reading of the same battery.

If a battery does not exist, the inverter refuses the registers of this battery, or reports no power in them.

The power of the inverter includes the power of its batteries. At night it is only battery power. So these rules apply
after the inverter reported the power of a battery for the first time (even 0 W):

- Solar power is the inverter's DC power plus charge power (evcc, template solaredge-hybrid). If the DC power is not
  known, it is AC power plus charge power.
- The other quantities that include the batteries are omitted (`MIXED`). For example, the lifetime counter of the
  inverter counts energy from the batteries as production.
- If the inverter reports the powers of fewer batteries than before, solar power and battery power are missing.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from math import fsum

from drivers.driver import LinkDefaults, Reader, ReadOptions
from drivers.errors import IllegalRangeError
from drivers.model import NodeType, Quality, Quantity, Reading, Scan, Unit
from drivers.profile import BUILT_IN, RegisterDriver, load
from drivers.registers import Recheck
from drivers.sunspec.driver import SunSpec
from drivers.sunspec.layout import MIXED
from drivers.sunspec.mapping import COMMON, INVERTERS, METERS, STATUS
from drivers.sunspec.models import Model, of

SOLAR, STORAGE = NodeType.SOLAR, NodeType.STORAGE
POWER = Quantity.ACTIVE_POWER


class SolarEdge(SunSpec):
    """A `drivers.driver.Driver`: grid and solar by SunSpec, storage by SolarEdge's own registers."""

    _wants = "inverter or meter model"

    def __init__(self, options: ReadOptions, defaults: LinkDefaults | None = None) -> None:
        super().__init__(options, defaults)
        profile = load(BUILT_IN / "solaredge-storedge.toml")
        own = replace(options, word_order=None)  # the batteries do not use the word order of SunSpec
        self._batteries = [_Battery(RegisterDriver(profile.channel(number), own)) for number in ("1", "2")]
        self._seen = 0
        """The largest number of batteries that reported a power in one poll."""

    @property
    def nodes(self) -> frozenset[NodeType]:
        return super().nodes | {STORAGE}

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan:
        scan = await super().poll(reader, now)
        answers = [answer for each in self._batteries if (answer := await each.poll(reader, now))]
        with_power = [values for answer in answers if (values := _by_quantity(answer))[POWER].quality is Quality.GOOD]
        self._seen = max(self._seen, len(with_power))
        storage = _storage(with_power, complete=len(with_power) == self._seen, at=now())
        solar_and_grid = _with_panel_power(scan.readings, storage[0]) if self._seen else scan.readings
        return Scan(
            readings=tuple(filter(self._wanted, (*solar_and_grid, *storage))),
            started=scan.started,
            finished=now(),
            errors=(*scan.errors, *(error for answer in answers for error in answer.errors)),
            requests=scan.requests + sum(answer.requests for answer in answers),
        )

    def _used(self, models: Collection[Model]) -> tuple[Model, ...]:
        return tuple(of(super()._used(models), COMMON, *INVERTERS, *STATUS, *METERS))


class _Battery:
    """A battery that may not exist.

    If the device refuses all registers of the battery with exception 2 or 3, they are not read for `RECHECK_FIRST_S`
    (`drivers.registers.refusals`).
    """

    def __init__(self, registers: RegisterDriver) -> None:
        self._registers = registers
        self._recheck = Recheck()

    async def poll(self, reader: Reader, now: Callable[[], float]) -> Scan | None:
        """Return the readings; None if the device refuses all registers, or did so less than `RECHECK_FIRST_S` ago."""
        if self._recheck.is_valid(now()):
            return None
        try:
            return await self._registers.poll(reader, now)
        except IllegalRangeError:
            self._recheck.start(now())
            return None


def _by_quantity(scan: Scan) -> dict[Quantity, Reading]:
    return {reading.quantity: reading for reading in scan.readings}


def _storage(batteries: Sequence[Mapping[Quantity, Reading]], *, complete: bool, at: float) -> tuple[Reading, ...]:
    """Return the readings of all batteries as one storage node, power first.

    `complete`: whether as many batteries report a power now as ever before in one poll. If not, or if there is no
    battery, the power is missing and the other readings are omitted.
    """
    if not (batteries and complete):
        return (Reading(POWER, None, None, Quality.MISSING, at, STORAGE),)
    order = sorted(batteries[0], key=lambda quantity: quantity is not POWER)
    return tuple(_combined(quantity, batteries) for quantity in order)


def _combined(quantity: Quantity, batteries: Sequence[Mapping[Quantity, Reading]]) -> Reading:
    """Combine a quantity of all batteries: the sum, or for a percentage the mean, weighted by capacity.

    If a capacity is not known, the mean is arithmetic. If a reading is not GOOD, the first such reading is the result.
    """
    parts = [battery[quantity] for battery in batteries]
    worst = next((part for part in parts if part.quality is not Quality.GOOD), parts[0])
    if worst.quality is not Quality.GOOD:
        return worst._replace(node=STORAGE)
    weights = [1.0] * len(parts)
    if quantity.unit is Unit.PERCENT:
        capacities = [battery[Quantity.ENERGY_CAPACITY].value for battery in batteries]
        known = [each for each in capacities if isinstance(each, float) and each > 0]
        total = fsum(known) if len(known) == len(parts) else 0.0
        weights = [each / total for each in known] if total else [1 / len(parts)] * len(parts)
    shares = (part.value * weight for part, weight in zip(parts, weights, strict=True) if isinstance(part.value, float))
    return worst._replace(value=fsum(shares), at=min(part.at for part in parts), node=STORAGE)


def _with_panel_power(readings: Sequence[Reading], charge: Reading) -> Iterator[Reading]:
    """Yield the readings without the quantities that include the batteries, and the power of the panels."""
    solar = {r.quantity: r for r in readings if r.node is SOLAR and r.phase is None}
    yield from (r for r in readings if r.node is not SOLAR or r.quantity not in MIXED)
    known = [r for q in (Quantity.DC_POWER, POWER) if (r := solar.get(q)) and r.quality is Quality.GOOD]
    if POWER in solar:
        yield _panel_power(known[0] if known else solar[POWER], charge)


def _panel_power(power: Reading, charge: Reading) -> Reading:
    if not (isinstance(power.value, float) and isinstance(charge.value, float)):
        return Reading(POWER, None, None, Quality.MISSING, power.at, SOLAR)
    return Reading(POWER, None, power.value + charge.value, Quality.GOOD, min(power.at, charge.at), SOLAR)
