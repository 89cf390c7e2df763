"""The whole table of SunSpec points against the units and the labels in pysunspec2's definitions of the models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

from drivers.model import Phase, Quantity, Unit
from drivers.sunspec.mapping import BATTERIES, CHANNELS, INVERTERS, METERS, STATUS, STORAGE_DETAILS
from tests.support.cases import for_each

UNITS = {
    "W": Unit.W, "VA": Unit.VA, "var": Unit.VAR, "Var": Unit.VAR, "Wh": Unit.WH, "WH": Unit.WH, "V": Unit.V,
    "A": Unit.A, "Hz": Unit.HZ, "C": Unit.CELSIUS, "Pct": Unit.PERCENT, "%": Unit.PERCENT, "% AhrRtg": Unit.PERCENT,
    "%WHRtg": Unit.PERCENT, "": Unit.NONE,
}  # fmt: skip
OF_DC = frozenset({Quantity.DC_POWER, Quantity.DC_VOLTAGE, Quantity.DC_CURRENT})
ENDS = {Phase.L1: ("A", "1"), Phase.L2: ("B", "2"), Phase.L3: ("C", "3")}


def points(group: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The points of a model and of the groups in it."""
    yield from group.get("points", [])
    for each in group.get("groups", []):
        yield from points(each)


def rules() -> Iterator[tuple[int, str, Quantity, Phase | None]]:
    for table in (INVERTERS, METERS, BATTERIES, STORAGE_DETAILS, STATUS):
        for model, of_model in table.items():
            for rule in of_model:
                yield model, rule.point, rule.quantity, rule.phase
    for model, inputs in CHANNELS.items():
        for each in inputs:
            yield model, each.point, each.quantity, None


@for_each(("model", "name", "quantity", "phase"), sorted(set(rules()), key=str))
def test_a_point_is_a_quantity_of_its_unit_and_phase(
    model: int, name: str, quantity: Quantity, phase: Phase | None
) -> None:
    content = json.loads((files("sunspec2") / "models" / "json" / f"model_{model}.json").read_text())
    units = {UNITS[point.get("units", "")] for point in points(content["group"]) if point["name"] == name}
    assert units == {quantity.unit}
    if phase is None:
        assert not name.startswith(("Aph", "PhVph", "Wph", "AL", "VL", "WL"))
    else:
        assert name.endswith(ENDS[phase])
    if quantity in (Quantity.IMPORTED_ENERGY, Quantity.EXPORTED_ENERGY):
        assert name.removeprefix("TotWh") == quantity.value[:3].capitalize()
    if quantity.unit in (Unit.V, Unit.A) and model not in (124, 802):  # all of a battery is DC
        assert (quantity in OF_DC) == name.startswith("DC")
