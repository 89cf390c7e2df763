"""`drivers check`: describes a profile, names missing quantities, and shows the values that it reads from a dump."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping

from agent.commissioning.describe import number, table
from agent.commissioning.plausibility import possible
from drivers.catalogue import driver_of
from drivers.driver import ReadOptions
from drivers.dump import Dump, reading_name
from drivers.errors import DriverError
from drivers.model import Kind, NodeType, Quality, Quantity, Reading
from drivers.profile import Point, Profile, RegisterDriver

# Kind of a device, or type of a node of a hybrid → the quantities that the profile should have.
_WANTED: Mapping[Kind | NodeType, tuple[Quantity, ...]] = {
    Kind.METER: (Quantity.ACTIVE_POWER, Quantity.IMPORTED_ENERGY),
    Kind.INVERTER: (Quantity.ACTIVE_POWER, Quantity.PRODUCED_ENERGY),
    Kind.BATTERY: (Quantity.ACTIVE_POWER, Quantity.SOC),
    Kind.HEAT_PUMP: (Quantity.ACTIVE_POWER,),
    Kind.CHARGER: (Quantity.ACTIVE_POWER,),
    Kind.RELAY: (Quantity.ON,),
    NodeType.GRID: (Quantity.ACTIVE_POWER,),
    NodeType.SOLAR: (Quantity.ACTIVE_POWER, Quantity.PRODUCED_ENERGY),
    NodeType.STORAGE: (Quantity.ACTIVE_POWER, Quantity.SOC),
}


def summary(profile: Profile) -> str:
    """Return as text the numbers of points and requests of a poll, or the Python driver that the profile names."""
    if profile.driver is not None:
        return f"read by driver {profile.driver}"
    blocks = RegisterDriver(profile, ReadOptions()).blocks
    return f"{len(profile.points)} points in {len(blocks)} requests"


def advice(profile: Profile) -> Iterator[str]:
    """Yield a line for each quantity of `_WANTED` that the profile lacks, and a line if it has no [identify].

    A quantity with a substitute (`_gives`) gets no line. A profile that names a Python driver gets no line at all.
    """
    for kind_or_node in () if profile.driver else sorted(profile.nodes) or (profile.kind,):
        points = [point for point in profile.points if point.node in (None, kind_or_node)]
        for quantity in _WANTED.get(kind_or_node, ()):
            if not any(_gives(point, quantity) for point in points):
                yield f"{kind_or_node}: has no {quantity.value}; the fields that need it are omitted"
    if profile.driver is None and profile.identify is None:
        yield "has no [identify]; `scan` cannot recognise the device"


def _gives(point: Point, quantity: Quantity) -> bool:
    return quantity in (point.quantity, _SUBSTITUTES.get(point.quantity)) or (
        quantity is Quantity.ACTIVE_POWER and point.quantity in (Quantity.ON, Quantity.OPERATION_MODE)
    )


# Quantity → the quantity of `_WANTED` that it replaces.
_SUBSTITUTES = {
    Quantity.TODAY_IMPORTED_ENERGY: Quantity.IMPORTED_ENERGY,
    Quantity.TODAY_PRODUCED_ENERGY: Quantity.PRODUCED_ENERGY,
    Quantity.ENERGY_STORED: Quantity.SOC,
}


def show(profile: Profile, dump: Dump) -> str | None:
    """Print the values that the profile reads from the dump.

    Return a line if values are in doubt, or if the profile cannot read the dump; otherwise None.
    """
    try:
        scan = asyncio.run(driver_of(profile, ReadOptions()).poll(dump, lambda: 0.0))
    except DriverError as error:
        return f"reads nothing from the dump: {error}"
    expected = dump.about.get("expected")
    rows, wrong = [], []
    for reading in scan.readings:
        remark = _remark(reading, expected if isinstance(expected, dict) else {})
        if remark:
            wrong.append(reading_name(reading))
        rows.append(
            (reading_name(reading), _shown(reading), reading.quantity.unit.value, _places(profile, reading), remark)
        )
    table("Values", ("quantity", "value", "unit", "registers", "remark"), rows)
    return f"{len(wrong)} of {len(rows)} values are in doubt: {', '.join(wrong)}" if wrong else None


def _remark(reading: Reading, expected: Mapping[str, object]) -> str:
    name = reading_name(reading)
    if reading.quality is Quality.MISSING:
        known = name in expected and expected[name] is None
        return "" if known else "not in the dump, or not available"
    if not possible(reading):
        return "impossible value"
    wanted = expected.get(name, reading.value)
    if isinstance(wanted, int | float) and isinstance(reading.value, float):
        return "" if abs(wanted - reading.value) <= 1e-6 * max(1.0, abs(wanted)) else f"expected {wanted:g}"
    return "" if wanted == reading.value else f"expected {wanted}"


def _shown(reading: Reading) -> str:
    return reading.quality.value if reading.value is None else number(reading.value)


def _places(profile: Profile, reading: Reading) -> str:
    points = [point for point in profile.points if point.node is reading.node and point.quantity is reading.quantity]
    exact = [point for point in points if point.phase is reading.phase] or points
    return " + ".join(point.where for point in exact)
