"""Calculates the fields of the contract from the summaries of nodes: per node, and the total per type. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import fsum
from typing import Any, Literal, NamedTuple

from agent.aggregation.node_summary import NodeSummary
from agent.energy.days import Basis
from drivers.model import NodeType, Quantity

Fields = dict[str, float | list[str]]

DECIMALS = 3
"""Maximum decimals of a number in a message. A sum adds the rounded numbers of the nodes. `mean_soc_perc` is a mean of
numbers that are not rounded."""

# Looked up once: before Python 3.12, access to a member of an Enum is slow.
_POWER, _SOC = Quantity.ACTIVE_POWER, Quantity.SOC
_STORED, _CAPACITY = Quantity.ENERGY_STORED, Quantity.ENERGY_CAPACITY


class NodeResult(NamedTuple):
    """The result of one node for a push."""

    summary: NodeSummary
    fields: Fields
    """The fields of the contract."""
    basis: Basis | None
    """The worst `Basis` of the node's energies of the day; None if the node has no energies of the day."""
    turned: bool
    """Whether [push.sign] inverts the power of the node in `fields`. The power in `summary` is never inverted."""
    counted: bool
    """Whether the total of its type includes this node."""


class Summary(NamedTuple):
    """One push to one endpoint: its Unix second, its nodes, and the group of each type."""

    time: int
    nodes: tuple[NodeResult, ...]
    groups: dict[NodeType, Fields]

    def members(self, type_: NodeType) -> Iterator[NodeResult]:
        """Return the results of the nodes that the total of a type includes."""
        return (each for each in self.nodes if each.counted and each.summary.node.type is type_)


def fields_of(summary: NodeSummary) -> Fields:
    """Return the contract's fields of one node, without its energies of the day."""
    power = summary.chosen(_POWER)
    if power is None:
        power = _assumed_power(summary)
    fields: Fields = {} if power is None else {"active_power_W": power}
    add = _OF_TYPE.get(summary.node.type)
    if add is not None:
        add(fields, summary)
    return fields


def _assumed_power(summary: NodeSummary) -> float | None:
    """Return the power of a node without a power reading, in W; None if it is not known.

    A node that `sleeps` has 0 W. The power of any other node is its nominal power times its state: 1 (on) or 0 (off),
    or the mean of the state over the push interval.
    """
    node = summary.node
    if summary.sleeps:
        return 0.0
    state = _state(summary) if node.nominal_power_W is not None else None
    share = summary.chosen(state) if state is not None else None
    return None if share is None or node.nominal_power_W is None else node.nominal_power_W * share


def _state(summary: NodeSummary) -> Quantity | None:
    """Return the quantity that says whether the node is on or off; None if this is not known."""
    states = (Quantity.OPERATION_MODE, Quantity.ON)
    return next((state for state in states if summary.number(state) is not None), None)


def _add_modes(fields: Fields, summary: NodeSummary) -> None:
    if (state := _state(summary)) is not None:
        fields["operation_modes"] = ["on" if summary.number(state) else "off"]


def _add_storage(fields: Fields, summary: NodeSummary) -> None:
    if summary.offline:
        return
    soc = _percent(summary.number(_SOC))
    stored = summary.number(_STORED)
    capacity = summary.number(_CAPACITY)
    if not capacity:  # 0 Wh means that the device does not know its capacity
        capacity = summary.node.energy_capacity_Wh
    if stored is None and soc is not None and capacity is not None:
        stored = capacity * soc / 100
    if soc is None and stored is not None and capacity:
        soc = _percent(100 * stored / capacity)
    if stored is not None:
        fields["energy_stored_Wh"] = stored
    if capacity is not None:
        fields["energy_capacity_Wh"] = capacity
    if soc is not None:
        fields["mean_soc_perc"] = soc


def _percent(value: float | None) -> float | None:
    return None if value is None else min(100.0, max(0.0, value))


# Type → the function that adds its fields other than power and energies of the day.
_OF_TYPE: dict[NodeType, Callable[[Fields, NodeSummary], None]] = {
    NodeType.STORAGE: _add_storage,
    NodeType.HEAT_PUMP: _add_modes,
}


def total(members: Sequence[Fields], partial: Literal["omit", "sum"]) -> Fields:
    """Return the group of a type; {} without members.

    - `operation_modes` lists the modes of the members that have a mode. A meter at a heat pump has none.
    - `mean_soc_perc` is the mean of the members, every other field their sum. If a member lacks the field, `partial`
      decides: with "omit", the group does not have the field; with "sum", only the other members count.
    """
    if not members:
        return {}
    everyone = partial == "omit"
    # With "omit", a field that the first member lacks is omitted. So the names of the first member are enough.
    names = members[0] if everyone else dict.fromkeys(name for member in members for name in member)
    fields: Fields = {}
    for name in names:
        present: list[Any] = [member[name] for member in members if name in member]
        if name == "operation_modes" or (everyone and len(present) < len(members)):
            continue
        if name == "mean_soc_perc":
            fields[name] = _mean_soc([member for member in members if name in member])
        else:
            fields[name] = fsum([round(value, DECIMALS) for value in present])
    modes: list[str] = []
    for member in members:
        if "operation_modes" in member and isinstance(own := member["operation_modes"], list):
            modes += own
    if modes:
        fields["operation_modes"] = modes
    return fields


def _mean_soc(members: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean state of charge in percent.

    If the capacities of all members are known, the mean is weighted by capacity.
    """
    capacities = [member.get("energy_capacity_Wh", 0.0) for member in members]
    if all(capacity > 0 for capacity in capacities):
        # The stored energies are not used: divided by the capacities, they may differ from the states of charge.
        charges = [member["mean_soc_perc"] for member in members]
        weighted = fsum(charge * capacity for charge, capacity in zip(charges, capacities, strict=True))
        return weighted / fsum(capacities)
    return fsum([member["mean_soc_perc"] for member in members]) / len(members)
