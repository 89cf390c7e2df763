"""A node as the receiver knows it: one id, one type, and how its readings become those of its type. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from drivers.model import Kind, NodeType, Quantity, Reading


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the site. A hybrid inverter is several nodes behind one device."""

    node_id: str
    type: NodeType
    kind: Kind
    of_hybrid: bool = False
    """Takes only the readings marked with its type."""
    push: bool = True
    invert: bool = False
    when_offline: Literal["missing", "zero"] = "missing"
    nominal_power_W: float | None = None
    energy_capacity_Wh: float | None = None


_LOADS = frozenset({NodeType.HEAT_PUMP, NodeType.SWITCHED_LOAD, NodeType.VARIABLE_POWER_LOAD})

# Which kinds of device can stand for which nodes. A meter can measure anything.
_POSSIBLE: dict[Kind, frozenset[NodeType]] = {
    Kind.METER: frozenset(NodeType),
    Kind.INVERTER: frozenset({NodeType.SOLAR}),
    Kind.BATTERY: frozenset({NodeType.STORAGE}),
    Kind.HYBRID: frozenset({NodeType.GRID, NodeType.SOLAR, NodeType.STORAGE}),
    Kind.HEAT_PUMP: frozenset({NodeType.HEAT_PUMP}),
    Kind.CHARGER: frozenset({NodeType.VARIABLE_POWER_LOAD}),
    Kind.RELAY: _LOADS,
}

_POSITIVE = {
    NodeType.GRID: "import",
    NodeType.SOLAR: "production",
    NodeType.STORAGE: "charge",
    NodeType.HEAT_PUMP: "consumption",
    NodeType.SWITCHED_LOAD: "consumption",
    NodeType.VARIABLE_POWER_LOAD: "consumption",
}

# What a meter's two counters are on a node of each type: (imported, exported).
_METER_COUNTERS = {
    NodeType.SOLAR: (Quantity.CONSUMED_ENERGY, Quantity.PRODUCED_ENERGY),
    NodeType.STORAGE: (Quantity.CHARGED_ENERGY, Quantity.DISCHARGED_ENERGY),
    NodeType.HEAT_PUMP: (Quantity.CONSUMED_ENERGY, Quantity.PRODUCED_ENERGY),
    NodeType.SWITCHED_LOAD: (Quantity.CONSUMED_ENERGY, Quantity.PRODUCED_ENERGY),
    NodeType.VARIABLE_POWER_LOAD: (Quantity.CONSUMED_ENERGY, Quantity.PRODUCED_ENERGY),
}

_MIRRORED = {
    Quantity.IMPORTED_ENERGY: Quantity.EXPORTED_ENERGY,
    Quantity.EXPORTED_ENERGY: Quantity.IMPORTED_ENERGY,
    Quantity.CHARGED_ENERGY: Quantity.DISCHARGED_ENERGY,
    Quantity.DISCHARGED_ENERGY: Quantity.CHARGED_ENERGY,
    Quantity.TODAY_IMPORTED_ENERGY: Quantity.TODAY_EXPORTED_ENERGY,
    Quantity.TODAY_EXPORTED_ENERGY: Quantity.TODAY_IMPORTED_ENERGY,
    Quantity.TODAY_CHARGED_ENERGY: Quantity.TODAY_DISCHARGED_ENERGY,
    Quantity.TODAY_DISCHARGED_ENERGY: Quantity.TODAY_CHARGED_ENERGY,
}

_SIGNED = frozenset({Quantity.ACTIVE_POWER, Quantity.CURRENT, Quantity.REACTIVE_POWER, Quantity.POWER_FACTOR})


def why_not(kind: Kind, type_: NodeType) -> str | None:
    """Why a device of that kind cannot be a node of that type; None when it can."""
    if type_ in _POSSIBLE[kind]:
        return None
    possible = ", ".join(each for each in NodeType if each in _POSSIBLE[kind])
    return f"a device of kind {kind} cannot be {type_!s}; it can be {possible}"


def sign_in_words(node: Node) -> str:
    """The sign that the node's power gets, for people."""
    words = f"positive is {_POSITIVE[node.type]}"
    if _is_turned(node):
        words += ", the device's import counts as negative"
    return words + (" (inverted)" if node.invert else "")


def readings_of(node: Node, readings: Iterable[Reading]) -> Iterator[Reading]:
    """The readings of a scan that belong to `node`, in the sign and the counters of its type."""
    turned = _is_turned(node) != node.invert
    meter = _METER_COUNTERS.get(node.type) if node.kind is Kind.METER else None
    for reading in readings:
        if node.of_hybrid and reading.node is not node.type:
            continue
        quantity = reading.quantity
        if node.invert:
            quantity = _MIRRORED.get(quantity, quantity)
        if meter is not None and quantity is Quantity.IMPORTED_ENERGY:
            quantity = meter[0]
        elif meter is not None and quantity is Quantity.EXPORTED_ENERGY:
            quantity = meter[1]
        if turned and quantity in _SIGNED and isinstance(reading.value, float):
            yield reading._replace(quantity=quantity, value=-reading.value)
        elif quantity is not reading.quantity:
            yield reading._replace(quantity=quantity)
        else:
            yield reading


def _is_turned(node: Node) -> bool:
    """A meter reads import as positive; what a solar feeder exports is production."""
    return node.kind is Kind.METER and node.type is NodeType.SOLAR
