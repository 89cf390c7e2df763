"""A node as the receiver knows it: one id, one type, and what a device's readings are to it. Pure.

Readings come in the sign of their device (`drivers.model`). A meter counts what flows into the installation behind it;
on a node of another type its power and its counters are renamed and turned by `_AS_METER`:

    node           positive power of the meter   imported energy   exported energy
    grid           import                        imported          exported
    solar          negative production           consumed          produced
    storage        charge                        charged           discharged
    loads          consumption                   consumed          produced
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from drivers.model import LOADS, Kind, NodeType, Quantity

WhenOffline = Literal["missing", "zero", "sleep"]
"""What silence is: no value; 0 W and counters that hold; that only while it can be night (`agent.domain.sleep`)."""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the site. A hybrid inverter is several nodes behind one device."""

    node_id: str
    type: NodeType
    kind: Kind
    of_hybrid: bool = False
    """Takes only the readings marked with its type: its driver can fill several nodes."""
    push: bool = True
    within: str | None = None
    """Id of the node that measures this one too: it is sent as a device, but adds nothing to the total of its type."""
    invert: bool = False
    when_offline: WhenOffline = "missing"
    nominal_power_W: float | None = None
    energy_capacity_Wh: float | None = None
    limits: Mapping[Quantity, tuple[float, float]] = field(default_factory=dict, hash=False)
    """What the device can read, in its own sign; `agent.domain.ranges` has the rest."""

    @property
    def counted(self) -> bool:
        """Whether it is a member of the total of its type."""
        return self.push and self.within is None


class Use(NamedTuple):
    """What a reading is to a node."""

    quantity: Quantity
    sign: float


# (positive, negative) power of a node in words.
_DIRECTIONS = {
    NodeType.GRID: ("import", "export"),
    NodeType.SOLAR: ("production", "own consumption"),
    NodeType.STORAGE: ("charge", "discharge"),
    NodeType.HEAT_PUMP: ("consumption", "generation"),
    NodeType.SWITCHED_LOAD: ("consumption", "generation"),
    NodeType.VARIABLE_POWER_LOAD: ("consumption", "generation"),
}

SIGNED = frozenset({Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER})
"""What is turned around with the direction of a node."""


def _renamed(imported: str, exported: str) -> dict[Quantity, Quantity]:
    names = {"imported": imported, "exported": exported}
    return {
        Quantity(f"{day}{old}_energy"): Quantity(f"{day}{new}_energy")  # type: ignore[call-arg]  # __new__ takes three
        for day in ("", "today_")
        for old, new in names.items()
    }


_AS_LOAD = _renamed("consumed", "produced")
_AS_METER: dict[NodeType, dict[Quantity, Quantity]] = {
    NodeType.GRID: {},
    NodeType.SOLAR: _AS_LOAD,
    NodeType.STORAGE: _renamed("charged", "discharged"),
    **dict.fromkeys(LOADS, _AS_LOAD),
}
_MIRRORED = _renamed("exported", "imported") | {
    Quantity.CHARGED_ENERGY: Quantity.DISCHARGED_ENERGY,
    Quantity.DISCHARGED_ENERGY: Quantity.CHARGED_ENERGY,
    Quantity.TODAY_CHARGED_ENERGY: Quantity.TODAY_DISCHARGED_ENERGY,
    Quantity.TODAY_DISCHARGED_ENERGY: Quantity.TODAY_CHARGED_ENERGY,
}


def use_of(node: Node, quantity: Quantity, marked: NodeType | None) -> Use | None:
    """What a reading of the node's device is to the node; None when it belongs to another one.

    `marked` is the node that the driver named (`Reading.node`).
    """
    if node.of_hybrid and marked is not node.type:
        return None
    as_meter = node.kind is Kind.METER and not node.of_hybrid
    if node.invert:
        quantity = _MIRRORED.get(quantity, quantity)
    turned = node.invert != (as_meter and node.type is NodeType.SOLAR)
    sign = -1.0 if turned and quantity in SIGNED else 1.0
    return Use(_AS_METER[node.type].get(quantity, quantity) if as_meter else quantity, sign)


def why_unfit(kind: Kind, type_: NodeType) -> str | None:
    """Why a device of that kind cannot be a node of that type; None when it can."""
    if type_ in kind.nodes:
        return None
    return f"a device of kind {kind} cannot be {type_!s}; it can be {_listed(kind.nodes)}"


def _listed(types: frozenset[NodeType]) -> str:
    return ", ".join(type_ for type_ in NodeType if type_ in types)


def direction(type_: NodeType, power_W: float) -> str:
    """Which way a power goes, in a word; none for 0."""
    positive, negative = _DIRECTIONS[type_]
    return positive if power_W > 0 else negative if power_W < 0 else ""


def sign_in_words(node: Node, push_sign: int = 1) -> str:
    """The sign that the node's power is sent with, for people; `push_sign` is that of its group in [push.sign]."""
    positive, negative = _DIRECTIONS[node.type][::push_sign]
    words = f"{positive} is sent as positive, {negative} as negative"
    if push_sign == -1:
        words += f" (push.sign.{node.type} = -1)"
    if node.kind is Kind.METER and (node.invert or node.type is NodeType.SOLAR):
        counted = "import" if node.invert == (node.type is NodeType.SOLAR) else "export"
        words += f"; what the meter counts as {counted} is {_DIRECTIONS[node.type][0]}"
    return words + (" (invert = true)" if node.invert else "")


def nesting_mistakes(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """(node id, rule) for each `within` that cannot be meant."""
    by_id = {node.node_id: node for node in nodes}
    for node in nodes:
        if node.within is None:
            continue
        outer = by_id.get(node.within)
        if outer is None:
            yield node.node_id, f"no enabled node is named {node.within!r}"
        elif outer.type is not node.type:
            yield node.node_id, f"{node.within!r} is {outer.type}; only nodes of one type are counted twice"
        elif not _outermost(node, by_id).counted:
            yield node.node_id, f"{node.within!r} is not counted itself, so that neither would be"


def _outermost(node: Node, by_id: dict[str, Node]) -> Node:
    """The node that is within no other, or the last before the chain ends or turns in a circle."""
    seen = set()
    while node.within in by_id and node.node_id not in seen:
        seen.add(node.node_id)
        node = by_id[node.within]
    return node


def doubts(nodes: Sequence[Node]) -> Iterator[str]:
    """What is allowed but seldom meant, a sentence each, for `check`."""
    meters = [node.node_id for node in nodes if node.type is NodeType.GRID and node.counted]
    if len(meters) > 1:
        yield (
            f"{' and '.join(meters)} are summed as grid; if one of them measures the other too, "
            'give the inner one within = "…"'
        )
    for node in nodes:
        if node.kind is Kind.RELAY and node.nominal_power_W is None:
            yield f"{node.node_id} reports only a state; without nominal_power_W it has no power"
