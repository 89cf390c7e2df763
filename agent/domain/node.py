"""A node: one id at the endpoint, of one type, and how it uses the readings of its device. Pure.

Readings have the sign of their device (`drivers.model`). The power of a meter is positive if it flows into the
installation behind the meter. `use_of` gives the counters of a meter other names, unless the node has the type grid. If
the meter is on a solar node, `use_of` inverts the sign of the power. The table shows what the power and the counters of
a meter mean on each node:

    node           positive power of the meter   imported energy   exported energy
    grid           import                        imported          exported
    solar          negative production           consumed          produced
    storage        charge                        charged           discharged
    loads          consumption                   consumed          produced
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from drivers.model import LOADS, Kind, NodeType, Quantity, Resolution

MAX_ID = 1000
"""Maximum characters of the id of a site or a node. Endpoints rely on this limit."""

WhenOffline = Literal["missing", "zero", "sleep"]
"""What a node reports while its device does not answer and its last readings are stale.

- `missing`: nothing.
- `zero`: 0 W and unchanged counters. If the device answers, but its power is missing, the node reports the same.
- `sleep`: as `zero` while the device may be asleep (`agent.domain.sleep`), otherwise as `missing`.
"""


@dataclass(frozen=True, slots=True)
class Node:
    """One node of the site."""

    node_id: str
    type: NodeType
    kind: Kind
    of_hybrid: bool = False
    """Whether the driver feeds several nodes. This node then uses only readings whose `Reading.node` is its type."""
    push: bool = True
    """Whether messages and totals contain this node."""
    within: str | None = None
    """Id of another node whose meter also measures this node; None if there is none. `counted_in` decides whether the
    total includes this node."""
    invert: bool = False
    """Whether power is inverted, and the counters of the two directions are exchanged, for example because a meter is
    wired the other way round."""
    when_offline: WhenOffline = "missing"
    stale_after_s: float | None = None
    """The age in seconds after which a reading is not used; None means `poll.stale_after_s`."""
    nominal_power_W: float | None = None
    """The power while the device is on, for a device that reports only a state; None if unknown."""
    energy_capacity_Wh: float | None = None
    """The capacity of a battery that does not report its capacity; None if unknown."""
    limits: Mapping[Quantity, tuple[float, float]] = field(default_factory=dict, hash=False)
    """Quantity → (lowest, highest), in the sign of the device. Other quantities have the limits of
    `agent.domain.ranges`."""
    resolutions: Mapping[Quantity, Resolution] = field(default_factory=dict, hash=False)
    """Quantity of the node → resolution of its register, if the driver knows it."""

    @property
    def counted(self) -> bool:
        """Whether the total of its type includes this node, if the endpoint gets all nodes.

        If the endpoint gets only some nodes, use `counted_in`.
        """
        return self.push and self.within is None


class ReadingUse(NamedTuple):
    """How a node uses a reading: as which quantity, and multiplied by which sign (1 or -1)."""

    quantity: Quantity
    sign: float


# Type → words for positive and negative power.
_DIRECTIONS = {
    NodeType.GRID: ("import", "export"),
    NodeType.SOLAR: ("production", "own consumption"),
    NodeType.STORAGE: ("charge", "discharge"),
    NodeType.HEAT_PUMP: ("consumption", "generation"),
    NodeType.SWITCHED_LOAD: ("consumption", "generation"),
    NodeType.VARIABLE_POWER_LOAD: ("consumption", "generation"),
}

SIGNED = frozenset({Quantity.ACTIVE_POWER, Quantity.REACTIVE_POWER})
"""The quantities whose sign depends on the direction of power."""


def _renamed(imported: str, exported: str) -> dict[Quantity, Quantity]:
    """Return counter of a meter → counter with another name, such as imported_energy → consumed_energy."""
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
# Counter → the counter of the other direction, for `invert`.
_MIRRORED = _renamed("exported", "imported") | {
    Quantity.CHARGED_ENERGY: Quantity.DISCHARGED_ENERGY,
    Quantity.DISCHARGED_ENERGY: Quantity.CHARGED_ENERGY,
    Quantity.TODAY_CHARGED_ENERGY: Quantity.TODAY_DISCHARGED_ENERGY,
    Quantity.TODAY_DISCHARGED_ENERGY: Quantity.TODAY_CHARGED_ENERGY,
}


def use_of(node: Node, quantity: Quantity, marked: NodeType | None) -> ReadingUse | None:
    """Return how the node uses a reading of its device; None if it does not use the reading (`Node.of_hybrid`).

    `marked` is the type of node that the driver gave to the reading (`Reading.node`); None if it gave none.
    """
    if node.of_hybrid and marked is not node.type:
        return None
    as_meter = node.kind is Kind.METER and not node.of_hybrid
    if node.invert:
        quantity = _MIRRORED.get(quantity, quantity)
    turned = node.invert != (as_meter and node.type is NodeType.SOLAR)
    sign = -1.0 if turned and quantity in SIGNED else 1.0
    return ReadingUse(_AS_METER[node.type].get(quantity, quantity) if as_meter else quantity, sign)


def why_unfit(kind: Kind, type_: NodeType) -> str | None:
    """Return why a device of this kind cannot be a node of this type; None if it can."""
    if type_ in kind.nodes:
        return None
    return f"a device of kind {kind} cannot be {type_!s}; it can be {_listed(kind.nodes)}"


def _listed(types: frozenset[NodeType]) -> str:
    return ", ".join(type_ for type_ in NodeType if type_ in types)


def direction(type_: NodeType, power_W: float) -> str:
    """Return the direction of a power as text, such as `import`; empty for 0."""
    positive, negative = _DIRECTIONS[type_]
    return positive if power_W > 0 else negative if power_W < 0 else ""


def sign_in_words(node: Node, push_sign: int = 1) -> str:
    """Return as text what the sign of the node's power means in messages.

    `push_sign` is the value for its type in [push.sign], 1 or -1.
    """
    positive, negative = _DIRECTIONS[node.type][::push_sign]
    words = f"{positive} is sent as positive, {negative} as negative"
    if push_sign == -1:
        words += f" (push.sign.{node.type} = -1)"
    if node.kind is Kind.METER and (node.invert or node.type is NodeType.SOLAR):
        counted = "import" if node.invert == (node.type is NodeType.SOLAR) else "export"
        words += f"; what the meter counts as {counted} is {_DIRECTIONS[node.type][0]}"
    return words + (" (invert = true)" if node.invert else "")


def counted_in(nodes: Sequence[Node], chosen: Collection[str]) -> set[str]:
    """Return the ids of the nodes that the totals include, if only the nodes with the ids `chosen` are sent.

    A node behind the meters of other nodes is included only if none of these other nodes is sent.
    """
    by_id = {node.node_id: node for node in nodes}
    sent = {node.node_id for node in nodes if node.push and node.node_id in chosen}
    return {node_id for node_id in sent if sent.isdisjoint(_outer_ids(by_id[node_id], by_id))}


def _outer_ids(node: Node, by_id: dict[str, Node]) -> set[str]:
    """Return the ids of the other nodes whose meters also measure this node. `within` must not lead in a circle."""
    found: set[str] = set()
    within = node.within
    while within in by_id:
        found.add(within)
        within = by_id[within].within
    return found


def nesting_mistakes(nodes: Sequence[Node]) -> Iterator[tuple[str, str]]:
    """Yield (node id, rule) for each wrong `within`."""
    by_id = {node.node_id: node for node in nodes}
    for node in nodes:
        if node.within is None:
            continue
        outer = by_id.get(node.within)
        if outer is None:
            yield node.node_id, f"no enabled node is named {node.within!r}"
        elif outer.type is not node.type:
            yield (
                node.node_id,
                f"{node.within!r} is {outer.type}; only a node of the same type can measure this one as well",
            )
        elif not _outermost(node, by_id).counted:
            yield node.node_id, f"the total does not include {node.within!r}; name a node that it includes"


def _outermost(node: Node, by_id: dict[str, Node]) -> Node:
    """Follow `within` from node to node, and return the last node. In a circle, stop at a node that comes up again."""
    seen = set()
    while node.within in by_id and node.node_id not in seen:
        seen.add(node.node_id)
        node = by_id[node.within]
    return node


def doubts(nodes: Sequence[Node]) -> Iterator[str]:
    """Yield one sentence about each setting of the nodes that is allowed but probably a mistake."""
    meters = [node.node_id for node in nodes if node.type is NodeType.GRID and node.counted]
    if len(meters) > 1:
        yield (
            f"{' and '.join(meters)} are summed as grid; if one of them measures the other too, "
            'give the inner one within = "…"'
        )
    for node in nodes:
        if node.kind is Kind.RELAY and node.nominal_power_W is None:
            yield f"{node.node_id} reports only a state; without nominal_power_W it has no power"
