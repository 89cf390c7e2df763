"""Summaries of nodes → the fields of the contract, per node and summed per type. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import fsum
from typing import Any, Literal, NamedTuple

from agent.aggregation.node_summary import NodeSummary
from agent.energy.days import Basis
from drivers.model import NodeType, Quantity

Fields = dict[str, float | list[str]]

# Bound once: before 3.12 it is Python code that finds a member of an Enum, for every device of every push.
_POWER, _SOC = Quantity.ACTIVE_POWER, Quantity.SOC
_STORED, _CAPACITY = Quantity.ENERGY_STORED, Quantity.ENERGY_CAPACITY


class NodeResult(NamedTuple):
    """A node of a push."""

    summary: NodeSummary
    fields: Fields
    """Those of the contract."""
    basis: Basis | None
    """How well its energies of the day are known; None where it has none."""
    turned: bool = False
    """Whether [push.sign] turns its group around: `fields` already are, `summary` never is."""


class Summary(NamedTuple):
    """One push: its Unix second, its nodes, and the group of each type."""

    time: int
    nodes: tuple[NodeResult, ...]
    groups: dict[NodeType, Fields]

    def members(self, type_: NodeType) -> Iterator[NodeResult]:
        """The nodes that make the total of a type."""
        return (each for each in self.nodes if each.summary.node.type is type_ and each.summary.node.counted)


def fields_of(summary: NodeSummary) -> Fields:
    """The contract's fields of one node, but for its energies of the day."""
    power = summary.chosen(_POWER)
    if power is None:
        power = _assumed_power(summary)
    elif summary.statistic == "mean" and (resolution := summary.node.resolutions.get(_POWER)) is not None:
        power = round(power / resolution.step) * resolution.step
    fields: Fields = {} if power is None else {"active_power_W": power}
    add = _OF_TYPE.get(summary.node.type)
    if add is not None:
        add(fields, summary)
    return fields


def _assumed_power(summary: NodeSummary) -> float | None:
    """Of a device that reports none."""
    node = summary.node
    if summary.sleeps:
        return 0.0
    state = _state(summary) if node.nominal_power_W is not None else None
    share = summary.chosen(state) if state is not None else None
    return None if share is None or node.nominal_power_W is None else node.nominal_power_W * share


def _state(summary: NodeSummary) -> Quantity | None:
    """The quantity that says whether it is on."""
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
    if not capacity:  # a register that is always 0 knows nothing
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


# What a type has beyond power.
_OF_TYPE: dict[NodeType, Callable[[Fields, NodeSummary], None]] = {
    NodeType.STORAGE: _add_storage,
    NodeType.HEAT_PUMP: _add_modes,
}


def total(members: Sequence[Fields], partial: Literal["omit", "sum"]) -> Fields:
    """The group of a type: sums, the charge weighted by capacity, a field with a missing member left out.

    `operation_modes` lists the heat pumps that tell theirs: a meter at a heat pump tells none.
    """
    if not members:
        return {}
    everyone = partial == "omit"
    # What the first member has not is left out then.
    names = members[0] if everyone else dict.fromkeys(name for member in members for name in member)
    fields: Fields = {}
    for name in names:
        present: list[Any] = [member[name] for member in members if name in member]
        if name == "operation_modes" or (everyone and len(present) < len(members)):
            continue
        if name == "mean_soc_perc":
            fields[name] = _mean_soc([member for member in members if name in member])
        else:
            fields[name] = fsum(present)
    modes: list[str] = []
    for member in members:
        told = member.get("operation_modes")
        if isinstance(told, list):
            modes += told
    if modes:
        fields["operation_modes"] = modes
    return fields


def _mean_soc(members: Sequence[Mapping[str, Any]]) -> float:
    capacities = [member.get("energy_capacity_Wh", 0.0) for member in members]
    if all(capacity > 0 for capacity in capacities):
        # A battery's own charge counts, which need not be what it stores of its capacity.
        charges = [member["mean_soc_perc"] for member in members]
        weighted = fsum(charge * capacity for charge, capacity in zip(charges, capacities, strict=True))
        return weighted / fsum(capacities)
    return fsum([member["mean_soc_perc"] for member in members]) / len(members)
