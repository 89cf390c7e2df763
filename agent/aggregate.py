"""Summaries of nodes → the fields of the contract, per node and summed per type. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal, NamedTuple

from agent.energy_day import Basis
from agent.window import NodeSummary
from drivers.model import NodeType, Quantity

Fields = dict[str, float | list[str]]


class NodeResult(NamedTuple):
    """A node of a push."""

    summary: NodeSummary
    fields: Fields
    """Those of the contract."""
    basis: Basis | None
    """How well its energies of the day are known; None where it has none."""
    turned: bool = False
    """Whether [push.sign] turns its group around: `fields` already are, `summary` never is."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One push: its Unix second, its nodes, and the group of each type."""

    time: int
    nodes: tuple[NodeResult, ...]
    groups: dict[NodeType, Fields]

    def members(self, type_: NodeType) -> list[NodeResult]:
        """The nodes that make the total of a type."""
        return [each for each in self.nodes if each.summary.node.type is type_ and each.summary.node.counted]


def fields_of(summary: NodeSummary) -> Fields:
    """The contract's fields of one node, but for its energies of the day."""
    node = summary.node
    power = summary.chosen(Quantity.ACTIVE_POWER)
    if power is None:
        power = _assumed_power(summary)
    fields: Fields = {} if power is None else {"active_power_W": power}
    if node.type is NodeType.STORAGE and not summary.offline:
        _add_storage(fields, summary)
    if node.type is NodeType.HEAT_PUMP and (state := _state(summary)) is not None:
        fields["operation_modes"] = ["on" if summary.number(state) else "off"]
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


def _add_storage(fields: Fields, summary: NodeSummary) -> None:
    soc = _percent(summary.number(Quantity.SOC))
    stored = summary.number(Quantity.ENERGY_STORED)
    capacity = summary.number(Quantity.ENERGY_CAPACITY)
    if capacity is None:
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


def total(members: Sequence[Fields], partial: Literal["omit", "sum"]) -> Fields:
    """The group of a type: sums, the charge weighted by capacity, a field with a missing member left out."""
    values: dict[str, list[float | list[str]]] = defaultdict(list)
    for member in members:
        for name, value in member.items():
            values[name].append(value)
    fields: Fields = {}
    for name, present in values.items():
        if len(present) < len(members) and partial == "omit":
            continue
        if name == "operation_modes":
            fields[name] = [mode for modes in present if isinstance(modes, list) for mode in modes]
        elif name == "mean_soc_perc":
            fields[name] = _mean_soc([member for member in members if name in member])
        else:
            fields[name] = fsum(value for value in present if not isinstance(value, list))
    return fields


def _mean_soc(members: Sequence[Fields]) -> float:
    stored, capacity, charge = (
        [value for member in members if isinstance(value := member.get(name), float)]
        for name in ("energy_stored_Wh", "energy_capacity_Wh", "mean_soc_perc")
    )
    if len(stored) == len(capacity) == len(members) and sum(capacity) > 0:
        return min(100.0, 100 * fsum(stored) / fsum(capacity))
    return fsum(charge) / len(charge)
